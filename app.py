"""Build the application and serve it: `python app.py [flags]`. `python launch.py` sets everything up first."""

import gc
import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: nothing leaves this machine unasked
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

gc.disable()  # importing makes no garbage, and looking for it costs a tenth of the start; webui.main.serve switches it on again

from webui.main import main  # noqa: E402 (see above)

if __name__ == "__main__":
    sys.exit(main())
