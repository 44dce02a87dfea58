"""A1111's merger on hand-made tensors: its arithmetic to the bit, its special cases, its blocks."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from tools.random_checkpoint import KINDS, write_checkpoint, write_folder
from webui.backend.convert import convert
from webui.backend.merge import merge
from webui.backend.recipes import ConvertFiles, MergeFiles, block_weight
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

UNET = "model.diffusion_model."
CONV_IN = f"{UNET}input_blocks.0.0.weight"
POSITIONS = "cond_stage_model.transformer.text_model.embeddings.position_ids"
TOKENS = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"


def model(seed: int, dtype: torch.dtype = torch.float16, channels: int = 4) -> dict[str, Tensor]:
    """A few tensors with the names that matter."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {CONV_IN: (6, channels, 3, 3), f"{UNET}middle_block.1.norm.weight": (6,), f"{UNET}out.2.weight": (4, 6), TOKENS: (9, 5),
              "first_stage_model.decoder.conv_in.weight": (5, 4, 3, 3)}
    return {name: torch.randn(shape, generator=generator).to(dtype) for name, shape in shapes.items()} | {
        POSITIONS: torch.arange(77)[None] + seed, "alphas": torch.full((3,), float(seed))}


def seen(path: Path, **more: object) -> Checkpoint:
    """The checkpoint there, as the catalog would have it."""
    return Checkpoint.model_validate({"name": path.name, "path": str(path), "size": 1, "mtime": 1.0} | more)


@pytest.fixture
def files(tmp_path: Path) -> MergeFiles:
    """Three models on disk."""
    for seed, name in enumerate("abc", 1):
        save_file(model(seed), tmp_path / f"{name}.safetensors", {"format": "pt"})
    return MergeFiles(tmp_path / "out.safetensors", *(seen(tmp_path / f"{name}.safetensors") for name in "abc"))


def merged(files: MergeFiles) -> dict[str, Tensor]:
    """The result."""
    merge(files, {"format": "pt"})
    return load_file(files.target)


def test_no_interpolation_gives_the_same_bytes(files: MergeFiles) -> None:
    merge(replace(files, method="No interpolation", secondary=None, tertiary=None), {"format": "pt"})
    assert files.target.read_bytes() == Path(files.primary.path).read_bytes()


def test_weighted_sum_is_a1111s_to_the_bit(files: MergeFiles) -> None:
    a, b, out = model(1), model(2), merged(replace(files, tertiary=None, multiplier=0.3))
    for name in (CONV_IN, TOKENS, "first_stage_model.decoder.conv_in.weight"):
        assert torch.equal(out[name], ((1 - 0.3) * a[name]) + (0.3 * b[name]))
    assert torch.equal(out[POSITIONS], a[POSITIONS]) and torch.equal(out["alphas"], a["alphas"])  # no “model” in its name


def test_add_difference_and_what_c_lacks(files: MergeFiles) -> None:
    a, b, c = model(1), model(2), model(3)
    del c[TOKENS]
    assert files.tertiary
    save_file(c, files.tertiary.path)
    out = merged(replace(files, method="Add difference", multiplier=0.7))
    assert torch.equal(out[CONV_IN], a[CONV_IN] + (0.7 * (b[CONV_IN] - c[CONV_IN])))
    assert torch.equal(out[TOKENS], a[TOKENS])


def test_mixed_dtypes_meet_in_the_wider_and_the_dtype_asked_for_is_written(files: MergeFiles) -> None:
    assert files.secondary
    save_file(model(2, torch.float32), files.secondary.path)
    wide = merged(replace(files, tertiary=None))[CONV_IN]
    assert torch.equal(wide, (0.7 * model(1)[CONV_IN]) + (0.3 * model(2, torch.float32)[CONV_IN]))
    for name, dtype in (("float16", torch.float16), ("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        out = merged(replace(files, tertiary=None, dtype=name, replace=True))
        assert out[CONV_IN].dtype == out["alphas"].dtype == dtype and torch.equal(out[CONV_IN], wide.to(dtype))
        assert out[POSITIONS].dtype == torch.int64


@pytest.mark.parametrize("channels", [8, 9])
def test_a_plain_model_goes_into_the_first_channels_of_an_inpainting_or_editing_one(files: MergeFiles, channels: int) -> None:
    a, b, c = model(1, channels=channels), model(2), model(3)
    save_file(a, files.primary.path)
    out = merged(replace(files, method="Add difference", multiplier=1.0))[CONV_IN]
    assert torch.equal(out[:, :4], a[CONV_IN][:, :4] + 1.0 * (b[CONV_IN] - c[CONV_IN])) and torch.equal(out[:, 4:], a[CONV_IN][:, 4:])
    with pytest.raises(ModelError, match=r"is an (inpainting|editing)") as caught:
        merge(replace(files, primary=files.secondary or files.primary, secondary=files.primary, tertiary=None, replace=True), {})
    assert caught.value.field == "primary_model_name" and "as A" in (caught.value.hint or "")


def test_models_of_other_sizes_are_refused_and_nothing_is_left(files: MergeFiles) -> None:
    assert files.secondary
    save_file(model(2) | {TOKENS: torch.zeros(9, 6).half()}, files.secondary.path)
    with pytest.raises(ModelError, match=re.escape("(9, 5) in one and (9, 6)")):
        merge(replace(files, tertiary=None), {})
    assert not files.target.exists()


def test_vae_discard_and_old_names(files: MergeFiles, tmp_path: Path) -> None:
    save_file({"decoder.conv_in.weight": torch.ones(5, 4, 3, 3), "loss.x": torch.ones(1)}, tmp_path / "vae.safetensors")
    old = {name.replace("text_model.", ""): value for name, value in model(1).items()}
    save_file(old, files.primary.path)
    out = merged(replace(files, tertiary=None, vae=tmp_path / "vae.safetensors", discard=r"^alphas|position"))
    assert torch.equal(out["first_stage_model.decoder.conv_in.weight"], torch.ones(5, 4, 3, 3))
    assert out.keys() == model(1).keys() - {"alphas", POSITIONS}
    assert torch.equal(out[TOKENS], (0.7 * model(1)[TOKENS]) + (0.3 * model(2)[TOKENS]))
    save_file({"decoder.conv_in.weight": torch.ones(5, 3, 3, 3)}, tmp_path / "vae.safetensors")
    with pytest.raises(ModelError, match="does not fit"):
        merge(replace(files, tertiary=None, vae=tmp_path / "vae.safetensors", replace=True), {})


def test_every_block_has_its_own_weight(files: MergeFiles) -> None:
    blocks = tuple(number / 25 for number in range(25))
    expected = {
        f"{UNET}input_blocks.0.0.weight": 0, f"{UNET}input_blocks.11.0.x": 11, f"{UNET}middle_block.2.x": 12, f"{UNET}output_blocks.0.0.x": 13,
        f"{UNET}output_blocks.11.1.x": 24, f"{UNET}time_embed.0.weight": 0, f"{UNET}out.2.weight": 24,
    }
    assert {key: block_weight(key, 0.5, 0.9, blocks) for key in expected} == {key: number / 25 for key, number in expected.items()}
    assert [block_weight(TOKENS, 0.5, *told) for told in ((0.9, blocks), (None, blocks), (0.9, ()))] == [0.9, 0.5, 0.5]
    xl = tuple(float(number) for number in range(19))
    named = ("input_blocks.8.0", "middle_block.0", "output_blocks.0.0", "output_blocks.8.1")
    assert [block_weight(f"{UNET}{block}.x", 0, 0, xl) for block in named] == [8, 9, 10, 18]
    out = merged(replace(files, tertiary=None, blocks=blocks, base=1.0))
    assert torch.equal(out[CONV_IN], model(1)[CONV_IN]) and torch.equal(out[TOKENS], model(2)[TOKENS])
    assert torch.equal(out[f"{UNET}middle_block.1.norm.weight"],
                       (1 - 12 / 25) * model(1)[f"{UNET}middle_block.1.norm.weight"] + 12 / 25 * model(2)[f"{UNET}middle_block.1.norm.weight"])


def test_progress_comes_to_its_end_and_metadata_is_written(files: MergeFiles) -> None:
    heard: list[float] = []
    merge(replace(files, tertiary=None), {"format": "pt", "sd_merge_recipe": "{}"}, heard.append)
    assert heard == sorted(heard) and heard[-1] == 1.0
    with safe_open(files.target, framework="pt") as file:
        assert file.metadata() == {"format": "pt", "sd_merge_recipe": "{}"}


@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_a_diffusers_folder_merges_as_the_file_it_would_become(tmp_path: Path, kind: str) -> None:
    a = seen(write_checkpoint(tmp_path / "a.safetensors", KINDS["tiny"][kind], 1))
    folder = seen(write_folder(tmp_path / "b", KINDS["tiny"][kind], 2, family=kind, shards=2), family=kind, layout="diffusers")
    convert(ConvertFiles(folder, tmp_path / "b.safetensors"))
    one = merged(MergeFiles(tmp_path / "one.safetensors", a, folder, method="Weighted sum"))
    other = merged(MergeFiles(tmp_path / "other.safetensors", a, seen(tmp_path / "b.safetensors"), method="Weighted sum"))
    assert one.keys() == other.keys() == load_file(a.path).keys()
    assert [name for name, value in one.items() if not torch.equal(value, other[name])] == []
    assert not torch.equal(one[CONV_IN], load_file(a.path)[CONV_IN])
    first = merged(MergeFiles(tmp_path / "first.safetensors", folder, a, method="Weighted sum", multiplier=1.0))
    assert torch.equal(first[CONV_IN], load_file(a.path)[CONV_IN])
