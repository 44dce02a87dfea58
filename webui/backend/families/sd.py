"""Stable Diffusion 1.x, 2.x, XL and its refiner: where the parts of a checkpoint are, and how they are one model again.

A single file has its parts under LDM's names, or lacks some, which then come from other files. A diffusers folder is `sd_folder`. Knows nothing of
sampling.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor
from torch.nn.functional import interpolate

from webui.backend.components import END, Autoencoder, Components, Encoded, Frame, ModuleCall, Prediction, TextEncoder, View
from webui.backend.device import Device
from webui.backend.families import sd_folder
from webui.backend.families.edm import PLAYGROUND_SCALING, Trained, read_trained
from webui.backend.families.ldm import read_part
from webui.backend.families.part_files import PartFile, Shapes, base_of, open_file, seek
from webui.backend.families.places import Place, find_part, latent_channels_at, width_at
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
from webui.backend.headers import read_header
from webui.backend.parts import ModelChoice, ModelPlan, Part, Source, source_of
from webui.backend.support import PART_NAMES
from webui.backend.weights import Weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint, ModelFile


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
    trained = None
    if checkpoint.prediction == "edm" and family == "sdxl" and checkpoint.layout != "diffusers":
        trained = read_trained(Path(checkpoint.path), read_header(Path(checkpoint.path)).shapes)
    else:
        config = _with_training(config, checkpoint)

    def assemble(modules: Mapping[str, Any], device: Device) -> Components:
        return as_components(SdModules(config, **modules), checkpoint, device, trained)

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
    own = open_file(choice.checkpoint)
    base = base_of(own, choice)
    folder = sd_folder.read_folder(base) if base is not None and base.layout == "diffusers" else None
    files = [own] if base is None or folder is not None else [own, open_file(base)]
    said = [read_config(file.header.metadata, file.name, family) for file in files]
    config = next(filter(None, said), folder.config if folder else PRESETS[family])
    stated = {file.source: its for file, its in zip(files, said, strict=True) if its is not None}
    lent = {part.name: part for part in folder.parts} if folder else {}
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
        if folder is not None and name in lent and _place(name, config, own.header.shapes, True) is None:
            config = config.revise(**{name: getattr(folder.config, name)})
            parts.append(lent[name])
            continue
        file, place = seek(name, files, choice, partial(_place, name, config))
        said_of = stated.get(file.source)
        config = config.revise(**{name: getattr(said_of, name) if said_of is not None else _sizes(name, file, place, config)})
        parts.append(_part(name, file.source, place, config))
    return parts, config


def _chosen_vae(file: ModelFile, base: VaeConfig) -> tuple[Part, VaeConfig]:
    """A VAE that the person chose."""
    header = read_header(Path(file.path))
    place = find_part(header.shapes, "vae")
    if place is None:
        raise ModelError(f"{Path(file.path).name} is not a VAE.", field="settings.sd_vae", hint="Choose another VAE, or Automatic.")
    vae = measure_vae(header.shapes, place, base)
    return _part("vae", source_of(file), place, SdConfig(vae=vae)), vae


def _place(name: str, config: SdConfig, shapes: Shapes, own: bool) -> Place | None:
    """See `part_files.Find`."""
    text = config.texts.get(name)
    place = find_part(shapes, name, text.kind if text else "clip")
    if place is None or own:
        return place
    fits = width_at(shapes, place) == text.width if text else latent_channels_at(shapes, place) == config.unet.latent_channels
    return place if fits else None


def _sizes(name: str, file: PartFile, place: Place, config: SdConfig) -> Any:
    """Measured from the weights."""
    shapes = file.header.shapes
    try:
        if name == "unet":
            return measure_unet(shapes, place, config.unet)
        return measure_vae(shapes, place, config.vae) if name == "vae" else measure_text(shapes, place, config.texts[name])
    except (KeyError, IndexError, ValueError) as error:
        what = f"{Path(file.source.path).name}: the sizes of its {PART_NAMES[name]} make no sense ({str(error).splitlines()[0]})."
        raise ModelError(what, field="checkpoint", hint="The file is damaged, or not a model of this family.") from error


def _part(name: str, source: Source, place: Place, config: SdConfig) -> Part:
    build = builders(config)[name]

    def read(weights: Weights) -> dict[str, Tensor]:
        return read_part(weights, place, config, name, build_keys(build))

    return Part(name, source, build, read, restore_buffers) if name.startswith("text") else Part(name, source, build, read)


def as_components(modules: SdModules, checkpoint: Checkpoint, device: Device, trained: Trained | None = None) -> Components:
    """Modules that are on the device already, as the engine sees them. `trained`: of a model with noise levels of its own."""
    unet, config = modules.unet, modules.config
    if device.attention == "xformers":
        unet.enable_xformers_memory_efficient_attention()

    def denoise(call: ModuleCall) -> Tensor:
        residuals, added = call.residuals, dict(call.added)
        return unet(
            call.x, call.t, call.context, class_labels=added.pop("class_labels", None),
            cross_attention_kwargs=dict(call.patches) or None, added_cond_kwargs=added or None,
            down_block_additional_residuals=residuals.down if residuals else None,
            mid_block_additional_residual=residuals.middle if residuals else None, return_dict=False,
        )[0]

    scheduler, parts, extra = config.scheduler, modules.parts, config.unet.picture_channels
    encoders = tuple(_text_encoder(parts[name], text, name) for name, text in config.texts.items())  # pyright: ignore[reportArgumentType]
    more: dict[str, Any] = {}
    if config.unet.described:
        more = {"describe": _describer(config, device.device), "zero_negative": True, "sdxl": True}
    if config.unet.classed:
        more = {"describe": _no_picture(config.unet.classed, device.device)}
    if extra:
        more["look"] = _looker(extra, 1.0 if trained else config.vae.scaling, device.device)  # CosXL edit sees scaled latents, as ComfyUI shows them
    vae = SdAutoencoder(modules.vae, config.vae.scaling, config.vae.shift)
    if trained is not None:
        more["edm"] = trained.edm
        if trained.mean is not None and trained.spread is not None:
            vae = SdAutoencoder(modules.vae, (PLAYGROUND_SCALING / trained.spread).to(device.device), trained.mean.to(device.device))
    return Components(
        checkpoint, device, denoise, encoders, vae, trained.prediction if trained else _prediction(unet, config),
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


def _no_picture(width: int, device: torch.device) -> Callable[[Tensor | None, Frame], dict[str, Tensor]]:
    """What an unCLIP model gets for the picture that it does not have: zeros, as A1111 has it in txt2img (`txt2img_image_conditioning`)."""
    return lambda pooled, frame: {"class_labels": torch.zeros(width, device=device)}


def _looker(channels: int, scaling: float, device: torch.device) -> Callable[[Autoencoder, View], Tensor]:
    """An inpainting model sees the mask and the picture without what is masked; an editing model the picture, its latents not scaled; a depth model
    the picture's depth from -1 (its farthest) to 1 (its nearest), 0 where all is equally far. Without a picture the mask is everywhere, and what is
    edited or how far it is all zeros (a1111-contract §4)."""

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
        if view.depth is None:
            return torch.zeros(1, channels, view.height, view.width, device=device)
        cells = interpolate(view.depth.to(device), size=(view.height, view.width), mode="bicubic", align_corners=False)
        low, high = cells.amin((1, 2, 3), keepdim=True), cells.amax((1, 2, 3), keepdim=True)
        return torch.where(high > low, 2 * (cells - low) / (high - low) - 1, 0.0)

    return {5: inpaint, 4: edit}.get(channels, depth)


def _prediction(unet: UNet2DConditionModel, config: SdConfig) -> Prediction:
    """SD 2.x files do not say what they predict. A1111 asks the UNet: of a uniform x at the noisiest timestep v is far below x, the noise not."""
    if config.scheduler.prediction != "auto":
        return config.scheduler.prediction
    weight = next(unet.parameters())
    x = torch.full((1, unet.config["in_channels"], 8, 8), 0.5, device=weight.device, dtype=weight.dtype)
    context = torch.full((1, 2, config.unet.context), 0.5, device=weight.device, dtype=weight.dtype)
    seen = torch.zeros(1, config.unet.classed, device=weight.device, dtype=weight.dtype) if config.unet.classed else None
    with torch.inference_mode():
        output = unet(x, torch.tensor([999], device=weight.device), context, class_labels=seen, return_dict=False)[0]
    return "v" if (output.float() - x[:, : output.shape[1]].float()).mean() < -1 else "epsilon"
