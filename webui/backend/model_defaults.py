"""What a kind of model is good with, for models that say nothing of themselves: what the page offers as their defaults. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping

from webui.schema.model import Suggestions

_SD3 = Suggestions(width=1024, height=1024, steps=28, cfg_scale=4.5, sampler="Euler", scheduler="Automatic")
_FLUX = Suggestions(width=1024, height=1024, steps=20, cfg_scale=1.0, distilled_cfg_scale=3.5, sampler="Euler", scheduler="Simple")

DEFAULTS: Mapping[tuple[str, str], Suggestions] = {
    ("sd3", "medium"): _SD3.revise(cfg_scale=5.0), ("sd3", "medium-3.5"): _SD3.revise(steps=40), ("sd3", "large-3.5"): _SD3,
    ("flux", "dev"): _FLUX,
    ("flux", "schnell"): _FLUX.revise(steps=4, distilled_cfg_scale=None),
    ("flux", "fill"): _FLUX.revise(distilled_cfg_scale=30.0),
}
"""(family, variant) → values: those of the models' own cards (Stability AI, Black Forest Labs), with Forge's steps and schedule for Flux."""


def defaults_of(family: str, variant: str) -> Suggestions | None:
    """What such a model begins with, None where the request's own defaults are meant for it."""
    return DEFAULTS.get((family, variant))
