"""Depth models: whole pictures against diffusers' own pipeline, where the map comes from, and what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion_depth2img import StableDiffusionDepth2ImgPipeline
from diffusers.schedulers.scheduling_euler_discrete import EulerDiscreteScheduler
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import CLIPTextModel, DPTConfig, DPTForDepthEstimation, DPTImageProcessor

from tests.backend.conftest import Hashes
from tools.random_checkpoint import KINDS, write_folder
from webui.backend.catalog import Catalog
from webui.backend.device import Device
from webui.engine.depth import DepthEstimator
from webui.engine.estimators import check_depth, find_estimator, lookers
from webui.engine.prompt.tokens import encode
from webui.engine.runtime import Runtime
from webui.engine.tables import register_tables
from webui.engine.tools import Picture, RunTools
from webui.plugins.registry import Registries
from webui.schema.errors import ModelError, RequestError
from webui.schema.generation import GenerationRequest, ImageRef, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings

SIZE, STEPS, CFG, SEED = 96, 4, 5.0, 11
GIVEN = Image.fromarray(np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), np.uint8))
SLOPE = Image.linear_gradient("L").resize((SIZE, SIZE))
MASK = Image.new("L", GIVEN.size)
ImageDraw.Draw(MASK).rectangle((40, 40, 60, 60), fill=255)
STORE = {"a" * 64: GIVEN, "b" * 64: SLOPE, "c" * 64: MASK, "d" * 64: Image.new("L", (8, 8), 90)}
IMAGE, MAP, HOLE, FLAT = (ImageRef(sha256=name, width=image.width, height=image.height) for name, image in STORE.items())
Make = Callable[..., list[Picture]]


def write_estimator(network: Path, preparation: Path) -> None:
    """A tiny DPT with random weights, in transformers' layout."""
    torch.manual_seed(5)
    config = DPTConfig(
        hidden_size=16, num_hidden_layers=4, num_attention_heads=2, intermediate_size=32, image_size=32, patch_size=8,
        backbone_out_indices=[0, 1, 2, 3], neck_hidden_sizes=[8, 8, 16, 16], fusion_hidden_size=16,
    )
    DPTForDepthEstimation(config).eval().save_pretrained(network)
    DPTImageProcessor(size={"height": 32, "width": 32}).save_pretrained(preparation)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models folder with two checkpoints of the same weights: `own` has an estimator, `bare` has none."""
    folder = tmp_path_factory.mktemp("models")
    own = write_folder(folder / "sd" / "own", KINDS["tiny"]["sd2-depth"], 9, family="sd2")
    shutil.copytree(own, folder / "sd" / "bare")
    write_estimator(own / "depth_estimator", own / "feature_extractor")
    index = json.loads((own / "model_index.json").read_text())
    (own / "model_index.json").write_text(json.dumps(index | {
        "_class_name": "StableDiffusionDepth2ImgPipeline", "depth_estimator": ["transformers", "DPTForDepthEstimation"],
        "feature_extractor": ["transformers", "DPTImageProcessor"],
    }))
    return folder


@pytest.fixture(scope="module")
def runtime(models: Path) -> Runtime:
    registries = Registries()
    register_tables(registries)
    return Runtime(DeviceOptions(use_cpu=True, precision="full"), Catalog([models / "sd"], Hashes()), registries, models=models)


@pytest.fixture
def make(runtime: Runtime) -> Make:
    def run(**changes: Any) -> list[Picture]:
        asked: dict[str, Any] = {
            "image": IMAGE, "prompt": "a red house", "seed": SEED, "steps": STEPS, "cfg_scale": CFG, "sampler": "Euler",
            "width": SIZE, "height": SIZE, "checkpoint": "own", "denoising_strength": 0.5,
        }
        tools = RunTools(settings=PictureSettings(randn_source="CPU"), open_image=lambda ref: STORE[ref.sha256])
        return list(runtime.generate(Img2Img(**asked | changes), tools))

    return run


class _Middle(StableDiffusionDepth2ImgPipeline):
    """Begins with the middle of the picture's distribution, as A1111 does, and with the noise of the seed."""

    def prepare_latents(self, image: Tensor, timestep: Tensor, *rest: Any, **more: Any) -> Tensor:
        noise = torch.randn(1, 4, SIZE // 8, SIZE // 8, generator=torch.Generator().manual_seed(SEED))
        latents = self.vae.encode(image).latent_dist.mode() * self.vae.config.scaling_factor
        return self.scheduler.add_noise(latents, noise, timestep)


@torch.inference_mode()
def _by_pipeline(folder: Path, depth_map: Tensor | None) -> np.ndarray:
    """(SIZE, SIZE, 3) in 0 … 255, not rounded: three of the four steps."""
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", dtype=torch.float32)
    scheduler: Any = EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", timestep_spacing="linspace")
    no_tokenizer: Any = None
    pipe: Any = _Middle(
        vae=AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32), text_encoder=text, tokenizer=no_tokenizer,
        unet=UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32, sample_size=64),
        scheduler=scheduler,
        depth_estimator=DPTForDepthEstimation.from_pretrained(folder / "depth_estimator"),
        feature_extractor=DPTImageProcessor.from_pretrained(folder / "feature_extractor"),
    )
    pipe.set_progress_bar_config(disable=True)

    def states(prompt: str) -> Tensor:
        tokens = [49406, *encode(prompt), 49407]
        return text(torch.tensor([tokens + [0] * (77 - len(tokens))])).last_hidden_state

    made = pipe(
        prompt_embeds=states("a red house"), negative_prompt_embeds=states(""), image=GIVEN, depth_map=depth_map, strength=0.75,
        num_inference_steps=STEPS, guidance_scale=CFG, output_type="pt",
    )
    return made.images[0].permute(1, 2, 0).numpy() * 255


@pytest.mark.parametrize("given", [False, True], ids=["estimated", "given"])
def test_the_picture_of_diffusers_pipeline(models: Path, make: Make, given: bool) -> None:
    """Strength 0.5 of A1111 does as many of the four steps as 0.75 of diffusers."""
    ours = np.asarray(make(depth=MAP if given else None)[0].image).astype(np.float32)
    wanted = _by_pipeline(models / "sd" / "own", torch.from_numpy(np.asarray(SLOPE, np.float32) / 255)[None] if given else None)
    assert (wanted - ours).min() > -0.1  # ours is truncated: at most 1 below, never above but for rounding
    assert (wanted - ours).max() < 1.1


def test_the_map_decides_the_picture(make: Make) -> None:
    estimated, slope, flat = (make(depth=depth)[0].image.tobytes() for depth in (None, MAP, FLAT))
    assert len({estimated, slope, flat}) == 3
    assert make(depth=FLAT)[0].image.tobytes() == flat  # equally far everywhere: no division by nothing


def test_an_estimator_in_models_depth_counts_for_all(models: Path, make: Make) -> None:
    own = make()[0].image.tobytes()
    with pytest.raises(RequestError, match="nothing to estimate") as caught:
        make(checkpoint="bare")
    assert caught.value.field == "depth" and "models/depth" in (caught.value.hint or "")
    assert make(checkpoint="bare", depth=MAP)[0].image.tobytes() == make(depth=MAP)[0].image.tobytes()
    place = models / "depth" / "dpt"
    write_estimator(place, place)
    try:
        assert make(checkpoint="bare")[0].image.tobytes() == own
        weights = load_file(place / "model.safetensors")
        save_file({name: value for name, value in weights.items() if name != "dpt.layernorm.bias"}, place / "model.safetensors", {"format": "pt"})
        with pytest.raises(ModelError, match=r"lacks 1 weights, the first is dpt\.layernorm\.bias"):
            make(checkpoint="bare")
        (place / "model.safetensors").write_bytes(b"no weights")
        with pytest.raises(ModelError, match="The depth estimator in dpt cannot be read"):
            make(checkpoint="bare")
    finally:
        shutil.rmtree(place)


def test_it_is_refused_before_the_job(models: Path, runtime: Runtime) -> None:
    bare, own = (runtime._catalog.get(name) for name in ("bare", "own"))
    assert (bare.variant, own.variant) == ("depth", "depth") and find_estimator(own, models) is not None
    with pytest.raises(RequestError, match="bare looks at how far things are") as caught:
        check_depth(Img2Img(image=IMAGE), (own, bare), models)
    assert caught.value.field == "depth"
    check_depth(Img2Img(image=IMAGE, depth=MAP), (bare,), models)
    check_depth(Img2Img(image=IMAGE), (own,), None)
    check_depth(Txt2Img(), (bare,), models)  # sees zeros


def test_the_estimator_of_a_single_file(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Seen in the picture as MiDaS is shown it: 384 pixels a side, -1 to 1."""
    asked: list[Path] = []

    class Brightness(torch.nn.Module):
        def forward(self, pixels: Tensor) -> SimpleNamespace:
            assert pixels.shape == (1, 3, 384, 384) and pixels.min() < -0.99 and pixels.max() > 0.99
            return SimpleNamespace(predicted_depth=pixels.mean(1))

    def load(path: Path, device: Device) -> torch.nn.Module:
        asked.append(path)
        return Brightness()

    monkeypatch.setattr("webui.engine.depth.load_midas", load)
    whole = Checkpoint(name="d", path=str(models / "d.ckpt"), size=1, mtime=1, family="sd2", variant="depth", parts=("unet", "depth_estimator"))
    check_depth(Img2Img(image=IMAGE), (whole,), None)
    depth = DepthEstimator(Device(torch.device("cpu"), torch.float32, torch.float32, "sdpa"), None).estimate(whole, [SLOPE.convert("RGB")])
    assert depth.shape == (1, 1, 384, 384) and (depth[:, :, -1] > 0.9).all() and (depth[:, :, 0] < -0.9).all() and asked == [models / "d.ckpt"]


@pytest.mark.parametrize("changes", [
    {"mode": "inpaint", "mask": HOLE}, {"mode": "inpaint", "mask": HOLE, "inpaint_full_res": True, "inpaint_full_res_padding": 4},
    {"resize_mode": "Crop and resize", "width": 128}, {"resize_mode": "Resize and fill", "width": 128}, {"batch_size": 2, "batch_count": 2},
    {"resize_mode": "Just resize (latent upscale)", "width": 128},
])  # fmt: skip
def test_masks_frames_and_batches(make: Make, changes: dict[str, Any]) -> None:
    for depth in (None, MAP):
        made = make(depth=depth, **changes)
        assert len(made) == changes.get("batch_size", 1) * changes.get("batch_count", 1)
        assert len({one.image.tobytes() for one in made}) == len(made)


def test_only_masked_cuts_the_map_too(make: Make) -> None:
    """What the map says outside of the part that is worked on does not matter; what it says inside does."""
    def result(map: Image.Image) -> bytes:
        STORE["b" * 64] = map
        try:
            return make(depth=MAP, mode="inpaint", mask=HOLE, mask_blur=0, inpaint_full_res=True, inpaint_full_res_padding=0)[0].image.tobytes()
        finally:
            STORE["b" * 64] = SLOPE

    outside, inside = SLOPE.copy(), SLOPE.copy()
    outside.paste(0, (0, 0, 30, 30))
    inside.paste(0, (45, 45, 55, 55))
    assert result(outside) == result(SLOPE) != result(inside)


HIRES = Txt2Img(prompt="a red house", steps=2, width=64, height=64, checkpoint="own", enable_hr=True, hr_upscaler="Lanczos", seed=1, sampler="Euler")


def test_from_a_prompt_alone_and_enlarged(runtime: Runtime) -> None:
    assert next(iter(runtime.generate(HIRES))).image.size == (128, 128)
    assert next(iter(runtime.generate(HIRES.revise(checkpoint="bare", enable_hr=False)))).image.size == (64, 64)
    with pytest.raises(RequestError, match="bare looks at how far things are") as caught:
        list(runtime.generate(HIRES.revise(checkpoint="bare")))
    assert caught.value.field == "enable_hr" and "Switch hires fix off" in (caught.value.hint or "")


@pytest.mark.parametrize("upscaler", ["Lanczos", "Latent"])
def test_the_second_pass_sees_the_depth_of_each_picture(runtime: Runtime, monkeypatch: pytest.MonkeyPatch, upscaler: str) -> None:
    """Of what the first pass left, enlarged; and with another depth it makes another picture."""
    shown: list[Image.Image] = []

    def draw(estimate: Callable[..., Tensor]) -> list[Picture]:
        monkeypatch.setattr(DepthEstimator, "estimate", estimate)
        settings = PictureSettings(save_images_before_highres_fix=True)
        return list(runtime.generate(HIRES.revise(hr_upscaler=upscaler, batch_size=2), RunTools(settings=settings)))

    def brightness(self: DepthEstimator, checkpoint: Checkpoint, images: list[Image.Image], *, hires: bool) -> Tensor:
        shown.extend(images)
        return torch.from_numpy(np.stack([np.asarray(image.convert("L"), np.float32) for image in images]))[:, None]

    made = draw(brightness)
    assert len(shown) == 2 and shown[0].tobytes() != shown[1].tobytes()
    for picture, image in zip(made, shown, strict=True):
        before = picture.companions[0].image.resize((128, 128), Image.Resampling.LANCZOS)
        close, other = (np.abs(np.asarray(image).astype(int) - np.asarray(one).astype(int)).mean() for one in (before, GIVEN.resize((128, 128))))
        assert image.size == (128, 128) and close < other
    turned = draw(lambda *given, hires: -brightness(*given, hires=hires))
    assert all(one.companions[0].image.tobytes() == other.companions[0].image.tobytes() for one, other in zip(made, turned, strict=True))
    assert all(one.image.tobytes() != other.image.tobytes() for one, other in zip(made, turned, strict=True))
    half = draw(lambda *given, hires: brightness(*given, hires=hires) * 0.5 + 7)  # each picture's nearest and farthest are what counts
    assert [one.image.tobytes() for one in half] == [one.image.tobytes() for one in made]


def test_a_batch_loads_the_estimator_once(runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    """And sees each picture as if it were the only one, to the last bit."""
    loads: list[str] = []
    load, together = DepthEstimator._load, DepthEstimator.estimate
    monkeypatch.setattr(DepthEstimator, "_load", lambda self, found: (loads.append(found.network.name), load(self, found))[1])
    batch = HIRES.revise(batch_size=3)
    made = [one.image.tobytes() for one in runtime.generate(batch)]
    assert loads == ["depth_estimator"] and len(set(made)) == 3

    def one_by_one(self: DepthEstimator, checkpoint: Checkpoint, images: list[Image.Image], *, hires: bool) -> Tensor:
        return torch.cat([together(self, checkpoint, [image], hires=hires) for image in images])

    monkeypatch.setattr(DepthEstimator, "estimate", one_by_one)
    assert [one.image.tobytes() for one in runtime.generate(batch)] == made and len(loads) == 4


def test_the_second_pass_is_img2img_of_the_first(runtime: Runtime, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    slope = torch.linspace(0, 1, 50)[None, None, :, None].expand(1, 1, 50, 40)
    monkeypatch.setattr(DepthEstimator, "estimate", lambda *given, hires=False: slope)
    settings = PictureSettings(img2img_fix_steps=True, save_images_before_highres_fix=True, randn_source="NV")
    tools = RunTools(settings=settings, open_image=lambda ref: whole)
    hires = next(iter(runtime.generate(HIRES.revise(denoising_strength=0.5), tools)))
    whole = hires.companions[0].image.resize((128, 128), Image.Resampling.LANCZOS)
    asked = HIRES.model_dump(include=set(GenerationRequest.model_fields)) | {"width": 128, "height": 128, "denoising_strength": 0.5}
    again = next(iter(runtime.generate(Img2Img(**asked, image=IMAGE.model_copy(update={"width": 128, "height": 128})), tools)))
    assert hires.image.tobytes() == again.image.tobytes()


def test_who_is_shown_a_picture(models: Path, runtime: Runtime) -> None:
    bare, own = (runtime._catalog.get(name) for name in ("bare", "own"))
    plain, settings = own.model_copy(update={"name": "plain", "variant": "base"}), PictureSettings()
    assert lookers(HIRES, bare, {}, settings) == (bare,)
    assert lookers(HIRES, bare, {"hr_checkpoint_name": plain}, settings) == (plain,)  # bare makes the first pass only, from a prompt alone
    assert lookers(HIRES, plain, {"refiner_checkpoint": bare}, settings) == (plain, bare)
    assert lookers(HIRES, plain, {"refiner_checkpoint": bare}, PictureSettings(hires_fix_refiner_pass="first pass")) == (plain,)
    assert lookers(Img2Img(image=IMAGE), plain, {"refiner_checkpoint": bare}, settings) == (plain, bare)
    with pytest.raises(RequestError, match="bare looks at how far things are") as caught:
        check_depth(HIRES, (bare,), models)
    assert caught.value.field == "enable_hr"
    check_depth(HIRES, (own, plain), models)
    check_depth(HIRES.revise(enable_hr=False), (bare,), models)
