"""Weights of a whole model as one LDM state dict, and those of a part out of whatever words its file is written in. Tensors stay in their dtype.

What LDM lays out differently is said once, as `Laid`: linear layers as 1x1 convolutions, q, k and v of OpenCLIP in one tensor, its text projection
turned round; shift before scale in the last norms of transformers.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import torch
from torch import Tensor, nn

from webui.backend.families import ldm_keys
from webui.backend.families.places import Place
from webui.backend.families.sd_config import SdConfig, TextConfig
from webui.backend.weights import Weights

LOGIT_SCALE = math.log(100)
"""OpenCLIP's temperature, at its limit in every published model. No module has it, every LDM file does."""

_QKV = ("q_proj", "k_proj", "v_proj")
_OLD_VAE_ATTENTION = {"query": "to_q", "key": "to_k", "value": "to_v", "proj_attn": "to_out.0"}
"""Names in diffusers folders of 2022."""


class Modules(Protocol):
    """The modules of one model by the names of their parts, and its sizes."""

    @property
    def config(self) -> SdConfig:
        """Sizes."""
        ...

    @property
    def parts(self) -> Mapping[str, nn.Module]:
        """`unet`, `vae`, `text_encoder`, `text_encoder_2`: those that it has."""
        ...


@dataclass(frozen=True)
class Laid:
    """How an LDM tensor is laid out: as the tensors `keys` of a module, one after the other along their first axis, with this shape."""

    keys: tuple[str, ...]
    shape: Literal["same", "convolution", "turned", "swapped"] = "same"
    """`swapped`: its two halves have changed places."""

    sizes: tuple[int, ...] = ()
    """How long each of them is where they are not equally long."""

    def join(self, weights: Mapping[str, Tensor]) -> Tensor:
        """The LDM tensor."""
        value = weights[self.keys[0]] if len(self.keys) == 1 else torch.cat([weights[key] for key in self.keys])
        if self.shape == "turned":
            return value.T
        if self.shape == "swapped":
            return swap_halves(value)
        return value[:, :, None, None] if self.shape == "convolution" and value.ndim == 2 else value

    def split(self, value: Tensor) -> dict[str, Tensor]:
        """The module's tensors, views of the one given (but for `swapped`)."""
        if self.shape == "turned":
            value = value.T
        elif self.shape == "swapped":
            value = swap_halves(value)
        elif self.shape == "convolution" and value.ndim == 4:
            value = value[:, :, 0, 0]
        if len(self.keys) == 1:
            return {self.keys[0]: value}
        return dict(zip(self.keys, value.split(self.sizes) if self.sizes else value.chunk(len(self.keys)), strict=True))


def swap_halves(value: Tensor) -> Tensor:
    """The second half along the first axis before the first."""
    first, second = value.chunk(2)
    return torch.cat([second, first])


def prefixes(config: SdConfig) -> dict[str, str]:
    """Where an LDM file has each part. SDXL counts its encoders; others have one."""
    found: dict[str, str] = {}
    for number, (name, text) in enumerate(config.texts.items()):
        if config.text_encoder_2 is not None:
            found[name] = f"conditioner.embedders.{number}." + ("model." if text.kind == "open_clip" else "transformer.text_model.")
        else:
            found[name] = ldm_keys.OPEN_CLIP_PREFIX if text.kind == "open_clip" else ldm_keys.CLIP_PREFIX
    return found | {"unet": ldm_keys.UNET_PREFIX, "vae": ldm_keys.VAE_PREFIX}


def layout(config: SdConfig, part: str, keys: Collection[str]) -> dict[str, Laid]:
    """LDM name behind the part's prefix → how it is laid out, for a module with these `keys`."""
    text = config.texts.get(part)
    if text is not None:
        return _open_clip(text, keys) if text.kind == "open_clip" else {_bare(key): Laid((key,)) for key in keys}
    paths = ldm_keys.unet_paths(config.unet) if part == "unet" else ldm_keys.vae_paths(config.vae)
    convolutions = ldm_keys.VAE_ATTENTION_LINEARS if part == "vae" else ()
    renamed = ldm_keys.rename(keys, paths)
    return {theirs: Laid((ours,), "convolution" if theirs.endswith(convolutions) else "same") for ours, theirs in renamed.items()}


def to_ldm_weights(modules: Modules) -> dict[str, Tensor]:
    """The whole model as an LDM state dict: what other programs read. On the meta device it gives names and shapes."""
    weights: dict[str, Tensor] = {}
    for part, prefix in prefixes(modules.config).items():
        own = modules.parts[part].state_dict()
        for name, laid in layout(modules.config, part, own).items():
            weights[prefix + name] = laid.join(own)
        text = modules.config.texts.get(part)
        if text is not None and text.kind == "open_clip":
            first = next(iter(own.values()))
            weights[f"{prefix}logit_scale"] = torch.full((), LOGIT_SCALE, dtype=first.dtype, device=first.device)
    return weights


def read_part(weights: Weights, place: Place, config: SdConfig, part: str, keys: Collection[str]) -> dict[str, Tensor]:
    """The tensors of a module with these `keys`, under its own names, out of an opened file."""
    if place.words == "module":
        return read_own(weights, place, part, keys)
    return read_laid(weights, place, layout(config, part, keys))


def read_laid(weights: Weights, place: Place, laid: Mapping[str, Laid]) -> dict[str, Tensor]:
    """The module's tensors out of those of the file that `laid` names."""
    found = dict[str, Tensor]()
    for name, key in place.below(weights.keys()).items():
        if name in laid:
            found |= laid[name].split(weights.get(key))
    return found


def read_own(weights: Weights, place: Place, part: str, keys: Collection[str]) -> dict[str, Tensor]:
    """The same, out of a file that has transformers' and diffusers' names. Those of text models begin with `text_model.` or not, by the version of
    transformers; their projection stands outside of that."""
    if part.startswith("text"):
        outside = place.prefix.removesuffix("text_model.")
        whole = {key: (outside if key.startswith("text_projection") else place.prefix) + _bare(key) for key in keys}
        here = set(weights.keys())
        return {key: weights.get(name) for key, name in whole.items() if name in here}
    found: dict[str, Tensor] = {}
    for name, key in place.below(weights.keys()).items():
        module, _, last = name.rpartition(".")
        block, _, word = module.rpartition(".")
        ours = f"{block}.{_OLD_VAE_ATTENTION[word]}.{last}" if part == "vae" and word in _OLD_VAE_ATTENTION else name
        if ours in keys:
            linear = part == "vae" and ".attentions.0.to_" in ours and last == "weight"
            found |= Laid((ours,), "convolution" if linear else "same").split(weights.get(key))
    return found


def _open_clip(text: TextConfig, keys: Collection[str]) -> dict[str, Laid]:
    ours = {_bare(key): key for key in keys}
    renamed = ldm_keys.rename([key for key in ours if key != "text_projection.weight"], ldm_keys.open_clip_paths(text.layers))
    found = {theirs: Laid((ours[key],)) for key, theirs in renamed.items()}
    for layer in range(text.layers):
        for last in ("weight", "bias"):
            joined = tuple(ours[f"encoder.layers.{layer}.self_attn.{name}.{last}"] for name in _QKV)
            found[f"transformer.resblocks.{layer}.attn.in_proj_{last}"] = Laid(joined)
    if "text_projection.weight" in ours:
        found["text_projection"] = Laid((ours["text_projection.weight"],), "turned")
    return found


def _bare(key: str) -> str:
    return key.removeprefix("text_model.")
