"""Step 2 of a pass: where sampling begins, pure noise as strong as the schedule's first sigma."""

from __future__ import annotations

from torch import Tensor

from webui.backend.components import Components
from webui.engine.plan import Batch, Pass
from webui.engine.rng import BatchNoise

FACTOR = 8
"""Pixels per latent cell, each way, of every Stable Diffusion autoencoder."""


def batch_noise(components: Components, batch: Batch, part: Pass) -> BatchNoise:
    """The generators of the batch's pictures."""
    shape = (components.latent_channels, part.height // FACTOR, part.width // FACTOR)
    return BatchNoise(shape, batch.seeds, components.device.device)


def first_latents(noise: BatchNoise, sigmas: Tensor) -> Tensor:
    """(batch, channels, height, width) float32: the first draw times the first sigma."""
    return noise.draw() * sigmas[0]
