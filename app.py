"""Build the application and serve it: `python app.py [flags]`. `python launch.py` sets everything up first."""

import os
import sys

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before Gradio is imported: nothing leaves this machine unasked
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

from webui.main import main

if __name__ == "__main__":
    sys.exit(main())
