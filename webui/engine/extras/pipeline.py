"""The operations of Extras on one picture, in A1111's order. Which there are is `schema.extras.OPERATIONS`; each is a function here, most of the work
is in the modules beside this one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from webui.engine.captions import Captioner
from webui.engine.enlarging import Enlarger, grow_fully
from webui.engine.extras.crops import Autosize, Hints, autosized, fill_size, flipped, focal_point, show_focus, split_oversized
from webui.engine.extras.faces import Mender, find_faces
from webui.engine.extras.piece import Piece
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registry
from webui.schema.errors import RequestError
from webui.schema.extras import OPERATIONS, Extras
from webui.schema.sampling import UpscalerSpec

PIXELS_LIMIT = 400_000_000
"""Pixels of a result, or of what an upscaler makes on the way to it."""


@dataclass(frozen=True)
class Bench:
    """What the operations work with."""

    enlarger: Enlarger
    mender: Mender
    upscalers: Registry[UpscalerSpec]
    captioner: Captioner
    tools: RunTools

    @property
    def detector(self) -> Path | None:
        """The face detector, if there is one."""
        return self.mender.find_file("face_detector", "")


@dataclass(frozen=True)
class _Stage:
    """One operation under way: the request, the size that training wants, and how far all is."""

    bench: Bench
    request: Extras
    target: tuple[int, int]
    number: int
    count: int

    def tick(self, phase: str) -> Callable[[int, int], None]:
        """Reports and stops between two tiles."""

        def tick(done: int, count: int) -> None:
            self.bench.tools.cancel.raise_if_stopped()
            share = (self.number + done / max(count, 1)) / self.count
            self.bench.tools.report(Step(phase, 0, 1, done, count, share, self.bench.tools.note))

        return tick


def process(image: Image.Image, request: Extras, bench: Bench) -> list[Piece]:
    """What becomes of a picture (RGB or RGBA): itself first, then what was made beside it. Raises `WebuiError`, and `Cancelled` between two steps."""
    pieces = [Piece(image)]
    chosen = [name for name in OPERATIONS if getattr(request, name)]
    target = target_size(image.size, request)
    for number, name in enumerate(chosen):
        stage = _Stage(bench, request, target, number, len(chosen))
        stage.tick("upscaling" if name == "upscale" else "extras")(0, 1)
        pieces = [new for piece in pieces for new in ([piece] if piece.finished else DO[name](piece, stage))]
    return pieces


def target_size(size: tuple[int, int], request: Extras) -> tuple[int, int]:
    """The size that the fields of upscaling ask for, which crops use too."""
    if request.resize_mode == "Scale to":
        return request.upscaling_resize_w, request.upscaling_resize_h
    wide, high = int(size[0] * request.upscaling_resize), int(size[1] * request.upscaling_resize)
    return limited((wide, high), request.max_side_length) if request.max_side_length else (wide, high)


def limited(size: tuple[float, float], limit: int) -> tuple[int, int]:
    """A1111's `limit_size_by_one_dimention`: the longer side at most `limit`."""
    width, height = size
    if height > width and height > limit:
        width, height = limit * width // height, limit
    elif width > limit:
        width, height = limit, limit * height // width
    return int(width), int(height)


def upscale(image: Image.Image, spec: UpscalerSpec, request: Extras, grow: Callable[[UpscalerSpec, Image.Image, float], Image.Image]) -> Piece:
    """A1111's: enlarged by one upscaler, with its notes. Raises `RequestError` when it would be too large."""
    notes: dict[str, object] = {}
    to, crop = None, False
    if request.resize_mode == "Scale to":
        to, crop = (request.upscaling_resize_w, request.upscaling_resize_h), request.upscaling_crop
        notes["Postprocess upscale to"] = f"{to[0]}x{to[1]}"
    else:
        notes["Postprocess upscale by"] = request.upscaling_resize
        if request.max_side_length and max(image.size) * request.upscaling_resize > request.max_side_length:
            to = limited((image.width * request.upscaling_resize, image.height * request.upscaling_resize), request.max_side_length)
            notes["Max side length"] = request.max_side_length
    scale = max(to[0] / image.width, to[1] / image.height) if to else request.upscaling_resize
    if image.width * image.height * scale * scale > PIXELS_LIMIT:
        raise RequestError(
            f"{image.width}×{image.height} pixels would become {image.width * scale:.0f}×{image.height * scale:.0f}.",
            field="upscaling_resize", hint=f"At most {PIXELS_LIMIT // 1_000_000} megapixels are possible.",
        )
    image = grow_fully(spec, image, scale, grow)
    if to and crop:
        cropped = Image.new(image.mode, to)
        cropped.paste(image, (to[0] // 2 - image.width // 2, to[1] // 2 - image.height // 2))
        image = cropped
        notes["Postprocess crop to"] = f"{to[0]}x{to[1]}"
    return Piece(image, notes)


def _upscale(piece: Piece, stage: _Stage) -> list[Piece]:
    request, bench = stage.request, stage.bench
    if request.upscaler_1 == "None":
        return [piece]

    def grow(spec: UpscalerSpec, image: Image.Image, scale: float) -> Image.Image:
        return bench.enlarger.grow(spec, image, scale, bench.tools.settings, stage.tick("upscaling"))

    made = upscale(piece.image, bench.upscalers.get(request.upscaler_1, field="upscaler_1"), request, grow)
    notes = piece.notes | made.notes | {"Postprocess upscaler": request.upscaler_1}
    image = made.image
    if request.upscaler_2 != "None" and request.upscaler_2_visibility > 0:
        second = upscale(piece.image, bench.upscalers.get(request.upscaler_2, field="upscaler_2"), request, grow).image
        image = Image.blend(image, second.convert(image.mode), request.upscaler_2_visibility)
        notes["Postprocess upscaler 2"] = request.upscaler_2
    return [replace(piece, image=image, notes=notes)]


def _gfpgan(piece: Piece, stage: _Stage) -> list[Piece]:
    request = stage.request
    image = stage.bench.mender.mend(piece.image, "gfpgan", request.gfpgan_model, request.gfpgan_visibility)
    return [piece.with_image(image, GFPGAN_visibility=round(request.gfpgan_visibility, 3))]


def _codeformer(piece: Piece, stage: _Stage) -> list[Piece]:
    request = stage.request
    image = stage.bench.mender.mend(piece.image, "codeformer", "", request.codeformer_visibility, weight=request.codeformer_weight)
    return [piece.with_image(
        image, CodeFormer_visibility=round(request.codeformer_visibility, 3), CodeFormer_weight=round(request.codeformer_weight, 3),
    )]


def _split(piece: Piece, stage: _Stage) -> list[Piece]:
    parts = split_oversized(piece.image, stage.target, stage.request.split_threshold, stage.request.overlap_ratio)
    return [replace(piece, image=part) for part in parts]


def _focal_crop(piece: Piece, stage: _Stage) -> list[Piece]:
    request, image, detector = stage.request, piece.image, stage.bench.detector
    found = find_faces(image, detector) if detector and request.face_weight else []
    middles = [((box[0] + box[2] / 2) / image.width, (box[1] + box[3] / 2) / image.height) for box in (face.box for face in found)]
    sizes = [face.box[2] * face.box[3] for face in found]
    faces = list(zip(middles, sizes, strict=True))
    at = focal_point(image, Hints(faces, request.face_weight, request.entropy_weight, request.edges_weight))
    made = [piece.with_image(fill_size(image, stage.target, at))]
    if request.focal_debug:
        made.append(replace(piece, image=show_focus(image, at), tags=(*piece.tags, "focal-crop-debug"), finished=True))
    return made


def _autosized_crop(piece: Piece, stage: _Stage) -> list[Piece]:
    request = stage.request
    limits = Autosize(
        (request.mindim, request.maxdim), (request.minarea, request.maxarea), request.objective == "Maximize area", request.threshold,
    )
    made = autosized(piece.image, limits)
    if made is None:
        size = f"{piece.image.width}×{piece.image.height}"
        stage.bench.tools.tell(f"A picture of {size} pixels fits into no size that auto-sized crop allows; it stays as it is.")
        return [piece]
    return [piece.with_image(made)]


def _flip(piece: Piece, stage: _Stage) -> list[Piece]:
    return [piece, *(replace(piece, image=image, tags=(*piece.tags, name)) for name, image in flipped(piece.image, stage.request.flips))]


def _caption(piece: Piece, stage: _Stage) -> list[Piece]:
    texts: Sequence[str] = [stage.bench.captioner.describe(piece.image, name, stage.bench.tools.settings) for name in stage.request.captions]
    return [replace(piece, caption=", ".join([piece.caption, *texts] if piece.caption else texts))]


DO: dict[str, Callable[[Piece, _Stage], list[Piece]]] = {
    "upscale": _upscale, "gfpgan": _gfpgan, "codeformer": _codeformer, "split": _split, "focal_crop": _focal_crop,
    "autosized_crop": _autosized_crop, "flip": _flip, "caption": _caption,
}
"""What carries out each of `OPERATIONS`."""
