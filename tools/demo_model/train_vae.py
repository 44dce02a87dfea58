"""Trains the demo model's autoencoder on drawn pictures.

    python tools/demo_model/train_vae.py --folder FOLDER [--steps N] [--minutes M] [--device cuda] [--batch B]

Writes FOLDER/vae.pt (resumable) and FOLDER/vae.jsonl. Random 64-pixel crops first, whole pictures for the last part; MSE + 0.5 · L1, a pull of the
first three latents towards the thumbnail, noise on the latents so that the decoder forgives what the UNet gets wrong.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.demo_model.loop import Limits, generator_of_step, load_state, save_atomically, train_loop
from tools.demo_model.scene import make_scene
from tools.demo_model.sizes import DEMO
from tools.demo_model.thumbnail import start_as_thumbnail
from tools.demo_model.world import SIZE, draw
from webui.backend.families.sd_config import VaeConfig
from webui.backend.families.sd_modules import build_vae

NOISE = 0.06
RATE = 2e-3


class VaeTraining:
    """The autoencoder, its optimizer, and the pictures it learns from."""

    def __init__(self, folder: Path, config: VaeConfig = DEMO.vae, pictures: int = 4000, batch: int = 16, device: str = "cpu") -> None:
        torch.manual_seed(0)
        self.file, self.log, self.batch, self.device = folder / "vae.pt", folder / "vae.jsonl", batch, torch.device(device)
        self.vae = build_vae(config)
        start_as_thumbnail(self.vae)
        self.vae.to(device=self.device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.optimizer = torch.optim.AdamW(self.vae.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01, fused=True)
        self.average = {key: value.detach().clone() for key, value in self.vae.state_dict().items()}
        self.first = 0
        if state := load_state(self.file):
            self.vae.load_state_dict(state["vae"])
            self.optimizer.load_state_dict(state["optimizer"])
            self.average, self.first = state["average"], state["step"]
        self.pictures = np.stack([np.asarray(draw(make_scene(10_000_000 + number))) for number in range(pictures)])

    def run(self, limits: Limits) -> int:
        """Train until a limit; see `train_loop`."""
        self._total = limits.steps
        return train_loop(self.first, limits, self._step, self._save, self.log)

    def crops(self, step: int, size: int, batch: int) -> Tensor:
        """(batch, 3, size, size) in [-1, 1]: crops at random places, on multiples of 8 pixels as often as not."""
        luck = generator_of_step(step)
        numbers = torch.randint(len(self.pictures), (batch,), generator=luck).tolist()
        corners = torch.randint(SIZE - size + 1, (batch, 2), generator=luck)
        corners[: batch // 2] = corners[: batch // 2] // 8 * 8
        cut = [self.pictures[number][y : y + size, x : x + size] for number, (y, x) in zip(numbers, corners.tolist(), strict=True)]
        crops = torch.from_numpy(np.stack(cut)).permute(0, 3, 1, 2).float() / 127.5 - 1
        return crops.to(self.device, memory_format=torch.channels_last)

    def _step(self, step: int) -> dict[str, float]:
        whole = step >= 0.93 * self._total
        pictures = self.crops(step, SIZE if whole else 64, max(2, self.batch // 8) if whole else self.batch)
        share = step / self._total
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * min(1.0, (step + 1) / 100) * max(0.02, 1 - max(0.0, share - 0.5) / 0.5)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda"):
            latents = self.vae.encode(pictures).latent_dist.mode()  # pyright: ignore[reportAttributeAccessIssue]
            noise = torch.randn(latents.shape, generator=generator_of_step(step, 1)).to(self.device)
            drawn = self.vae.decode(latents + NOISE * noise).sample  # pyright: ignore[reportAttributeAccessIssue]
        drawn, latents = drawn.float(), latents.float()
        mse, absolute = functional.mse_loss(drawn, pictures), functional.l1_loss(drawn, pictures)
        pull = functional.mse_loss(latents[:, :3], functional.avg_pool2d(pictures, 8))
        loss = mse + 0.5 * absolute + 0.02 * pull + 1e-3 * latents.square().mean()
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.vae.parameters(), 1.0)
        self.optimizer.step()
        with torch.no_grad():
            for key, value in self.vae.state_dict().items():
                self.average[key].lerp_(value, 0.01)
        return {"mse": mse.item(), "l1": absolute.item(), "pull": pull.item()}

    def _save(self, step: int) -> None:
        save_atomically(self.file, {
            "vae": self.vae.state_dict(), "average": self.average, "optimizer": self.optimizer.state_dict(), "step": step,
        })


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Trains the demo model's autoencoder.")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    training = VaeTraining(options.folder, batch=options.batch, device=options.device)
    print(f"{training.run(Limits(options.steps, options.minutes))} steps", flush=True)


if __name__ == "__main__":
    main()
