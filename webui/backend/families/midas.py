"""The depth estimator that lies in the single file of SD 2's depth model (512-depth-ema.ckpt): MiDaS' DPT-hybrid, as transformers' module.

Names as in isl-org/MiDaS; which are which is transformers' own conversion of dpt_hybrid-midas-501f0c75.pt.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import DPTConfig, DPTForDepthEstimation

from webui.backend.device import Device
from webui.backend.families.sd_modules import build_keys
from webui.backend.layouts import stamp
from webui.backend.parts import Part, Source, load_part
from webui.backend.weights import Weights

PREFIX = "depth_model.model."
_MODEL, _BACKBONE = "pretrained.model.", "pretrained.model.patch_embed.backbone."
RULES = tuple((re.compile(pattern), name) for pattern, name in (
    (r"dpt\.embeddings\.backbone\.bit\.embedder\.convolution\.", f"{_BACKBONE}stem.conv."),
    (r"dpt\.embeddings\.backbone\.bit\.embedder\.norm\.", f"{_BACKBONE}stem.norm."),
    (r"dpt\.embeddings\.backbone\.bit\.encoder\.stages\.(\d+)\.layers\.", rf"{_BACKBONE}stages.\1.blocks."),
    (r"dpt\.embeddings\.projection\.", f"{_MODEL}patch_embed.proj."),
    (r"dpt\.embeddings\.cls_token", f"{_MODEL}cls_token"),
    (r"dpt\.embeddings\.position_embeddings", f"{_MODEL}pos_embed"),
    (r"dpt\.encoder\.layer\.(\d+)\.attention\.attention\.(?:query|key|value)\.", rf"{_MODEL}blocks.\1.attn.qkv."),
    (r"dpt\.encoder\.layer\.(\d+)\.attention\.output\.dense\.", rf"{_MODEL}blocks.\1.attn.proj."),
    (r"dpt\.encoder\.layer\.(\d+)\.intermediate\.dense\.", rf"{_MODEL}blocks.\1.mlp.fc1."),
    (r"dpt\.encoder\.layer\.(\d+)\.output\.dense\.", rf"{_MODEL}blocks.\1.mlp.fc2."),
    (r"dpt\.encoder\.layer\.(\d+)\.layernorm_before\.", rf"{_MODEL}blocks.\1.norm1."),
    (r"dpt\.encoder\.layer\.(\d+)\.layernorm_after\.", rf"{_MODEL}blocks.\1.norm2."),
    (r"dpt\.layernorm\.", f"{_MODEL}norm."),
    (r"neck\.reassemble_stage\.readout_projects\.(\d)\.0\.", r"pretrained.act_postprocess{up}.0.project.0."),
    (r"neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"pretrained.act_postprocess{up}.3."),
    (r"neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"pretrained.act_postprocess{up}.4."),
    (r"neck\.convs\.(\d)\.", r"scratch.layer{up}_rn."),
    (r"neck\.fusion_stage\.layers\.(\d)\.projection\.", r"scratch.refinenet{down}.out_conv."),
    (r"neck\.fusion_stage\.layers\.(\d)\.residual_layer(\d)\.convolution(\d)\.", r"scratch.refinenet{down}.resConfUnit\2.conv\3."),
    (r"head\.head\.(\d)\.", r"scratch.output_conv.\1."),
))
"""The beginning of a name of transformers' module → that of MiDaS'. `{up}` is the first number counted from 1, `{down}` from 4 downwards."""

THIRDS = {"query": 0, "key": 1, "value": 2}
"""Which part of MiDaS' one matrix each is."""


def config() -> DPTConfig:
    """The sizes of dpt_hybrid."""
    return DPTConfig(
        is_hybrid=True, hidden_size=768, reassemble_factors=(1, 1, 1, 0.5), neck_hidden_sizes=(256, 512, 768, 768), patch_size=16,
        use_batch_norm_in_fusion_residual=False, readout_type="project",
    )


def name_of(key: str) -> str:
    """MiDaS' name for a weight of transformers' module."""
    for pattern, name in RULES:
        found = pattern.match(key)
        if found:
            number = int(found[1]) if "{" in name else 0
            return found.expand(name.replace("{up}", str(number + 1)).replace("{down}", str(4 - number))) + key[found.end() :]
    return key


def read(weights: Weights, keys: Iterable[str]) -> dict[str, Tensor]:
    """The module's weights out of the file, as far as they are there."""
    there, found = set(weights.keys()), dict[str, Tensor]()
    for key in keys:
        name = PREFIX + name_of(key)
        if name in there:
            value = weights.get(name)
            third = next((THIRDS[part] for part in key.split(".") if part in THIRDS), None)
            found[key] = value if third is None else value.chunk(3)[third]
    return found


def load_midas(path: Path, device: Device) -> nn.Module:
    """The estimator of a checkpoint's file on the device, in float32. Raises `ModelError` when weights are missing or of other sizes."""
    def build() -> nn.Module:
        return DPTForDepthEstimation(config())

    keys = build_keys(build)
    source = Source(str(path), *stamp(path))
    return load_part(Part("depth_estimator", source, build, lambda weights: read(weights, keys), dtype=lambda device: torch.float32), device)
