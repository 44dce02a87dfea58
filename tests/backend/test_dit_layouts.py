"""SD 3 and Flux in every layout, with tiny random weights: recognised, loaded offline, answering as diffusers' and transformers' own modules do."""

from __future__ import annotations

import json
import shutil
import struct
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import gguf
import pytest
import torch
from diffusers.loaders.single_file_utils import (
    convert_flux_transformer_checkpoint_to_diffusers,
    convert_sd3_transformer_checkpoint_to_diffusers,
)
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from tests.backend.model_files import FORMATS, rewritten, write_gguf
from tests.backend.test_sd_layouts import CPU, Answers, Folder
from tools.random_checkpoint import random_tensor
from tools.random_dit import PIECES, SIZES, Tiny, file_weights, write_file, write_folder, write_parts
from webui.backend import parts
from webui.backend.components import Components, Frame, ModuleCall, View
from webui.backend.device import Device
from webui.backend.families import dit
from webui.backend.families.dit_keys import transformer_layout
from webui.backend.families.dit_modules import build_transformer
from webui.backend.families.spiece import read_spiece
from webui.backend.families.t5 import tokenizer_of, wide_dtype
from webui.backend.identify import identify
from webui.backend.memory import Way, Work, need_of
from webui.backend.parts import ModelChoice, build_part, load_model, size_of
from webui.backend.support import unsupported
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint, FileKind

SMALL = [kind for kind in SIZES if kind != "sd3-large-3.5"]


def checkpoint_at(path: Path) -> Checkpoint:
    """As the catalog would list it: what it is, is told by nothing but its own files."""
    found, stat = identify(path), path.stat()
    assert unsupported(found.family, found.variant, found.layout, found.prediction, found.parts) is None
    known = {name: getattr(found, name) for name in ("family", "variant", "layout", "prediction", "parts", "dtype")}
    return Checkpoint(name=path.name, path=str(path), size=stat.st_size, mtime=stat.st_mtime, **known)


def load(path: Path, shelf: Folder | None = None, device: Device = CPU) -> Components:
    return load_model(dit.plan(ModelChoice(checkpoint_at(path), shelf=shelf)), device)


@dataclass
class Case:
    """One kind of model as a folder, as a file, and in files of its parts."""

    kind: str
    folder: Path

    @cached_property
    def file(self) -> Path:
        """Everything in one."""
        return write_file(self.folder.parent / "file" / "whole.safetensors", self.kind, 3, random_tensor)

    @cached_property
    def parts(self) -> dict[str, Path]:
        """Each part's."""
        return write_parts(self.folder.parent / "parts", self.kind, 3, random_tensor)

    @property
    def flux(self) -> bool:
        return self.kind.startswith("flux")


@pytest.fixture(scope="module", params=list(SIZES))
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("dit") / request.param
    return Case(request.param, write_folder(folder, request.param, 3, random_tensor, shards=2))


@pytest.fixture(scope="module")
def plain(case: Case) -> dict[str, Any]:
    return load_plain(case)


def load_plain(case: Case) -> dict[str, Any]:
    """diffusers' and transformers' own loaders; nothing of ours but the weights."""
    transformer = FluxTransformer2DModel if case.flux else SD3Transformer2DModel
    found: dict[str, Any] = {
        "transformer": transformer.from_pretrained(case.folder / "transformer", torch_dtype=torch.float32),
        "vae": AutoencoderKL.from_pretrained(case.folder / "vae", torch_dtype=torch.float32),
    }
    texts: dict[str, Any] = {"text_encoder": CLIPTextModel, "text_encoder_2": T5EncoderModel}
    if not case.flux:
        texts = {"text_encoder": CLIPTextModelWithProjection, "text_encoder_2": CLIPTextModelWithProjection, "text_encoder_3": T5EncoderModel}
    found |= {name: kind.from_pretrained(case.folder / name, dtype=torch.float32) for name, kind in texts.items()}
    return {name: module.eval() for name, module in found.items()}


def clip_tokens(pad: int) -> torch.Tensor:
    tokens = torch.full((2, 77), pad)
    tokens[:, :4] = torch.tensor([[49406, 320, 736, 49407], [49406, 1125, 539, 49407]])
    return tokens


def t5_tokens(length: int) -> torch.Tensor:
    tokens = torch.zeros(2, length, dtype=torch.long)
    tokens[:, :3] = torch.tensor([[4, 5, 1], [6, 7, 1]])
    return tokens


@torch.inference_mode()
def encoded_by_hand(plain: dict[str, Any], flux: bool, length: int = 9) -> tuple[torch.Tensor, torch.Tensor]:
    """Context and pooled vector as diffusers' pipelines make them (`encode_prompt`)."""
    if flux:
        return plain["text_encoder_2"](t5_tokens(length))[0], plain["text_encoder"](clip_tokens(49407)).pooler_output
    pairs = [plain[name](clip_tokens(pad), output_hidden_states=True) for name, pad in (("text_encoder", 49407), ("text_encoder_2", 0))]
    clip, words = torch.cat([output.hidden_states[-2] for output in pairs], -1), plain["text_encoder_3"](t5_tokens(length))[0]
    clip = torch.nn.functional.pad(clip, (0, words.shape[-1] - clip.shape[-1]))
    return torch.cat([clip, words], 1), torch.cat([output[0] for output in pairs], -1)


SIGMA = 0.7


@pytest.fixture(scope="module")
def answers(case: Case, plain: dict[str, Any]) -> Answers:
    return answers_of(plain, case.flux)


@torch.inference_mode()
def answers_of(plain: dict[str, Any], flux: bool) -> Answers:
    generator = torch.Generator().manual_seed(0)
    context, pooled = encoded_by_hand(plain, flux)
    transformer = plain["transformer"]
    channels = transformer.config.in_channels // 4 if flux else 16
    x = torch.randn(2, channels, 8, 12, generator=generator)
    if flux:
        guidance = torch.full((2,), 2.5) if transformer.config.guidance_embeds else None
        expected = transformer(
            FluxPipeline._pack_latents(x, 2, channels, 8, 12), context, pooled, torch.full((2,), SIGMA),
            FluxPipeline._prepare_latent_image_ids(2, 4, 6, torch.device("cpu"), torch.float32), torch.zeros(context.shape[1], 3), guidance,
        ).sample
        expected = FluxPipeline._unpack_latents(expected, 64, 96, 8)
    else:
        expected = transformer(x, context, pooled, torch.full((2,), SIGMA * 1000)).sample
    vae, picture = plain["vae"], torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
    scaling, shift = vae.config.scaling_factor, vae.config.shift_factor
    decoded = vae.decode(x[:, :16] / scaling + shift).sample
    return Answers(context, pooled, x, expected, decoded, picture, (vae.encode(picture).latent_dist.mean - shift) * scaling)


@torch.inference_mode()
def compare(components: Components, wanted: Answers) -> None:
    """Texts, one step of the transformer and the autoencoder, within 1e-5."""
    encoded = [one.encode(clip_tokens(one.pad) if one.tokenize is None else t5_tokens(9), None) for one in components.text_encoders]
    ours = components.join(encoded)
    assert ours.pooled is not None and wanted.pooled is not None
    torch.testing.assert_close(ours.states, wanted.context, atol=1e-5, rtol=0)
    torch.testing.assert_close(ours.pooled, wanted.pooled, atol=1e-5, rtol=0)
    rows = [components.describe(row, Frame(96, 64, distilled=2.5)) for row in ours.pooled]
    added = {name: torch.stack([row[name] for row in rows]) for name in rows[0]}
    found = components.denoise(ModuleCall(wanted.x, torch.full((2,), SIGMA * 1000), ours.states, added=added))
    torch.testing.assert_close(found, wanted.step, atol=1e-5, rtol=0)
    torch.testing.assert_close(components.autoencoder.decode(wanted.x[:, :16]), wanted.decoded, atol=1e-5, rtol=0)
    torch.testing.assert_close(components.autoencoder.encode(wanted.picture), wanted.encoded, atol=1e-5, rtol=0)


def test_a_folder_with_shards(case: Case, answers: Answers) -> None:
    compare(load(case.folder), answers)


def test_a_single_file(case: Case, answers: Answers) -> None:
    compare(load(case.file), answers)


@pytest.mark.parametrize("form", FORMATS)
def test_other_formats(case: Case, answers: Answers, form: str, tmp_path: Path) -> None:
    path = rewritten(case.file, form, tmp_path)
    shutil.copy(case.file.parent / "tokenizer.json", tmp_path)
    compare(load(path), answers)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["sd3-medium", "flux-dev"])
def test_published_widths(kind: str, tmp_path: Path) -> None:
    """One block of each kind, about 1 GB of Flux: the single file, whose transformer diffusers' own converter takes."""
    path = write_file(tmp_path / "whole.safetensors", kind, 3, random_tensor, wide=True)
    wide = Case(kind, write_folder(tmp_path / "folder", kind, 3, random_tensor, wide=True))
    plain = load_plain(wide)
    start = "model.diffusion_model."
    own = {name[len(start) :]: value for name, value in load_file(path).items() if name.startswith(start)}
    convert = convert_flux_transformer_checkpoint_to_diffusers if wide.flux else convert_sd3_transformer_checkpoint_to_diffusers
    plain["transformer"].load_state_dict({name: value.float() for name, value in convert(own).items()})
    del own
    compare(load(path), answers_of(plain, wide.flux))


def test_a_transformer_alone_with_the_others_from_their_folders(case: Case, answers: Answers) -> None:
    files = case.parts
    rest: list[tuple[FileKind, Path]] = [("vae" if part == "vae" else "text_encoder", file) for part, file in files.items() if part != "transformer"]
    compare(load(files["transformer"], Folder(tuple(rest))), answers)


def test_a_transformer_alone_in_diffusers_names(case: Case, plain: dict[str, Any], answers: Answers) -> None:
    own = {name: value.half().contiguous() for name, value in plain["transformer"].state_dict().items()}
    path = case.file.with_name("own.safetensors")
    save_file(own, path, {"easel.base": case.file.stem})
    compare(load(path, Folder(known=(checkpoint_at(case.file),))), answers)


def test_sd3_goes_without_t5(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "folder", "sd3-medium", 3, random_tensor, t5=False)
    whole = load_file(write_file(tmp_path / "whole.safetensors", "sd3-medium", 3, random_tensor))
    save_file({name: value for name, value in whole.items() if "t5xxl" not in name}, tmp_path / "cut.safetensors")
    for path in (folder, tmp_path / "cut.safetensors"):
        components = load(path)
        assert len(components.text_encoders) == 2
        joined = components.join([one.encode(clip_tokens(one.pad), None) for one in components.text_encoders])
        assert joined.states.shape == (2, 77 + 256, 160)  # 256 zeros: as diffusers' pipeline without its third encoder
        assert not joined.states[:, 77:].any() and joined.states[:, :77].any()


def test_what_is_missing_is_asked_for(tmp_path: Path) -> None:
    files = write_parts(tmp_path / "parts", "flux-dev", 3, random_tensor)
    with pytest.raises(ModelError, match=r"transformer.safetensors has no text encoder, and there is none that fits") as caught:
        load(files["transformer"], Folder())
    assert caught.value.hint == "Put one into models/text_encoder."
    clip: tuple[FileKind, Path] = ("text_encoder", files["text_encoder"])
    with pytest.raises(ModelError, match="has no second text encoder, and there is none that fits"):
        load(files["transformer"], Folder((clip,)))
    t5: tuple[FileKind, Path] = ("text_encoder", files["text_encoder_2"])
    with pytest.raises(ModelError, match="has no VAE, and there is none that fits") as caught:
        load(files["transformer"], Folder((clip, t5)))
    assert caught.value.hint == "Put one into models/VAE."
    (tmp_path / "parts" / "tokenizer.json").unlink()
    with pytest.raises(ModelError, match="needs T5's tokenizer, and there is none") as caught:
        load(files["transformer"], Folder((clip, t5, ("vae", files["vae"]))))
    assert caught.value.hint == "Put tokenizer.json or spiece.model of google/t5-v1_1-xxl into models/text_encoder."
    (tmp_path / "parts" / "tokenizer.json").write_text("{}")
    with pytest.raises(ModelError, match=r"tokenizer.json, the tokenizer of T5, cannot be read"):
        load(files["transformer"], Folder((clip, t5, ("vae", files["vae"]))))


def test_a_vae_of_other_latents_is_refused(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "flux-dev", "flux-dev", 3, random_tensor)
    sd3, wrong = write_parts(tmp_path / "parts", "sd3-medium", 4, random_tensor)["vae"], tmp_path / "wrong.safetensors"
    shelf = Folder((("vae", sd3), ("vae", wrong)))
    save_file({name: value[:, :4].contiguous() if name == "decoder.conv_in.weight" else value for name, value in load_file(sd3).items()}, wrong)
    fits, other = shelf.files("vae")
    latents = torch.randn(1, 16, 8, 8, generator=torch.Generator().manual_seed(0))
    own, chosen = load(folder), load_model(dit.plan(ModelChoice(checkpoint_at(folder), fits)), CPU)
    assert not torch.allclose(own.autoencoder.decode(latents), chosen.autoencoder.decode(latents))
    with pytest.raises(ModelError, match=r"wrong.safetensors is not a VAE for flux-dev"):
        dit.plan(ModelChoice(checkpoint_at(folder), other))


@pytest.mark.parametrize("kind", SMALL)
def test_names_are_those_that_diffusers_converts(kind: str) -> None:
    """Values too: what is joined in which order, what changes places. Flux' converter knows the published width only, but looks at rows."""
    tiny = Tiny(kind)
    if tiny.family == "sd3":
        own: dict[str, torch.Tensor] = tiny.weights(5, random_tensor)["transformer"]
    else:
        with torch.device("meta"):
            width = {"attention_head_dim": 128, "num_attention_heads": 24, "axes_dims_rope": (16, 56, 56)}
            shapes = build_transformer("flux", {**SIZES[kind], **width}).state_dict()
        rows = {name: torch.arange(float(value.shape[0])).reshape(-1, *[1] * (value.ndim - 1)) for name, value in shapes.items()}
        own = {name: value + number for number, (name, value) in enumerate(rows.items())}
    laid = transformer_layout(tiny.family, {name: tuple(value.shape) for name, value in own.items()})
    convert = convert_sd3_transformer_checkpoint_to_diffusers if tiny.family == "sd3" else convert_flux_transformer_checkpoint_to_diffusers
    converted = convert({name: one.join(own) for name, one in laid.items()})
    assert converted.keys() == own.keys()
    assert [name for name, value in own.items() if not torch.equal(converted[name], value)] == []


@pytest.mark.parametrize("kind", SMALL)
def test_all_of_a_file_is_used(kind: str, tmp_path: Path) -> None:
    """Every tensor of the single file reaches a module: nothing is left over."""
    path, asked = write_file(tmp_path / "whole.safetensors", kind, 3, random_tensor), set[str]()

    class Watched:
        def __init__(self, values: dict[str, torch.Tensor]) -> None:
            self.values, self.metadata = values, {}

        def keys(self) -> list[str]:
            return list(self.values)

        def shape(self, key: str) -> tuple[int, ...]:
            return tuple(self.values[key].shape)

        def get(self, key: str) -> torch.Tensor:
            asked.add(key)
            return self.values[key]

    weights = Watched(file_weights(kind, 3, random_tensor))
    for part in dit.plan(ModelChoice(checkpoint_at(path))).parts:
        part.read(weights)
    assert set(weights.values) == asked


def _varint(number: int) -> bytes:
    more = bytes([number & 127 | 128]) if number > 127 else b""
    return more + _varint(number >> 7) if more else bytes([number])


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def test_a_sentencepiece_model_gives_the_words_of_the_tokenizer_file(tmp_path: Path) -> None:
    scores = [(piece, -float(len(PIECES) - len(piece))) for piece in PIECES]
    pieces = [_field(1, piece.encode()) + _varint(2 << 3 | 5) + struct.pack("<f", score) + _varint(3 << 3) + b"\x01" for piece, score in scores]
    model = b"".join(_field(1, piece) for piece in pieces) + _field(2, b"\x20\x05") + _field(3, _field(1, b"nmt_nfkc"))
    (tmp_path / "spiece.model").write_bytes(model)
    folder = write_folder(tmp_path / "flux-dev", "flux-dev", 3, random_tensor)
    words = tokenizer_of(folder / "tokenizer_2" / "tokenizer.json")
    spiece = tokenizer_of(tmp_path / "spiece.model")
    for text in ("a red house", "a  red", "", "dog", "é!"):
        assert spiece(text) == words(text.replace("  ", " "))
    assert [PIECES[token] for token in spiece("a red house")] == ["▁a", "▁red", "▁house"]
    for cut in (model[:-3], b"\xff\xff", b"{}"):
        (tmp_path / "bad.model").write_bytes(cut)
        with pytest.raises(ValueError, match=r"SentencePiece|cut short"):
            read_spiece(tmp_path / "bad.model")


def test_a_damaged_folder_is_refused_in_words(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "sd3", "sd3-medium", 3, random_tensor)
    checkpoint = checkpoint_at(folder)
    (folder / "transformer" / "config.json").write_text("[]")
    with pytest.raises(ModelError, match=r"transformer/config\.json is damaged"):
        dit.plan(ModelChoice(checkpoint))
    shutil.rmtree(folder / "scheduler")
    with pytest.raises(ModelError, match=r"config\.json"):
        dit.plan(ModelChoice(checkpoint))


def test_flux_shift_is_black_forest_labs() -> None:
    """`flux/sampling.py`: mu 0.5 at 256 tokens, 1.15 at 4096; diffusers' `calculate_shift` is the same line."""
    for width, height, mu in ((256, 256, 0.5), (1024, 1024, 1.15), (512, 512, 0.63)):
        assert dit.flux_shift(width, height) == pytest.approx(torch.tensor(mu, dtype=torch.float64).exp().item())


def test_a_flux_folder_without_t5_is_named(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "flux-dev", "flux-dev", 3, random_tensor, t5=False)
    index = json.loads((folder / "model_index.json").read_text())
    assert index["text_encoder_2"] == [None, None]
    with pytest.raises(ModelError, match="flux-dev has no second text encoder"):
        dit.plan(ModelChoice(checkpoint_at(folder)))


def test_fill_sees_a_grey_picture_and_a_mask_everywhere(tmp_path: Path) -> None:
    components = load(write_folder(tmp_path / "fill", "flux-fill", 3, random_tensor))
    with torch.inference_mode():
        blank, grey = components.look(components.autoencoder, View(4, 6)), components.autoencoder.encode(torch.zeros(1, 3, 32, 48))
    assert blank is not None and blank.shape == (1, 16 + 64, 4, 6)
    assert torch.equal(blank[:, :16], grey) and (blank[:, 16:] == 1).all()


def test_fill_sees_the_picture_without_what_is_masked(tmp_path: Path) -> None:
    """64 channels for the 8 x 8 pixels of a cell, row by row, as diffusers packs them."""
    components = load(write_folder(tmp_path / "fill", "flux-fill", 3, random_tensor))
    mask = torch.zeros(1, 1, 32, 48)
    mask[0, 0, 9, 18] = 1  # cell (1, 2), pixel (1, 2) of it
    picture = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        seen = components.look(components.autoencoder, View(4, 6, picture, mask))
        kept = components.autoencoder.encode(picture * (1 - mask))
    assert seen is not None and torch.equal(seen[:, :16], kept)
    assert seen[0, 16:].sum() == 1 and seen[0, 16 + 1 * 8 + 2, 1, 2] == 1


def _gguf(path: Path, weights: dict[str, torch.Tensor], kind: str) -> tuple[Path, dict[str, torch.Tensor]]:
    """A GGUF file in which the large matrices are quantised, and the numbers that it stands for."""
    packed, values = dict[str, Any](), dict[str, torch.Tensor]()
    for name, value in weights.items():
        if value.ndim != 2 or value.shape[1] % 32 or "blocks" not in name:
            packed[name], values[name] = ("F16", tuple(value.shape), value.numpy().tobytes()), value
            continue
        blocks = gguf.quants.quantize(value.float().numpy(), gguf.GGMLQuantizationType[kind])
        packed[name] = (kind, tuple(value.shape), blocks.tobytes())
        values[name] = torch.from_numpy(gguf.quants.dequantize(blocks, gguf.GGMLQuantizationType[kind]))
    return write_gguf(path, packed), values


@pytest.mark.parametrize("quantisation", ["Q8_0", "Q4_0", "Q5_1"])
@pytest.mark.parametrize("kind", ["sd3-medium-3.5", "flux-dev"])
def test_quantised_weights_compute_as_what_they_stand_for(kind: str, quantisation: str, tmp_path: Path) -> None:
    files = write_parts(tmp_path, kind, 3, random_tensor)
    path, values = _gguf(tmp_path / "small.gguf", load_file(files["transformer"]), quantisation)
    save_file(values, tmp_path / "same.safetensors")
    shelf = Folder(tuple(("vae" if part == "vae" else "text_encoder", file) for part, file in files.items() if part != "transformer"))
    assert checkpoint_at(path).dtype == quantisation
    small, same = load(path, shelf), load(tmp_path / "same.safetensors", shelf)
    flux, generator = kind.startswith("flux"), torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 16, 8, 8, generator=generator), torch.randn(2, 20, 160, generator=generator)
    added = {"pooled": torch.randn(2, 48 if flux else 128, generator=generator), "guidance": torch.full((2,), 3.5)}
    call = ModuleCall(x, torch.full((2,), 700.0), context, added=added)
    with torch.inference_mode():
        torch.testing.assert_close(small.denoise(call), same.denoise(call), atol=2e-2, rtol=0)  # diffusers unpacks to 16 bits
    held, wide = (sum(value.nbytes for value in one.modules["transformer"].state_dict().values()) for one in (small, same))
    assert held < wide * 0.7


@pytest.mark.parametrize("end", ["scale_weight", "weight_scale"])
def test_eight_bits_with_scales(end: str, tmp_path: Path) -> None:
    files = write_parts(tmp_path, "flux-dev", 3, random_tensor)
    scaled, meant = dict[str, torch.Tensor](), dict[str, torch.Tensor]()
    t5 = load_file(files["text_encoder_2"])
    for number, (name, value) in enumerate(t5.items()):
        scaled[name] = meant[name] = value
        if name.endswith(("q.weight", "wo.weight")):
            scale = torch.tensor(0.25 + number / 100)
            scaled[name], scaled[f"{name.removesuffix('weight')}{end}"] = (value / scale).to(torch.float8_e4m3fn), scale
            meant[name] = scaled[name].float() * scale
    rest: list[tuple[FileKind, Path]] = [("vae", files["vae"]), ("text_encoder", files["text_encoder"])]
    answers = []
    for name, weights in (("scaled", scaled), ("meant", meant)):
        save_file(weights, tmp_path / f"{name}.safetensors")
        components = load(files["transformer"], Folder((*rest, ("text_encoder", tmp_path / f"{name}.safetensors"))))
        answers.append(components.text_encoders[1].encode(t5_tokens(9), None).states)
    torch.testing.assert_close(*answers, atol=1e-5, rtol=0)


def test_a_transformers_need_is_counted_by_its_tokens(tmp_path: Path) -> None:
    plan = dit.plan(ModelChoice(checkpoint_at(write_file(tmp_path / "x.safetensors", "flux-dev", 3, random_tensor))))
    part = next(part for part in plan.parts if part.name == "transformer")
    size = size_of(build_part(part), torch.bfloat16)
    assert (size.tokens, size.width, size.packed) == (64, 0, False)
    assert size.weights == 2 * sum(value.numel() for value in Tiny("flux-dev").weights(3, random_tensor)["transformer"].values())
    need = need_of({"transformer": size}, Work(1024 * 1024, 2), Way("high", False))
    assert need == size.weights + 24 * 64 * (4096 + 512) * 2 * 2


def test_half_precision_of_a_gpu_is_widened_where_numbers_outgrow_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: True)
    gpu = Device(torch.device("cuda"), torch.float16, torch.float16, "sdpa")
    assert (dit.transformer_dtype("flux", gpu), dit.transformer_dtype("sd3", gpu)) == (torch.bfloat16, torch.float16)
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: False)
    assert dit.transformer_dtype("flux", gpu) == torch.float16
    assert dit.transformer_dtype("flux", CPU) == torch.float32
    assert (wide_dtype(torch.float16), wide_dtype(torch.float32)) == (torch.bfloat16, torch.float32)


def test_tables_of_words_stay_in_their_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of CLIP and of T5: the words that are looked up are cast, to the bits of a table that is cast whole."""
    path = write_file(tmp_path / "model.safetensors", "sd3-medium", 3, lambda *given: random_tensor(*given).half())
    answers = []
    for least in (parts.TABLE, 1):
        monkeypatch.setattr(parts, "TABLE", least)
        components = load(path)
        texts = [module.state_dict() for name, module in components.modules.items() if name.startswith("text")]
        tables = [value for states in texts for key, value in states.items() if "embed_tokens" in key or "token_embedding" in key]
        assert len(tables) == 3 and {table.dtype for table in tables} == {torch.float16 if least == 1 else torch.float32}
        found = [one.encode(clip_tokens(one.pad) if one.tokenize is None else t5_tokens(9), None) for one in components.text_encoders]
        answers.append([value for text in found for value in (text.states, text.pooled) if value is not None])
    assert len(answers[0]) == len(answers[1]) and all(map(torch.equal, *answers))
