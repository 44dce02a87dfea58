"""Trains the demo model's decoder further while the encoder stays, so that the latents, and every UNet that learned them, stay valid.

    python tools/demo_model/train_decoder.py --folder FOLDER [--steps N] [--minutes M] [--batch B]

The autoencoder's own training is too short for hard edges: its decoder blurs pixel art and leaves a texture on flat areas. Here every style has the
same share, the error of the picture's differences counts too (even areas shall be even, edges hard), and latents carry noise of various strengths,
because a UNet's are never exact. Needs FOLDER/vae.pt and FOLDER/latents.f16; writes FOLDER/decoder.pt (resumable; `latents.load_vae` reads it) and
FOLDER/decoder.jsonl.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.latents import LatentCache, decoding_half, load_vae
from tools.demo_model.loop import Limits, generator_of_step, load_state, save_atomically, train_loop
from tools.demo_model.muon import Muon
from tools.demo_model.scene import STYLES, make_scene
from tools.demo_model.sizes import DEMO
from tools.demo_model.workers import Gradients, Workers
from tools.demo_model.world import draw
from webui.backend.families.sd_config import SdConfig

CROP = 12
"""Latents of a crop's side, 96 pixels."""

MOST_NOISE = 0.1
RATE = 2e-3
WHOLE_SHARE = 0.2
"""Share of the steps, the last ones, on whole pictures."""


class DecoderTraining:
    """The decoder with its average and optimizer; the scenes whose latents are cached."""

    def __init__(self, folder: Path, config: SdConfig = DEMO, batch: int = 8, size: int = 256) -> None:
        self.file, self.log, self.batch, self.size = folder / "decoder.pt", folder / "decoder.jsonl", batch, size
        self.vae = load_vae(folder, config)
        self.parts = decoding_half(self.vae).requires_grad_(True)
        self.parts.to(memory_format=torch.channels_last)
        self.parameters = list(self.parts.parameters())
        self.optimizer = Muon(self.parameters, RATE, RATE / 2)
        self.average = [value.detach().clone() for value in self.parameters]
        self.first = 0
        if state := load_state(self.file):
            self.parts.load_state_dict(state["weights"])
            self.optimizer.load_state_dict(state["muon"])
            self.first = state["step"]
        self.workers = Workers(batch)
        self.latents = LatentCache(folder / "latents.f16", self.vae, size).read()
        self.scenes = [make_scene(number) for number in range(len(self.latents))]
        numbers = {style: [number for number, scene in enumerate(self.scenes) if scene.style == style] for style in STYLES}
        self.numbers = [torch.tensor(of_style) for of_style in numbers.values() if of_style]

    def run(self, limits: Limits) -> int:
        """Train until a limit; see `train_loop`."""
        self._total = limits.steps
        return train_loop(self.first, limits, self._step, self._save, self.log)

    def _step(self, step: int) -> dict[str, float]:
        luck = generator_of_step(step)
        whole = step >= (1 - WHOLE_SHARE) * self._total
        side = self.size // 8 if whole else min(CROP, self.size // 8)
        count = max(2, self.batch // 4) if whole else self.batch
        latents, pictures = self._crops(step, side, count, luck)
        latents = latents + MOST_NOISE * torch.rand(count, generator=luck)[:, None, None, None] * torch.randn(latents.shape, generator=luck)
        errors = self.workers.differentiate(self._gradients, (latents, pictures), self.parameters) / count
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        share = min(1.0, (step + 1) / 50) * max(0.03, 1 - step / self._total)
        self.optimizer.step(share, self.workers.pool)
        with torch.no_grad():
            for mean, value in zip(self.average, self.parameters, strict=True):
                mean.lerp_(value, 1 / min(100, step + 1))
        mse, absolute, differences = errors.sum(0).tolist()
        return {"mse": mse, "l1": absolute, "differences": differences}

    def _crops(self, step: int, side: int, count: int, luck: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents (count, 4, side, side) and their pictures in [-1, 1], the styles in turn."""
        latents, pictures = [], []
        for index in range(count):
            of_style = self.numbers[(step * count + index) % len(self.numbers)]
            number = int(of_style[torch.randint(len(of_style), (), generator=luck)])
            y, x = torch.randint(self.size // 8 - side + 1, (2,), generator=luck).tolist()
            latents.append(self.latents[number, :, y : y + side, x : x + side].float())
            picture = np.asarray(draw(self.scenes[number], self.size))[8 * y : 8 * (y + side), 8 * x : 8 * (x + side)]
            pictures.append(torch.from_numpy(picture.copy()).permute(2, 0, 1).float() / 127.5 - 1)
        return torch.stack(latents), torch.stack(pictures)

    def _gradients(self, latents: Tensor, pictures: Tensor) -> tuple[Gradients, Tensor]:
        """Gradients of the loss's sum over a part of a batch, and each sample's (mse, l1, differences)."""
        latents = latents.contiguous(memory_format=torch.channels_last)
        error = self.vae.decode(latents).sample - pictures  # pyright: ignore[reportArgumentType, reportAttributeAccessIssue]
        differences = sum(error.diff(dim=axis).abs().mean((1, 2, 3)) for axis in (2, 3))
        assert isinstance(differences, Tensor)
        errors = torch.stack([error.square().mean((1, 2, 3)), error.abs().mean((1, 2, 3)), differences], dim=1)
        loss = (errors * torch.tensor([1.0, 0.5, 0.5])).sum() / self.batch
        return torch.autograd.grad(loss, self.parameters), errors.detach()

    def _save(self, step: int) -> None:
        average = dict(zip((name for name, _ in self.parts.named_parameters()), self.average, strict=True))
        save_atomically(self.file, {"weights": self.parts.state_dict(), "average": average, "muon": self.optimizer.state_dict(), "step": step})


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains the demo model's decoder further.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--batch", type=int, default=8)
    options = parser.parse_args()
    print(f"{DecoderTraining(options.folder, batch=options.batch).run(Limits(options.steps, options.minutes))} steps", flush=True)


if __name__ == "__main__":
    main()
