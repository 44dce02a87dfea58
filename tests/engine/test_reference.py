"""The engine against a second way to the same picture: diffusers' own converters and scheduler, its modules called by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from safetensors.torch import load_file

from tools.random_checkpoint import TINY
from webui.backend.families.sd_modules import build_text_encoder, build_unet, build_vae
from webui.backend.parts import ModelChoice
from webui.engine.prompt.tokens import encode
from webui.engine.steps.postprocess import to_image

PROMPT, NEGATIVE, SEED, STEPS, CFG = "a red house", "blurry", 11, 6, 5.0


@pytest.fixture(scope="module")
def modules(tiny_checkpoint: Path) -> tuple[torch.nn.Module, torch.nn.Module, torch.nn.Module]:
    """UNet, VAE and text encoder filled by diffusers' converters, not by ours."""
    weights = {key: value.float() for key, value in load_file(tiny_checkpoint).items()}
    unet, vae, text = build_unet(TINY.unet), build_vae(TINY.vae), build_text_encoder(TINY.text_encoder)
    unet.load_state_dict(convert_ldm_unet_checkpoint(dict(weights), dict(unet.config)))
    vae.load_state_dict(convert_ldm_vae_checkpoint(dict(weights), dict(vae.config)))
    prefix = "cond_stage_model.transformer.text_model."
    text.load_state_dict({key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)})
    return unet.eval(), vae.eval(), text.eval()


def _by_hand(modules, size: int) -> torch.Tensor:
    """The picture in [-1, 1], (3, size, size), by diffusers' Euler scheduler and two module calls a step."""
    unet, vae, text = modules
    contexts = []
    for prompt in (PROMPT, NEGATIVE):
        tokens = [49406, *encode(prompt)]
        contexts.append(text(torch.tensor([tokens + [49407] * (77 - len(tokens))])).last_hidden_state)
    scheduler = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace")
    scheduler.set_timesteps(STEPS)
    latents = torch.randn(1, 4, size // 8, size // 8, generator=torch.Generator().manual_seed(SEED)) * scheduler.sigmas[0]
    for t in scheduler.timesteps:
        given = scheduler.scale_model_input(latents, t)
        cond, uncond = (unet(given, t, context).sample for context in contexts)
        latents = scheduler.step(uncond + CFG * (cond - uncond), t, latents).prev_sample
    return vae.decode(latents / 0.18215).sample[0]


@torch.inference_mode()
def test_same_picture_as_diffusers_by_hand(generate, pixels, modules) -> None:
    picture = generate(prompt=PROMPT, negative_prompt=NEGATIVE, seed=SEED, steps=STEPS, cfg_scale=CFG, sampler="Euler", width=96, height=96)[0]
    wanted = ((_by_hand(modules, 96) + 1) / 2).clamp(0, 1).permute(1, 2, 0).numpy() * 255
    difference = wanted - pixels(picture)  # truncation: at most 1 below, never above but for rounding
    assert difference.min() > -0.1
    assert difference.max() < 1.1


@torch.inference_mode()
def test_loaded_modules_answer_as_diffusers_converted_ones(runtime, generate, modules) -> None:
    unet, vae, text = modules
    generator = torch.Generator().manual_seed(0)
    x, context = torch.randn(2, 4, 9, 12, generator=generator), torch.randn(2, 77, 32, generator=generator)
    tokens = torch.tensor([[49406, *range(1000, 1075), 49407]])
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as components:
        ours = components.modules
        t = torch.tensor(321.5)
        torch.testing.assert_close(ours["unet"](x, t, context).sample, unet(x, t, context).sample, atol=1e-5, rtol=0)
        torch.testing.assert_close(ours["text_encoder"](tokens).last_hidden_state, text(tokens).last_hidden_state, atol=1e-5, rtol=0)
        torch.testing.assert_close(components.autoencoder.decode(x), vae.decode(x / 0.18215).sample, atol=1e-5, rtol=0)
        picture = torch.rand(1, 3, 64, 64, generator=generator) * 2 - 1
        torch.testing.assert_close(components.autoencoder.encode(picture), vae.encode(picture).latent_dist.mean * 0.18215, atol=1e-5, rtol=0)


@torch.inference_mode()
def test_output_is_truncated_not_rounded() -> None:
    values = torch.tensor([-2.0, -1.0, 0.0, 0.5 / 127.5, 0.999, 1.0, 3.0]).reshape(1, 1, 7).expand(3, 1, 7)
    assert np.asarray(to_image(values))[0, :, 0].tolist() == [0, 0, 127, 128, 254, 255, 255]
