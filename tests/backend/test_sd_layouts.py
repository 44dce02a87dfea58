"""Every family in every layout, with tiny random weights: loads offline, and answers as diffusers' own modules of the same weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_open_clip_checkpoint
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.backend.model_files import FORMATS, rewritten
from tools.random_checkpoint import KINDS, family_of, write_checkpoint, write_folder, write_unet
from webui.backend.components import Components, Frame, ModuleCall, View
from webui.backend.device import Device
from webui.backend.families import sd
from webui.backend.families.ldm import to_ldm_weights
from webui.backend.families.ldm_keys import UNET_PREFIX, dotted, ema_name
from webui.backend.families.places import find_part
from webui.backend.families.sd_config import PRESETS
from webui.backend.families.sd_modules import SdModules, build_modules
from webui.backend.families.sizes import measure_text, measure_unet, measure_vae
from webui.backend.headers import read_header
from webui.backend.identify import identify
from webui.backend.parts import ModelChoice, load_model, load_part
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint, FileKind, ModelFile

CPU = Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa")
TINIES = KINDS["tiny"]
FRAME = Frame(96, 64, 8, 16, 5.0)


def checkpoint_of(path: Path, family: str, **more: Any) -> Checkpoint:
    stat = path.stat()
    known: dict[str, Any] = {"name": path.name, "path": str(path), "size": stat.st_size, "mtime": stat.st_mtime, "family": family}
    return Checkpoint(**known | {"layout": "diffusers" if path.is_dir() else "ldm"} | more)


@dataclass
class Folder:
    """A shelf with these files."""

    found: tuple[tuple[FileKind, Path], ...] = ()
    known: tuple[Checkpoint, ...] = ()

    def files(self, kind: FileKind) -> list[ModelFile]:
        stats = [(path, path.stat()) for one, path in self.found if one == kind]
        return [ModelFile(kind=kind, name=path.stem, path=str(path), size=stat.st_size, mtime=stat.st_mtime) for path, stat in stats]

    def folders(self, kind: FileKind) -> tuple[Path, ...]:
        return tuple(dict.fromkeys(path.parent for one, path in self.found if one == kind))

    def checkpoint(self, name: str) -> Checkpoint | None:
        return next((one for one in self.known if name in (one.name, one.stem)), None)


@dataclass
class Case:
    """One kind of model in a diffusers folder and in a single file."""

    kind: str
    folder: Path
    file: Path

    @property
    def family(self) -> str:
        return family_of(self.kind)


@pytest.fixture(scope="module", params=sorted(TINIES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    kind, root = request.param, tmp_path_factory.mktemp("layouts")
    folder = write_folder(root / kind, TINIES[kind], 3, family=family_of(kind), shards=2)
    return Case(kind, folder, write_checkpoint(root / f"{kind}.safetensors", TINIES[kind], 3))


@pytest.fixture(scope="module")
def plain(case: Case) -> dict[str, Any]:
    """diffusers' and transformers' own loaders; nothing of ours but the weights."""
    found: dict[str, Any] = {
        "unet": UNet2DConditionModel.from_pretrained(case.folder / "unet", torch_dtype=torch.float32),
        "vae": AutoencoderKL.from_pretrained(case.folder / "vae", torch_dtype=torch.float32),
    }
    for name, text in TINIES[case.kind].texts.items():
        projected = text.projection and case.family != "sd2"
        found[name] = (CLIPTextModelWithProjection if projected else CLIPTextModel).from_pretrained(case.folder / name, dtype=torch.float32)
    return {name: module.eval() for name, module in found.items()}


def _tokens(pad: int) -> torch.Tensor:
    tokens = torch.full((2, 77), pad)
    tokens[:, :4] = torch.tensor([[49406, 320, 736, 49407], [49406, 1125, 539, 49407]])
    return tokens


@torch.inference_mode()
def _encoded_by_hand(plain: dict[str, Any], family: str) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Context and pooled vector as diffusers' pipelines make them (`encode_prompt`), of 77 tokens padded as each tokenizer does."""
    if family in ("sd1", "sd2"):
        return plain["text_encoder"](_tokens(49407 if family == "sd1" else 0)).last_hidden_state, None
    states, pooled = [], None
    for name, pad in (("text_encoder", 49407), ("text_encoder_2", 0)):
        if name in plain:
            output = plain[name](_tokens(pad), output_hidden_states=True)
            states.append(output.hidden_states[-2])
            pooled = output[0]
    return torch.cat(states, -1), pooled


@torch.inference_mode()
def _encoded(components: Components) -> tuple[torch.Tensor, torch.Tensor | None]:
    encoded = components.join([encoder.encode(_tokens(encoder.pad), None) for encoder in components.text_encoders])
    return encoded.states, encoded.pooled


TIMES = torch.tensor([321.5, 321.5])


@dataclass
class Answers:
    """What diffusers' and transformers' modules say: texts, one step of the denoiser, the autoencoder; and what they were asked."""

    context: torch.Tensor
    pooled: torch.Tensor | None
    x: torch.Tensor
    step: torch.Tensor
    decoded: torch.Tensor
    picture: torch.Tensor
    encoded: torch.Tensor
    classed: bool = False


@pytest.fixture(scope="module")
@torch.inference_mode()
def answers(case: Case, plain: dict[str, Any]) -> Answers:
    generator = torch.Generator().manual_seed(0)
    context, pooled = _encoded_by_hand(plain, case.family)
    x = torch.randn(2, plain["unet"].config.in_channels, 8, 12, generator=generator)
    told: dict[str, torch.Tensor] | None = None
    if pooled is not None:
        sizes = [64.0, 96, 8, 16, *([5.0] if case.family == "sdxl-refiner" else [64, 96])]
        told = {"text_embeds": pooled, "time_ids": torch.tensor([sizes, sizes])}
    classes = TINIES[case.kind].unet.classed
    seen = torch.zeros(2, classes) if classes else None
    step = plain["unet"](x, TIMES, context, class_labels=seen, added_cond_kwargs=told).sample
    vae, scaling = plain["vae"], plain["vae"].config.scaling_factor
    picture = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    decoded, encoded = vae.decode(x[:, :4] / scaling).sample, vae.encode(picture).latent_dist.mean * scaling
    return Answers(context, pooled, x, step, decoded, picture, encoded, bool(classes))


@torch.inference_mode()
def _compare(components: Components, wanted: Answers) -> None:
    """Texts, one step of the denoiser and the autoencoder, within 1e-5."""
    ours, vector = _encoded(components)
    torch.testing.assert_close(ours, wanted.context, atol=1e-5, rtol=0)
    added: dict[str, torch.Tensor] = {}
    if wanted.pooled is not None:
        assert vector is not None
        torch.testing.assert_close(vector, wanted.pooled, atol=1e-5, rtol=0)
        rows = [components.describe(row, FRAME) for row in vector]
        added = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    if wanted.classed:
        rows = [components.describe(None, FRAME) for _ in range(2)]
        added = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    torch.testing.assert_close(components.denoise(ModuleCall(wanted.x, TIMES, ours, added=added)), wanted.step, atol=1e-5, rtol=0)
    torch.testing.assert_close(components.autoencoder.decode(wanted.x[:, :4]), wanted.decoded, atol=1e-5, rtol=0)
    torch.testing.assert_close(components.autoencoder.encode(wanted.picture), wanted.encoded, atol=1e-5, rtol=0)


def _load(path: Path, family: str, shelf: Folder | None = None) -> Components:
    return load_model(sd.plan(ModelChoice(checkpoint_of(path, family), shelf=shelf)), CPU)


def test_a_single_file(case: Case, answers: Answers) -> None:
    _compare(_load(case.file, case.family), answers)


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats(case: Case, answers: Answers, form: str, tmp_path: Path) -> None:
    path = rewritten(case.file, form, tmp_path)
    assert identify(path).family == case.family
    _compare(_load(path, case.family), answers)


def test_a_folder_with_shards(case: Case, answers: Answers) -> None:
    _compare(_load(case.folder, case.family), answers)


@pytest.mark.parametrize("bare", [True, False])
def test_a_unet_alone_with_the_parts_of_the_checkpoint_it_names(case: Case, answers: Answers, bare: bool, tmp_path: Path) -> None:
    weights = load_file(case.file)
    unet = {name: value for name, value in weights.items() if name.startswith("model.diffusion_model.")}
    unet = {name.removeprefix("model.diffusion_model.") if bare else name: value for name, value in unet.items()}
    save_file(unet, tmp_path / "u.safetensors", {"easel.base": case.file.name})
    _compare(_load(tmp_path / "u.safetensors", case.family, Folder(known=(checkpoint_of(case.file, case.family),))), answers)


def test_a_unet_alone_with_the_parts_of_the_folder_it_names(case: Case, answers: Answers, tmp_path: Path) -> None:
    unet = {name: value for name, value in load_file(case.file).items() if name.startswith("model.diffusion_model.")}
    save_file(unet, tmp_path / "u.safetensors", {"easel.base": case.kind})
    known = checkpoint_of(case.folder, case.family, name=case.kind)
    _compare(_load(tmp_path / "u.safetensors", case.family, Folder(known=(known,))), answers)


def test_a_file_whose_unet_is_there_as_averages_only(case: Case, answers: Answers, tmp_path: Path) -> None:
    weights = load_file(case.file)
    averaged = {ema_name(name) if name.startswith(UNET_PREFIX) else name: value for name, value in weights.items()}
    metadata = dict(read_header(case.file).metadata)
    save_file(averaged | {"model_ema.decay": torch.ones(()), "model_ema.num_updates": torch.ones(())}, tmp_path / "e.safetensors", metadata)
    identity = identify(tmp_path / "e.safetensors")
    assert (identity.family, identity.layout, identity.ema) == (case.family, "ldm", True)
    assert "unet" in identity.parts
    _compare(_load(tmp_path / "e.safetensors", case.family), answers)


def test_back_to_the_same_file(case: Case) -> None:
    plan = sd.plan(ModelChoice(checkpoint_of(case.file, case.family)))
    modules: dict[str, Any] = {part.name: load_part(part, CPU) for part in plan.parts}
    weights, original = to_ldm_weights(SdModules(TINIES[case.kind], **modules)), load_file(case.file)
    assert weights.keys() == original.keys()
    assert [name for name, value in original.items() if not torch.equal(weights[name].half(), value)] == []


def test_sizes_are_measured_where_the_file_says_nothing(case: Case) -> None:
    shapes, config, preset = {name: tuple(value.shape) for name, value in load_file(case.file).items()}, TINIES[case.kind], PRESETS[case.family]
    unseen = {"heads", "groups"}
    place = find_part(shapes, "unet")
    assert place is not None
    assert measure_unet(shapes, place, preset.unet).model_dump(exclude=unseen) == config.unet.model_dump(exclude=unseen)
    place = find_part(shapes, "vae")
    assert place is not None
    assert measure_vae(shapes, place, preset.vae).model_dump(exclude=unseen) == config.vae.model_dump(exclude=unseen)
    for name, text in config.texts.items():
        place = find_part(shapes, name, text.kind)
        assert place is not None
        assert measure_text(shapes, place, preset.texts[name]).model_dump(exclude=unseen) == text.model_dump(exclude=unseen)


@pytest.mark.parametrize("family", sorted(PRESETS))
def test_the_full_sizes_are_measured_right(family: str) -> None:
    """Heads as well: nothing of the standard sizes is guessed wrong."""
    config = PRESETS[family]
    shapes = {name: tuple(value.shape) for name, value in to_ldm_weights(build_modules(config)).items()}
    unet, vae = find_part(shapes, "unet"), find_part(shapes, "vae")
    assert unet is not None and vae is not None
    assert measure_unet(shapes, unet, config.unet) == config.unet
    assert measure_vae(shapes, vae, config.vae) == config.vae
    for name, text in config.texts.items():
        place = find_part(shapes, name, text.kind)
        assert place is not None
        assert measure_text(shapes, place, text) == text


@pytest.mark.parametrize("kind", sorted(KINDS["full"]))
def test_the_names_of_averages_get_their_dots_back(kind: str) -> None:
    names = [name.removeprefix(UNET_PREFIX) for name in to_ldm_weights(build_modules(KINDS["full"][kind])) if name.startswith(UNET_PREFIX)]
    assert len(names) > 600
    assert [name for name in names if dotted(name.replace(".", "")) != name] == []
    assert dotted("num_updates") is None


@pytest.mark.parametrize("family", ["sd2", "sdxl", "sdxl-refiner"])
def test_full_names_are_those_of_diffusers_converters(family: str) -> None:
    """On the meta device, so the real sizes cost nothing."""
    modules = build_modules(PRESETS[family])
    weights = to_ldm_weights(modules)
    unet = convert_ldm_unet_checkpoint(dict(weights), dict(modules.unet.config))
    assert unet.keys() == modules.unet.state_dict().keys()
    assert all(unet[name].shape == value.shape for name, value in modules.unet.state_dict().items())
    if family != "sdxl-refiner":  # diffusers has no converter for it
        prefix, name = ("conditioner.embedders.1.model.", "text_encoder_2") if family == "sdxl" else ("cond_stage_model.model.", "text_encoder")
        module = modules.parts[name]
        found = convert_open_clip_checkpoint(module, dict(weights), prefix=prefix)
        assert {key.removeprefix("text_model.") for key in found} >= {
            key.removeprefix("text_model.") for key in module.state_dict() if not (family == "sd2" and ".layers.23." in key)
        } - {"text_projection.weight"}


def _without(file: Path, out: Path, *prefixes: str) -> Path:
    kept = {name: value for name, value in load_file(file).items() if not name.startswith(prefixes)}
    save_file(kept, out, dict(read_header(file).metadata))
    return out


def _separate(file: Path, out: Path, prefix: str) -> Path:
    save_file({name[len(prefix) :]: value for name, value in load_file(file).items() if name.startswith(prefix)}, out)
    return out


def test_missing_parts_come_from_their_folders(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "whole.safetensors", TINIES["sdxl"], 5)
    cut = _without(file, tmp_path / "cut.safetensors", "first_stage_model.", "conditioner.")
    shelf = Folder((
        ("vae", _separate(file, tmp_path / "v.safetensors", "first_stage_model.")),
        ("text_encoder", _separate(file, tmp_path / "l.safetensors", "conditioner.embedders.0.transformer.")),
        ("text_encoder", _separate(file, tmp_path / "g.safetensors", "conditioner.embedders.1.model.")),
    ))
    whole, put_together = _load(file, "sdxl"), _load(cut, "sdxl", shelf)
    torch.testing.assert_close(_encoded(put_together), _encoded(whole))
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(whole.autoencoder.decode(latents), put_together.autoencoder.decode(latents))


def test_a_missing_part_is_asked_for(tmp_path: Path) -> None:
    file = write_checkpoint(tmp_path / "whole.safetensors", TINIES["sd1"], 5)
    no_text = _without(file, tmp_path / "a.safetensors", "cond_stage_model.")
    with pytest.raises(ModelError, match=r"a.safetensors has no text encoder, and there is none that fits") as caught:
        _load(no_text, "sd1", Folder())
    assert caught.value.hint == "Put one into models/text_encoder."
    no_vae = _without(file, tmp_path / "b.safetensors", "first_stage_model.")
    one, two = (_separate(file, tmp_path / f"{name}.safetensors", "first_stage_model.") for name in ("one", "two"))
    with pytest.raises(ModelError, match=r"several could be meant: one.safetensors, two.safetensors"):
        _load(no_vae, "sd1", Folder((("vae", one), ("vae", two))))
    lost = write_unet(tmp_path / "lost.safetensors", TINIES["sd1"], base="house")
    with pytest.raises(ModelError, match="the checkpoint it belongs to, “house”, is not here"):
        _load(lost, "sd1", Folder())


def test_a_chosen_vae_stands_in_for_the_own_one(tmp_path: Path) -> None:
    file, other = (write_checkpoint(tmp_path / f"{seed}.safetensors", TINIES["sd1"], seed) for seed in (5, 6))
    vae = Folder((("vae", _separate(other, tmp_path / "v.safetensors", "first_stage_model.")),)).files("vae")[0]
    checkpoint, latents = checkpoint_of(file, "sd1"), torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    chosen = load_model(sd.plan(ModelChoice(checkpoint, vae)), CPU)
    assert torch.equal(chosen.autoencoder.decode(latents), _load(other, "sd1").autoencoder.decode(latents))
    no_vae = Folder((("vae", write_unet(tmp_path / "u.safetensors", TINIES["sd1"])),)).files("vae")[0]
    with pytest.raises(ModelError, match=r"u.safetensors is not a VAE"):
        sd.plan(ModelChoice(checkpoint, no_vae))


def test_the_model_is_asked_what_it_predicts_where_nobody_says(tmp_path: Path) -> None:
    """A1111's test: the answer to a uniform picture at the last timestep lies far below it when it is v."""
    file = write_checkpoint(tmp_path / "quiet.safetensors", TINIES["sd2"], 5)
    assert _load(file, "sd2").prediction == "epsilon"
    weights = load_file(file)
    weights["model.diffusion_model.out.2.bias"] = torch.full((4,), -3.0, dtype=torch.float16)
    save_file(weights, tmp_path / "v.safetensors", {"easel.config": TINIES["sd2"].model_dump_json()})
    assert _load(tmp_path / "v.safetensors", "sd2").prediction == "v"
    told = load_model(sd.plan(ModelChoice(checkpoint_of(tmp_path / "v.safetensors", "sd2", prediction="epsilon", zero_snr=True))), CPU)
    assert told.prediction == "epsilon" and told.zero_snr
    with pytest.raises(ModelError, match="trained for edm prediction, which is not supported yet"):
        sd.plan(ModelChoice(checkpoint_of(file, "sd2", prediction="edm")))


def test_what_stands_in_for_a_picture(tmp_path: Path) -> None:
    """Inpainting: a mask that is everywhere, then a grey picture's latents; editing: nothing."""
    inpainting = _load(write_checkpoint(tmp_path / "i.safetensors", TINIES["sd1-inpainting"], 5), "sd1")
    blank = inpainting.look(inpainting.autoencoder, View(8, 12))
    assert blank is not None and blank.shape == (1, 5, 8, 12) and (blank[:, 0] == 1).all()
    assert torch.equal(blank[:, 1:], inpainting.autoencoder.encode(torch.zeros(1, 3, 64, 96)))
    edit = _load(write_checkpoint(tmp_path / "e.safetensors", TINIES["sd1-edit"], 5), "sd1")
    blank = edit.look(edit.autoencoder, View(8, 12))
    assert blank is not None and blank.shape == (1, 4, 8, 12) and not blank.any()
    plain = _load(write_checkpoint(tmp_path / "p.safetensors", TINIES["sd1"], 5), "sd1")
    assert plain.look(plain.autoencoder, View(8, 12)) is None


def test_what_a_model_sees_of_a_picture(tmp_path: Path) -> None:
    """Inpainting: the mask, and the picture without what is masked as far as `mask_weight` says; editing: the picture, its latents not scaled."""
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0)) * 2 - 1
    mask = torch.zeros(1, 1, 64, 96)
    mask[..., :48] = 1
    inpainting = _load(write_checkpoint(tmp_path / "i.safetensors", TINIES["sd1-inpainting"], 5), "sd1")
    encode = inpainting.autoencoder.encode
    for weight, seen in ((1.0, picture * (1 - mask)), (0.0, picture), (0.5, picture * (1 - mask / 2))):
        look = inpainting.look(inpainting.autoencoder, View(8, 12, picture, mask, weight))
        assert look is not None and (look[:, 0, :, :6] == 1).all() and not look[:, 0, :, 6:].any()
        assert torch.allclose(look[:, 1:], encode(seen), atol=1e-5)
    edit = _load(write_checkpoint(tmp_path / "e.safetensors", TINIES["sd1-edit"], 5), "sd1")
    look = edit.look(edit.autoencoder, View(8, 12, picture, mask))
    assert look is not None and torch.allclose(look * 0.18215, edit.autoencoder.encode(picture), atol=1e-5)
    depth = _load(write_checkpoint(tmp_path / "d.safetensors", TINIES["sd2-depth"], 5), "sd2")
    ramp = torch.arange(64.0).expand(1, 1, 48, 64) + 100
    look = depth.look(depth.autoencoder, View(8, 12, picture, depth=ramp))
    assert look is not None and look.shape == (1, 1, 8, 12) and (look[..., 0] == -1).all() and (look[..., -1] == 1).all()
    look = depth.look(depth.autoencoder, View(8, 12))
    assert look is not None and look.shape == (1, 1, 8, 12) and not look.any()


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("unet/config.json", None, "unet/config.json is missing"), ("vae/config.json", "[1]", "vae/config.json is damaged"),
        ("scheduler/scheduler_config.json", '{"beta_schedule": "squaredcos_cap_v2"}', "noise schedule squaredcos_cap_v2"),
        ("scheduler/scheduler_config.json", '{"prediction_type": "sample"}', "describes a training that is not supported"),
        ("vae/config.json", '{"scaling_factor": "much"}', "the description of its vae makes no sense"),
    ],
)
def test_a_folder_with_a_fault(tmp_path: Path, file: str, content: str | None, message: str) -> None:
    folder = write_folder(tmp_path / "model", TINIES["sd1"], 5)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    with pytest.raises(ModelError, match=message):
        _load(folder, "sd1")
