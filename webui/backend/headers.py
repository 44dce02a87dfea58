"""The header of a file of weights, whatever its format: names, shapes and kinds of the tensors. Reads kilobytes, needs no torch, executes nothing.

Goes by what the file contains, never by its name. Several files that are one model (shards) give the union of their headers.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from webui.backend.formats import gguf, pickles, safetensors
from webui.backend.formats.contract import AGAIN, LIMIT, Header, Shapes, reading, refusal

__all__ = ["Header", "Shapes", "read_header", "weight_files"]

INDEX = ".index.json"
WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
"""What diffusers and transformers call the weights in a module's folder."""

WHOLE = tuple(f"{name}{suffix}" for name in WEIGHTS for suffix in (".safetensors.index.json", ".safetensors", ".bin.index.json", ".bin"))
HALF = tuple(
    f"{name}{suffix}" for name in WEIGHTS
    for suffix in (".safetensors.index.fp16.json", ".fp16.safetensors.index.json", ".fp16.safetensors", ".bin.index.fp16.json", ".fp16.bin")
)
"""In the order they are looked for, the whole set before the half-precision one."""

WEIGHT_NAMES = (*WHOLE, *HALF)


def weight_files(path: Path) -> list[Path]:
    """The files that hold the weights of `path`: a file itself, the shards that an index names, or what lies in a module's folder.

    Raises `ModelError` when there are none, or an index is damaged or names a file that is not beside it.
    """
    with reading(path):
        if path.is_dir():
            found = next((path / name for name in WEIGHT_NAMES if (path / name).is_file()), None)
            if found is None:
                raise refusal(path, "is a folder without weights", "It should hold diffusion_pytorch_model.safetensors or the like.")
            return weight_files(found)
        if not path.name.endswith(".json"):
            return [path]
        text = path.read_bytes()[: LIMIT + 1]
    try:
        names = sorted(set(json.loads(text)["weight_map"].values()))
        shards = [path.parent / name for name in names if Path(name).name == name]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise refusal(path, "is not an index of shards, or is damaged", AGAIN) from error
    if not shards or len(shards) != len(names):
        raise refusal(path, "names no files beside it", AGAIN)
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        raise refusal(path, f"lacks {len(missing)} of its {len(shards)} files; the first is {missing[0]}", "Put all of them into one folder.")
    return shards


def read_header(path: Path) -> Header:
    """The header of a file, of an index of shards, or of a module's folder, checked against the files' sizes. Raises `ModelError` in plain words."""
    headers = [_read(file) for file in weight_files(path)]
    if len(headers) == 1:
        return headers[0]
    shapes: Shapes = {}
    dtypes: dict[str, str] = {}
    metadata: dict[str, str] = {}
    inert: dict[str, None] = {}
    for header in headers:
        shapes.update(header.shapes)
        dtypes.update(header.dtypes)
        metadata.update(header.metadata)
        inert.update(dict.fromkeys(header.inert))
    return Header(shapes, dtypes, metadata, tuple(inert))


def _read(path: Path) -> Header:
    with reading(path):
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(1024)
            _refuse_no_model(path, start, size)
            match file_format(start):
                case "zip":
                    return pickles.read_zip(path, file)
                case "pickle":
                    return pickles.read_legacy(path, file, size)
                case "gguf":
                    return gguf.read_header(path, file, size)
                case "tar":
                    raise refusal(path, "is a PyTorch file of a form that ended in 2017", "Look for the same model as .safetensors.")
                case _:
                    return safetensors.read_header(path, file, start, size)


def file_format(start: bytes) -> Literal["safetensors", "zip", "pickle", "tar", "gguf"]:
    """What a file that begins like this is; safetensors, which has no mark of its own, when it is nothing else."""
    if start.startswith(b"PK\x03\x04"):
        return "zip"
    if start.startswith(b"GGUF"):
        return "gguf"
    if start[257:262] == b"ustar":
        return "tar"
    return "pickle" if start[:1] == b"\x80" and start[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05") and start[8:9] != b"{" else "safetensors"


def _refuse_no_model(path: Path, start: bytes, size: int) -> None:
    """What downloads leave behind when they go wrong."""
    if size == 0:
        raise refusal(path, "is empty (0 bytes)", AGAIN)
    head = start.lstrip().lower()
    if head.startswith(b"version https://git-lfs"):
        raise refusal(path, "is only a Git LFS pointer, not the model itself", "Run `git lfs pull`, or download the file from its page.")
    if head.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise refusal(path, "is a web page, not a model", "The download gave an error or sign-in page; download it again, signed in if need be.")
