"""Trains the demo model's UNet on cached latents and a frozen text encoder, or everything in a toy size.

    python tools/demo_model/train.py --folder FOLDER --stage inner|whole [--steps N] [--minutes M] [--scenes N] [--batch B] [--easy E] [--styled S]
    python tools/demo_model/train.py --folder COPY --stage whole --style STYLE --steps N
    python tools/demo_model/train.py --smoke --folder FOLDER

Needs FOLDER/vae.pt (train_vae.py) and FOLDER/text.pt (train_text.py). Writes FOLDER/unet.pt (resumable), FOLDER/unet.jsonl. First the stage `inner`
(pyramid.py), then `whole`, at 256 pixels both. Epsilon prediction; more of the loss's weight lies on high noise than min-SNR gives, because there the
text decides. Half of each batch shows one flat thing, which is what text following is learned from fastest.

With --style a finished model becomes a variant that draws everything in this style; it takes the model's place in the folder, so copy that first.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from transformers import CLIPTextModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.captions import write_caption
from tools.demo_model.latents import LatentCache, load_vae, measure_scaling
from tools.demo_model.loop import Limits, generator_of_step, load_state, need_state, save_atomically, train_loop
from tools.demo_model.muon import Muon
from tools.demo_model.pyramid import NOISE_SPREAD, InnerUNet, reduce
from tools.demo_model.scene import STYLES, Scene, make_scene, with_style
from tools.demo_model.sizes import DEMO, SMOKE
from tools.demo_model.train_text import TextTraining, tokenize
from tools.demo_model.train_vae import VaeTraining
from tools.demo_model.workers import Gradients, Workers
from webui.backend.families.sd_config import SdConfig
from webui.backend.families.sd_modules import build_clip, build_unet, scaled_linear_alphas

DROPPED = 0.1
"""Share of captions that are replaced by the empty one, for classifier-free guidance."""


@dataclass(frozen=True)
class Recipe:
    """How the UNet is trained. `stage` is `inner` or `whole`."""

    stage: str = "inner"
    batch: int = 32
    rate: float = 2e-3
    decay: float = 0.996
    final_share: float = 0.3
    """The learning rate falls linearly to 3 % over this last share of the steps."""

    easy: float = 0.5
    """Share of each batch that shows one flat thing."""

    styled: float = 0.0
    """Share of each batch in the other styles, all equally often; the rest is any scene. For the end of training: a style is a detail."""

    style: str = ""
    """Every scene is in this style, and its caption that of a flat one."""

    device: str = "cpu"


class UNetTraining:
    """The UNet with its average, the optimizer, and the cached latents."""

    def __init__(self, folder: Path, config: SdConfig = DEMO, recipe: Recipe | None = None, size: int = 256) -> None:
        torch.manual_seed(0)
        self.recipe = recipe = recipe or Recipe()
        self.device = torch.device(recipe.device)
        self.file, self.log = folder / "unet.pt", folder / "unet.jsonl"
        self.inner = InnerUNet(build_unet(config.unet))
        self.first, self.start = 0, 0
        state = load_state(self.file)
        if state:
            self.inner.load_state_dict(state["weights"])
            self.first = self.start = state["step"]
        if state and state["stage"] != recipe.stage:
            self.inner.load_state_dict(state["average"])
            self.inner.expand()
        elif state:
            self.start = state["start"]
        self.inner.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.parameters = list(self.inner.parameters())
        # The inner stage changes modules while it runs, so it has one thread.
        self.workers = Workers(recipe.batch if recipe.device == "cpu" and recipe.stage == "whole" else 1)
        self.optimizer = Muon(self.parameters, recipe.rate, recipe.rate / 2)
        self.average = [value.detach().clone() for value in self.parameters]
        if state and state["stage"] == recipe.stage:
            self.optimizer.load_state_dict(state["muon"])
            names = [name for name, _ in self.inner.named_parameters()]
            self.average = [state["average"][name].to(self.device, memory_format=torch.preserve_format) for name in names]
        self.text_encoder = load_text_encoder(folder, config).to(self.device)  # pyright: ignore[reportArgumentType]
        self.latents = LatentCache(folder / "latents.f16", load_vae(folder, config), size).read()
        self.scaling = measure_scaling(self.latents)
        self.scenes = [make_scene(number) for number in range(len(self.latents))]
        self.easy = torch.tensor([number for number, scene in enumerate(self.scenes) if len(scene.items) == 1 and scene.style == "flat"])
        self.styled = [numbers for style in STYLES if style != "flat" and len(numbers := self._of_style(style))]
        self.alphas = scaled_linear_alphas(config.scheduler.beta_start, config.scheduler.beta_end, config.scheduler.timesteps)

    def run(self, limits: Limits) -> int:
        """Train until a limit; see `train_loop`."""
        self._total = limits.steps
        return train_loop(self.first, limits, self._step, self._save, self.log)

    def _step(self, step: int) -> dict[str, float]:
        luck = generator_of_step(step)
        numbers, captions = self._choose(step, luck)
        clean = self.latents[numbers].float() * self.scaling
        timesteps = _high_and_low(torch.rand(len(numbers), generator=luck))
        noise = torch.randn(clean.shape, generator=luck)
        share = self.alphas[timesteps][:, None, None, None]
        noisy = share.sqrt() * clean + (1 - share).sqrt() * noise
        ratio = (share / (1 - share)).flatten()
        if self.recipe.stage == "inner":
            noisy, noise, ratio = reduce(noisy), reduce(noise) / NOISE_SPREAD, ratio / NOISE_SPREAD**2
        with torch.no_grad():
            context = self.text_encoder(tokenize(captions).to(self.device)).last_hidden_state
        weights = weigh(ratio)
        whole = (noisy.to(self.device), timesteps.to(self.device), context, noise.to(self.device), weights.to(self.device) / len(numbers))
        errors = self.workers.differentiate(self._gradients, whole, self.parameters)
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        self.optimizer.step(self._share_of_rate(step), self.workers.pool)
        self._follow(step)
        high = timesteps.cpu() > 700
        loss = (errors * weights).mean()
        return {"loss": loss.item(), "error": errors.mean().item(), "x0_high": (errors / ratio)[high].mean().item() if high.any() else 0.0}

    def _gradients(self, noisy: Tensor, timesteps: Tensor, context: Tensor, noise: Tensor, weights: Tensor) -> tuple[Gradients, Tensor]:
        """Gradients of Σ weights · error in the order of `parameters`, and the errors of a part of a batch."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            noisy = noisy.contiguous(memory_format=torch.channels_last)
            guess = self.inner(noisy, timesteps, context) if self.recipe.stage == "inner" else self.inner.unet(noisy, timesteps, context).sample
        errors = (guess.float() - noise).square().mean((1, 2, 3))
        return torch.autograd.grad((errors * weights).sum(), self.parameters, allow_unused=True), errors.detach().cpu()

    def _choose(self, step: int, luck: torch.Generator) -> tuple[Tensor, list[str]]:
        """Numbers of scenes and their captions for one step."""
        count, words = self.recipe.batch, random.Random(step)
        if self.recipe.style:
            of_style = self._of_style(self.recipe.style)
            numbers = of_style[torch.randint(len(of_style), (count,), generator=luck)]
            return numbers, self._caption([with_style(self.scenes[number], "flat") for number in numbers.tolist()], words)
        numbers = torch.randint(len(self.latents), (count,), generator=luck)
        if easy := round(self.recipe.easy * count) if len(self.easy) else 0:
            numbers[:easy] = self.easy[torch.randint(len(self.easy), (easy,), generator=luck)]
        styled = round(self.recipe.styled * count) if self.styled else 0
        for place in range(easy, min(easy + styled, count)):
            of_style = self.styled[place % len(self.styled)]
            numbers[place] = of_style[torch.randint(len(of_style), (), generator=luck)]
        return numbers, self._caption([self.scenes[number] for number in numbers.tolist()], words)

    def _caption(self, scenes: Sequence[Scene], words: random.Random) -> list[str]:
        return ["" if words.random() < DROPPED else write_caption(scene, words).text for scene in scenes]

    def _of_style(self, style: str) -> Tensor:
        return torch.tensor([number for number, scene in enumerate(self.scenes) if scene.style == style])

    def _share_of_rate(self, step: int) -> float:
        """Rises over 50 steps, falls linearly over the last share of them."""
        recipe, done = self.recipe, step - self.start
        falling = min(1.0, (self._total - step) / max(1.0, recipe.final_share * (self._total - self.start)))
        return min(1.0, (done + 1) / 50) * max(0.03, falling)

    @torch.no_grad()
    def _follow(self, step: int) -> None:
        """The exponential average; short at first, so that the untrained start is forgotten."""
        decay = min(self.recipe.decay, (1 + step - self.start) / (10 + step - self.start))
        for mean, value in zip(self.average, self.parameters, strict=True):
            mean.lerp_(value, 1 - decay)

    def _save(self, step: int) -> None:
        names = [name for name, _ in self.inner.named_parameters()]
        save_atomically(self.file, {
            "weights": self.inner.state_dict(), "average": dict(zip(names, self.average, strict=True)), "muon": self.optimizer.state_dict(),
            "step": step, "start": self.start, "stage": self.recipe.stage, "scaling": self.scaling,
        })


def weigh(ratio: Tensor) -> Tensor:
    """Weight of the squared error in the noise at a signal-to-noise ratio: that of x0's error is min(√SNR, √5), against min(SNR, 5) of min-SNR
    (Hang et al. 2023, https://arxiv.org/abs/2303.09556)."""
    return ratio.sqrt().clamp(max=5**0.5) / ratio


def load_text_encoder(folder: Path, config: SdConfig = DEMO) -> CLIPTextModel:
    """The text encoder of FOLDER/text.pt. Raises `FileNotFoundError` before there is one."""
    encoder = build_clip(config.texts["text_encoder"])
    encoder.load_state_dict(need_state(folder / "text.pt")["encoder"])
    return encoder.requires_grad_(False).eval()


def smoke(folder: Path, minutes: float = 1.5, size: int = 64, scenes: int = 64) -> dict[str, int]:
    """Every stage once in a toy size, `minutes` in all; gives the steps that each part took."""
    share = Limits(steps=150, minutes=minutes / 4, log_every=10)
    done = {"vae": VaeTraining(folder, SMOKE.vae, pictures=24, batch=4).run(share)}
    done["text"] = TextTraining(folder, SMOKE.texts["text_encoder"], batch=32).run(share)
    LatentCache(folder / "latents.f16", load_vae(folder, SMOKE), size).grow(scenes)
    done["inner"] = UNetTraining(folder, SMOKE, Recipe("inner", batch=8), size).run(share)
    rest = Limits(done["inner"] + 150, minutes / 4, log_every=10)
    done["whole"] = UNetTraining(folder, SMOKE, Recipe("whole", batch=8), size).run(rest) - done["inner"]
    return done


def _high_and_low(uniform: Tensor) -> Tensor:
    """Timesteps 0 to 999, somewhat more of the upper half (√u)."""
    return (1000 * uniform**0.8).long().clamp(max=999)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains the demo model's UNet.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--smoke", action="store_true", help="every stage in a toy size, two minutes")
    parser.add_argument("--stage", choices=("inner", "whole"), default="inner")
    parser.add_argument("--steps", type=int, default=20_000, help="of both stages together")
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--scenes", type=int, default=6000, help="drawn and encoded before training begins")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--easy", type=float, default=0.5, help="share of each batch that shows one flat thing")
    parser.add_argument("--styled", type=float, default=0.0, help="share of each batch in the other styles")
    parser.add_argument("--style", choices=STYLES, default="", help="make a variant that draws everything in this style")
    parser.add_argument("--decay", type=float, default=0.996, help="of the average that is exported")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.smoke:
        print(smoke(options.folder), flush=True)
        return
    vae = load_vae(options.folder).to(device=options.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    LatentCache(options.folder / "latents.f16", vae).grow(options.scenes)
    recipe = Recipe(
        options.stage, options.batch, options.rate, options.decay,
        easy=options.easy, styled=options.styled, style=options.style, device=options.device,
    )
    training = UNetTraining(options.folder, DEMO, recipe)
    print(f"{training.run(Limits(options.steps, options.minutes))} steps", flush=True)


if __name__ == "__main__":
    main()
