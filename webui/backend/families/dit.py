"""Stable Diffusion 3 and Flux.1: where the parts of a checkpoint are, in every layout, and how they are one model again. Knows nothing of sampling.

The transformer may come in the names of its first publication or in diffusers'; CLIP, T5 and the VAE come with it or from files of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from torch import Tensor, nn

from webui.backend.components import END, Components, Encoded, Flow, TextEncoder
from webui.backend.device import Device
from webui.backend.families import dit_modules
from webui.backend.families.dit_keys import transformer_layout
from webui.backend.families.dit_sizes import measure_t5, measure_transformer, t5_width_at
from webui.backend.families.ldm import Laid, read_laid, read_own, read_part
from webui.backend.families.part_files import PartFile, Shapes, open_file, own_files, seek, seek_optional
from webui.backend.families.places import Place, find_part, latent_channels_at, width_at
from webui.backend.families.sd_config import SdConfig, TextConfig, VaeConfig
from webui.backend.families.sd_folder import clip_builder, module_builder, read_json, source_at
from webui.backend.families.sd_modules import (
    SdAutoencoder,
    build_clip,
    build_keys,
    build_text_encoder,
    build_vae,
    encode_text,
    restore_buffers,
)
from webui.backend.families.sizes import measure_text, measure_vae
from webui.backend.families.t5 import build_t5, encode_t5, find_tokenizer, shield, tokenizer_of, wide_dtype
from webui.backend.families.t5_keys import file_names
from webui.backend.headers import read_header
from webui.backend.low_bits import with_low_bits
from webui.backend.nf4_file import Nf4Weights, State, fits_rows, scales_of
from webui.backend.parts import ModelChoice, ModelPlan, Part, Source
from webui.backend.quantised import quantised_kinds, set_compute_dtype, unpacked, with_quantised
from webui.backend.scaled_weights import unscaled
from webui.backend.support import PART_NAMES
from webui.backend.weights import Weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

_CLIP_L = TextConfig(projection=768, layer=2, normed=False)
_BIG_G = TextConfig(width=1280, inner=5120, layers=32, heads=20, kind="open_clip", projection=1280, layer=2, normed=False)


@dataclass(frozen=True)
class Kind:
    """What a family has besides its transformer. `words`: tokens of T5 that a prompt is filled up to."""

    vae: VaeConfig
    clips: Mapping[str, TextConfig]
    t5: str
    words: int


KINDS: Mapping[str, Kind] = {
    "sd3": Kind(
        VaeConfig(latent_channels=16, scaling=1.5305, shift=0.0609, quantized=False), {"text_encoder": _CLIP_L, "text_encoder_2": _BIG_G},
        "text_encoder_3", 256,
    ),
    "flux": Kind(
        VaeConfig(latent_channels=16, scaling=0.3611, shift=0.1159, quantized=False), {"text_encoder": _CLIP_L.revise(projection=0, layer=1)},
        "text_encoder_2", 512,
    ),
}
"""As published: sd3-ref `sd3_infer.py`, flux `util.py`, and the configurations of diffusers' folders. Flux schnell reads 256 words."""

SD3_SHIFT = 3.0
T = TypeVar("T")


@dataclass(frozen=True)
class Sizes:
    """What was found of a model: enough to put its parts together."""

    family: str
    transformer: Mapping[str, Any]
    vae: VaeConfig
    clips: Mapping[str, TextConfig]
    words: Callable[[str], list[int]] | None
    flow: Callable[[int, int], Flow]


def plan(choice: ModelChoice) -> ModelPlan:
    """The parts of a checkpoint. Raises `ModelError` when a file cannot be opened or makes no sense, or when a part is nowhere to be found."""
    checkpoint = choice.checkpoint
    parts, sizes = _of_folder(choice) if checkpoint.layout == "diffusers" else _of_files(choice)

    def assemble(modules: Mapping[str, Any], device: Device) -> Components:
        return as_components(modules, sizes, checkpoint, device)

    return ModelPlan(tuple(parts), assemble)


def _of_files(choice: ModelChoice) -> tuple[list[Part], Sizes]:
    family = choice.checkpoint.family or "sd3"
    kind, files, parts = KINDS[family], own_files(choice), list[Part]()
    file, place = seek("transformer", files, choice, lambda shapes, own: find_part(shapes, "transformer"))
    transformer = _measured(file, "transformer", lambda: measure_transformer(family, file.header.shapes, place))
    parts.append(_transformer(family, file, place, transformer))
    clips = dict[str, TextConfig]()
    for name, preset in kind.clips.items():
        width = _clip_width(family, preset, transformer["pooled_projection_dim"])
        file, place = seek(name, files, choice, partial(_clip_at, name, preset, width))
        text = _measured(file, name, partial(measure_text, file.header.shapes, place, preset))
        clips[name] = text.revise(projection=text.width if preset.projection else 0)
        parts.append(_clip(name, file, place, clips[name]))
    find = partial(_t5_at, transformer["joint_attention_dim"])
    found = seek_optional(kind.t5, files, choice, find) if family == "sd3" else seek(kind.t5, files, choice, find)
    if found is not None:
        parts.append(_t5(kind.t5, *found))
    file, place = _vae_file(choice, files, transformer["in_channels"])
    vae = _measured(file, "vae", lambda: measure_vae(file.header.shapes, place, kind.vae))
    parts.append(_vae(file.source, place, vae))
    words = _words(choice, [Path(found[0].source.path).parent], found[0]) if found else None
    return parts, Sizes(family, transformer, vae, clips, words, _flow(choice.checkpoint))


def _of_folder(choice: ModelChoice) -> tuple[list[Part], Sizes]:
    checkpoint, family = choice.checkpoint, choice.checkpoint.family or "sd3"
    folder, kind = Path(checkpoint.path), KINDS[family]
    module = SD3Transformer2DModel if family == "sd3" else FluxTransformer2DModel
    transformer = read_json(folder / "transformer" / "config.json", checkpoint)
    parts = [replace(_own(folder / "transformer", "transformer", module_builder(module, transformer)), dtype=partial(transformer_dtype, family))]
    clips = dict[str, TextConfig]()
    for name, preset in kind.clips.items():
        stated = read_json(folder / name / "config.json", checkpoint)
        header = read_header(folder / name)
        place = find_part(header.shapes, name)
        if place is None:
            raise ModelError(f"{checkpoint.name}: {name} holds no weights of such a part.", field="checkpoint", hint="Download the folder again.")
        clips[name] = preset
        parts.append(_own(folder / name, name, clip_builder(stated, bool(preset.projection)), place, restore_buffers))
    has_t5 = kind.t5 in checkpoint.parts
    if has_t5:
        stated = read_json(folder / kind.t5 / "config.json", checkpoint)
        parts.append(_t5_part(kind.t5, source_at(folder / kind.t5), Place("", "module"), stated))
    elif family == "flux":
        raise ModelError(f"{checkpoint.name} has no {PART_NAMES[kind.t5]}.", field="checkpoint", hint="Download the folder again.")
    stated = read_json(folder / "vae" / "config.json", checkpoint)
    scaling, shift = stated.get("scaling_factor", kind.vae.scaling), stated.get("shift_factor") or 0.0
    vae = kind.vae.revise(scaling=scaling, shift=shift)
    if choice.vae is not None:
        file, place = _vae_file(choice, [], transformer.get("in_channels", 16))
        vae = _measured(file, "vae", lambda: measure_vae(file.header.shapes, place, vae))
        parts.append(_vae(file.source, place, vae))
    else:
        place = find_part(read_header(folder / "vae").shapes, "vae")
        parts.append(_own(folder / "vae", "vae", module_builder(AutoencoderKL, stated), place))
    words = _words(choice, [folder / kind.t5.replace("text_encoder", "tokenizer")]) if has_t5 else None
    return parts, Sizes(family, transformer, vae, clips, words, _flow(checkpoint))


def _measured(file: PartFile, name: str, measure: Callable[[], T]) -> T:
    try:
        return measure()
    except (KeyError, IndexError, ValueError, ZeroDivisionError) as error:
        what = f"{Path(file.source.path).name}: the sizes of its {PART_NAMES[name]} make no sense ({str(error).splitlines()[0]})."
        raise ModelError(what, field="checkpoint", hint="The file is damaged, or not a model of this family.") from error


def _clip_width(family: str, preset: TextConfig, pooled: int) -> int:
    """How wide an encoder is, of the vectors that the transformer takes: all of it in Flux, 768 and 1280 of 2048 in SD 3."""
    return pooled if family == "flux" else pooled * 3 // 8 if preset.kind == "clip" else pooled * 5 // 8


def _clip_at(name: str, preset: TextConfig, width: int, shapes: Shapes, own: bool) -> Place | None:
    place = find_part(shapes, name, preset.kind)
    return place if place and (own or width_at(shapes, place) == width) else None


def _t5_at(width: int, shapes: Shapes, own: bool) -> Place | None:
    del own  # the transformer says how wide its texts are
    place = find_part(shapes, "text_encoder_3", "t5")
    return place if place and t5_width_at(shapes, place) == width else None


def _vae_file(choice: ModelChoice, files: list[PartFile], channels: int) -> tuple[PartFile, Place]:
    """The VAE that was chosen, else the one that is there. Flux fill has more channels than its latents."""
    channels = min(channels, 16) if choice.checkpoint.family == "sd3" else 16

    def find(shapes: Shapes, own: bool) -> Place | None:
        place = find_part(shapes, "vae")
        return place if place and (own or latent_channels_at(shapes, place) == channels) else None

    if choice.vae is None:
        return seek("vae", files, choice, find)
    file = open_file(choice.vae)
    place = find(file.header.shapes, False)
    if place is None:
        name = Path(file.source.path).name
        raise ModelError(f"{name} is not a VAE for {choice.checkpoint.name}.", field="settings.sd_vae", hint="Choose another VAE, or Automatic.")
    return file, place


def _transformer(family: str, file: PartFile, place: Place, sizes: Mapping[str, Any]) -> Part:
    def plain() -> nn.Module:
        return dit_modules.build_transformer(family, sizes)

    own = {key: tuple(value.shape) for key, value in build_keys(plain).items()}
    laid = {key: Laid((key,)) for key in own} if place.words == "module" else transformer_layout(family, own)
    kinds = {name.removeprefix(place.prefix): kind for name, kind in quantised_kinds(file.header.dtypes).items()}
    kept = {name: laid[own] for own, name in place.below(file.states).items() if own in laid and fits_rows(file.states[name])}
    few = {key for one in kept.values() for key in one.keys}
    blocks = with_quantised(plain, {key: kind for name, kind in kinds.items() if name in laid for key in laid[name].keys})
    laid |= {scales_of(name).removeprefix(place.prefix): replace(one, keys=tuple(map(scales_of, one.keys))) for name, one in kept.items()}

    def build() -> nn.Module:
        return with_low_bits(blocks(), "nf4", few) if few else blocks()

    expected = build_keys(build) if kinds else {}

    def read(weights: Weights) -> dict[str, Tensor]:
        found = read_laid(unscaled(Nf4Weights(weights, file.states, kept)), place, laid)
        return unpacked(found, expected) if kinds else found

    return Part("transformer", file.source, build, read, dtype=partial(transformer_dtype, family), prepare=set_compute_dtype)


def transformer_dtype(family: str, device: Device) -> torch.dtype:
    """Flux was trained in bfloat16 and computes in it where the GPU can; float16 is too narrow for some of its numbers."""
    bfloat16 = family == "flux" and device.device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if bfloat16 and device.dtype == torch.float16 else device.dtype


def _clip(name: str, file: PartFile, place: Place, text: TextConfig) -> Part:
    """Files of CLIP-L lack its projection, which then changes nothing."""

    def build() -> nn.Module:
        return build_text_encoder(text) if text.projection else build_clip(text)

    def read(weights: Weights) -> dict[str, Tensor]:
        config = SdConfig(**{"text_encoder": None, "text_encoder_2": None, name: text})
        found = read_part(unscaled(Nf4Weights(weights, file.states)), place, config, name, build_keys(build))
        if text.projection and text.kind == "clip":
            found.setdefault("text_projection.weight", torch.eye(text.width))
        return found

    return Part(name, file.source, build, read, restore_buffers)


def _t5(name: str, file: PartFile, place: Place) -> Part:
    sizes = _measured(file, name, lambda: measure_t5(file.header.shapes, place))
    packed, kinds = quantised_kinds(file.header.dtypes), dict[str, str]()
    if packed:
        there = place.below(file.header.shapes)
        names = file_names(there, build_keys(lambda: build_t5(sizes)))
        kinds = {own: packed[there[theirs]] for own, theirs in names.items() if there.get(theirs) in packed}
    return _t5_part(name, file.source, place, sizes, kinds, file.states)


def _t5_part(
    name: str, source: Source, place: Place, sizes: dict[str, Any], kinds: Mapping[str, str] | None = None, states: Mapping[str, State] | None = None,
) -> Part:
    """`kinds`: which of its weights are quantised, and how; `states`: which are stored in NF4, and are widened."""

    def build() -> nn.Module:
        return shield(with_quantised(lambda: build_t5(sizes), kinds)()) if kinds else build_t5(sizes)

    def read(weights: Weights) -> dict[str, Tensor]:
        widened, expected = unscaled(Nf4Weights(weights, states or {})), build_keys(build)
        there = place.below(widened.keys())
        found = {own: widened.get(there[theirs]) for own, theirs in file_names(there, expected).items() if theirs in there}
        return unpacked(found, expected) if kinds else found

    return Part(name, source, build, read, dtype=lambda device: wide_dtype(device.dtype), prepare=set_compute_dtype)


def _vae(source: Source, place: Place, config: VaeConfig) -> Part:
    def build() -> nn.Module:
        return build_vae(config)

    def read(weights: Weights) -> dict[str, Tensor]:
        return read_part(weights, place, SdConfig(vae=config), "vae", build_keys(build))

    return Part("vae", source, build, read)


def _own(
    folder: Path, name: str, build: Callable[[], nn.Module], place: Place | None = None,
    finish: Callable[[nn.Module, torch.device], None] | None = None,
) -> Part:
    """A part of a diffusers folder: its module's own names."""
    there = place or Place("", "module")

    def read(weights: Weights) -> dict[str, Tensor]:
        return read_own(weights, there, name, build_keys(build))

    return Part(name, source_at(folder), build, read, finish) if finish else Part(name, source_at(folder), build, read)


def _words(choice: ModelChoice, folders: list[Path], file: PartFile | None = None) -> Callable[[str], list[int]]:
    """T5's words: from beside its weights, else from the folders of text encoders, else out of its own `file`, where that has them (GGUF)."""
    shelves = choice.shelf.folders("text_encoder") if choice.shelf is not None else ()
    path = find_tokenizer([*folders, *shelves])
    if path is None and file is not None and file.header.metadata.get("tokenizer.ggml.model") == "t5":
        path = Path(file.source.path)
    if path is None:
        raise ModelError(
            f"{choice.checkpoint.name} needs T5's tokenizer, and there is none.", field="checkpoint",
            hint="Put tokenizer.json or spiece.model of google/t5-v1_1-xxl into models/text_encoder.",
        )
    return tokenizer_of(path)


def _flow(checkpoint: Checkpoint) -> Callable[[int, int], Flow]:
    """How far timesteps are shifted: SD 3 always as far, Flux schnell not at all, Flux dev by the size of the picture. A folder says so itself."""
    path = Path(checkpoint.path) / "scheduler" / "scheduler_config.json"
    stated = read_json(path, checkpoint) if checkpoint.layout == "diffusers" else {}
    dynamic = stated.get("use_dynamic_shifting", checkpoint.is_distilled)
    if dynamic:
        ends = stated.get("base_shift") or 0.5, stated.get("max_shift") or 1.15
        return lambda width, height: Flow(flux_shift(width, height, *ends), even=True)
    fixed = float(stated.get("shift") or (SD3_SHIFT if checkpoint.family == "sd3" else 1.0))
    return lambda width, height: Flow(fixed, even=checkpoint.family == "flux")


def flux_shift(width: int, height: int, short: float = 0.5, long: float = 1.15) -> float:
    """e^mu, mu linear in the number of tokens (16 x 16 pixels each), `short` at 256, `long` at 4096: black-forest-labs/flux, `sampling.py`,
    `get_schedule`."""
    tokens = (width // 16) * (height // 16)
    return math.exp(short + (long - short) * (tokens - 256) / (4096 - 256))


def as_components(modules: Mapping[str, Any], sizes: Sizes, checkpoint: Checkpoint, device: Device) -> Components:
    """Modules that are on the device already, as the engine sees them."""
    flux, transformer, guided = sizes.family == "flux", modules["transformer"], bool(sizes.transformer.get("guidance_embeds"))
    kind = KINDS[sizes.family]
    encoders = [_clip_encoder(modules[name], text) for name, text in sizes.clips.items()]
    if sizes.words is not None:
        length = 256 if checkpoint.variant == "schnell" else kind.words
        encoders.append(_t5_encoder(modules[kind.t5], sizes.words, length))
    places = sizes.transformer.get("pos_embed_max_size", 96)
    denoise = dit_modules.flux_denoise(transformer, guided) if flux else dit_modules.sd3_denoise(transformer, places)
    more: dict[str, Any] = {"describe": dit_modules.describe_guided if guided else dit_modules.describe_pooled}
    if checkpoint.variant == "fill":
        more["look"] = dit_modules.look_and_fill(device.device)
    return Components(
        checkpoint, replace(device, dtype=transformer_dtype(sizes.family, device)),
        denoise, tuple(encoders),
        SdAutoencoder(modules["vae"], sizes.vae.scaling, sizes.vae.shift), "flow", torch.ones(1000), sizes.vae.latent_channels, dict(modules),
        join=dit_modules.flux_join if flux else dit_modules.sd3_join(sizes.transformer["joint_attention_dim"]), flow=sizes.flow, **more,
    )


def _clip_encoder(module: Any, text: TextConfig) -> TextEncoder:
    """SD 3 uses the last layer but one of both; of Flux' only the vector for the whole counts. OpenCLIP pads with 0."""

    def encode(tokens: Tensor, clip_skip: int | None) -> Encoded:
        if text.projection:
            return encode_text(module, tokens, clip_skip or text.layer, text.normed)
        output = module(tokens)
        return Encoded(output.last_hidden_state, output.pooler_output)

    return TextEncoder(encode, 0 if text.kind == "open_clip" else END, "never")


def _t5_encoder(module: nn.Module, words: Callable[[str], list[int]], length: int) -> TextEncoder:
    return TextEncoder(lambda tokens, clip_skip: encode_t5(module, tokens), clip_skip="never", tokenize=words, length=length)
