"""Where a depth model's estimator is looked for, and what is refused when there is none. Needs no torch: requests are checked with it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from webui.engine.hires import second_pass
from webui.schema.errors import RequestError
from webui.schema.img2img import Img2Img
from webui.schema.model import Checkpoint
from webui.schema.request import PictureRequest
from webui.schema.settings import PictureSettings

FOLDERS = ("depth", "midas")
"""Below models/; the second is A1111's."""

PREPROCESSOR = "preprocessor_config.json"
WANTED = (
    "the folder of a depth estimator in transformers' layout (config.json, preprocessor_config.json, model.safetensors), "
    "for example Intel/dpt-hybrid-midas or depth-anything/Depth-Anything-V2-Small-hf, into models/depth/."
)
HINT = f"Give a depth map, or put {WANTED}"
HIRES_HINT = f"Switch hires fix off, or put {WANTED}"


@dataclass(frozen=True)
class Estimator:
    """Two folders in transformers' layout: of the network, and of what prepares pictures for it. Without the second the network is MiDaS' and lies in
    the checkpoint's own file."""

    network: Path
    preparation: Path | None


def find_estimator(checkpoint: Checkpoint, models: Path | None) -> Estimator | None:
    """The checkpoint's own estimator, or the first by name of models/depth and models/midas; its files may also lie in those folders themselves."""
    return next((found for found in _places(checkpoint, models) if _is_there(found)), None)


def check_depth(request: PictureRequest, checkpoints: Iterable[Checkpoint], models: Path | None) -> None:
    """Raises `RequestError` when one of the checkpoints that are shown a picture looks at its depth and nobody knows it."""
    asks = request.depth is None if isinstance(request, Img2Img) else second_pass(request) is not None
    if not asks:
        return
    lacking = next((one for one in checkpoints if one.variant == "depth" and find_estimator(one, models) is None), None)
    if lacking is not None:
        raise no_estimator(lacking, hires=not isinstance(request, Img2Img))


def lookers(request: PictureRequest, checkpoint: Checkpoint, others: Mapping[str, Checkpoint], settings: PictureSettings) -> tuple[Checkpoint, ...]:
    """The checkpoints of a request that are shown a picture: in txt2img those of the second pass. `others`: see `plan.further_checkpoints`."""
    if isinstance(request, Img2Img):
        return checkpoint, *others.values()
    refiner = others.get("refiner_checkpoint") if settings.hires_fix_refiner_pass != "first pass" else None
    return others.get("hr_checkpoint_name", checkpoint), *filter(None, [refiner])


def no_estimator(checkpoint: Checkpoint, *, hires: bool = False) -> RequestError:
    """What to say then; `hires`: the picture is that of hires fix, for which nobody can give a map."""
    what = f"{checkpoint.name} looks at how far things are, and there is nothing to estimate that with."
    return RequestError(what, field="enable_hr" if hires else "depth", hint=HIRES_HINT if hires else HINT)


def _places(checkpoint: Checkpoint, models: Path | None) -> Iterator[Estimator]:
    whole = Path(checkpoint.path)
    if checkpoint.layout == "diffusers":
        yield Estimator(whole / "depth_estimator", whole / "feature_extractor")
    elif "depth_estimator" in checkpoint.parts:
        yield Estimator(whole, None)
    for place in (models / name for name in FOLDERS) if models else ():
        for folder in (place, *sorted(item for item in place.glob("*") if item.is_dir())):
            yield Estimator(folder, folder)


def _is_there(found: Estimator) -> bool:
    if found.preparation is None:
        return True
    return (found.network / "config.json").is_file() and (found.preparation / PREPROCESSOR).is_file()
