"""Steps that turn the tensors of a checkpoint into those of another: dtype, VAE, EMA weights, what training left behind. None reads a tensor."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

import torch

from webui.backend.families.ldm_keys import EMA_PREFIX, EMA_UNET, UNET_PREFIX, VAE_PREFIX, dotted, ema_name
from webui.backend.tensor_file import Stream, stored
from webui.backend.weights import Weights
from webui.schema.errors import ModelError

Streams = dict[str, Stream]

DTYPES = {"float16": torch.float16, "bfloat16": torch.bfloat16, "float32": torch.float32}

LEFTOVERS = re.compile(
    r"^(betas|alphas_cumprod(_prev)?|sqrt_(one_minus_|recip_|recipm1_)?alphas_cumprod|log_one_minus_alphas_cumprod|posterior_\w+|logvar|lvlb_weights"
    r"|global_step|model_ema\.(decay|num_updates)|first_stage_model\.loss\..*|first_stage_model\.model_ema\..*|cond_stage_model\.logit_scale"
    r"|optimizer.*|lr_schedulers.*|callbacks.*)$"
)
"""What a model in use computes anew or has no use for. Marks such as `v_pred` and `ztsnr` are not among it."""


def as_dtype(streams: Mapping[str, Stream], dtype: str) -> Streams:
    """Floating-point tensors in `dtype` ("" leaves them); others as they are."""
    return {name: stream.cast(DTYPES[dtype]) for name, stream in streams.items()} if dtype else dict(streams)


def without(streams: Mapping[str, Stream], pattern: re.Pattern[str] | None) -> Streams:
    """All but those in whose name the pattern is found."""
    return {name: stream for name, stream in streams.items() if pattern is None or not pattern.search(name)}


def with_vae(streams: Mapping[str, Stream], vae: Weights) -> Streams:
    """The VAE's tensors take the place of the checkpoint's. Raises `ModelError` when none has a place, or one another shape."""
    baked = dict(streams)
    places = {VAE_PREFIX + key.removeprefix(VAE_PREFIX): key for key in vae.keys()}  # noqa: SIM118 (no dict)
    places = {place: key for place, key in places.items() if place in streams}
    for place, key in places.items():
        stream = stored(vae, key)
        if (*stream.shape, 1, 1) == streams[place].shape:  # a linear layer where the checkpoint has a 1x1 convolution
            stream = stream.reshape(*stream.shape, 1, 1)
        if stream.shape != streams[place].shape:
            raise ModelError(f"The VAE does not fit: {key} is {stream.shape} instead of {streams[place].shape}.", field="bake_in_vae",
                             hint="Choose a VAE of the checkpoint's family.")
        baked[place] = stream
    if not places:
        raise ModelError("This VAE has no weight that the checkpoint has.", field="bake_in_vae",
                         hint="Choose a VAE in the single-file layout of Stable Diffusion.")
    return baked


def with_ema(streams: Mapping[str, Stream], choice: str) -> Streams:
    """`keep`: as it is. `drop`: without the averages. `use`: the averages take the UNet's place, or fill it in a file that has nothing else there.

    Raises `ModelError` when `use` finds none, or `drop` would leave no UNet."""
    if choice == "keep":
        return dict(streams)
    kept = without_ema(streams)
    only = averages_only(streams)
    if choice == "drop":
        if only:
            raise ModelError("The EMA weights are the only ones of the UNet in this file.", field="ema", hint="Choose “use” or “keep”.")
        return kept
    if only:
        return kept | {name: streams[ema] for name, ema in only.items()}
    places = {name: ema_name(name) for name in kept if name.startswith(UNET_PREFIX)}
    missing = [name for name in places.values() if name not in streams]
    if not places or missing:
        raise ModelError("This file has no EMA weights." if len(missing) == len(places) else f"This file lacks EMA weights, such as {missing[0]}.",
                         field="ema", hint="Choose “keep” or “drop”.")
    return kept | {name: streams[ema].reshape(*kept[name].shape) for name, ema in places.items()}


def without_ema(streams: Mapping[str, Stream]) -> Streams:
    """Without the averages."""
    return {name: stream for name, stream in streams.items() if not name.startswith(EMA_PREFIX)}


def averages_only(names: Iterable[str]) -> dict[str, str]:
    """Names of UNet weights → those of their averages, in a file that has only these; empty for any other."""
    own = list(names)
    if any(name.startswith(UNET_PREFIX) for name in own):
        return {}
    found = {ema: dotted(ema.removeprefix(EMA_UNET)) for ema in own if ema.startswith(EMA_UNET)}
    return {UNET_PREFIX + name: ema for ema, name in found.items() if name}


def pruned(streams: Mapping[str, Stream]) -> Streams:
    """Without what training left behind."""
    return without(streams, LEFTOVERS)
