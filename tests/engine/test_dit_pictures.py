"""Whole pictures of SD 3 and Flux against diffusers' own pipelines: tiny random weights, the same noise, four steps, float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.transformers.transformer_flux import FluxTransformer2DModel
from diffusers.models.transformers.transformer_sd3 import SD3Transformer2DModel
from diffusers.pipelines.flux.pipeline_flux import FluxPipeline
from diffusers.pipelines.stable_diffusion_3.pipeline_stable_diffusion_3 import StableDiffusion3Pipeline
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection, T5EncoderModel

from tests.engine.conftest import runtime_on
from tools.random_checkpoint import random_tensor
from tools.random_dit import write_file, write_folder
from webui.backend.components import Flow, ModuleCall
from webui.backend.families.t5 import tokenizer_of
from webui.engine.conditioning import Conditioning
from webui.engine.course import load_function, make_course, make_table, sampler_options
from webui.engine.faces import make_network
from webui.engine.guidance import SkipRules
from webui.engine.plan import Pass
from webui.engine.prompt.tokens import encode
from webui.engine.runtime import Runtime
from webui.engine.tables import SAMPLERS
from webui.engine.tools import RunTools
from webui.schema.errors import RequestError
from webui.schema.generation import Txt2Img
from webui.schema.sampling import SamplerSpec
from webui.schema.settings import PictureSettings

PROMPT, NEGATIVE, SEED, STEPS, CFG, TOLD, SIDE = "a red house", "dog", 11, 4, 4.5, 2.5, 96
KINDS = ("sd3-medium-3.5", "flux-dev", "flux-schnell")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Each kind as a folder and as a file; what they are is recognised from nothing but themselves."""
    folder = tmp_path_factory.mktemp("models")
    for kind in KINDS:
        write_folder(folder / f"{kind}-folder", kind, 9, random_tensor)
        write_file(folder / f"{kind}.safetensors", kind, 9, random_tensor)
    write_folder(folder / "flux-fill-folder", "flux-fill", 9, random_tensor)
    return folder


@pytest.fixture(scope="module")
def runtime(models: Path) -> Iterator[Runtime]:
    with runtime_on(models) as made:
        yield made


def make(runtime: Runtime, checkpoint: str, **changes: object) -> np.ndarray:
    """(height, width, 3) of the first picture."""
    request = Txt2Img(
        prompt=PROMPT, seed=SEED, steps=STEPS, cfg_scale=1.0, distilled_cfg_scale=TOLD, sampler="Euler", width=SIDE, height=SIDE,
        checkpoint=checkpoint,
    ).revise(**changes)
    picture = next(iter(runtime.generate(request, RunTools(settings=PictureSettings(randn_source="CPU")))))
    return np.asarray(picture.image).astype(np.float32)


def _clip_tokens(text: str, pad: int) -> torch.Tensor:
    tokens = [49406, *encode(text), 49407]
    return torch.tensor([tokens + [pad] * (77 - len(tokens))])


def _t5_tokens(folder: Path, text: str, length: int) -> torch.Tensor:
    tokens = [*tokenizer_of(next(folder.glob("tokenizer*/tokenizer.json")))(text), 1]
    return torch.tensor([tokens + [0] * (length - len(tokens))])


@torch.inference_mode()
def _by_flux(folder: Path, kind: str, negative: str | None) -> torch.Tensor:
    clip = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_2", dtype=torch.float32)
    pipeline: Any = FluxPipeline
    pipe = pipeline(
        FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32), clip, None, t5, None,
        FluxTransformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32),
    )
    told: dict[str, Any] = {}
    for name, text in (("", PROMPT), ("negative_", negative)):
        if text is not None:
            told[f"{name}prompt_embeds"] = t5(_t5_tokens(folder, text, 256 if kind == "flux-schnell" else 512))[0]
            told[f"{name}pooled_prompt_embeds"] = clip(_clip_tokens(text, 49407)).pooler_output
    noise = torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
    latents = FluxPipeline._pack_latents(noise, 1, 16, SIDE // 8, SIDE // 8)
    pipe.set_progress_bar_config(disable=True)
    true_cfg = CFG if negative is not None else 1.0
    return pipe(
        height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=TOLD, true_cfg_scale=true_cfg, latents=latents, output_type="pt", **told,
    ).images[0]


@torch.inference_mode()
def _by_sd3(folder: Path, negative: str | None) -> torch.Tensor:
    first, second = (CLIPTextModelWithProjection.from_pretrained(folder / name, dtype=torch.float32) for name in ("text_encoder", "text_encoder_2"))
    t5 = T5EncoderModel.from_pretrained(folder / "text_encoder_3", dtype=torch.float32)
    pipeline: Any = StableDiffusion3Pipeline
    pipe = pipeline(
        SD3Transformer2DModel.from_pretrained(folder / "transformer", torch_dtype=torch.float32),
        FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler"),
        AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32), first, None, second, None, t5, None,
    )
    told: dict[str, Any] = {}
    for name, text in (("", PROMPT), ("negative_", negative or "")):
        pairs = [module(_clip_tokens(text, pad), output_hidden_states=True) for module, pad in ((first, 49407), (second, 0))]
        clip, words = torch.cat([output.hidden_states[-2] for output in pairs], -1), t5(_t5_tokens(folder, text, 256))[0]
        told[f"{name}prompt_embeds"] = torch.cat([torch.nn.functional.pad(clip, (0, words.shape[-1] - clip.shape[-1])), words], 1)
        told[f"{name}pooled_prompt_embeds"] = torch.cat([output.text_embeds for output in pairs], -1)
    noise = torch.randn(1, 16, SIDE // 8, SIDE // 8, generator=torch.Generator().manual_seed(SEED))
    pipe.set_progress_bar_config(disable=True)
    scale = CFG if negative is not None else 1.0
    return pipe(height=SIDE, width=SIDE, num_inference_steps=STEPS, guidance_scale=scale, latents=noise, output_type="pt", **told).images[0]


@pytest.mark.parametrize("negative", [NEGATIVE, None], ids=["guided", "cfg 1"])
@pytest.mark.parametrize("layout", [".safetensors", "-folder"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_of_diffusers_pipeline(models: Path, runtime: Runtime, kind: str, layout: str, negative: str | None) -> None:
    changes = {} if negative is None else {"cfg_scale": CFG, "negative_prompt": negative}
    folder = models / f"{kind}-folder"
    expected = _by_sd3(folder, negative) if kind.startswith("sd3") else _by_flux(folder, kind, negative)
    difference = expected.permute(1, 2, 0).numpy() * 255 - make(runtime, kind + layout, **changes)
    assert difference.min() > -0.01 and difference.max() < 1.01  # A1111's way to 8 bits rounds down


def test_guidance_is_told_to_those_who_listen(runtime: Runtime) -> None:
    for kind, hears in (("flux-dev", True), ("flux-schnell", False), ("sd3-medium-3.5", False)):
        low, high = (make(runtime, f"{kind}.safetensors", distilled_cfg_scale=scale) for scale in (1.0, 20.0))
        assert (low != high).any() == hears


def test_fill_draws_on_a_blank(runtime: Runtime) -> None:
    assert make(runtime, "flux-fill-folder").std() > 1


def test_the_second_pass_begins_in_the_flow(runtime: Runtime) -> None:
    """With next to no strength it gives the enlarged picture back; noise added as for other families would drown it."""
    hires = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Latent (nearest)", "hr_second_pass_steps": 2}
    first = make(runtime, "flux-dev.safetensors")
    weak, strong = (make(runtime, "flux-dev.safetensors", **hires, denoising_strength=strength) for strength in (0.02, 0.9))
    assert np.abs(weak - first).mean() < 0.3 * np.abs(strong - first).mean()


def test_the_second_pass_may_be_told_another_guidance(runtime: Runtime) -> None:
    hires = {"enable_hr": True, "hr_scale": 1.0, "hr_upscaler": "Latent (nearest)", "hr_second_pass_steps": 2, "denoising_strength": 0.9}
    told = [make(runtime, "flux-dev.safetensors", **hires, hr_distilled_cfg=scale) for scale in (0.0, TOLD, 20.0)]
    assert np.array_equal(told[0], told[1]) and (told[0] != told[2]).any()


@pytest.mark.parametrize("spec", [spec for spec in SAMPLERS if spec.flow], ids=lambda spec: spec.name)
def test_every_sampler_that_may_walks_a_flow_to_its_picture(spec: SamplerSpec) -> None:
    """The flow to a single picture is a straight line. Those that count in timesteps end at the second of them, with so much noise left."""
    picture, noise = (torch.randn(1, 16, 4, 4, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    part, settings, flow = Pass(12, 1.0, 32, 32, spec, None), PictureSettings(), Flow(3.0)
    table = make_table(torch.ones(1000), part, settings, flow=flow)

    def module(call: ModuleCall) -> torch.Tensor:
        return (call.x - picture) / (call.t[0] / 1000)

    network = make_network(part, module, table, Conditioning(torch.zeros(1, 1, 1), None), SkipRules(), prediction="flow")
    course = make_course(part, table, settings)
    sample, options = load_function(spec.function), sampler_options(part, table, settings)
    end = sample(network, noise * course.spread, course.levels, lambda: torch.zeros_like(noise), options, lambda *step: None)
    torch.testing.assert_close(end, picture, atol=0.02 if spec.face == "timestep" else 1e-4, rtol=0)


def test_words_of_t5_have_weights(runtime: Runtime) -> None:
    plain, same, heavy = (make(runtime, "flux-dev.safetensors", prompt=text) for text in ("a red house", "a (red:1.0) house", "a (red:1.6) house"))
    assert np.array_equal(plain, same) and (plain != heavy).any()


@pytest.mark.parametrize(("changes", "field", "message"), [
    ({"width": 72}, "width", "multiples of 16, not 72"), ({"height": 88}, "height", "multiples of 16"),
    ({"sampler": "Euler a"}, "sampler", "Euler a adds noise on its way"), ({"sampler": "LCM"}, "sampler", "adds noise"),
    ({"enable_hr": True, "hr_scale": 1.25}, "hr_scale", "not 120 pixels"), ({"enable_hr": True, "hr_resize_x": 104}, "hr_resize_x", "not 104 pixels"),
    ({"enable_hr": True, "hr_sampler": "DPM++ SDE"}, "hr_sampler", "adds noise"),
    ({"enable_hr": True, "hr_checkpoint_name": "flux-dev.safetensors"}, "hr_checkpoint_name", "of different families"),
    ({"enable_refiner": True, "refiner_checkpoint": "flux-dev.safetensors"}, "refiner_checkpoint", "of different families"),
    ({"width": 3088, "height": 64}, "width", "up to 3072 pixels"),
])  # fmt: skip
def test_what_the_model_cannot_do_is_said_at_the_field(models: Path, runtime: Runtime, changes: dict[str, Any], field: str, message: str) -> None:
    if "3072" in message:
        write_file(models / "sd3-medium.safetensors", "sd3-medium", 9, random_tensor)
        runtime._catalog.refresh()
    name = "sd3-medium.safetensors" if "3072" in message else "sd3-medium-3.5.safetensors"
    with pytest.raises(RequestError, match=message) as caught:
        make(runtime, name, **changes)
    assert caught.value.field == field


@pytest.mark.parametrize("kind", ["flux-dev", "sd3-medium-3.5"])
def test_weights_in_eight_bits_compute_in_more(runtime: Runtime, kind: str) -> None:
    request = Txt2Img(prompt=PROMPT, seed=SEED, steps=2, cfg_scale=1.0, sampler="Euler", width=64, height=64, checkpoint=f"{kind}.safetensors")
    pictures = [
        np.asarray(next(iter(runtime.generate(request, RunTools(settings=PictureSettings(fp8_storage=stored))))).image).astype(np.float32)
        for stored in ("Disable", "Enable")
    ]
    assert 0 < np.abs(pictures[0] - pictures[1]).mean() < 12
