"""Every family in every layout is told by the names and shapes of published checkpoints, fast, and what is none is called what it is."""

from __future__ import annotations

import time

import pytest

from tests.backend import published_layouts as published
from tests.backend.published_layouts import ENCODERS, UNETS, Shapes, averaged, below, checkpoint, clip, flux, sd3, unet, vae
from webui.backend.formats.contract import Header
from webui.backend.kinds import Model, Other, describe_unknown, recognise

LDM = "model.diffusion_model."
VAE = "first_stage_model."
ENCODER_PARTS = {
    "sd1": ("text_encoder",), "sd2": ("text_encoder",), "sdxl": ("text_encoder", "text_encoder_2"), "sdxl-refiner": ("text_encoder_2",),
}
T5 = below("text_encoders.clip_l.transformer.text_model.", clip()) | {"text_encoders.t5xxl.transformer.shared.weight": (32128, 4096)}
CONV_IN = f"{LDM}input_blocks.0.0.weight"


def _found(shapes: Shapes, dtype: str = "F16", **dtypes: str) -> Model | Other | None:
    return recognise(Header(shapes, dict.fromkeys(shapes, dtype) | dtypes))


def test_the_fixtures_have_as_many_tensors_as_the_published_files() -> None:
    counts = [len(UNETS["sd1"]), len(vae()), len(clip()), len(UNETS["sdxl"]), len(checkpoint("sdxl")), len(flux()), len(flux(guidance=False))]
    assert counts == [686, 248, 197, 1680, 2515, 780, 776]


@pytest.mark.parametrize("family", list(UNETS))
def test_whole_files(family: str) -> None:
    parts = ("unet", *ENCODER_PARTS[family], "vae")
    assert _found(checkpoint(family)) == Model(family, "ldm", parts=parts, dtype="F16")
    assert _found(checkpoint(family) | averaged(UNETS[family]), "F32") == Model(family, "ldm", parts=parts, dtype="F32", ema=True)


@pytest.mark.parametrize("family", list(UNETS))
def test_missing_parts(family: str) -> None:
    whole = checkpoint(family)
    without_vae = {name: shape for name, shape in whole.items() if not name.startswith(VAE)}
    without_text = {name: shape for name, shape in whole.items() if name not in ENCODERS[family]}
    assert _found(without_vae) == Model(family, "ldm", parts=("unet", *ENCODER_PARTS[family]), dtype="F16")
    assert _found(without_text) == Model(family, "ldm", parts=("unet", "vae"), dtype="F16")
    for prefix in ("", LDM):
        assert _found(below(prefix, UNETS[family])) == Model(family, "unet", parts=("unet",), dtype="F16")


@pytest.mark.parametrize(("channels", "variant"), [(8, "edit"), (9, "inpainting"), (5, "depth")])
@pytest.mark.parametrize("family", list(UNETS))
def test_variants_by_channels(family: str, channels: int, variant: str) -> None:
    shape = UNETS[family]["input_blocks.0.0.weight"]
    found = _found(checkpoint(family) | {CONV_IN: (shape[0], channels, 3, 3)})
    assert isinstance(found, Model)
    assert (found.family, found.variant) == (family, variant)


def test_a_file_with_nothing_but_the_averaged_unet() -> None:
    found = _found(averaged(UNETS["sd1"]) | below(VAE, vae()) | ENCODERS["sd1"])
    assert found == Model("sd1", "ldm", parts=("unet", "text_encoder", "vae"), dtype="F16", ema=True)


def test_the_text_encoder_of_old_files() -> None:
    shapes = below(LDM, UNETS["sd1"]) | below("cond_stage_model.transformer.", clip()) | below(VAE, vae())
    assert _found(shapes) == Model("sd1", "ldm", parts=("unet", "text_encoder", "vae"), dtype="F16")


def test_small_models_go_by_their_text_encoder() -> None:
    small = unet(context=32, width=32, levels=(1, 2), depths=(0, 1))
    assert _found(below(LDM, small) | below("cond_stage_model.transformer.text_model.", clip(32, 2)) | below(VAE, vae())) == Model(
        "sd1", "ldm", parts=("unet", "text_encoder", "vae"), dtype="F16")
    assert _found(below(LDM, small)) is None


@pytest.mark.parametrize(("marks", "prediction", "zero"), [
    (("v_pred",), "v", False), (("v_pred", "ztsnr"), "v", True), (("edm_mean", "edm_std"), "edm", False), (("edm_vpred.sigma_max",), "edm", False),
    ((), None, False),
])
def test_marks_of_the_prediction(marks: tuple[str, ...], prediction: str | None, zero: bool) -> None:
    found = _found(checkpoint("sdxl") | dict.fromkeys(marks, (0,)))
    assert isinstance(found, Model)
    assert (found.prediction, found.zero_snr) == (prediction, zero)


@pytest.mark.parametrize(("width", "variant"), [(1536, "unclip-l"), (2048, "unclip-h")])
def test_unclip(width: int, variant: str) -> None:
    shapes = below(LDM, unet(context=1024, vector=width, linear=True)) | ENCODERS["sd2"] | below(VAE, vae()) | {"embedder.model.visual.proj": (1, 1)}
    found = _found(shapes)
    assert found == Model("sd2", "ldm", variant, parts=("unet", "text_encoder", "vae", "image_encoder"), dtype="F16")


@pytest.mark.parametrize(("blocks", "dual", "variant"), [(24, False, "medium"), (24, True, "medium-3.5"), (38, False, "large-3.5")])
def test_sd3(blocks: int, dual: bool, variant: str) -> None:
    shapes = sd3(blocks, dual)
    assert _found(shapes, "BF16") == Model("sd3", "unet", variant, "flow", parts=("transformer",), dtype="BF16")
    whole = below(LDM, shapes) | below(VAE, vae(16, quant=False)) | T5 | {"text_encoders.clip_g.transformer.x": (2, 2)}
    assert _found(whole) == Model(
        "sd3", "ldm", variant, "flow", parts=("transformer", "text_encoder", "text_encoder_2", "text_encoder_3", "vae"), dtype="F16")


@pytest.mark.parametrize(
    ("channels", "guidance", "variant"), [(64, True, "dev"), (64, False, "schnell"), (384, True, "fill"), (128, True, "control")])
@pytest.mark.parametrize("dtype", ["F8_E4M3", "BF16", "Q4_K"])
def test_flux(channels: int, guidance: bool, variant: str, dtype: str) -> None:
    shapes = flux(channels, guidance)
    norms = {name: "F32" for name, shape in shapes.items() if len(shape) == 1}
    assert _found(shapes, dtype, **norms) == Model("flux", "unet", variant, "flow", parts=("transformer",), dtype=dtype)
    whole = below(LDM, shapes) | below("vae.", vae(16, quant=False)) | T5
    assert _found(whole, dtype) == Model(
        "flux", "ldm", variant, "flow", parts=("transformer", "text_encoder", "text_encoder_2", "vae"), dtype=dtype)


DIFFUSERS = {
    "sd1": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 768)},
    "sd2": {"down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k.weight": (320, 1024)},
    "sdxl": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (640, 2048), "add_embedding.linear_1.weight": (1280, 2816)},
    "sdxl-refiner": {"down_blocks.1.attentions.0.transformer_blocks.0.attn2.to_k.weight": (768, 1280), "add_embedding.linear_1.weight": (1, 2560)},
}


@pytest.mark.parametrize("family", list(DIFFUSERS))
def test_unets_under_diffusers_names(family: str) -> None:
    assert _found({"conv_in.weight": (320, 9, 3, 3)} | DIFFUSERS[family]) == Model(family, "unet", "inpainting", parts=("unet",), dtype="F16")


def test_transformers_under_diffusers_names() -> None:
    block = {"transformer_blocks.0.attn.add_k_proj.weight": (8, 8)}
    one = block | {"single_transformer_blocks.0.attn.to_q.weight": (8, 8), "x_embedder.weight": (8, 64)}
    assert _found(one) == Model("flux", "unet", "schnell", "flow", parts=("transformer",), dtype="F16")
    two = block | {"pos_embed.proj.weight": (8, 16, 2, 2), "transformer_blocks.30.attn.to_q.weight": (8, 8)}
    assert _found(two) == Model("sd3", "unet", "large-3.5", "flow", parts=("transformer",), dtype="F16")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        (vae(), "a VAE"), (below(VAE, vae()), "a VAE"),
        ({"encoder.conv_in.weight": (1, 3), "decoder.conv_in.weight": (1, 4), "decoder.conv_out.weight": (3, 1)}, "a VAE"),
        (below("text_model.", clip()), "a text encoder"), ({"string_to_param.*": (2, 768)}, "an embedding"),
        (UNETS["sd1"] | {"zero_convs.0.0.weight": (320, 320, 1, 1)}, "a ControlNet"),
        (DIFFUSERS["sdxl"] | {"conv_in.weight": (320, 4, 3, 3), "controlnet_down_blocks.0.weight": (320, 320, 1, 1)}, "a ControlNet"),
        (flux() | {"distilled_guidance_layer.in_proj.bias": (1,)}, "Chroma"), (flux() | {"single_stream_modulation.lin.weight": (1, 1)}, "Flux.2"),
        (below(LDM, unet(channels=7, context=1024, linear=True)) | ENCODERS["sd2"], "upscaler"),
        ({"ip_adapter.1.to_k_ip.weight": (1, 1), "image_proj.proj.weight": (1, 1)}, "IP-Adapter"),
        ({"model.0.weight": (64, 3, 3, 3), "model.1.sub.0.RDB1.conv1.0.weight": (32, 64, 3, 3)}, "an upscaler"),
        ({"lora_te1_x.lora_down.weight": (4, 4)} | UNETS["sd1"], "a LoRA"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_no_checkpoint_is_called_what_it_is(shapes: Shapes, words: str) -> None:
    found = _found(shapes)
    assert isinstance(found, Other)
    assert words in found.reason


def test_what_nobody_knows_is_described() -> None:
    shapes: Shapes = {"a.weight": (4, 8), "b": (), "c": (2,), "d": (1,)}
    assert _found(shapes) is None
    assert _found({}) is None
    assert describe_unknown(Header(shapes, {})) == "4 tensors; the largest is a.weight (4 × 8); the first are a.weight, b, c"
    assert describe_unknown(Header({}, {})) == "no tensors"


def test_a_large_header_takes_little_time() -> None:
    header = Header(published.checkpoint("sdxl"), dict.fromkeys(published.checkpoint("sdxl"), "F16"))
    best = min(_timed(header) for _ in range(5))
    assert best < 0.01


def _timed(header: Header) -> float:
    started = time.process_time()
    recognise(header)
    return time.process_time() - started
