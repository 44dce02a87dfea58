"""Stable Diffusion 1.x, 2.x, XL and its refiner: where the parts of a checkpoint are, and how they are one model again.

A single file has its parts under LDM's names, or lacks some, which then come from other files. A diffusers folder is `sd_folder`. Knows nothing of
sampling.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import interpolate

from webui.backend.components import END, Autoencoder, Components, Encoded, Frame, ModuleCall, Prediction, TextEncoder, View
from webui.backend.device import Device
from webui.backend.families import sd_folder
from webui.backend.families.ldm import read_part
from webui.backend.families.places import Place, find_part, width_at
from webui.backend.families.sd_config import PRESETS, SdConfig, TextConfig, VaeConfig, read_config
from webui.backend.families.sd_modules import (
    SIZE_WIDTH,
    SdAutoencoder,
    SdModules,
    TextModule,
    build_keys,
    builders,
    encode_text,
    restore_buffers,
    scaled_linear_alphas,
)
from webui.backend.families.sizes import measure_text, measure_unet, measure_vae
from webui.backend.headers import Header, read_header
from webui.backend.parts import ModelChoice, ModelPlan, Part, Source, source_of
from webui.backend.weights import Weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint, ModelFile

log = logging.getLogger(__name__)

BASE_KEY = "easel.base"
"""Metadata key by which a file without all parts names the checkpoint (name or hash) that has the others."""

FOLDERS = {"vae": "models/VAE", "text_encoder": "models/text_encoder", "text_encoder_2": "models/text_encoder"}
WORDS = {"vae": "VAE", "text_encoder": "text encoder", "text_encoder_2": "second text encoder", "unet": "UNet"}


@dataclass(frozen=True)
class _File:
    """A file that has parts, and what it says of their sizes."""

    source: Source
    header: Header
    stated: SdConfig | None


def plan(choice: ModelChoice) -> ModelPlan:
    """The parts of a checkpoint. Raises `ModelError` when a file cannot be opened or describes itself wrongly, or when a part is nowhere to be
    found."""
    checkpoint = choice.checkpoint
    family = checkpoint.family or "sd1"
    if checkpoint.layout == "diffusers":
        folder = sd_folder.read_folder(checkpoint)
        parts, config = list(folder.parts), folder.config
        if choice.vae is not None:
            part, vae = _chosen_vae(choice.vae, config.vae)
            parts, config = [part if one.name == "vae" else one for one in parts], config.revise(vae=vae)
    else:
        parts, config = _parts_of_files(choice, family)
    config = _with_training(config, checkpoint)

    def assemble(modules: Mapping[str, Any], device: Device) -> Components:
        return as_components(SdModules(config, **modules), checkpoint, device)

    return ModelPlan(tuple(parts), assemble)


def _with_training(config: SdConfig, checkpoint: Checkpoint) -> SdConfig:
    """What was recognised, or set by the person, wins over what the file says of itself."""
    scheduler = config.scheduler
    if checkpoint.prediction in ("epsilon", "v"):
        scheduler = scheduler.revise(prediction=checkpoint.prediction)
    elif checkpoint.prediction is not None:
        raise ModelError(f"{checkpoint.name} was trained for {checkpoint.prediction} prediction, which is not supported yet.", field="checkpoint")
    return config.revise(scheduler=scheduler.revise(zero_snr=scheduler.zero_snr or checkpoint.zero_snr))


def _parts_of_files(choice: ModelChoice, family: str) -> tuple[list[Part], SdConfig]:
    own = _open(choice.checkpoint, family)
    files = [own, *_base_of(own, choice, family)]
    config = next((file.stated for file in files if file.stated), PRESETS[family])
    parts: list[Part] = []
    for name in ("text_encoder", "text_encoder_2", "unet", "vae"):
        text = config.texts.get(name)
        if name.startswith("text") and text is None:
            continue
        if name == "vae" and choice.vae is not None:
            part, vae = _chosen_vae(choice.vae, config.vae)
            config = config.revise(vae=vae)
            parts.append(part)
            continue
        file, place = _seek(name, files, choice, text)
        config = config.revise(**{name: _sizes(name, file, place, config)})
        parts.append(_part(name, file.source, place, config))
    return parts, config


def _open(file: Checkpoint | ModelFile, family: str) -> _File:
    header = read_header(Path(file.path))
    return _File(source_of(file), header, read_config(header.metadata, file.name, family))


def _base_of(own: _File, choice: ModelChoice, family: str) -> list[_File]:
    """The checkpoint that the file names for what it lacks."""
    name = own.header.metadata.get(BASE_KEY)
    if not name or choice.shelf is None:
        return []
    base = choice.shelf.checkpoint(name)
    if base is None:
        raise ModelError(
            f"{choice.checkpoint.name} is only a part of a model, and the checkpoint it belongs to, “{name[:120]}”, is not here.", field="checkpoint",
            hint="Put that checkpoint into models/Stable-diffusion.",
        )
    if base.family != family or base.layout == "diffusers":
        what = f"{choice.checkpoint.name} names {base.name} for its other parts, which is not a single file of its family."
        raise ModelError(what, field="checkpoint")
    return [_open(base, family)]


def _seek(name: str, files: list[_File], choice: ModelChoice, text: TextConfig | None) -> tuple[_File, Place]:
    """The file that has the part: the checkpoint, the one it names, else the one that fits in the folder for such parts."""
    for file in files:
        place = find_part(file.header.shapes, name, text.kind if text else "clip")
        if place is not None:
            return file, place
    if name == "unet":
        raise ModelError(f"{choice.checkpoint.name} has no UNet.", field="checkpoint", hint="It is not a checkpoint; choose another one.")
    fitting = [found for file in _shelved(name, choice) if (found := _fits(file, name, text)) is not None]
    lacks = f"{choice.checkpoint.name} has no {WORDS[name]}"
    if not fitting:
        raise ModelError(f"{lacks}, and there is none that fits.", field="checkpoint", hint=f"Put one into {FOLDERS[name]}.")
    if name == "vae" and len(fitting) > 1:
        names = ", ".join(Path(file.source.path).name for file, _ in fitting[:4])
        raise ModelError(f"{lacks}, and several could be meant: {names}.", field="checkpoint", hint="Choose the VAE.")
    file, place = fitting[0]
    log.info("%s: the %s is %s", choice.checkpoint.name, WORDS[name], file.source.path)
    return file, place


def _shelved(name: str, choice: ModelChoice) -> list[ModelFile]:
    return choice.shelf.files("vae" if name == "vae" else "text_encoder") if choice.shelf is not None else []


def _fits(file: ModelFile, name: str, text: TextConfig | None) -> tuple[_File, Place] | None:
    """A separate file, if it holds such a part of the right width. One that cannot be read is not it."""
    try:
        header = read_header(Path(file.path))
    except ModelError as error:
        log.info("%s is passed over: %s", file.name, error.message)
        return None
    place = find_part(header.shapes, name, text.kind if text else "clip")
    if place is None or (text is not None and width_at(header.shapes, place) != text.width):
        return None
    return _File(source_of(file), header, None), place


def _chosen_vae(file: ModelFile, base: VaeConfig) -> tuple[Part, VaeConfig]:
    """A VAE that the person chose."""
    header = read_header(Path(file.path))
    place = find_part(header.shapes, "vae")
    if place is None:
        raise ModelError(f"{Path(file.path).name} is not a VAE.", field="settings.sd_vae", hint="Choose another VAE, or Automatic.")
    vae = measure_vae(header.shapes, place, base)
    return _part("vae", source_of(file), place, SdConfig(vae=vae)), vae


def _sizes(name: str, file: _File, place: Place, config: SdConfig) -> Any:
    """Stated by the checkpoint, or measured from the weights."""
    if file.stated is not None:
        return getattr(file.stated, name)
    shapes = file.header.shapes
    try:
        if name == "unet":
            return measure_unet(shapes, place, config.unet)
        return measure_vae(shapes, place, config.vae) if name == "vae" else measure_text(shapes, place, config.texts[name])
    except (KeyError, IndexError, ValueError) as error:
        what = f"{Path(file.source.path).name}: the sizes of its {WORDS[name]} make no sense ({str(error).splitlines()[0]})."
        raise ModelError(what, field="checkpoint", hint="The file is damaged, or not a model of this family.") from error


def _part(name: str, source: Source, place: Place, config: SdConfig) -> Part:
    build = builders(config)[name]

    def read(weights: Weights) -> dict[str, Tensor]:
        return read_part(weights, place, config, name, build_keys(build))

    return Part(name, source, build, read, restore_buffers) if name.startswith("text") else Part(name, source, build, read)


def as_components(modules: SdModules, checkpoint: Checkpoint, device: Device) -> Components:
    """Modules that are on the device already, as the engine sees them."""
    unet, config = modules.unet, modules.config
    if device.attention == "xformers":
        unet.enable_xformers_memory_efficient_attention()

    def denoise(call: ModuleCall) -> Tensor:
        residuals = call.residuals
        return unet(
            call.x, call.t, call.context, cross_attention_kwargs=dict(call.patches) or None, added_cond_kwargs=dict(call.added) or None,
            down_block_additional_residuals=residuals.down if residuals else None,
            mid_block_additional_residual=residuals.middle if residuals else None, return_dict=False,
        )[0]

    scheduler, parts, extra = config.scheduler, modules.parts, config.unet.picture_channels
    encoders = tuple(_text_encoder(parts[name], text, name) for name, text in config.texts.items())  # pyright: ignore[reportArgumentType]
    more: dict[str, Any] = {}
    if config.unet.described:
        more = {"describe": _describer(config, device.device), "zero_negative": True, "sdxl": True}
    if extra:
        more["look"] = _looker(extra, config.vae.scaling, device.device)
    return Components(
        checkpoint, device, denoise, encoders, SdAutoencoder(modules.vae, config.vae.scaling), _prediction(unet, config),
        scaled_linear_alphas(scheduler.beta_start, scheduler.beta_end, scheduler.timesteps), config.unet.latent_channels, parts,
        zero_snr=scheduler.zero_snr, **more,
    )


def _text_encoder(module: TextModule, config: TextConfig, name: str) -> TextEncoder:
    """Clip skip counts for OpenAI's CLIP alone; beside a second encoder only if it is asked for (a1111-contract §1). OpenCLIP pads with 0."""

    def encode(tokens: Tensor, clip_skip: int | None) -> Encoded:
        return encode_text(module, tokens, clip_skip or config.layer, config.normed)

    if config.kind == "open_clip":
        return TextEncoder(encode, pad=0, clip_skip="never")
    return TextEncoder(encode, END, "always" if config.normed else "asked")


def _describer(config: SdConfig, device: torch.device) -> Callable[[Tensor | None, Frame], dict[str, Tensor]]:
    """SDXL is told the original size, what was cut off and the size wanted; its refiner a score instead of the last (Podell et al. 2023,
    https://arxiv.org/abs/2307.01952, section 2.2)."""
    pooled_width = next(text.projection for text in reversed(config.texts.values()) if text.projection)
    scored = (config.unet.described - pooled_width) // SIZE_WIDTH == 5

    def describe(pooled: Tensor | None, frame: Frame) -> dict[str, Tensor]:
        assert pooled is not None
        told = [frame.height, frame.width, frame.crop_top, frame.crop_left, *([frame.score] if scored else [frame.height, frame.width])]
        return {"text_embeds": pooled, "time_ids": torch.tensor(told, dtype=torch.float32, device=device)}

    return describe


def _looker(channels: int, scaling: float, device: torch.device) -> Callable[[Autoencoder, View], Tensor]:
    """An inpainting model sees the mask and the picture without what is masked; an editing model the picture, its latents not scaled. Without a
    picture the mask is everywhere, and what is edited all zeros (a1111-contract §4)."""

    def inpaint(autoencoder: Autoencoder, view: View) -> Tensor:
        size = (view.height * 8, view.width * 8)
        picture = torch.zeros(1, 3, *size) if view.picture is None else view.picture
        mask = torch.ones(1, 1, *size) if view.mask is None else view.mask
        seen = torch.lerp(picture, picture * (1 - mask), view.mask_weight)
        cells = interpolate(mask, size=(view.height, view.width))
        return torch.cat([cells.to(device), autoencoder.encode(seen.to(device))], 1)

    def edit(autoencoder: Autoencoder, view: View) -> Tensor:
        if view.picture is None:
            return torch.zeros(1, channels, view.height, view.width, device=device)
        return autoencoder.encode(view.picture.to(device)) / scaling

    def depth(autoencoder: Autoencoder, view: View) -> Tensor:
        del autoencoder
        if view.picture is not None:
            raise ModelError(
                "A depth model needs a depth estimator to look at a picture, and there is none yet.", field="checkpoint",
                hint="Take another checkpoint for img2img; this one makes pictures from text.",
            )
        return torch.zeros(1, channels, view.height, view.width, device=device)

    return {5: inpaint, 4: edit}.get(channels, depth)


def _prediction(unet: UNet2DConditionModel, config: SdConfig) -> Prediction:
    """SD 2.x files do not say what they predict. A1111 asks the UNet: of a uniform x at the noisiest timestep v is far below x, the noise not."""
    if config.scheduler.prediction != "auto":
        return config.scheduler.prediction
    weight = next(unet.parameters())
    x = torch.full((1, unet.config["in_channels"], 8, 8), 0.5, device=weight.device, dtype=weight.dtype)
    context = torch.full((1, 2, config.unet.context), 0.5, device=weight.device, dtype=weight.dtype)
    with torch.inference_mode():
        output = unet(x, torch.tensor([999], device=weight.device), context, return_dict=False)[0]
    return "v" if (output.float() - x[:, : output.shape[1]].float()).mean() < -1 else "epsilon"
