"""Which files mend faces and find them, and where they belong. Needs no torch: lists and checks read it."""

from __future__ import annotations

from pathlib import PurePath

from webui.backend.network_files import NetworkFiles
from webui.schema.errors import ModelError
from webui.schema.model import ModelFile

DETECTOR = "face_detection_yunet_2023mar.onnx"
HINTS = {
    "gfpgan": "Put GFPGANv1.4.pth into models/GFPGAN, or RestoreFormer.pth into models/RestoreFormer.",
    "codeformer": "Put codeformer.pth into models/Codeformer, and install its architecture: pip install spandrel-extra-arches",
    "face_detector": f"Put OpenCV's {DETECTOR} into models/opencv.",
}


def restorers(files: NetworkFiles, kind: str) -> list[ModelFile]:
    """The files of a kind (`gfpgan`, which counts RestoreFormer too; `codeformer`; `face_detector`), by name. CodeFormer is told by its file or
    folder, for it has a weight of its own."""
    if kind == "face_detector":
        return [entry for entry in files.files("face_detector") if entry.path.lower().endswith(".onnx")]
    return [entry for entry in files.files("face_restorer") if _is_codeformer(entry) == (kind == "codeformer")]


def find_restorer(files: NetworkFiles, kind: str, name: str) -> ModelFile | None:
    """The file of this name, or the first when no name is given."""
    return next((entry for entry in restorers(files, kind) if name in ("", entry.name)), None)


def check_restorer(files: NetworkFiles, kind: str, name: str, field: str) -> None:
    """Raises `ModelError` at `field`, with the expected place, when there is no such file, or nothing to find faces with."""
    if find_restorer(files, kind, name) is None:
        title = "CodeFormer" if kind == "codeformer" else "GFPGAN"
        what = f"The face restorer “{name[:80]}” is not there." if name else f"There is no file for {title} yet."
        raise ModelError(what, field=field, hint=HINTS[kind])
    if find_restorer(files, "face_detector", "") is None:
        raise ModelError("There is nothing to find faces with yet.", field=field, hint=HINTS["face_detector"])


def _is_codeformer(entry: ModelFile) -> bool:
    path = PurePath(entry.path)
    return "codeformer" in path.name.lower() or path.parent.name.lower() == "codeformer"
