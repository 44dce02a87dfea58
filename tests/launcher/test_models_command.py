"""`launch.py models`: the same work as the page's, without a server; errors name the flag."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import datetime
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tools import models

ROOT = Path(__file__).resolve().parents[2]
CONV_IN = "model.diffusion_model.input_blocks.0.0.weight"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two checkpoints of a tensor."""
    folder = tmp_path / "models" / "Stable-diffusion"
    folder.mkdir(parents=True)
    for name, value in (("a", 1.0), ("b", 3.0)):
        save_file({CONV_IN: torch.full((2, 4, 3, 3), value)}, folder / f"{name}.safetensors", {"format": "pt", "title": name})
    return tmp_path


def run(data: Path, *words: str) -> int:
    """The command, in this process."""
    return models.main(["--data-dir", str(data), *words])


def test_list_and_info(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "list", "--json") == 0
    assert [card["name"] for card in json.loads(capsys.readouterr().out)] == ["a.safetensors", "b.safetensors"]
    assert run(data, "info", "a") == 0
    told = capsys.readouterr().out
    assert "title: a" in told and "parameters:  72" in told
    assert "size:        0.0 MB" in told and f"mtime:       {datetime.now():%Y-}" in told  # for a person; --json has bytes and seconds
    (data / "models" / "Stable-diffusion" / "cut.safetensors").write_bytes(b"hello")
    assert run(data, "info", "cut") == 0
    assert capsys.readouterr().out.count("is cut short") == 1
    assert run(data, "convert", "cut") == 1
    assert capsys.readouterr().err.startswith("SOURCE: cut.safetensors is cut short")


def test_merge_and_convert(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(data, "merge", "a", "b", "--multiplier", "0.5", "--name", "mixed") == 0
    folder = data / "models" / "Stable-diffusion"
    assert load_file(folder / "mixed.safetensors")[CONV_IN].unique().tolist() == [2.0] and "mixed.safetensors" in capsys.readouterr().out
    assert run(data, "convert", "mixed", "--dtype", "float16") == 0
    assert load_file(folder / "mixed-fp16.safetensors")[CONV_IN].dtype == torch.float16


@pytest.mark.parametrize(("words", "says"), [
    (("merge", "a", "nobody"), "B: There is no checkpoint “nobody”"), (("merge", "a", "b", "--blocks", "1"), "--blocks: These are 1 numbers"),
    (("convert", "a", "--name", "../x"), "--name: This is no file name"), (("convert", "a", "--name", "b"), "--name: b.safetensors is there already"),
    (("info", "none"), "There is no checkpoint “none”"),
    (("merge", "a", "b", "--multiplier", "7"), "--multiplier: Input should be less than or equal to 1"),
    (("merge", "a", "b", "--multiplier", "nan"), "--multiplier: Input should be a finite number"),
    (("merge", "a", "b", "--base", "-1"), "--base: Input should be greater than or equal to 0"),
])
def test_errors_name_the_flag(data: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], says: str) -> None:
    assert run(data, *words) == 1
    assert says in capsys.readouterr().err


def test_it_needs_neither_gradio_nor_torch_to_begin() -> None:
    code = "import sys; from tools import models; print([name for name in ('gradio', 'torch', 'fastapi') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == "[]"


def test_folders_are_named_before_or_behind_the_command(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["list", "--data-dir", str(data)], ["list", "--models-dir", str(data / "models"), "--data-dir", str(data)]):
        assert models.main(words) == 0
        assert "a.safetensors" in capsys.readouterr().out


def test_names_with_folders_and_two_of_the_same(data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A name goes without its ending, with its folder or without; where two are called so, neither is guessed."""
    folder = data / "models" / "Stable-diffusion"
    for place in ("ünï 漢字", "it's"):
        (folder / place).mkdir()
        save_file({CONV_IN: torch.zeros(2, 4, 3, 3)}, folder / place / "sp \"ace\".safetensors", {"format": "pt"})
    assert run(data, "info", "ünï 漢字/sp \"ace\"") == 0
    assert "ünï 漢字/sp" in capsys.readouterr().out
    assert run(data, "convert", "it's/sp \"ace\"", "--name", "made") == 0 and (folder / "made.safetensors").is_file()
    for words, flag in ((("info", "sp \"ace\""), "NAME: 2 models"), (("merge", "a", "sp \"ace\""), "B: 2 checkpoints")):
        assert run(data, *words) == 1
        told = capsys.readouterr().err
        assert flag in told and "Say which: it's/sp \"ace\".safetensors or ünï 漢字/sp \"ace\".safetensors." in told
