"""Faces: found by OpenCV's YuNet, set upright, made anew by a network of 512 pixels, and put back with a soft edge."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from spandrel import ImageModelDescriptor

from webui.backend.image_models import ImageModels
from webui.schema.errors import ModelError

SIDE = 512
"""Pixels that GFPGAN, RestoreFormer and CodeFormer work at."""

UPRIGHT = np.array([(192.98, 239.95), (318.90, 240.19), (256.63, 314.02), (201.26, 371.41), (313.09, 371.15)], np.float32)
"""Where eyes, nose and corners of the mouth are in the pictures (FFHQ) that these networks were trained on, at 512 pixels."""

SURE = 0.6
"""Least score of a face that counts."""

LOOKED_AT = 1280
"""Longest side at which faces are looked for."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Face:
    """A face in pixels of the picture: x, y, width, height, and five points: eyes, nose, corners of the mouth, those on the left of an
    upright picture first (YuNet's order)."""

    box: tuple[float, float, float, float]
    points: NDArray[np.float32]


def find_faces(image: Image.Image, detector: Path) -> list[Face]:
    """All faces, the surest first. Raises `ModelError` when the file is no YuNet."""
    pixels = np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])
    scale = min(LOOKED_AT / max(image.size), 1.0)
    small = cv2.resize(pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA) if scale < 1 else pixels
    try:
        net = cv2.FaceDetectorYN.create(str(detector), "", (small.shape[1], small.shape[0]), SURE)
        found = net.detect(small)[1]
    except cv2.error as error:
        raise ModelError(f"{detector.name} is no YuNet face detector that OpenCV can read.", hint="Get the file again.") from error
    rows: Any = [] if found is None else found / scale
    return [Face(tuple(row[:4]), row[4:14].reshape(5, 2).astype(np.float32)) for row in rows]


Renew = Callable[[Pixels], Pixels]
"""A face upright, (512, 512, 3) RGB, made anew."""


def restore(image: Image.Image, faces: Sequence[Face], renew: Renew) -> Image.Image:
    """The picture with every face made anew; RGB."""
    pixels = np.asarray(image.convert("RGB")).astype(np.float32)
    for face in faces:
        there, _ = cv2.estimateAffinePartial2D(face.points, UPRIGHT, method=cv2.LMEDS)
        if there is None:
            continue
        upright = cv2.warpAffine(pixels.clip(0, 255).astype(np.uint8), there, (SIDE, SIDE), borderMode=cv2.BORDER_REFLECT)
        back = cv2.invertAffineTransform(there)
        size = (pixels.shape[1], pixels.shape[0])
        made = cv2.warpAffine(renew(np.asarray(upright, np.uint8)).astype(np.float32), back, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(_soft_square(), back, size)[:, :, None]
        pixels = pixels * (1 - mask) + made * mask
    return Image.fromarray(pixels.round().clip(0, 255).astype(np.uint8))


def renewing(model: ImageModelDescriptor, **options: float) -> Renew:
    """A face network as a function of pixels. `options` go to its call (CodeFormer's weight). Raises `ModelError` for NaN."""

    @torch.inference_mode()
    def renew(face: Pixels) -> Pixels:
        pixels = torch.from_numpy(np.ascontiguousarray(face.transpose(2, 0, 1)))[None].to(model.device, model.dtype) / 127.5 - 1
        made = model.model(pixels, **options)[0]  # the picture comes first, in [-1, 1]; spandrel's own call passes no options
        made = (made[0] if made.ndim == 4 else made).float()
        if not bool(torch.isfinite(made).all()):
            raise ModelError("The face network produced NaN (not a number).", hint="Start with --no-half.")
        return ((made.clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0).cpu().numpy()

    return renew


@dataclass(frozen=True)
class Mender:
    """Mends faces with what lies in the models folder. `find_file` gives the file of a kind (`gfpgan`, `codeformer`, `face_detector`) by its name
    ("" = the first), or None."""

    models: ImageModels
    find_file: Callable[[str, str], Path | None]

    def mend(self, image: Image.Image, kind: str, name: str = "", visibility: float = 1.0, **options: float) -> Image.Image:
        """RGB or RGBA, with every face made anew as far as `visibility` says. `options`: see `renewing`. Raises `ModelError`."""
        file, detector = self.find_file(kind, name), self.find_file("face_detector", "")
        if file is None or detector is None:
            raise ModelError("The files for face restoration are not there any more.", hint="Put them back, or switch it off.")
        faces = find_faces(image, detector) if visibility else []
        if not faces:
            return image
        plain = image.convert("RGB")
        with torch.inference_mode(False):
            renew = renewing(self.models.get(file), **options)
        made = Image.blend(plain, restore(plain, faces, renew), visibility)
        if image.mode == "RGBA":
            made.putalpha(image.getchannel("A"))
        return made


def _soft_square() -> NDArray[np.float32]:
    """1 inside, falling to 0 towards the edges."""
    mask = np.zeros((SIDE, SIDE), np.float32)
    edge = SIDE // 10
    mask[edge:-edge, edge:-edge] = 1
    return np.asarray(cv2.GaussianBlur(mask, (0, 0), edge / 3), np.float32)
