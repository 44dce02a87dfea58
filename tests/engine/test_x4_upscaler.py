"""Stable Diffusion's x4 upscaler as one of the upscalers: against diffusers, in tiles, where it is listed, and how it is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DDPMScheduler, StableDiffusionUpscalePipeline, UNet2DConditionModel
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.catalog import Catalog
from webui.backend.device import Device
from webui.backend.memory import GIB
from webui.backend.network_files import NetworkFiles
from webui.backend.pipelines import Pipeline
from webui.engine.cancel import CancelToken
from webui.engine.fitting import fit, work_of
from webui.engine.generate import choice_of
from webui.engine.prompt.tokens import tokenizer_files
from webui.engine.runtime import Runtime
from webui.engine.tables import found_upscalers, register_tables
from webui.engine.tools import RunTools, Step
from webui.plugins.registry import Registries
from webui.schema.errors import Cancelled, ModelError
from webui.schema.extras import Extras
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.settings import PictureSettings

PICTURE = Image.fromarray(np.random.default_rng(3).integers(0, 256, (4, 5, 3), np.uint8)).resize((40, 32), Image.Resampling.BICUBIC)
STEPS = 3


def write_upscaler(folder: Path, tokenizer: Path) -> None:
    """The published layout with tiny random weights: a UNet of 7 channels that is told a noise level, a VAE of factor 4."""
    torch.manual_seed(5)
    for name, text in tokenizer_files("<|endoftext|>").items():
        tokenizer.mkdir(parents=True, exist_ok=True)
        (tokenizer / name).write_text(text)
    text = CLIPTextConfig(
        vocab_size=49408, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2, projection_dim=32, eos_token_id=49407,
    )
    pipe: Any = StableDiffusionUpscalePipeline(
        vae=AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3, block_out_channels=(16, 16, 32),
            norm_num_groups=8, latent_channels=4, scaling_factor=0.08333,
        ),
        text_encoder=CLIPTextModel(text), tokenizer=CLIPTokenizer.from_pretrained(tokenizer),
        unet=UNet2DConditionModel(
            in_channels=7, out_channels=4, block_out_channels=(32, 64), layers_per_block=1, norm_num_groups=16, cross_attention_dim=32,
            down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
            attention_head_dim=8, num_class_embeds=350,
        ),
        low_res_scheduler=DDPMScheduler(beta_schedule="scaled_linear", beta_start=0.0001, beta_end=0.02),
        scheduler=DDIMScheduler(  # pyright: ignore[reportArgumentType]
            beta_schedule="scaled_linear", beta_start=0.0001, beta_end=0.02, prediction_type="v_prediction", set_alpha_to_one=False,
            clip_sample=False, steps_offset=1,
        ),
    )
    pipe.save_pretrained(folder)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_upscaler(folder / "sd" / "x4", folder / "tokenizer")
    write_checkpoint(folder / "sd" / "z.safetensors", KINDS["tiny"]["sd1"], 3)
    return folder


@pytest.fixture(scope="module")
def runtime(models: Path) -> Iterator[Runtime]:
    catalog, registries, files = Catalog([models / "sd"], Hashes()), Registries(), NetworkFiles({}, Hashes(), Hashes())
    register_tables(registries)
    registries.upscalers.follow(lambda: found_upscalers(files, catalog))
    made = Runtime(DeviceOptions(use_cpu=True, precision="full"), catalog, registries, files=files)
    yield made
    made.close()


def enlarge(runtime: Runtime, image: Image.Image = PICTURE, tools: RunTools | None = None, **settings: Any) -> Image.Image:
    chosen = PictureSettings(**{"x4_upscaler_steps": STEPS} | settings)
    tools = tools or RunTools(settings=chosen)
    return runtime.process(image, Extras(upscaler_1="x4", upscaling_resize=4.0), tools)[0].image


def by_diffusers(models: Path, image: Image.Image, noise_level: int) -> np.ndarray:
    pipe: Any = StableDiffusionUpscalePipeline.from_pretrained(models / "sd" / "x4", local_files_only=True, torch_dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    latents = torch.randn(4, image.height, image.width, generator=torch.Generator().manual_seed(0))[None]
    made = pipe(
        prompt="", image=image, num_inference_steps=STEPS, guidance_scale=1.0, noise_level=noise_level, latents=latents, output_type="np",
        generator=torch.Generator().manual_seed(1),
    )
    return made.images[0] * 255


@pytest.mark.parametrize("noise_level", [20, 300])
def test_the_picture_of_diffusers_pipeline(models: Path, runtime: Runtime, noise_level: int) -> None:
    ours = enlarge(runtime, x4_upscaler_noise_level=noise_level)
    assert ours.size == (160, 128)
    assert np.abs(np.asarray(ours).astype(np.float32) - by_diffusers(models, PICTURE, noise_level)).max() <= 0.5001  # rounded
    assert ours.tobytes() != enlarge(runtime, x4_upscaler_noise_level=noise_level + 30).tobytes()


def test_any_size_transparency_and_tiles(runtime: Runtime) -> None:
    odd = PICTURE.resize((37, 29)).convert("RGBA")
    odd.putalpha(Image.new("L", odd.size, 90))
    made = enlarge(runtime, odd)
    assert made.mode == "RGBA" and made.size == (144, 112) and made.getchannel("A").getextrema() == (90, 90)  # sides of 8, as in A1111
    wide = PICTURE.resize((120, 32))
    whole, tiled = (np.asarray(enlarge(runtime, wide, x4_upscaler_tile=tile)).astype(int) for tile in (0, 64))
    assert whole.shape == tiled.shape == (128, 480, 3)
    assert np.abs(np.diff(tiled, axis=1)).max() <= np.abs(np.diff(whole, axis=1)).max() + 8  # no seam is steeper than the picture itself


def test_progress_and_interrupt(runtime: Runtime) -> None:
    told: list[Step] = []
    wide = PICTURE.resize((120, 32))
    settings = PictureSettings(x4_upscaler_steps=STEPS, x4_upscaler_tile=64)
    enlarge(runtime, wide, RunTools(settings=settings, report=told.append))
    last = max(step.steps for step in told)
    assert last % STEPS == 0 and last > STEPS and {step.step for step in told} >= set(range(last + 1))
    shares = [step.share or 0.0 for step in told]
    assert shares == sorted(shares)
    cancel = CancelToken()

    def stop(step: Step) -> None:
        if step.step == 2:
            cancel.interrupt()

    with pytest.raises(Cancelled):
        enlarge(runtime, wide, RunTools(cancel=cancel, settings=settings, report=stop))
    runtime.tidy()
    assert runtime.shop.enlarger._pipelines._known is None


def test_where_it_is_listed(runtime: Runtime, models: Path) -> None:
    """Among the upscalers, and with its reason among the checkpoints, of which it is never the default."""
    catalog = Catalog([models / "sd"], Hashes())
    assert "x4" in runtime._registries.upscalers and "z.safetensors" not in runtime._registries.upscalers
    assert catalog.default() == "z.safetensors"
    with pytest.raises(ModelError, match="an upscaler: choose it as one"):
        catalog.get("x4")


def test_hires_fix_takes_it(runtime: Runtime) -> None:
    request = Txt2Img(
        prompt="a red house", steps=2, width=64, height=64, checkpoint="z.safetensors", enable_hr=True, hr_upscaler="x4", hr_scale=2.0, seed=1,
        denoising_strength=0.5,
    )
    made = next(iter(runtime.generate(request, RunTools(settings=PictureSettings(x4_upscaler_steps=1)))))
    assert made.image.size == (128, 128)
    assert runtime.shop.enlarger._pipelines._known is None


def test_what_does_not_fit_is_done_in_smaller_tiles(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told before it begins, the same whether it is loaded already or not."""
    runtime.tidy()
    wide, told, tiles = PICTURE.resize((128, 32)), list[Step](), list[tuple[int, int]]()
    enlarger, settings = runtime.shop.enlarger, PictureSettings(x4_upscaler_steps=1)
    checkpoint = runtime._registries.upscalers.get("x4").pipeline
    assert checkpoint is not None
    upscaler = enlarger.measure(checkpoint, wide.size, settings)
    assert upscaler.tiles == (128, 64) and upscaler.factor == 4
    call = Pipeline.enlarge
    monkeypatch.setattr(Pipeline, "enlarge", lambda self, image, *rest: (tiles.append(image.size), call(self, image, *rest))[1])

    def run(free: int) -> None:
        monkeypatch.setattr(Device, "memory", property(lambda self: (GIB, GIB // 10 + free)))
        enlarge(runtime, wide, RunTools(settings=settings, report=told.append), x4_upscaler_steps=1)

    run(upscaler.need(128))
    assert tiles == [(128, 32)] and told[0].note == told[-1].note == "needs about 0.0 of 1.0 GB"
    tiles.clear()
    told.clear()
    run(upscaler.need(128) - upscaler.weights)  # they are in memory already
    assert tiles == [(128, 32)]
    runtime.tidy()
    tiles.clear()
    told.clear()
    run(upscaler.need(64))
    assert len(tiles) > 1 and {size[0] for size in tiles} == {64}
    assert told[0].note.endswith(": upscaler in tiles of 64 px") and {step.note for step in told} == {told[0].note}


def test_what_it_holds_is_what_was_measured(runtime: Runtime) -> None:
    checkpoint = runtime._registries.upscalers.get("x4").pipeline
    assert checkpoint is not None
    upscaler = runtime.shop.enlarger.measure(checkpoint, PICTURE.size, PictureSettings())
    with runtime.shop.enlarger._pipelines.lease(checkpoint, lambda: None) as pipeline:
        modules = {name: getattr(pipeline._loaded, name) for name in ("unet", "vae", "text_encoder")}
        assert upscaler.factor == pipeline.factor
    for name, module in modules.items():
        assert upscaler.sizes[name].weights == sum(value.nbytes for value in module.state_dict().values())
    runtime.tidy()


def test_hires_fix_counts_it(runtime: Runtime) -> None:
    request = Txt2Img(prompt="x", steps=2, width=96, height=64, checkpoint="z.safetensors", enable_hr=True, hr_upscaler="x4", seed=1)
    measure, settings = runtime.shop.enlarger.measure, PictureSettings(x4_upscaler_tile=0)
    work = work_of(runtime.plan(request), settings, measure)
    assert work.upscaler is not None and work.upscaler.size == (96, 64) and work.upscaler.tiles == (96,)
    assert work_of(runtime.plan(request.revise(hr_upscaler="Lanczos")), settings, measure).upscaler is None
    told: list[Step] = []
    list(runtime.generate(request, RunTools(settings=PictureSettings(x4_upscaler_steps=1), report=told.append)))
    fitted = fit(runtime.shop.manager, choice_of(runtime.plan(request), None, runtime.shop), work, runtime.shop.options, RunTools())
    assert fitted.estimate.need >= work.upscaler.need(96) + sum(size.weights for size in runtime.shop.manager.sizes(fitted.choice).values())
    assert told[0].note.split(" of ")[0] == fitted.estimate.line.split(" of ")[0]


def test_a_folder_that_is_not_whole(runtime: Runtime, models: Path) -> None:
    runtime.tidy()
    config = models / "sd" / "x4" / "text_encoder" / "config.json"
    before = config.read_text()
    config.write_text("no JSON")
    try:
        with pytest.raises(ModelError, match="x4 cannot be loaded"):
            enlarge(runtime)
    finally:
        config.write_text(before)
    unet = models / "sd" / "x4" / "unet" / "config.json"
    before = unet.read_text()
    try:
        for text, words in (("no JSON", "unet/config.json is missing or cannot be read"), ("{}", "unet/config.json does not say how large")):
            unet.write_text(text)
            with pytest.raises(ModelError, match=words):
                enlarge(runtime)
    finally:
        unet.write_text(before)
