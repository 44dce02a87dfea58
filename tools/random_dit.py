"""Small models of SD 3's and Flux's kind with random weights, in the layouts that real ones have. Called by `tools/random_checkpoint.py`.

`tiny` ones have a few megabytes; `wide` ones the published widths and one block of each kind (Flux: 1 GB).

A folder of diffusers', one file with everything, and the transformer alone in its published names, with CLIP, T5 and VAE in files of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer, pre_tokenizers
from tokenizers.models import Unigram
from torch import Tensor, nn

from webui.backend.blueprint import blueprint
from webui.backend.families import ldm
from webui.backend.families.dit import KINDS as FAMILIES
from webui.backend.families.dit_keys import transformer_layout
from webui.backend.families.dit_modules import build_transformer
from webui.backend.families.dit_sizes import flux_axes
from webui.backend.families.ldm_keys import UNET_PREFIX, VAE_PREFIX
from webui.backend.families.sd_config import SdConfig, TextConfig, VaeConfig
from webui.backend.families.sd_modules import build_clip, build_text_encoder, build_vae
from webui.backend.families.t5 import build_t5
from webui.backend.families.t5_keys import file_names

Fill = Callable[[str, tuple[int, ...], torch.Generator], Tensor]
"""Name, shape and generator → a random tensor."""

PIECES = ("<pad>", "</s>", "<unk>", "▁", "▁a", "▁red", "▁house", "s", "t", "e", "r", "b", "l", "u", "y", "c", "d", "o", "g", "h", "i", "n", "p")
"""Words of the tiny T5."""

_CLIP_L = TextConfig(width=48, inner=64, layers=2, heads=1, projection=48, layer=2, normed=False)
_BIG_G = TextConfig(width=80, inner=96, layers=2, heads=1, kind="open_clip", projection=80, layer=2, normed=False)
_SD3 = {
    "sample_size": 32, "patch_size": 2, "in_channels": 16, "out_channels": 16, "num_layers": 2, "attention_head_dim": 64, "num_attention_heads": 1,
    "joint_attention_dim": 160, "caption_projection_dim": 64, "pooled_projection_dim": 128, "pos_embed_max_size": 24, "qk_norm": None,
    "dual_attention_layers": (),
}
_NORMED = {"attention_head_dim": 32, "num_attention_heads": 2, "qk_norm": "rms_norm"}
_FLUX = {
    "patch_size": 1, "in_channels": 64, "out_channels": 64, "num_layers": 1, "num_single_layers": 2, "attention_head_dim": 32,
    "num_attention_heads": 2, "joint_attention_dim": 160, "pooled_projection_dim": 48, "guidance_embeds": True, "axes_dims_rope": flux_axes(32),
}
SIZES: Mapping[str, Mapping[str, Any]] = {
    "sd3-medium": _SD3, "sd3-medium-3.5": _SD3 | _NORMED | {"dual_attention_layers": (0,)}, "sd3-large-3.5": _SD3 | _NORMED | {"num_layers": 31},
    "flux-dev": _FLUX, "flux-schnell": _FLUX | {"guidance_embeds": False}, "flux-fill": _FLUX | {"in_channels": 384},
}
"""Kind → arguments of diffusers' transformer where it is tiny."""

_WIDE_SD3 = {
    "num_layers": 1, "attention_head_dim": 64, "num_attention_heads": 24, "joint_attention_dim": 4096, "caption_projection_dim": 1536,
    "pooled_projection_dim": 2048,
}
_WIDE_FLUX = {
    "num_layers": 1, "num_single_layers": 1, "attention_head_dim": 128, "num_attention_heads": 24, "joint_attention_dim": 4096,
    "pooled_projection_dim": 768, "axes_dims_rope": flux_axes(128),
}
_T5 = {
    "vocab_size": len(PIECES), "d_model": 160, "d_kv": 16, "num_heads": 4, "d_ff": 96, "num_layers": 2, "relative_attention_num_buckets": 32,
    "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True, "model_type": "t5",
}


@dataclass(frozen=True)
class Tiny:
    """One such model: its parts' builders and their names in one file. `wide`: in published widths."""

    kind: str
    wide: bool = False

    @property
    def family(self) -> str:
        """`sd3` or `flux`."""
        return self.kind.split("-")[0]

    @property
    def clips(self) -> dict[str, TextConfig]:
        """The encoders of CLIP's kind."""
        first, second = _CLIP_L, _BIG_G
        if self.wide:
            first, second = first.revise(width=768, heads=12, projection=768), second.revise(width=1280, heads=20, projection=1280)
        return {"text_encoder": first, "text_encoder_2": second} if self.family == "sd3" else {"text_encoder": first.revise(projection=0)}

    @property
    def transformer(self) -> dict[str, Any]:
        """Arguments of diffusers' transformer."""
        published = {"sd3": _WIDE_SD3, "flux": _WIDE_FLUX}[self.family] if self.wide else {}
        return {**SIZES[self.kind], **published}

    @property
    def t5_config(self) -> dict[str, Any]:
        """Fields of `T5Config`."""
        return _T5 | ({"d_model": 4096} if self.wide else {})

    @property
    def t5(self) -> str:
        """The part that T5 is."""
        return FAMILIES[self.family].t5

    @property
    def vae(self) -> VaeConfig:
        """Sizes that files show: groups of norms are not among what is measured."""
        return FAMILIES[self.family].vae.revise(channels=(32, 32, 32, 32), layers=1)

    def modules(self) -> dict[str, nn.Module]:
        """All parts on the meta device, by name."""
        with blueprint():
            texts = {name: build_text_encoder(text) if text.projection else build_clip(text) for name, text in self.clips.items()}
            rest: dict[str, nn.Module] = {self.t5: build_t5(self.t5_config), "vae": build_vae(self.vae)}
            return {"transformer": build_transformer(self.family, self.transformer), **texts, **rest}

    def weights(self, seed: int, fill: Fill) -> dict[str, dict[str, Tensor]]:
        """Random float16 weights of each part under its module's own names; the same seed gives the same."""
        generator = torch.Generator().manual_seed(seed)
        return {
            part: {name: fill(name, tuple(value.shape), generator).to(torch.float16).contiguous() for name, value in module.state_dict().items()}
            for part, module in self.modules().items()
        }


def write_folder(path: Path, kind: str, seed: int, fill: Fill, *, shards: int = 1, t5: bool = True, wide: bool = False) -> Path:
    """A diffusers folder; T5's tokenizer is a tiny one. Without `t5` it has none."""
    tiny = Tiny(kind, wide)
    names = {"sd3": "StableDiffusion3Pipeline", "flux": "FluxPipeline"}
    index: dict[str, Any] = {"_class_name": names[tiny.family], "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"]}
    modules: dict[str, Any] = tiny.modules()
    for part, weights in tiny.weights(seed, fill).items():
        if part == tiny.t5 and not t5:
            index[part] = [None, None]
            continue
        text, module = part.startswith("text"), modules[part]
        index[part] = ["transformers" if text else "diffusers", "T5EncoderModel" if part == tiny.t5 else type(module).__name__]
        (path / part).mkdir(parents=True)
        if part == tiny.t5:
            config = json.dumps({**tiny.t5_config, "architectures": ["T5EncoderModel"]})
            weights = _t5_names(weights)
        else:
            config = module.config.to_json_string() if text else module.to_json_string()
            weights = {f"text_model.{name}" if text and not name.startswith("text_") else name: value for name, value in weights.items()}
        (path / part / "config.json").write_text(config)
        _save(path / part, weights, "model" if text else "diffusion_pytorch_model", shards if part == "transformer" else 1)
    if t5:
        write_tokenizer(path / tiny.t5.replace("text_encoder", "tokenizer") / "tokenizer.json")
    schedule = {"shift": 3.0} if tiny.family == "sd3" else {
        "shift": 1.0 if kind == "flux-schnell" else 3.0, "use_dynamic_shifting": kind != "flux-schnell", "base_shift": 0.5, "max_shift": 1.15,
        "base_image_seq_len": 256, "max_image_seq_len": 4096,
    }
    (path / "scheduler").mkdir()
    (path / "scheduler" / "scheduler_config.json").write_text(
        json.dumps({"_class_name": "FlowMatchEulerDiscreteScheduler", "num_train_timesteps": 1000} | schedule)
    )
    (path / "model_index.json").write_text(json.dumps(index))
    return path


def write_file(path: Path, kind: str, seed: int, fill: Fill, *, wide: bool = False) -> Path:
    """Everything in one safetensors file, in the published names. T5's tokenizer lies beside it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(file_weights(kind, seed, fill, wide=wide), path, {"format": "pt"})
    write_tokenizer(path.parent / "tokenizer.json")
    return path


def write_parts(folder: Path, kind: str, seed: int, fill: Fill) -> dict[str, Path]:
    """The transformer alone, and the others in files of their own, as they are sold apart. Gives the file of each part."""
    folder.mkdir(parents=True, exist_ok=True)
    texts = [part for part in Tiny(kind).modules() if part.startswith("text")]
    starts = {"transformer": UNET_PREFIX, "vae": VAE_PREFIX} | {part: text_prefix(part, kind) for part in texts}
    weights, found = file_weights(kind, seed, fill), dict[str, Path]()
    for part, start in starts.items():
        found[part] = folder / f"{part}.safetensors"
        save_file({name[len(start) :]: value for name, value in weights.items() if name.startswith(start)}, found[part])
    write_tokenizer(folder / "tokenizer.json")
    return found


def file_weights(kind: str, seed: int, fill: Fill, *, wide: bool = False) -> dict[str, Tensor]:
    """What `write_file` writes."""
    tiny, found = Tiny(kind, wide), dict[str, Tensor]()
    for part, own in tiny.weights(seed, fill).items():
        if part == "transformer":
            laid = transformer_layout(tiny.family, {name: tuple(value.shape) for name, value in own.items()})
            found |= {UNET_PREFIX + name: one.join(own) for name, one in laid.items()}
        elif part == "vae":
            laid = ldm.layout(SdConfig(vae=tiny.vae), "vae", own)
            found |= {VAE_PREFIX + name: one.join(own) for name, one in laid.items()}
        elif part == tiny.t5:
            found |= {text_prefix(part, kind) + name: value for name, value in _t5_names(own).items()}
        else:
            prefix = text_prefix(part, kind)
            found |= {prefix + (name if name.startswith("text_") else f"text_model.{name}"): value for name, value in own.items()}
    return {name: value.contiguous() for name, value in found.items()}


def text_prefix(part: str, kind: str) -> str:
    """Where one file has an encoder."""
    name = "t5xxl" if part == Tiny(kind).t5 else {"text_encoder": "clip_l", "text_encoder_2": "clip_g"}[part]
    return f"text_encoders.{name}.transformer."


def write_tokenizer(path: Path) -> Path:
    """A tokenizer with the few words of `PIECES`, in T5's form."""
    tokenizer = Tokenizer(Unigram([(piece, -float(len(PIECES) - len(piece))) for piece in PIECES], unk_id=2, byte_fallback=False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always")
    path.parent.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(path))
    return path


def _t5_names(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {theirs: own[ours] for ours, theirs in file_names(("shared.weight",), own).items()}


def _save(folder: Path, weights: dict[str, Tensor], stem: str, count: int) -> None:
    if count == 1:
        save_file(weights, folder / f"{stem}.safetensors", {"format": "pt"})
        return
    names, places = list(weights), dict[str, str]()
    for number in range(count):
        shard = f"{stem}-{number + 1:05}-of-{count:05}.safetensors"
        places |= dict.fromkeys(names[number::count], shard)
        save_file({name: weights[name] for name in names[number::count]}, folder / shard, {"format": "pt"})
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
