"""What a file is, from its header; and what it says about every kind of wrong file."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

from webui.backend.distilled import LCM, LIGHTNING, TURBO, TURBO_MIX, suggest
from webui.backend.headers import read_header
from webui.backend.identify import SUGGESTS_KEY, identify
from webui.backend.model_defaults import defaults_of
from webui.engine.tables import SAMPLERS, SCHEDULES
from webui.schema.errors import ModelError
from webui.schema.model import Suggestions

UNET_IN = "model.diffusion_model.input_blocks.0.0.weight"
CLIP = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
VAE = "first_stage_model.decoder.conv_in.weight"
SD1 = {UNET_IN: (8, 4, 3, 3), CLIP: (10, 4), VAE: (4, 4, 3, 3)}


def _message(path: Path) -> str:
    with pytest.raises(ModelError) as caught:
        identify(path)
    assert caught.value.field == "checkpoint"
    assert caught.value.hint
    assert path.name in caught.value.message
    return caught.value.message


def test_sd1(tiny_checkpoint: Path, tmp_path: Path, fake) -> None:
    assert identify(tiny_checkpoint).family == "sd1"
    assert identify(fake(tmp_path / "lora vae inpainting xl.safetensors", SD1)).family == "sd1"  # names say nothing


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"lora_unet_down_blocks_0.lora_down.weight": (4, 8), "lora_unet_down_blocks_0.lora_up.weight": (8, 4)}, "a LoRA"),
        ({"transformer.blocks.0.attn.lora_A.weight": (4, 8)}, "a LoRA"),
        ({"decoder.conv_in.weight": (4, 4, 3, 3), "decoder.conv_out.weight": (3, 4, 3, 3), "encoder.conv_in.weight": (4, 3, 3, 3)}, "a VAE"),
        ({"control_model.zero_convs.0.0.weight": (4, 4, 1, 1), "control_model.input_blocks.0.0.weight": (4, 4, 3, 3)}, "a ControlNet"),
        ({"emb_params": (2, 768)}, "an embedding"),
        ({"words.weight": (2, 2)}, "not a model of a family known"),
        ({}, "not a model of a family known"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_kinds_are_named(tmp_path: Path, fake, shapes: dict, words: str) -> None:
    assert words in _message(fake(tmp_path / "x.safetensors", shapes))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "is empty"),
        (b"abc", "cut short"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4265380512\n", "Git LFS pointer"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page"),
        (b"\n<html lang=en>Sign in</html>" + b" " * 50, "a web page"),
        (b"PK\x03\x04" + b"\0" * 100, "a PyTorch pickle"),
        (b"just some text that somebody saved", "not a safetensors file"),
        (struct.pack("<Q", 2**62) + b"{}", "not a safetensors file"),
        (struct.pack("<Q", 500) + b'{"a": ', "cut short"),
        (struct.pack("<Q", 6) + b"{nojso", "damaged"),
        (struct.pack("<Q", 16) + b'{"a": [1, 2, 3]}', "damaged"),
        (struct.pack("<Q", 13) + b'{"a": {"b":1}', "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_model_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "bad.safetensors"
    path.write_bytes(content)
    assert words in _message(path)


def test_truncated_data(tmp_path: Path, fake) -> None:
    path = fake(tmp_path / "short.safetensors", SD1)
    path.write_bytes(path.read_bytes()[:-1])
    assert "cut short" in _message(path)


def test_sizes_that_do_not_agree(tmp_path: Path) -> None:
    text = json.dumps({UNET_IN: {"dtype": "F16", "shape": [8, 4, 3, 3], "data_offsets": [0, 10]}}).encode()
    path = tmp_path / "odd.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"\0" * 10)
    assert "do not agree" in _message(path)


def test_deeply_nested_header(tmp_path: Path) -> None:
    text = b'{"a":' + b"[" * 200_000 + b"]" * 200_000 + b"}"
    path = tmp_path / "deep.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    assert "damaged" in _message(path)


def test_a_ckpt_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "old.ckpt"
    path.write_bytes(b"anything")
    assert "no model file of a format known" in _message(path)


def test_a_file_that_vanished(tmp_path: Path) -> None:
    assert "not there any more" in _message(tmp_path / "gone.safetensors")


def test_header_of_a_real_file(tiny_checkpoint: Path) -> None:
    header = read_header(tiny_checkpoint)
    assert header.shapes[UNET_IN] == (32, 4, 3, 3)
    assert "easel.config" in header.metadata


def test_suggestions_of_a_file_are_read(tmp_path: Path, fake) -> None:
    text = json.dumps({"prompts": ["a red house"], "width": 256, "height": 320, "cfg_scale": 5})
    suggests = identify(fake(tmp_path / "a.safetensors", SD1, {SUGGESTS_KEY: text})).suggests
    assert suggests == Suggestions(prompts=("a red house",), width=256, height=320, cfg_scale=5)
    assert identify(fake(tmp_path / "b.safetensors", SD1)).suggests is None


def test_a_kind_of_model_has_values_of_its_own_where_its_file_says_nothing() -> None:
    dev, schnell, medium = defaults_of("flux", "dev"), defaults_of("flux", "schnell"), defaults_of("sd3", "medium")
    assert dev and schnell and medium
    assert (dev.cfg_scale, dev.distilled_cfg_scale, dev.sampler, dev.scheduler, dev.width) == (1, 3.5, "Euler", "Simple", 1024)
    assert (schnell.steps, schnell.distilled_cfg_scale) == (4, None)
    assert (medium.cfg_scale, medium.scheduler) == (5, "Automatic")
    assert defaults_of("sd1", "base") is None


@pytest.mark.parametrize("text", ["{", "[]", '{"width": 7}', '{"prompts": "no list"}', '{"other": 1}'])
def test_nonsense_in_suggestions_does_not_cost_the_model(tmp_path: Path, fake, text: str) -> None:
    identity = identify(fake(tmp_path / "a.safetensors", SD1, {SUGGESTS_KEY: text}))
    assert (identity.family, identity.suggests) == ("sd1", None)


@pytest.mark.parametrize(("notes", "prediction", "zero"), [
    ({"modelspec.prediction_type": "v"}, "v", False), ({"modelspec.prediction_type": "epsilon", "ss_zero_terminal_snr": "True"}, "epsilon", True),
    ({"modelspec.architecture": "stable-diffusion-v2-768-v"}, "v", False), ({"modelspec.prediction_type": "nonsense"}, None, False),
])
def test_notes_say_the_prediction(tmp_path: Path, fake, notes: dict[str, str], prediction: str | None, zero: bool) -> None:
    identity = identify(fake(tmp_path / "a.safetensors", SD1, notes))
    assert (identity.prediction, identity.zero_snr) == (prediction, zero)


V2 = """
model:
  target: ldm.models.diffusion.ddpm.LatentDiffusion
  params:
    parameterization: "v"
    unet_config: {target: x.UNetModel, params: {in_channels: 4, context_dim: 1024}}
    cond_stage_config: {target: ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder}
"""
SGM = "model: {params: {denoiser_config: {params: {scaling_config: {target: sgm.modules.diffusionmodules.denoiser_scaling.VScaling}}}}}"


@pytest.mark.parametrize(("text", "prediction"), [
    (V2.replace("1024", "768").replace("OpenCLIP", "CLIP"), "v"), ("model: {params: {parameterization: eps}}", "epsilon"), (SGM, "v"),
    ("- just\n- a list", None), ("", None), ("model: {params: {parameterization: [v], unet_config: 3}}", None),
])
def test_a_yaml_beside_the_file_decides(tmp_path: Path, fake, text: str, prediction: str | None) -> None:
    path = fake(tmp_path / "a.safetensors", SD1)
    path.with_suffix(".yaml").write_text(text)
    assert identify(path).prediction == prediction


@pytest.mark.parametrize(("text", "words"), [
    (V2, "that says sd2, the weights are sd1 base"), ("model: {params: {unet_config: {params: {in_channels: 9}}}}", "that says inpainting"),
    ("a: [", "cannot be read as YAML"), ("model: !!python/object/apply:os.system [x]", "cannot be read as YAML"),
    ("[" * 50_000, "cannot be read as YAML"),
    ("x" * 200_000, "too long"),
])
def test_a_yaml_that_cannot_be_right_is_named(tmp_path: Path, fake, text: str, words: str) -> None:
    path = fake(tmp_path / "a.safetensors", SD1)
    path.with_suffix(".yaml").write_text(text)
    with pytest.raises(ModelError, match=r"a\.yaml") as caught:
        identify(path)
    assert words in caught.value.message
    assert caught.value.hint


def test_formats_and_names_of_files_do_not_matter(tmp_path: Path, fake) -> None:
    for name in ("a.sft", "b.ckpt", "c.bin"):
        assert identify(fake(tmp_path / name, SD1)).family == "sd1"
    unknown = fake(tmp_path / "x.safetensors", {"words.weight": (2, 2)})
    assert "family known to Easel (1 tensors; the largest is words.weight (2 × 2)" in _message(unknown)


def _folder(path: Path, fake, kind: str, configs: dict[str, dict], index: dict[str, list] | None = None) -> Path:
    """A diffusers folder: a configuration and a tensor a module."""
    for name, config in configs.items():
        (path / name).mkdir(parents=True, exist_ok=True)
        if name == "scheduler":
            (path / name / "scheduler_config.json").write_text(json.dumps(config))
            continue
        (path / name / "config.json").write_text(json.dumps(config))
        stem = "diffusion_pytorch_model" if name in ("unet", "transformer", "vae") else "model"
        fake(path / name / f"{stem}.safetensors", {"weight": (2, 2)})
    entries = {name: ["diffusers", "X"] for name in configs} | {"safety_checker": [None, None]} | (index or {})
    (path / "model_index.json").write_text(json.dumps({"_class_name": kind, **entries}))
    return path


UNET = {"_class_name": "UNet2DConditionModel", "in_channels": 4, "cross_attention_dim": 768}
EPSILON = {"prediction_type": "epsilon"}
FOLDERS = [
    ({"unet": UNET, "vae": {}, "text_encoder": {"hidden_act": "quick_gelu"}, "scheduler": EPSILON}, "sd1", "base", "epsilon"),
    ({"unet": UNET | {"in_channels": 9}, "vae": {}, "text_encoder": {}, "scheduler": EPSILON}, "sd1", "inpainting", "epsilon"),
    ({"unet": UNET | {"in_channels": 8}, "vae": {}, "text_encoder": {}, "scheduler": {}}, "sd1", "edit", None),
    ({"unet": UNET | {"cross_attention_dim": 32}, "vae": {}, "text_encoder": {"hidden_act": "gelu"}, "scheduler": {"prediction_type": "v_prediction"}
      }, "sd2", "base", "v"),
    ({"unet": UNET | {"in_channels": 5, "use_linear_projection": True}, "vae": {}, "text_encoder": {}}, "sd2", "depth", None),
    ({"unet": UNET | {"class_embed_type": "projection", "projection_class_embeddings_input_dim": 2048}, "vae": {}, "text_encoder": {}},
     "sd2", "unclip-h", None),
    ({"unet": UNET | {"addition_embed_type": "text_time"}, "vae": {}, "text_encoder": {}, "text_encoder_2": {}, "scheduler": EPSILON},
     "sdxl", "base", "epsilon"),
    ({"unet": UNET | {"addition_embed_type": "text_time"}, "vae": {}, "text_encoder_2": {}}, "sdxl-refiner", "base", None),
    ({"transformer": {"_class_name": "FluxTransformer2DModel", "guidance_embeds": True}, "vae": {}, "text_encoder": {}}, "flux", "dev", "flow"),
    ({"transformer": {"_class_name": "FluxTransformer2DModel", "in_channels": 384}, "vae": {}}, "flux", "fill", "flow"),
    ({"transformer": {"_class_name": "SD3Transformer2DModel", "num_layers": 38}, "vae": {}}, "sd3", "large-3.5", "flow"),
]


@pytest.mark.parametrize(("configs", "family", "variant", "prediction"), FOLDERS)
def test_diffusers_folders(tmp_path: Path, fake, configs: dict, family: str, variant: str, prediction: str | None) -> None:
    identity = identify(_folder(tmp_path / "model", fake, "Pipeline", configs))
    assert (identity.family, identity.variant, identity.prediction, identity.layout) == (family, variant, prediction, "diffusers")
    assert set(identity.parts) == set(configs) - {"scheduler"}
    assert identity.dtype == "F16"


def test_zero_terminal_snr_of_a_folder(tmp_path: Path, fake) -> None:
    configs = FOLDERS[0][0] | {"scheduler": {"prediction_type": "v_prediction", "rescale_betas_zero_snr": True}}
    identity = identify(_folder(tmp_path / "model", fake, "Pipeline", configs))
    assert (identity.prediction, identity.zero_snr) == ("v", True)


def test_folders_that_are_damaged_or_foreign(tmp_path: Path, fake) -> None:
    path = _folder(tmp_path / "model", fake, "KandinskyPipeline", {"prior": {}})
    assert (identify(path).family, identify(path).variant, identify(path).parts) == ("pipeline", "KandinskyPipeline", ("prior",))
    (path / "prior" / "own.py").write_text("raise SystemExit")
    assert "code of its own" in _message(path)
    (path / "prior" / "own.py").unlink()
    (path / "model_index.json").write_text('{"_class_name": ["mine", "Pipeline"], "prior": ["diffusers", "PriorTransformer"]}')
    assert "without a pipeline of its own" in _message(path)
    _folder(path, fake, "Pipeline", FOLDERS[0][0])
    (path / "vae" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(ModelError, match="vae is a folder without weights"):
        identify(path)
    (path / "unet" / "config.json").write_text("[" * 100_000)
    assert "damaged unet/config.json" in _message(path)
    (path / "unet" / "config.json").write_text('{"in_channels": [4]}')
    assert "damaged unet/config.json" in _message(path)
    (path / "model_index.json").write_text("3")
    assert "damaged model_index.json" in _message(path)


@pytest.mark.parametrize(("said", "prediction", "zero"), [("v", "v", False), ("v-zsnr", "v", True), ("epsilon", "epsilon", False), ("", None, False)])
def test_the_card_has_the_last_word(tmp_path: Path, fake, said: str, prediction: str | None, zero: bool) -> None:
    file = fake(tmp_path / "a.safetensors", SD1)
    (tmp_path / "a.json").write_text(json.dumps({"notes": "mine", "prediction": said}))
    assert (identify(file).prediction, identify(file).zero_snr) == (prediction, zero)
    (tmp_path / "a.yaml").write_text("model: {params: {parameterization: v}}")
    assert identify(file).prediction == (prediction or "v")
    for nonsense in ('{"prediction": ["v"]}', "[1]", "no json", '{"prediction": "flow"}'):
        (tmp_path / "a.json").write_text(nonsense)
        assert identify(file).prediction == "v"


def test_the_card_of_a_model_of_edm_changes_nothing(tmp_path: Path, fake) -> None:
    file = fake(tmp_path / "a.safetensors", SD1 | {"edm_mean": (4,)})
    (tmp_path / "a.json").write_text('{"prediction": "v"}')
    assert identify(file).prediction == "edm"


@pytest.mark.parametrize(("name", "notes", "sampler", "steps", "cfg"), [
    ("sd_xl_turbo_1.0_fp16", {}, "Euler a", 4, 1), ("sdxl_lightning_8step", {}, "Euler", 8, 1), ("DreamShaperXL_Turbo_v2", {}, "DPM++ SDE", 6, 2),
    ("mine", {"modelspec.title": "My Lightning 2 steps"}, "Euler", 2, 1),
    ("Hyper-SDXL-8steps", {}, "Euler", 8, 1), ("LCM_Dreamshaper", {}, "LCM", 6, 1),
    ("turbovision", {}, None, 0, 0), ("hypernova", {"modelspec.title": "turbocharged"}, None, 0, 0),
])
def test_models_for_few_steps_suggest_them(
    tmp_path: Path, fake, name: str, notes: dict[str, str], sampler: str | None, steps: int, cfg: float,
) -> None:
    found = identify(fake(tmp_path / f"{name}.safetensors", SD1, notes)).suggests
    assert (found and (found.sampler, found.steps, found.cfg_scale)) == (sampler and (sampler, steps, cfg))


def test_consistency_models_are_known_by_their_guidance_input_and_folders_by_their_scheduler(tmp_path: Path, fake) -> None:
    file = fake(tmp_path / "plain.safetensors", SD1 | {"model.diffusion_model.time_embed.cond_proj.weight": (320, 256)})
    assert identify(file).suggests == LCM
    assert suggest("plain", {}, {"_class_name": "LCMScheduler"}) == LCM
    assert suggest("plain", {}, {"_class_name": "EulerAncestralDiscreteScheduler", "timestep_spacing": "trailing"}) == TURBO
    assert suggest("plain", {}, {"_class_name": "EulerDiscreteScheduler", "timestep_spacing": "leading"}) is None


def test_what_is_suggested_exists() -> None:
    for known in (LCM, LIGHTNING, TURBO, TURBO_MIX):
        assert known.sampler in {one.name for one in SAMPLERS}
        assert known.scheduler in {one.label for one in SCHEDULES}
