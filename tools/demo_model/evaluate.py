"""Measures a demo model: does it draw what is asked? Also its autoencoder, its speed, and a contact sheet to look at.

    python tools/demo_model/evaluate.py MODEL.safetensors [--n 200] [--styles 50] [--json FILE] [--sheet FILE.png] [--batch 10]

Prompts name one thing in a combination of thing, colour and background that training never showed. Pictures are made by Easel's own engine (20 steps,
CFG 5). Beside the figures stand an upper bound (the judges on the drawn pictures of the same scenes) and a lower one (the pictures judged against
another scene's prompt).
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.captions import plain_caption
from tools.demo_model.judge import Verdict, judge
from tools.demo_model.judge_style import judge_style
from tools.demo_model.latents import to_tensor
from tools.demo_model.scene import STYLES, Scene, make_scene, make_unseen_scene, with_style
from tools.demo_model.world import draw
from webui.backend.components import Components
from webui.backend.device import choose_device
from webui.backend.families.sd import plan
from webui.backend.parts import ModelChoice, load_model
from webui.engine.cancel import CancelToken
from webui.engine.course import make_course, make_table, sampler_options, skip_rules
from webui.engine.denoise import denoise
from webui.engine.faces import make_network
from webui.engine.plan import Batch, Pass
from webui.engine.prompt.reading import read_prompts
from webui.engine.prompt.schedule import Timing
from webui.engine.steps.decode import decode_picture
from webui.engine.steps.encode import PromptCache, encode
from webui.engine.steps.latents import batch_noise, first_latents, later_noise
from webui.engine.steps.postprocess import to_image
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint, FileKind, ModelFile
from webui.schema.settings import PictureSettings

FIGURES = ("colour", "background", "thing", "place")
FIRST_SEED = 30_000_000
SHEET = (
    "a red house at night", "a yellow star in the night sky", "a blue fish on an orange background", "a green tree in the snow",
    "a pink flower on green hills", "an orange cat in the middle on a turquoise background", "a purple balloon by day",
    "a red boat by the sea", "a white moon at night", "a yellow sun by day", "a red heart on a dotted pink background",
    "a big red mushroom on green hills", "a gray robot on a yellow background", "a red umbrella at sunset",
    "a blue cup on a striped white background",
    "a purple butterfly by day", "a white snowman at night", "a yellow kite by the sea", "a red apple on a checked yellow background",
    "a blue car in the snow", "two pink balloons by day", "a red house, pixel art", "a blue butterfly, watercolour", "a green cat at night, neon",
    "a brown boat by the sea, sketch",
)


@dataclass(frozen=True)
class _Beside:
    """Implements `parts.Shelf`: what lies in a model's folder."""

    folder: Path

    def files(self, kind: FileKind) -> list[ModelFile]:
        del kind
        return []

    def folders(self, kind: FileKind) -> tuple[Path, ...]:
        del kind
        return ()

    def checkpoint(self, name: str) -> Checkpoint | None:
        path = self.folder / f"{name}.safetensors"
        return _checkpoint(path) if path.is_file() else None


class Studio:
    """A model that draws prompts in batches on Easel's engine, in float32 where the device has no 16 bits."""

    def __init__(self, model: Path, steps: int = 20, cfg: float = 5.0, sampler: str = "DPM++ 2M") -> None:
        registries = Registries()
        register_tables(registries)
        choice = ModelChoice(_checkpoint(model), shelf=_Beside(model.parent))
        self.components: Components = load_model(plan(choice), choose_device(DeviceOptions()))
        spec = registries.samplers.get(sampler)
        schedule = next((entry for entry in registries.schedulers.values() if entry.name == spec.scheduler), None)
        self._pass = Pass(steps, cfg, 256, 256, spec, schedule)

    def with_cfg(self, cfg: float) -> Studio:
        """The same at another CFG scale, sharing the model."""
        other = copy.copy(self)
        other._pass = replace(self._pass, cfg=cfg)
        return other

    @torch.inference_mode()
    def draw(self, prompts: Sequence[str], seed: int = 0, negative: str = "") -> list[Image.Image]:
        """One picture a prompt, at 256 pixels, made together; the seeds count up from `seed`."""
        components, part = self.components, self._pass
        batch = Batch(0, tuple(prompts), (negative,) * len(prompts), tuple(range(seed, seed + len(prompts))))
        settings = PictureSettings()
        table = make_table(components.alphas_cumprod, part, settings)
        course = make_course(part, table, settings)
        reading = read_prompts(batch.prompts, batch.negative_prompts, settings)
        conditioning = encode(components, PromptCache(len(prompts) + 1), reading, part.guidance, Timing(part.calls), settings)
        network = make_network(
            part, components.denoise, table, conditioning, skip_rules(course, settings), dtype=components.device.dtype,
            prediction=components.prediction,
        )
        noise = batch_noise(components, batch, part, Txt2Img(), settings)
        done = denoise(
            part, network, first_latents(noise, course), course.levels, later_noise(noise, part, course), cancel=CancelToken(),
            on_step=lambda step, x0: None, options=sampler_options(part, table, settings),
        )
        latents = () if done is None else done.latents
        return [to_image(decode_picture(components, latent)) for latent in latents]

    def draw_all(self, prompts: Sequence[str], batch: int, seed: int = 0) -> Iterator[Image.Image]:
        """Any number of prompts, `batch` at a time."""
        for first in range(0, len(prompts), batch):
            yield from self.draw(prompts[first : first + batch], seed + first)


def score(pictures: Sequence[Image.Image], scenes: Sequence[Scene]) -> dict[str, float]:
    """Percentages of pictures whose colour, background, thing and place are the scene's first thing's."""
    return _compare([judge(picture) for picture in pictures], scenes)


def evaluate_meaning(studio: Studio, count: int, batch: int) -> dict[str, dict[str, float]]:
    """`model`, `drawn` (upper bound) and `shuffled` (lower bound) percentages over unseen combinations."""
    scenes = [make_unseen_scene(FIRST_SEED + number) for number in range(count)]
    verdicts = [judge(picture) for picture in studio.draw_all([_prompt(scene) for scene in scenes], batch)]
    return {
        "model": _compare(verdicts, scenes), "drawn": score([draw(scene) for scene in scenes], scenes),
        "shuffled": _compare(verdicts, scenes[1:] + scenes[:1]),
    }


def evaluate_styles(studio: Studio, count: int, batch: int) -> dict[str, dict[str, float]]:
    """Percentage of pictures in which the style asked for is recognised, for each style; `drawn` is the upper bound, `rebuilt` (drawn pictures
    through the autoencoder) what the UNet alone could reach."""
    found: dict[str, dict[str, float]] = {"model": {}, "rebuilt": {}, "drawn": {}}
    for style in STYLES:
        scenes = [with_style(make_unseen_scene(FIRST_SEED + number), style) for number in range(count // len(STYLES))]
        drawn = studio.draw_all([_prompt(scene) for scene in scenes], batch)
        rebuilt = (to_image(rebuild(studio, to_tensor([scene]))[0]) for scene in scenes)
        for name, pictures in (("model", drawn), ("rebuilt", rebuilt), ("drawn", (draw(scene) for scene in scenes))):
            found[name][style] = _percent([judge_style(picture) == style for picture in pictures])
    return found


def styles_of_plain_prompts(studio: Studio, count: int, batch: int) -> dict[str, float]:
    """Percentage of pictures in which each style is recognised when the prompt names none."""
    scenes = [with_style(make_unseen_scene(FIRST_SEED + number), "flat") for number in range(count)]
    seen = [judge_style(picture) for picture in studio.draw_all([_prompt(scene) for scene in scenes], batch)]
    return {style: _percent([one == style for one in seen]) for style in STYLES}


@torch.inference_mode()
def rebuild(studio: Studio, pictures: Tensor) -> Tensor:
    """(batch, 3, height, width) through the autoencoder."""
    autoencoder, device = studio.components.autoencoder, studio.components.device.device
    return autoencoder.decode(autoencoder.encode(pictures.to(device))).clamp(-1, 1).cpu()


def measure_round_trip(studio: Studio, count: int = 24) -> float:
    """PSNR in dB (over all pixels together) of unseen drawings through the autoencoder."""
    errors = []
    for number in range(count):
        picture = to_tensor([make_scene(FIRST_SEED + 1000 + number)])
        errors.append((rebuild(studio, picture) - picture).square().mean().item())
    return 10 * float(np.log10(4 / np.mean(errors)))


def measure_speed(model: Path) -> dict[str, float]:
    """Seconds from loading to the first picture, and of a second picture; 256×256, 20 steps."""
    begun = time.perf_counter()
    studio = Studio(model)
    studio.draw(["a red house at night"])
    first = time.perf_counter()
    studio.draw(["a blue fish by the sea"], seed=1)
    return {"first picture": round(first - begun, 2), "picture": round(time.perf_counter() - first, 2)}


def contact_sheet(studio: Studio, seed: int = 1, batch: int = 5) -> Image.Image:
    """Five by five plain prompts."""
    sheet = Image.new("RGB", (5 * 256 + 24, 5 * 256 + 24), (255, 255, 255))
    for number, picture in enumerate(studio.draw_all(SHEET, batch, seed)):
        sheet.paste(picture, (number % 5 * 262, number // 5 * 262))
    return sheet


def _checkpoint(model: Path) -> Checkpoint:
    stat = model.stat()
    return Checkpoint(name=model.name, path=str(model), size=stat.st_size, mtime=stat.st_mtime, family="sd1")


def _prompt(scene: Scene) -> str:
    return plain_caption(scene).text


def _compare(verdicts: Sequence[Verdict], scenes: Sequence[Scene]) -> dict[str, float]:
    wanted = [Verdict(scene.background, scene.items[0].thing, scene.items[0].colour, scene.place) for scene in scenes]
    pairs = list(zip(verdicts, wanted, strict=True))
    return {figure: _percent([getattr(verdict, figure) == getattr(want, figure) for verdict, want in pairs]) for figure in FIGURES}


def _percent(right: Sequence[bool]) -> float:
    return round(100 * sum(right) / max(1, len(right)), 1)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measures a demo model.")
    parser.add_argument("model", type=Path)
    parser.add_argument("--n", type=int, default=200, help="unseen combinations")
    parser.add_argument("--styles", type=int, default=50, help="pictures for the styles, all together")
    parser.add_argument("--batch", type=int, default=10)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    options = parser.parse_args()
    speed = measure_speed(options.model)
    studio = Studio(options.model)
    result = {
        "meaning": evaluate_meaning(studio, options.n, options.batch), "styles": evaluate_styles(studio, options.styles, options.batch),
        "plain prompts": styles_of_plain_prompts(studio, options.styles, options.batch),
        "psnr": round(measure_round_trip(studio), 2), "seconds": speed, "megabytes": round(options.model.stat().st_size / 1e6, 1),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    if options.sheet:
        contact_sheet(studio).save(options.sheet)


if __name__ == "__main__":
    main()
