"""The two layouts of SD 1.x weights, and what loading says about files that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend.device import Device
from webui.backend.families import sd
from webui.backend.families.ldm import prefixes, read_part, to_ldm_weights
from webui.backend.families.places import Place
from webui.backend.families.sd_config import CONFIG_KEY, PRESETS, SdConfig, read_config
from webui.backend.families.sd_modules import SdModules, build_modules
from webui.backend.parts import ModelChoice, OpenFiles, Residence, load_counted, load_part
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")


def _load(path: Path, device: Device = CPU) -> SdModules:
    """Not assembled: the modules themselves are looked at."""
    plan = sd.plan(ModelChoice(_checkpoint(path)))
    return SdModules(_config_of(path), **{part.name: load_part(part, device) for part in plan.parts})


def _config_of(path: Path) -> SdConfig:
    with safe_open(path, framework="pt") as file:
        return read_config(file.metadata() or {}, path.name) or PRESETS["sd1"]


def _checkpoint(path: Path) -> Checkpoint:
    stat = path.stat()
    return Checkpoint(name=path.name, path=str(path), size=stat.st_size, mtime=stat.st_mtime, family="sd1")


class Given:
    """Implements `Weights` for a dictionary."""

    def __init__(self, tensors: dict[str, torch.Tensor]) -> None:
        self._tensors = tensors
        self.metadata: dict[str, str] = {}

    def keys(self) -> list[str]:
        return list(self._tensors)

    def shape(self, key: str) -> tuple[int, ...]:
        return tuple(self._tensors[key].shape)

    def get(self, key: str) -> torch.Tensor:
        return self._tensors[key]


def test_names_of_the_full_model_are_those_of_diffusers_converters() -> None:
    """On the meta device, so SD 1.5's real sizes cost nothing."""
    modules = build_modules(SdConfig())
    weights = to_ldm_weights(modules)
    assert len(weights) == 686 + 248 + 196
    assert convert_ldm_unet_checkpoint(dict(weights), dict(modules.unet.config)).keys() == modules.unet.state_dict().keys()
    assert convert_ldm_vae_checkpoint(dict(weights), dict(modules.vae.config)).keys() == modules.vae.state_dict().keys()
    assert weights["model.diffusion_model.output_blocks.5.2.conv.weight"].shape == (1280, 1280, 3, 3)
    assert weights["first_stage_model.decoder.mid.attn_1.q.weight"].shape == (512, 512, 1, 1)
    assert weights["cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"].shape == (49408, 768)


def test_round_trip(tiny_checkpoint: Path) -> None:
    modules = _load(tiny_checkpoint)
    weights, original = to_ldm_weights(modules), load_file(tiny_checkpoint)
    assert weights.keys() == original.keys()
    for key, value in original.items():
        assert torch.equal(weights[key], value.float()), key
    for part, prefix in prefixes(TINY).items():
        own = modules.parts[part].state_dict()
        words = "module" if part == "text_encoder" else "ldm"
        back = read_part(Given(weights), Place(prefix, words), TINY, part, own)
        assert all(torch.equal(back[key], value) for key, value in own.items())


HALF = Device(torch.device("cpu"), torch.float16, torch.float16, "sdpa")


def _overwrite(path: Path) -> None:
    """Zeros in place of all weights, in the same file."""
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        file.write(b"\0" * (size - file.tell()))


def test_cast_weights_do_not_hang_on_the_file(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors", TINY)
    modules = _load(path)
    before = modules.unet.conv_in.weight.clone()
    _overwrite(path)
    assert before.abs().max() > 0
    assert torch.equal(modules.unet.conv_in.weight, before)


def test_weights_in_the_dtype_of_the_file_stay_in_it(tmp_path: Path) -> None:
    """No copy is made (docs/adr/0007): what is written into the file is seen. A file that was replaced or deleted does not matter."""
    path = write_checkpoint(tmp_path / "a.safetensors", TINY)
    modules = _load(path, HALF)
    before = modules.unet.conv_in.weight.clone()
    write_checkpoint(tmp_path / "b.safetensors", TINY, seed=1).replace(path)
    assert torch.equal(modules.unet.conv_in.weight, before)
    again = _load(path, HALF)
    _overwrite(path)
    assert again.unet.conv_in.weight.abs().max() == 0
    assert torch.equal(modules.unet.conv_in.weight, before)


def test_a_file_read_whole_is_let_go(tmp_path: Path) -> None:
    path = write_checkpoint(tmp_path / "a.safetensors", TINY)
    parts = sd.plan(ModelChoice(_checkpoint(path))).parts
    with OpenFiles(whole=True) as opened:
        loaded = {part.name: load_counted(part, HALF, opened, Residence(whole=True)) for part in parts}
    mapped = _load(path, HALF)
    for name, (module, own) in loaded.items():
        assert own == sum(value.nbytes for value in module.state_dict().values())
        assert all(torch.equal(value, getattr(mapped, name).state_dict()[key]) for key, value in module.state_dict().items())
    before = loaded["vae"].module.decoder.conv_in.weight.clone()
    _overwrite(path)
    assert torch.equal(loaded["vae"].module.decoder.conv_in.weight, before)


def test_missing_weights_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    with safe_open(tiny_checkpoint, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(tiny_checkpoint)
    del weights["model.diffusion_model.middle_block.1.proj_in.weight"]
    save_file(weights, tmp_path / "holed.safetensors", metadata)
    with pytest.raises(ModelError, match=r"unet lacks 1 weights, the first is mid_block.attentions.0.proj_in.weight") as caught:
        _load(tmp_path / "holed.safetensors")
    assert caught.value.field == "checkpoint"


def test_other_sizes_without_a_word_about_them_are_named(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """Without `easel.config` sizes are measured, and what does not fit together is named."""
    weights = load_file(tiny_checkpoint)
    weights["model.diffusion_model.middle_block.0.in_layers.2.weight"] = torch.zeros(64, 32, 3, 3)
    save_file(weights, tmp_path / "silent.safetensors")
    with pytest.raises(ModelError, match=r"mid_block.resnets.0.conv1.weight has the shape \(64, 32, 3, 3\) instead of"):
        _load(tmp_path / "silent.safetensors")


def test_a_file_that_vanished(tmp_path: Path) -> None:
    gone = Checkpoint(name="gone.safetensors", path=str(tmp_path / "gone.safetensors"), size=1, mtime=1, family="sd1")
    with pytest.raises(ModelError, match="not there any more"):
        sd.plan(ModelChoice(gone))


def test_config_is_read_from_the_file(tiny_checkpoint: Path) -> None:
    with safe_open(tiny_checkpoint, framework="pt") as file:
        assert read_config(file.metadata(), "tiny") == TINY
    assert read_config({}, "any") is None


@pytest.mark.parametrize(
    "text", ["", "[]", "{", '{"unet": {"channels": [32]}}', '{"unet": {"layers": 0}}', '{"wheels": 4}', '{"scheduler": {"prediction": "x"}}'],
)
def test_a_wrong_config_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="describes its own sizes wrongly"):
        read_config({CONFIG_KEY: text}, "odd.safetensors")


def test_same_seed_same_file(tmp_path: Path) -> None:
    first, second, other = (write_checkpoint(tmp_path / name, TINY, seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert first.read_bytes() == second.read_bytes() != other.read_bytes()
