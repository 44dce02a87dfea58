"""Headers of every format: what they say, and in which words damaged and malicious files are refused. Nothing of a file is ever run."""

from __future__ import annotations

import argparse
import io
import os
import pickle
import random
import re
import struct
import sys
import time
import types
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy
import pytest
import torch
from safetensors.torch import save

from tests.backend.model_files import Runs, gguf_bytes, legacy_bytes, write_gguf
from webui.backend.formats import pickle_machine
from webui.backend.formats.pickle_machine import Machine, Refused
from webui.backend.headers import read_header
from webui.backend.kinds import recognise
from webui.backend.weights import open_weights
from webui.schema.errors import ModelError

STATE = {
    "half": torch.arange(6, dtype=torch.float16).view(2, 3), "bf": torch.ones(4, dtype=torch.bfloat16),
    "f8": torch.zeros(4, dtype=torch.float8_e4m3fn), "view": torch.arange(20.0).view(4, 5)[1:3, ::2], "scalar": torch.tensor(7),
    "parameter": torch.nn.Parameter(torch.ones(2)), "none": torch.zeros(0, 3), "flag": torch.tensor([True]),
}
OLD = {name: tensor for name, tensor in STATE.items() if name != "f8"}
"""What the older format can keep."""

SHAPES = {name: tuple(tensor.shape) for name, tensor in STATE.items()}
KINDS = {"half": "F16", "bf": "BF16", "f8": "F8_E4M3", "view": "F32", "scalar": "I64", "parameter": "F32", "none": "F32", "flag": "BOOL"}


def _zip(value: object, **options: object) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def _legacy(value: object) -> bytes:
    return _zip(value, _use_new_zipfile_serialization=False)


def _message(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        read_header(path)
    assert caught.value.field == "checkpoint"
    assert caught.value.hint
    assert path.name in caught.value.message
    with pytest.raises(ModelError), open_weights(path):
        pass
    return caught.value.message


@pytest.mark.parametrize(("write", "state"), [(_zip, STATE), (_legacy, OLD)], ids=["zip", "legacy"])
@pytest.mark.parametrize("training", [False, True], ids=["state dict", "training program's file"])
def test_pickles(tmp_path: Path, write: Callable[..., bytes], state: dict[str, torch.Tensor], training: bool) -> None:
    path = tmp_path / "model.ckpt"
    value = {"state_dict": OrderedDict(state), "epoch": 3, "optimizer_states": [{"x": torch.ones(9)}]} if training else state
    path.write_bytes(write(value))
    header = read_header(path)
    assert header.shapes == {name: SHAPES[name] for name in state}
    assert header.dtypes == {name: KINDS[name] for name in state}
    for whole in (False, True):
        with open_weights(path, whole=whole) as weights:
            assert weights.keys() == list(state)
            for name, tensor in state.items():
                assert weights.get(name).dtype == tensor.dtype
                assert torch.equal(weights.get(name).float(), tensor.detach().float()), name


def test_what_training_programs_leave_is_inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch Lightning's callbacks, keyed by class and as objects; numpy's numbers; a namespace of arguments; ParameterDict of old embeddings."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.setitem(sys.modules, name, module)
    value = {
        "callbacks": {callback: {"best": numpy.float64(0.5), "self": callback()}}, "arguments": argparse.Namespace(lr=1), "array": numpy.ones(3),
        "state_dict": OLD,
    }
    paths = [tmp_path / "new.ckpt", tmp_path / "old.ckpt"]
    paths[0].write_bytes(_zip(value))
    paths[1].write_bytes(_legacy(value))
    for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
        monkeypatch.delitem(sys.modules, name)
    for path in paths:
        header = read_header(path)
        assert header.shapes == {name: SHAPES[name] for name in OLD}
        assert "pytorch_lightning.callbacks.model_checkpoint.ModelCheckpoint" in header.inert
        with open_weights(path) as weights:
            assert torch.equal(weights.get("half"), STATE["half"])
    assert "pytorch_lightning" not in sys.modules
    assert not [item for item in torch.serialization.get_safe_globals() if isinstance(item, tuple)]


def test_tensors_below_dicts_and_lists_have_dotted_names(tmp_path: Path) -> None:
    parameters = torch.nn.ParameterDict({"*": torch.nn.Parameter(torch.ones(2, 768))})
    path = tmp_path / "embedding.pt"
    path.write_bytes(_zip({"string_to_token": {"*": 265}, "string_to_param": parameters, "name": "x", 768: ({"a": torch.ones(3)}, {})}))
    assert read_header(path).shapes == {"string_to_param.*": (2, 768), "768.0.a": (3,)}
    assert read_header(path).metadata == {"name": "x"}
    with open_weights(path) as weights:
        assert torch.equal(weights.get("string_to_param.*"), torch.ones(2, 768))


@pytest.mark.parametrize("form", ["zip", "legacy", "zip in safetensors' clothes", "hidden in a state dict"])
def test_a_malicious_pickle_is_refused_and_does_not_run(tmp_path: Path, form: str) -> None:
    mark = tmp_path / "it ran"
    call = Runs(os.system, f"touch '{mark}'")
    path = tmp_path / ("x.safetensors" if "safetensors" in form else "x.ckpt")
    if form == "legacy":
        path.write_bytes(legacy_bytes({"state_dict": call}))
    else:
        path.write_bytes(_zip({**STATE, "bad": call} if "hidden" in form else call))
    message = _message(path)
    assert "posix.system" in message and "nothing of it was run" in message
    assert not mark.exists()
    torch.load(io.BytesIO(_zip(call)), weights_only=False)
    assert mark.exists()  # the bait is real


@pytest.mark.parametrize("function", [eval, exec, getattr, __import__, print, numpy.load, torch.load, pickle.loads, torch.hub.load, OSError])
def test_any_foreign_function_is_named(tmp_path: Path, function: Callable[..., object]) -> None:
    path = tmp_path / "x.pt"
    path.write_bytes(_zip(Runs(function, "x")))
    assert f"{function.__name__}”, which no model needs" in _message(path)


def _nested_key() -> bytes:
    """A tuple in a tuple in a tuple …, used as a key: Python's own unpickler dies of its hash."""
    return b"\x80\x02})" + b"\x85" * 500_000 + b"Ns."


@pytest.mark.parametrize(
    "data",
    [_nested_key(), b"\x80\x02Nr\xff\xff\xff\xff.", b"\x80\x02X\xff\xff\xff\xff.", b"\x80\x04\x8e" + b"\xff" * 8 + b".", b"\x80\x02" + b"(" * 10**6,
     b"\x80\x02" + b"}" * 10**6 + b".", b"\x80\x02]q\x00" + b"h\x00a" * 10**5 + b"."],
    ids=["hash of nested tuples", "memo", "text", "bytes", "marks", "dicts", "a list within itself"],
)
def test_pickles_that_would_eat_the_machine(data: bytes) -> None:
    started = time.process_time()
    try:
        value = Machine(data).load()
    except Refused:
        value = None
    assert value is None or isinstance(value, dict | list)
    assert time.process_time() - started < 5


def test_a_list_within_itself_many_times_over_is_not_walked_forever(tmp_path: Path) -> None:
    inner: list[object] = [torch.ones(1)] * 100
    for _ in range(6):
        inner = [inner] * 100
    path = tmp_path / "x.pt"
    path.write_bytes(_zip([inner, inner]))
    started = time.perf_counter()
    assert "too many entries" in _message(path)
    assert time.perf_counter() - started < 10


@pytest.mark.parametrize("write", [_zip, _legacy], ids=["zip", "legacy"])
def test_truncated_pickles(tmp_path: Path, write: Callable[..., bytes]) -> None:
    data = write({f"{name} {number}": torch.ones(100) for name in STATE for number in range(10)})
    path = tmp_path / "x.ckpt"
    for length in (20, 300, len(data) // 2, len(data) - 400, len(data) - 1):
        path.write_bytes(data[:length])
        assert "cut short" in _message(path)


def test_archives_that_are_no_weights(tmp_path: Path) -> None:
    path = tmp_path / "x.pt"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("folder/unet/model.safetensors", b"x")
    assert "without a PyTorch pickle" in _message(path)
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), str(path))
    assert "TorchScript" in _message(path)
    path.write_bytes(b"\0" * 257 + b"ustar" + b"\0" * 500)
    assert "2017" in _message(path)
    path.write_bytes(pickle.dumps({"just": "a pickle"}, 2))
    assert "a Python pickle, but no model" in _message(path)
    path.write_bytes(_zip(STATE, pickle_protocol=4))
    assert "version 4 of pickle" in _message(path)
    path.write_bytes(b"anything else")
    assert "no model file of a format known" in _message(path)


def test_gguf(tmp_path: Path) -> None:
    half = numpy.arange(64, dtype=numpy.float16)
    tensors = {
        "a.weight": ("F16", (2, 32), half.tobytes()), "b.weight": ("F32", (3,), numpy.ones(3, numpy.float32).tobytes()),
        "c.weight": ("BF16", (4, 2), bytes(16)), "q.weight": ("Q8_0", (2, 64), bytes(136)), "k.weight": ("Q4_K", (1, 256), bytes(144)),
    }
    notes = {"general.architecture": "flux", "general.alignment": 32, "long": list(range(100)), "comfy.gguf.orig_shape.c.weight": [2, 2, 2, 1]}
    path = write_gguf(tmp_path / "x.gguf", tensors, notes)
    header = read_header(path)
    assert header.shapes == {"a.weight": (2, 32), "b.weight": (3,), "c.weight": (2, 2, 2, 1), "q.weight": (2, 64), "k.weight": (1, 256)}
    assert list(header.dtypes.values()) == ["F16", "F32", "BF16", "Q8_0", "Q4_K"]
    assert header.metadata["general.architecture"] == "flux"
    plain = write_gguf(tmp_path / "plain.gguf", {name: tensor for name, tensor in tensors.items() if tensor[0] in ("F16", "F32", "BF16")})
    for whole in (False, True):
        with open_weights(plain, whole=whole) as weights:
            assert weights.get("a.weight").flatten().tolist() == half.tolist()
            assert weights.get("b.weight").dtype == torch.float32
            assert weights.get("c.weight").dtype == torch.bfloat16
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in _message(path)


def test_quantised_weights_name_the_package_they_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_gguf(tmp_path / "x.gguf", {"plain": ("F16", (32,), bytes(64)), "q.weight": ("Q8_0", (2, 64), bytes(136))})
    monkeypatch.setattr("webui.backend.weights.find_spec", lambda name: None)
    with pytest.raises(ModelError, match=r"quantised \(Q8_0 of q\.weight\)") as caught, open_weights(path):
        pass
    assert "pip install gguf" in (caught.value.hint or "")


def _safetensors() -> bytes:
    return save({name: tensor.detach().contiguous() for name, tensor in STATE.items()}, {"note": "x"})


def _gguf() -> bytes:
    return gguf_bytes({"a": ("F16", (2, 32), bytes(128)), "q": ("Q8_0", (2, 64), bytes(136))}, {"general.name": "x", "list": [1, 2, 3]})


def _bare() -> bytes:
    """The pickle inside a zip archive, in the older frame: mutations reach the pickle, not the archive's checksums."""
    return _legacy({"state_dict": OLD})


@pytest.mark.parametrize("make", [_safetensors, lambda: _zip(STATE), _bare, _gguf], ids=["safetensors", "zip", "legacy", "gguf"])
def test_a_thousand_mutations_neither_crash_nor_hang(tmp_path: Path, make: Callable[[], bytes]) -> None:
    data, dice, path = make(), random.Random(0), tmp_path / "x.bin"
    refused, slowest = 0, 0.0
    for _ in range(1000):
        path.write_bytes(_mutated(data, dice))
        started = time.process_time()
        try:
            recognise(read_header(path))
        except ModelError as error:
            refused += bool(error.hint) and error.field == "checkpoint"
        slowest = max(slowest, time.process_time() - started)
    assert refused > 100
    assert slowest < 0.1


def _run(data: bytes) -> object:
    """Everything a machine has when it has run the pickle, or why it did not."""
    machine = Machine(data)
    try:
        return repr((machine.load(), machine._memo, machine.storages, machine.inert, machine.position))
    except Refused as reason:
        return type(reason), reason.what, reason.hint


@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_a_tensor_in_one_step_is_what_its_instructions_make(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the bytes are not what torch writes: the same value, memo and storages, or the same refusal."""
    shapes = [(3,), (300, 2), (2, 2, 70_000), (1, 2, 3, 4), (1, 1, 1, 1, 2), ()]
    state = {f"layer.{number}": torch.zeros((), dtype=torch.float16).expand(shapes[number % len(shapes)]) for number in range(80)}
    if form == "zip":
        with zipfile.ZipFile(io.BytesIO(_zip(state))) as archive:
            data = archive.read("archive/data.pkl")
    else:
        file = io.BytesIO(_legacy(state))
        for _ in range(3):
            pickle.load(file)
        data = file.getvalue()[file.tell():]
    found, dice, singly = list(pickle_machine._TENSOR.finditer(data)), random.Random(1), re.compile(rb"(?!)")
    assert len(found) > 30
    tenth = found[10]
    changes = [data, *(_mutated(data, dice) for _ in range(1000))]
    for place in range(*tenth.span()):  # another byte, the memo's place of the device that is read later, a byte too few or too many
        for lost, piece in ((1, bytes([dice.randrange(256)])), (4, tenth[7] + bytes(3)), (1, b""), (0, b"1")):
            changes.append(data[:place] + piece + data[place + lost:])
    answers = [_run(changed) for changed in changes]
    monkeypatch.setattr(pickle_machine, "_TENSOR", singly)
    assert [_run(changed) for changed in changes] == answers
    assert isinstance(answers[0], str) and 20 < sum(isinstance(answer, str) for answer in answers) < len(answers) - 100


def _mutated(data: bytes, dice: random.Random) -> bytes:
    """Changed bytes, numbers, lost, doubled and swapped pieces, mostly near the beginning, where headers are."""
    content = bytearray(data)
    for _ in range(dice.randint(1, 4)):
        at = dice.randrange(min(len(content), dice.choice([16, 100, 400, 2000, 10**9])))
        match dice.randrange(6):
            case 0:
                content[at] = dice.randrange(256)
            case 1:
                content[at] ^= 1 << dice.randrange(8)
            case 2:
                content[at:at + 8] = struct.pack("<Q", dice.choice([0, 1, 255, 2**31, 2**32 - 1, 2**63, 2**64 - 1]))
            case 3:
                del content[at:at + dice.randrange(1, 40)]
            case 4:
                content[at:at] = content[dice.randrange(len(content)):][: dice.randrange(1, 60)]
            case _:
                content[at:at + 1] = dice.choice([b"9" * 20, b"-1", b"1e400", b"null", b"[" * 50, b"\xff" * 4, b"R", b"c", b"."])
        if len(content) < 2:
            break
    return bytes(content)
