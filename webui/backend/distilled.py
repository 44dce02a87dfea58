"""Models that need a few steps only (LCM, Turbo, Lightning, Hyper-SD): what their makers sample them with, for "use model defaults". Pure.

Told by a folder's scheduler, by the input for guidance that LCM adds to a UNet, by the title in the notes, and, because most such files say nothing
of it inside, by whole words of the name. Nothing but the suggestion hangs on it: the person sees it before it is used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from webui.backend.formats.contract import Header
from webui.schema.model import Suggestions

LCM = Suggestions(sampler="LCM", scheduler="Automatic", steps=6, cfg_scale=1.0)
"""Luo et al. 2023, https://arxiv.org/abs/2310.04378: 4 to 8 steps, guidance is distilled into the model."""

LIGHTNING = Suggestions(sampler="Euler", scheduler="SGM Uniform", steps=4, cfg_scale=1.0)
"""https://huggingface.co/ByteDance/SDXL-Lightning: Euler with trailing timesteps, no guidance, the steps it was distilled for. Hyper-SD likewise."""

TURBO = Suggestions(sampler="Euler a", scheduler="SGM Uniform", steps=4, cfg_scale=1.0, width=512, height=512)
"""https://huggingface.co/stabilityai/sdxl-turbo: 1 to 4 steps at 512 pixels, no guidance."""

TURBO_MIX = Suggestions(sampler="DPM++ SDE", scheduler="Karras", steps=6, cfg_scale=2.0)
"""What the makers of further trained Turbo models (DreamShaper XL Turbo and the like) ask for: 4 to 8 steps, CFG 2."""

_WORDS = {"lcm": LCM, "lightning": LIGHTNING, "hyper": LIGHTNING, "hypersd": LIGHTNING, "turbo": TURBO_MIX}
_TITLES = ("modelspec.title", "ss_output_name")
_STEPS = re.compile(r"(?<!\d)([1248]) ?steps?(?![a-z])")
_ORIGINAL_TURBO = re.compile(r"^sd(xl|_xl|-xl)?[_-]turbo")


_GUIDANCE_INPUTS = (
    "model.diffusion_model.time_embed.cond_proj.weight", "time_embed.cond_proj.weight", "unet.time_embedding.cond_proj.weight",
    "time_embedding.cond_proj.weight",
)


def has_guidance_input(header: Header) -> bool:
    """Whether the UNet takes a guidance scale as an input, as those of consistency models do."""
    return any(name in header.shapes for name in _GUIDANCE_INPUTS)


def suggest(name: str, notes: Mapping[str, str], scheduler: Mapping[str, Any] | None = None, *, consistent: bool = False) -> Suggestions | None:
    """What such a model is sampled with, None for others. `name`: of the file, without ending; `scheduler`: a folder's own words;
    `consistent`: see `has_guidance_input`."""
    kind = str((scheduler or {}).get("_class_name"))
    if consistent or kind in ("LCMScheduler", "TCDScheduler"):
        return LCM
    if (scheduler or {}).get("timestep_spacing") == "trailing" and kind == "EulerAncestralDiscreteScheduler":
        return TURBO
    if _ORIGINAL_TURBO.match(name.lower()):
        return TURBO
    for text in (*(notes.get(title, "") for title in _TITLES), name):
        spaced = re.sub(r"[\W_]+", " ", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)).lower()
        found = next((known for word in spaced.split() if (known := _WORDS.get(word))), None)
        if found is not None:
            steps = _STEPS.search(spaced)
            return found.revise(steps=int(steps[1])) if steps else found
    return None
