"""A checkpoint written anew: one file from any layout, or a diffusers folder. Bytes change only where a choice asks for it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from webui.backend.folder_layout import open_ldm, write_folder
from webui.backend.recipes import ConvertFiles
from webui.backend.rewrite import as_dtype, pruned, with_ema, with_vae
from webui.backend.tensor_file import stored, write_tensors
from webui.backend.weights import open_weights


def convert(files: ConvertFiles, progress: Callable[[float], None] = lambda fraction: None) -> None:
    """Write `files.target`. `progress` hears 0..1 and may raise to stop it. Raises `ModelError` for a source that cannot be read or is of no known
    layout, `StorageError` when the target cannot be written; then nothing is left."""
    if files.folder:
        write_folder(files, progress)
        return
    with ExitStack() as stack:
        weights = open_ldm(files.checkpoint, stack)
        streams = with_ema({key: stored(weights, key) for key in weights.keys()}, files.ema)  # noqa: SIM118 (no dict)
        if files.prune:
            streams = pruned(streams)
        if files.vae is not None:
            streams = with_vae(streams, stack.enter_context(open_weights(Path(files.vae.path))))
        streams = as_dtype(streams, files.dtype)
        write_tensors(files.target, streams, {"format": "pt"} | dict(weights.metadata), replace=files.replace, progress=progress)
