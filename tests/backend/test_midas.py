"""MiDaS' estimator inside a single file: every weight of transformers' module has its name there, and answers as it did."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import DPTConfig, DPTForDepthEstimation

from webui.backend.device import Device
from webui.backend.families import midas
from webui.schema.errors import ModelError

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


def published_names() -> set[str]:
    """Those of dpt_hybrid in isl-org/MiDaS: timm's vit_base_resnet50_384, and the decoder."""
    names = {f"pretrained.model.{name}" for name in ("cls_token", "pos_embed")}
    both = ["norm", "patch_embed.proj"]
    for number in range(12):
        both += [f"blocks.{number}.{part}" for part in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")]
    backbone = "patch_embed.backbone"
    both.append(f"{backbone}.stem.norm")
    single = [f"{backbone}.stem.conv"]
    for stage, depth in enumerate((3, 4, 9)):
        for block in range(depth):
            place = f"{backbone}.stages.{stage}.blocks.{block}"
            both += [f"{place}.norm{number}" for number in (1, 2, 3)]
            single += [f"{place}.conv{number}" for number in (1, 2, 3)]
        both.append(f"{backbone}.stages.{stage}.blocks.0.downsample.norm")
        single.append(f"{backbone}.stages.{stage}.blocks.0.downsample.conv")
    names |= {f"pretrained.model.{name}.{kind}" for name, kind in product(both, ("weight", "bias"))}
    names |= {f"pretrained.model.{name}.weight" for name in single} | {f"scratch.layer{number}_rn.weight" for number in (1, 2, 3, 4)}
    others = [f"pretrained.act_postprocess{name}" for name in ("3.0.project.0", "3.3", "4.0.project.0", "4.3", "4.4")]
    others += [f"scratch.refinenet{number}.out_conv" for number in (1, 2, 3, 4)] + [f"scratch.output_conv.{number}" for number in (0, 2, 4)]
    others += [f"scratch.refinenet{number}.resConfUnit{unit}.conv{conv}" for number, unit, conv in product((1, 2, 3, 4), (1, 2), (1, 2))]
    return names | {f"{name}.{kind}" for name, kind in product(others, ("weight", "bias"))}


def test_every_weight_has_its_name() -> None:
    with torch.device("meta"):
        keys = DPTForDepthEstimation(midas.config()).state_dict()
    assert {midas.name_of(key) for key in keys} == published_names()


def test_it_answers_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def small() -> DPTConfig:
        return DPTConfig(
            is_hybrid=True, hidden_size=16, num_hidden_layers=12, num_attention_heads=2, intermediate_size=32, image_size=64, patch_size=16,
            reassemble_factors=(1, 1, 1, 0.5), neck_hidden_sizes=(128, 256, 16, 16), fusion_hidden_size=16, readout_type="project",
            backbone_featmap_shape=(1, 512, 4, 4), backbone_config={
                "model_type": "bit", "global_padding": "same", "layer_type": "bottleneck", "depths": [1, 1, 1], "hidden_sizes": [128, 256, 512],
                "embedding_size": 32, "out_features": ["stage1", "stage2", "stage3"], "embedding_dynamic_padding": True,
            },
        )

    monkeypatch.setattr(midas, "config", small)
    torch.manual_seed(3)
    before = DPTForDepthEstimation(small()).eval()
    weights: dict[str, torch.Tensor] = {}
    for key, value in before.state_dict().items():
        name = midas.PREFIX + midas.name_of(key)
        weights[name] = torch.cat([weights[name], value]) if name in weights else value.clone()
    path = tmp_path / "depth.safetensors"
    save_file(weights | {"model.diffusion_model.x": torch.zeros(1)}, path)
    pixels = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert torch.equal(midas.load_midas(path, CPU)(pixels).predicted_depth, before(pixels).predicted_depth)
    del weights[f"{midas.PREFIX}scratch.output_conv.4.bias"]
    save_file(weights, path)
    with pytest.raises(ModelError, match="lacks 1 weights"):
        midas.load_midas(path, CPU)
