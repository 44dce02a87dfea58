"""Where a rule of the house gives way, each with its reason. An entry that is no longer needed fails the guard too."""

from __future__ import annotations

LONG_FILES = {
    "launch.py": "one file, so that it can be read and run before anything is there",
}

LONG_FUNCTIONS: dict[tuple[str, str], str] = {}
"""(file, function) of up to 100 lines."""

LATE_IMPORTS = {
    ("webui/services/worker.py", "webui.engine.runtime"): "the one door to torch: the page is served before it is imported",
    ("webui/services/model_work.py", "webui.backend.merge"): "torch, only when there is something to merge",
    ("webui/services/model_work.py", "webui.backend.convert"): "torch, only when there is something to convert",
    ("webui/backend/device.py", "xformers.ops"): "heavy, rarely wanted, may not be installed",
    ("webui/backend/quantised.py", "diffusers.quantizers.gguf.utils"): "needs the package gguf, which is not required",
    ("webui/engine/captions.py", "onnxruntime"): "only taggers need it, may not be installed",
    ("webui/backend/weights.py", "diffusers.quantizers.gguf.utils"): "needs the package gguf, which is not required",
}

BROAD_EXCEPTS = {
    "webui/backend/families/t5.py": "the package tokenizers raises Exception itself for a damaged file",
    "webui/services/worker.py": "a job fails, the server goes on",
    "webui/plugins/host.py": "a hook of a foreign plugin",
    "webui/plugins/discover.py": "importing a foreign plugin",
}
