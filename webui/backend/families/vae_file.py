"""A KL autoencoder from a file of its own: CompVis' layout with or without the prefix it has in a checkpoint, or diffusers' layout."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from torch import Tensor

from webui.backend.families.ldm_keys import VAE_PREFIX
from webui.backend.weights import Weights
from webui.schema.errors import ModelError

MARKS = {"decoder.conv_in.weight", "encoder.conv_in.weight"}
"""In both layouts; what tells them apart is how the blocks between are called."""

OLD_NAMES = {".query.": ".to_q.", ".key.": ".to_k.", ".value.": ".to_v.", ".proj_attn.": ".to_out.0."}
"""Attention in files that diffusers wrote before 0.18."""


def read_vae_file(weights: Weights, path: str, from_ldm: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> dict[str, Tensor]:
    """The tensors under the module's names. `from_ldm` does so for CompVis' names with their prefix. Raises `ModelError` for another kind of file."""
    keys = weights.keys()
    prefix = VAE_PREFIX if f"{VAE_PREFIX}decoder.conv_in.weight" in keys else ""
    own = [key for key in keys if key.startswith(prefix)]
    if not {key.removeprefix(prefix) for key in own} >= MARKS:
        raise ModelError(f"{PurePath(path).name} is not a VAE.", field="settings.sd_vae", hint="Choose another VAE, or Automatic.")
    if any(".down_blocks." in key or ".up_blocks." in key for key in own):
        return {_renewed(key.removeprefix(prefix)): _flat(key, weights.get(key)) for key in own}
    return from_ldm({VAE_PREFIX + key.removeprefix(prefix): weights.get(key) for key in own})


def _renewed(key: str) -> str:
    for old, new in OLD_NAMES.items():
        key = key.replace(old, new) if ".attentions." in key else key
    return key


def _flat(key: str, value: Tensor) -> Tensor:
    """A 1x1 convolution of an old attention as the linear layer it is."""
    return value[:, :, 0, 0] if ".attentions." in key and value.ndim == 4 else value
