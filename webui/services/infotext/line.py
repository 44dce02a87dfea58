"""The infotext as text (a1111-contract §6): the order of its keys, quoting, and which facts are worth a field. Knows no plans."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

KEYS = (
    "Steps", "Sampler", "Schedule type", "CFG scale", "Image CFG scale", "Seed", "Face restoration", "Size", "Model hash", "Model", "FP8 weight",
    "Cache FP16 weight for LoRA", "VAE hash", "VAE", "Variation seed", "Variation seed strength", "Seed resize from", "Denoising strength",
    "Conditional mask weight", "Clip skip", "ENSD", "Token merging ratio", "Token merging ratio hr", "Init image hash", "RNG", "Tiling",
)
"""The keys that have a place of their own, in order; others follow as they come, then `LAST_KEYS`."""

LAST_KEYS = ("Version", "User")


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known about the pictures of a run, before it is decided what is written. A list has one entry per picture; None = not known, or not
    to be told. Sizes are (width, height) in pixels."""

    steps: int
    sampler: str
    scheduler: str | None
    cfg_scale: float
    size: tuple[int, int]
    seeds: list[int]
    image_cfg_scale: float | None = None
    face_restoration: str | None = None
    model: str | None = None
    model_hash: str | None = None
    vae: str | None = None
    vae_hash: str | None = None
    variation_seeds: list[int] = field(default_factory=list)
    variation_strength: float = 0.0
    seed_resize_from: tuple[int, int] = (0, 0)
    denoising_strength: float | None = None
    conditional_mask_weight: float | None = None
    clip_skip: int = 1
    ensd: int = 0
    ensd_matters: bool = False
    """Whether the sampler draws noise that the seed delta changes: it uses it, and its eta is not 0."""

    token_merging_ratio: float = 0.0
    token_merging_ratio_hr: float | None = None
    """None without a hires pass."""

    init_image_hash: str | None = None
    rng: str = "GPU"
    tiling: bool = False
    version: str | None = None
    user: str | None = None

    def fields(self) -> dict[str, object]:
        """The fields by key; None for what is not written because it is the default or does not apply."""
        varied = self.variation_strength != 0
        return {
            "Steps": self.steps,
            "Sampler": self.sampler,
            "Schedule type": self.scheduler,
            "CFG scale": self.cfg_scale,
            "Image CFG scale": self.image_cfg_scale,
            "Seed": self.seeds,
            "Face restoration": self.face_restoration,
            "Size": f"{self.size[0]}x{self.size[1]}",
            "Model hash": self.model_hash,
            "Model": self.model,
            "VAE hash": self.vae_hash,
            "VAE": self.vae,
            "Variation seed": self.variation_seeds if varied else None,
            "Variation seed strength": self.variation_strength if varied else None,
            "Seed resize from": f"{self.seed_resize_from[0]}x{self.seed_resize_from[1]}" if min(self.seed_resize_from) > 0 else None,
            "Denoising strength": self.denoising_strength,
            "Conditional mask weight": self.conditional_mask_weight,
            "Clip skip": self.clip_skip if self.clip_skip > 1 else None,
            "ENSD": self.ensd if self.ensd and self.ensd_matters else None,
            "Token merging ratio": self.token_merging_ratio or None,
            "Token merging ratio hr": self.token_merging_ratio_hr or None,
            "Init image hash": self.init_image_hash,
            "RNG": self.rng if self.rng != "GPU" else None,
            "Tiling": self.tiling or None,
            "Version": self.version,
            "User": self.user,
        }


def quote(value: object) -> str:
    """A value as it stands in the line: JSON when it contains a comma, a newline or a colon, else as it is."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text


def unquote(text: str) -> str:
    """What a quoted value says; anything that is no JSON string is returned as it is."""
    if len(text) < 2 or text[0] != '"' or text[-1] != '"':
        return text
    try:
        value = json.loads(text)
    except ValueError:
        return text
    return value if isinstance(value, str) else text


def build_infotext(prompt: str, negative_prompt: str, fields: Mapping[str, object], index: int = 0) -> str:
    """The infotext of picture `index`. A value that is a list or tuple has one entry per picture; missing entries and None are left out. A key that
    equals its value stands alone."""
    chosen = {key: _of_picture(value, index) for key, value in fields.items()}
    rest = [key for key in chosen if key not in KEYS and key not in LAST_KEYS]
    parts = []
    for key in (*KEYS, *rest, *LAST_KEYS):
        value = chosen.get(key)
        if value is not None:
            parts.append(key if key == value else f"{key}: {quote(value)}")
    negative = f"\nNegative prompt: {negative_prompt}" if negative_prompt else ""
    return f"{prompt}{negative}\n{', '.join(parts)}".strip()


def _of_picture(value: object, index: int) -> object:
    if isinstance(value, list | tuple):
        return value[index] if index < len(value) else None
    return value
