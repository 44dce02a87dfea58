"""Step 2 of a pass: where sampling begins: noise, or a picture with noise over it."""

from __future__ import annotations

from torch import Tensor

from webui.backend.components import Components
from webui.engine.course import Course
from webui.engine.pixels import FACTOR
from webui.engine.plan import Batch, Pass
from webui.engine.rng import BatchNoise, Variation
from webui.engine.samplers.contract import Noise, NoiseBetween
from webui.schema.generation import GenerationRequest
from webui.schema.settings import PictureSettings


def batch_noise(components: Components, batch: Batch, part: Pass, request: GenerationRequest, settings: PictureSettings) -> BatchNoise:
    """The generators of the batch's pictures."""
    shape = (components.latent_channels, part.height // FACTOR, part.width // FACTOR)
    variation = Variation(
        batch.subseeds, request.subseed_strength, (request.seed_resize_from_w, request.seed_resize_from_h), settings.eta_noise_seed_delta,
    )
    return BatchNoise(shape, batch.seeds, components.device.device, source=settings.randn_source, variation=variation)


def first_latents(noise: BatchNoise, course: Course, picture: Tensor | None = None, extra_noise: float = 0.0, strength: float = 1.0) -> Tensor:
    """(batch, channels, height, width) float32: the first draw, and under it the picture's latents (1 or batch of them) when there is one.

    `extra_noise` is A1111's "extra noise multiplier for img2img": the same noise once more, as strong as the picture; `strength` its
    "noise multiplier".
    """
    drawn = noise.draw() * strength
    if picture is None:
        return drawn * course.spread
    return picture * course.signal + drawn * (course.spread + extra_noise * course.signal)


def later_noise(noise: BatchNoise, part: Pass, course: Course) -> Noise | NoiseBetween:
    """What the sampler draws from."""
    return noise.brownian(*course.brownian_range) if part.sampler.brownian else noise.draw
