"""Whole pictures against diffusers' own pipelines: the same weights from a folder, the same noise, four steps of Euler with guidance, float32."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion_xl.pipeline_stable_diffusion_xl import StableDiffusionXLPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from transformers import CLIPTextModel, CLIPTextModelWithProjection

from tests.engine.conftest import runtime_on
from tools.random_checkpoint import KINDS, write_checkpoint, write_folder
from webui.engine.prompt.tokens import encode
from webui.engine.runtime import Runtime
from webui.engine.tools import RunTools
from webui.schema.generation import Txt2Img
from webui.schema.settings import PictureSettings

PROMPT, NEGATIVE, SEED, STEPS, CFG = "a red house", "blurry", 11, 4, 5.0


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SD 1.x and SDXL, each as a folder and as a file; what they are is recognised from nothing but themselves."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("sd1", "sdxl"):
        write_folder(folder / f"{kind}-folder", KINDS["tiny"][kind], 9, family=kind)
        write_checkpoint(folder / f"{kind}.safetensors", KINDS["tiny"][kind], 9)
    return folder


@pytest.fixture(scope="module")
def runtime(models: Path) -> Iterator[Runtime]:
    with runtime_on(models) as made:
        yield made


def _tokens(text: str, pad: int) -> torch.Tensor:
    tokens = [49406, *encode(text), 49407]
    return torch.tensor([tokens + [pad] * (77 - len(tokens))])


@torch.inference_mode()
def _by_pipeline(folder: Path, kind: str, size: int, negative: str) -> np.ndarray:
    """(size, size, 3) in 0 … 255, not rounded. Latents as A1111 begins: noise times the first sigma."""
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32)
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32)
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace")
    scheduler.set_timesteps(STEPS)
    noise = torch.randn(1, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(SEED))
    given: dict[str, Any] = {
        "latents": noise * scheduler.sigmas[0] / scheduler.init_noise_sigma, "num_inference_steps": STEPS, "guidance_scale": CFG, "height": size,
        "width": size, "output_type": "pt",
    }
    rest: dict[str, Any] = {"scheduler": scheduler, "unet": unet, "vae": vae, "feature_extractor": None}
    if kind == "sd1":
        pipe: Any = StableDiffusionPipeline(text_encoder=text, tokenizer=None, safety_checker=None, requires_safety_checker=False, **rest)
        cond, uncond = (text(_tokens(one, 49407)).last_hidden_state for one in (PROMPT, negative))
        given |= {"prompt_embeds": cond, "negative_prompt_embeds": uncond}
    else:
        second = CLIPTextModelWithProjection.from_pretrained(folder / "text_encoder_2", dtype=torch.float32)
        pipe = StableDiffusionXLPipeline(
            text_encoder=text, text_encoder_2=second, tokenizer=None, tokenizer_2=None, add_watermarker=False, **rest,
        )
        for name, one in (("", PROMPT), ("negative_", negative)):
            first, other = text(_tokens(one, 49407), output_hidden_states=True), second(_tokens(one, 0), output_hidden_states=True)
            states, pooled = torch.cat([first.hidden_states[-2], other.hidden_states[-2]], -1), other.text_embeds
            if not one:  # as the pipeline itself does for an empty negative prompt
                states, pooled = torch.zeros_like(states), torch.zeros_like(pooled)
            given |= {f"{name}prompt_embeds": states, f"{name}pooled_prompt_embeds": pooled}
    pipe.set_progress_bar_config(disable=True)
    return pipe(**given).images[0].permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("negative", [NEGATIVE, ""], ids=["negative", "no negative"])
@pytest.mark.parametrize("layout", [".safetensors", "-folder"])
@pytest.mark.parametrize("kind", ["sd1", "sdxl"])
def test_the_picture_of_diffusers_pipeline(models: Path, runtime: Runtime, kind: str, layout: str, negative: str) -> None:
    request = Txt2Img(
        prompt=PROMPT, negative_prompt=negative, seed=SEED, steps=STEPS, cfg_scale=CFG, sampler="Euler", width=96, height=96,
        checkpoint=kind + layout,
    )
    picture = next(iter(runtime.generate(request, RunTools(settings=PictureSettings(randn_source="CPU")))))
    difference = _by_pipeline(models / f"{kind}-folder", kind, 96, negative) - np.asarray(picture.image).astype(np.float32)
    assert difference.min() > -0.1  # ours is truncated: at most 1 below, never above but for rounding
    assert difference.max() < 1.1
