"""Parts in memory: within a budget, shared by content, mapped ones for nothing, and given back."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from tools.random_checkpoint import TINY, write_checkpoint
from webui.backend import parts
from webui.backend.catalog import Catalog
from webui.backend.device import Device
from webui.backend.families.sd_config import PRESETS
from webui.backend.manager import MAPPED_KEPT, ModelManager
from webui.backend.parts import ModelChoice, Residence

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")
HALF = Device(torch.device("cpu"), torch.float16, torch.float16, "sdpa")
Choose = Callable[[str], ModelChoice]


@pytest.fixture
def choose(tmp_path: Path, tiny_checkpoint: Path, hashes) -> Choose:
    """Checkpoints `a`, `b`, `c` of different weights; `twin` has the VAE and the text encoder of `a` and a UNet of its own."""
    folder = tmp_path / "models"
    for seed, name in enumerate("abc"):
        write_checkpoint(folder / f"{name}.safetensors", TINY, seed)
    with safe_open(folder / "a.safetensors", framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(folder / "a.safetensors")
    others = load_file(folder / "b.safetensors")
    mixed = {key: others[key] if key.startswith("model.") else value for key, value in weights.items()}
    save_file(mixed, folder / "twin.safetensors", metadata)
    catalog = Catalog([folder], hashes)
    return lambda name: ModelChoice(catalog.get(name))


def use(manager: ModelManager, choice: ModelChoice, loads: list[str] | None = None, **terms: object) -> dict[str, torch.nn.Module]:
    """Lease and give back; the modules that were there."""
    loading = None if loads is None else lambda: loads.append(choice.checkpoint.stem)
    with manager.lease(choice, loading=loading, **terms) as components:  # pyright: ignore[reportArgumentType]
        return dict(components.modules)


def bytes_of(modules: dict[str, torch.nn.Module], *names: str) -> int:
    return sum(value.nbytes for name in names or modules for value in modules[name].state_dict().values())


def test_what_is_in_memory_is_counted(choose: Choose) -> None:
    manager = ModelManager(CPU)
    modules = use(manager, choose("a"))
    assert manager.held == manager.idle == bytes_of(modules)
    with manager.lease(choose("a")):
        assert manager.idle == 0
    assert {name: size.weights for name, size in manager.sizes(choose("a")).items()} == {name: bytes_of(modules, name) for name in modules}


def test_parts_leave_one_by_one(choose: Choose) -> None:
    """A budget for one model and a half: of the first the parts used longest ago leave, the rest is still there when it comes back."""
    manager, loads = ModelManager(CPU), []
    first = use(manager, choose("a"), loads, keep=3)
    budget = bytes_of(first) * 3 // 2
    use(manager, choose("b"), loads, keep=3, budget=budget)
    assert manager.held <= budget
    assert manager.loaded == ["b.safetensors"]
    again = use(manager, choose("a"), loads, keep=3, budget=budget)
    same = [name for name in first if again[name] is first[name]]
    assert loads == ["a", "b", "a"]
    assert 0 < len(same) < 3


def test_a_budget_never_takes_what_is_leased(choose: Choose) -> None:
    manager = ModelManager(CPU)
    with manager.lease(choose("a"), budget=1) as first, manager.lease(choose("b"), budget=1):
        assert manager.loaded == ["a.safetensors", "b.safetensors"]
        assert manager.held > 1
        assert first.modules["unet"].state_dict()


def test_the_same_weights_in_another_file_are_held_once(choose: Choose) -> None:
    manager = ModelManager(CPU)
    first = use(manager, choose("a"))
    held = manager.held
    with manager.lease(choose("twin")) as twin:
        assert twin.modules["vae"] is first["vae"]
        assert twin.modules["text_encoder"] is first["text_encoder"]
        assert twin.modules["unet"] is not first["unet"]
        assert manager.held == held
    others = use(manager, choose("c"))
    assert all(others[name] is not module for name, module in first.items())


def test_what_was_taken_from_a_file_goes_with_it(choose: Choose) -> None:
    """A part that a twin borrowed may live in the other's mapped file: when that one changes, it is loaded anew."""
    manager, loads = ModelManager(HALF), []
    lender = choose("a")
    use(manager, lender, loads)
    borrowed = use(manager, choose("twin"), loads)["vae"]
    write_checkpoint(Path(lender.checkpoint.path), TINY, seed=9)
    assert use(manager, choose("twin"), loads)["vae"] is not borrowed
    assert loads == ["a", "twin", "twin"]


def test_mapped_models_cost_nothing_and_stay(choose: Choose) -> None:
    manager, loads = ModelManager(HALF), []
    for name in ("a", "b", "c", "a", "b", "c"):
        use(manager, choose(name), loads, keep=1, budget=1)
    assert manager.held == 0
    assert loads == ["a", "b", "c"]
    assert len(manager.loaded) == 3 < MAPPED_KEPT
    manager.evict()
    assert manager.loaded == []


def test_read_whole_they_cost_what_they_weigh(choose: Choose) -> None:
    manager = ModelManager(HALF)
    modules = use(manager, choose("a"), residence=Residence(whole=True))
    assert manager.held == bytes_of(modules)
    assert manager.loaded == ["a.safetensors"]


def test_8_bit_storage(choose: Choose) -> None:
    """Linear layers and convolutions of the UNet in a byte a weight, computing as before."""
    manager = ModelManager(CPU)
    plain = use(manager, choose("a"))["unet"]
    with manager.lease(choose("a"), keep=2, residence=Residence(storage="fp8")) as components:
        unet = components.modules["unet"]
        assert {value.dtype for value in unet.state_dict().values()} == {torch.float8_e4m3fn, torch.float32}
        assert bytes_of({"unet": unet}) < 0.5 * bytes_of({"unet": plain})
        assert all(value.dtype != torch.float8_e4m3fn for value in components.modules["vae"].state_dict().values())
        inputs = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, 32)
        close = torch.nn.functional.cosine_similarity(unet(*inputs)[0].flatten(), plain(*inputs)[0].flatten(), dim=0)
        assert 0.98 < close < 1


@pytest.mark.parametrize("mode", ["model offload", "group offload"])
def test_offloaded_modules_compute_the_same(choose: Choose, mode: str) -> None:
    manager = ModelManager(CPU)
    inputs = torch.randn(1, 4, 8, 8), torch.tensor([500.0]), torch.randn(1, 77, 32)
    latents = torch.randn(1, 4, 8, 8)
    with torch.inference_mode():
        with manager.lease(choose("a")) as plain:
            wanted = plain.modules["unet"](*inputs)[0], plain.autoencoder.decode(latents)
        with manager.lease(choose("a"), residence=Residence(mode)) as moved:  # pyright: ignore[reportArgumentType]
            assert moved.modules["unet"] is not plain.modules["unet"]
            assert torch.equal(moved.modules["unet"](*inputs)[0], wanted[0])
            assert torch.equal(moved.autoencoder.decode(latents), wanted[1])


def test_twenty_switches_among_three_leak_nothing(tmp_path: Path, hashes) -> None:
    """Only the model used last is alive, and resident memory has not grown by 2 %, where a leak would be one model a turn."""
    for seed, name in enumerate("abc"):
        write_checkpoint(tmp_path / f"{name}.safetensors", TINY, seed)
    catalog, manager, process = Catalog([tmp_path], hashes), ModelManager(CPU), psutil.Process()
    seen, alive = [], []
    for turn in range(23):  # the allocator has seen each of them once before counting begins
        with manager.lease(ModelChoice(catalog.get("abc"[turn % 3]))) as components:
            cost, alive = manager.held, [*alive, weakref.ref(components.modules["unet"])]
        del components
        seen.append(process.memory_info().rss)
    assert manager.held == cost
    assert [reference() is not None for reference in alive] == [False] * 22 + [True]
    assert seen[22] <= 1.02 * seen[5]
    assert 17 * cost > 0.02 * seen[5]  # else a leak would not have been seen


TABLE = "embeddings.token_embedding.weight"


@pytest.mark.parametrize("computing", [CPU, Device(torch.device("cpu"), torch.bfloat16, torch.bfloat16, "sdpa")], ids=["float32", "bfloat16"])
def test_a_table_of_words_stays_in_its_file(choose: Choose, computing: Device, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only rows that a prompt reads are cast: the same bits as from the table that was cast whole, at no memory of its own."""
    tokens, cast = torch.tensor([[49406, *range(0, 49000, 700), 49407]]), ModelManager(computing)
    with torch.inference_mode(), cast.lease(choose("a")) as components:
        wanted = [components.text_encoders[0].encode(tokens, skip) for skip in (None, 2)]
        whole = components.modules["text_encoder"].state_dict()[TABLE]
    assert whole.dtype == computing.dtype
    monkeypatch.setattr(parts, "TABLE", whole.numel() * 2)
    manager = ModelManager(computing)
    with torch.inference_mode(), manager.lease(choose("a")) as components:
        module = components.modules["text_encoder"]
        assert module.state_dict()[TABLE].dtype == torch.float16
        assert manager.held == cast.held - whole.nbytes
        for skip, states in zip((None, 2), wanted, strict=True):
            found = components.text_encoders[0].encode(tokens, skip)
            assert found.states.dtype == states.states.dtype and torch.equal(found.states, states.states)
        with manager.lease(choose("twin")) as twin:
            assert twin.modules["text_encoder"] is module
    read = use(manager, choose("a"), residence=Residence(whole=True))["text_encoder"]
    assert read.state_dict()[TABLE].dtype == computing.dtype  # nothing is left mapped where the person forbids it


def test_tables_of_another_dtype_are_no_twins(choose: Choose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a table in float16 has lost is not what a file in float32 says, though both look alike in float16."""
    monkeypatch.setattr(parts, "TABLE", 1)
    manager, narrow = ModelManager(CPU), choose("a")
    first = use(manager, narrow, keep=2)["text_encoder"]
    path = Path(narrow.checkpoint.path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    weights = load_file(path)
    key = next(name for name in weights if name.endswith(TABLE))
    for number, (wide, same) in enumerate(((weights[key].float(), True), (weights[key].float() * (1 + 2**-14), False))):
        other = path.with_name(f"wide-{number}.safetensors")
        save_file(weights | {key: wide}, other, metadata)
        assert torch.equal(wide.half(), weights[key])
        stat = other.stat()
        known = narrow.checkpoint.model_copy(update={"name": other.name, "path": str(other), "mtime": stat.st_mtime, "size": stat.st_size})
        assert (use(manager, ModelChoice(known), keep=2)["text_encoder"] is first) == same


def test_the_table_of_published_models_is_large_enough() -> None:
    words = 49408
    assert words * PRESETS["sd1"].text_encoder.width * 2 >= parts.TABLE  # pyright: ignore[reportOptionalMemberAccess]
