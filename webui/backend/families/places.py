"""Where the parts of a model are in a file: under which prefix, and in whose words. Told from the names of its tensors. Knows no torch."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from webui.backend.families.ldm_keys import EMA_UNET, dotted
from webui.backend.families.t5_keys import published_name

Words = Literal["ldm", "ema", "module", "open_clip", "ggml"]
"""The names of the model's first publication (CompVis, Stability AI, Black Forest Labs), the same without their dots (averaged weights), those of
diffusers' and transformers' modules, OpenCLIP's, or llama.cpp's (of T5)."""


@dataclass(frozen=True)
class Place:
    """All tensors of a part begin with `prefix`; behind it stand names in these words."""

    prefix: str
    words: Words

    def below(self, keys: Iterable[str]) -> dict[str, str]:
        """Names behind the prefix → the file's own, of the tensors that are there. Averaged weights get their dots back, llama.cpp's names become
        the published ones."""
        own = {key[len(self.prefix) :]: key for key in keys if key.startswith(self.prefix)}
        if self.words == "ggml":
            return {published_name(name): key for name, key in own.items()}
        return own if self.words != "ema" else {name: key for bare, key in own.items() if (name := dotted(bare))}


_MARKS: dict[str, tuple[tuple[Words, str, tuple[str, ...]], ...]] = {
    "unet": (
        ("ldm", "input_blocks.0.0.weight", ("model.diffusion_model.", "diffusion_model.", "net.", "")),
        ("module", "down_blocks.0.resnets.0.conv1.weight", ("unet.", "")),
        ("ema", "input_blocks00weight", (EMA_UNET,)),
    ),
    "transformer": (
        ("ldm", "joint_blocks.0.context_block.attn.qkv.weight", ("model.diffusion_model.", "diffusion_model.", "net.", "")),
        ("ldm", "double_blocks.0.img_attn.qkv.weight", ("model.diffusion_model.", "diffusion_model.", "net.", "")),
        ("module", "transformer_blocks.0.attn.add_k_proj.weight", ("model.diffusion_model.", "diffusion_model.", "transformer.", "")),
    ),
    "vae": (
        ("ldm", "decoder.up.0.block.0.conv1.weight", ("first_stage_model.", "vae.", "")),
        ("module", "decoder.up_blocks.0.resnets.0.conv1.weight", ("vae.", "")),
    ),
}
_CLIP_MARKS: dict[str, tuple[tuple[Words, str, tuple[str, ...]], ...]] = {
    "clip": (
        ("module", "embeddings.token_embedding.weight", (
            "cond_stage_model.transformer.text_model.", "cond_stage_model.transformer.", "conditioner.embedders.0.transformer.text_model.",
            "text_encoders.clip_l.transformer.text_model.", "clip_l.transformer.text_model.", "text_model.", "",
        )),
    ),
    "open_clip": (
        ("open_clip", "token_embedding.weight", (
            "cond_stage_model.model.", "conditioner.embedders.1.model.", "conditioner.embedders.0.model.", "",
        )),
        ("module", "embeddings.token_embedding.weight", (
            "text_encoders.clip_g.transformer.text_model.", "clip_g.transformer.text_model.", "text_model.", "",
        )),
    ),
    "t5": (
        ("module", "encoder.block.0.layer.0.SelfAttention.q.weight", (
            "text_encoders.t5xxl.transformer.", "t5xxl.transformer.", "text_encoder_3.", "text_encoder_2.", "",
        )),
        ("ggml", "enc.blk.0.attn_q.weight", ("",)),
    ),
}


def find_part(keys: Collection[str], name: str, kind: str = "clip") -> Place | None:
    """Where the part is, or None when the file lacks it. `kind` is a text encoder's (`TextConfig.kind`)."""
    for words, mark, prefixes in _MARKS.get(name) or _CLIP_MARKS[kind]:
        for prefix in prefixes:
            if prefix + mark in keys:
                return Place(prefix, words)
    return None


def latent_channels_at(shapes: Mapping[str, tuple[int, ...]], place: Place) -> int:
    """Latent channels of the autoencoder that is there."""
    shape = shapes.get(f"{place.prefix}decoder.conv_in.weight", ())
    return shape[1] if len(shape) == 4 else 0


def width_at(shapes: Mapping[str, tuple[int, ...]], place: Place) -> int:
    """Width of the text encoder of CLIP's kind that is there."""
    mark = "token_embedding.weight" if place.words == "open_clip" else "embeddings.token_embedding.weight"
    shape = shapes.get(place.prefix + mark, ())
    return shape[1] if len(shape) == 2 else 0
