"""SDXL models with noise levels of their own in one file (Playground 2.5, CosXL), against diffusers' EDM scheduler with the same module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.schedulers.scheduling_edm_euler import EDMEulerScheduler
from safetensors.torch import load_file, save_file
from torch import Tensor

from tests.backend.test_dit_layouts import checkpoint_at
from tests.backend.test_sd_layouts import CPU
from tests.engine.conftest import runtime_on
from tools.random_checkpoint import KINDS, write_checkpoint
from webui.backend.components import Components, ModuleCall
from webui.backend.convert import convert
from webui.backend.families import sd
from webui.backend.families.sd_modules import SdAutoencoder
from webui.backend.parts import ModelChoice, load_model
from webui.backend.recipes import ConvertFiles
from webui.engine.conditioning import Conditioning
from webui.engine.course import load_function, make_course, sampler_options, table_of
from webui.engine.faces import make_network
from webui.engine.guidance import SkipRules
from webui.engine.plan import Pass
from webui.engine.tables import SAMPLERS
from webui.engine.tools import RunTools
from webui.schema.errors import ModelError, RequestError
from webui.schema.generation import Txt2Img
from webui.schema.settings import PictureSettings

MEAN, STD = torch.tensor([-1.6574, 1.886, -1.383, 2.5155]), torch.tensor([8.4927, 5.9022, 6.5498, 5.2299])
MARKS: dict[str, dict[str, Tensor]] = {
    "playground": {"edm_mean": MEAN.reshape(1, 4, 1, 1), "edm_std": STD.reshape(1, 4, 1, 1)},
    "cosxl": {"edm_vpred.sigma_max": torch.tensor(120.0), "edm_vpred.sigma_min": torch.tensor(0.002)},
}
SCHEDULERS: dict[str, dict[str, Any]] = {
    "playground": {"sigma_max": 80.0, "sigma_data": 0.5, "prediction_type": "epsilon", "sigma_schedule": "karras"},
    "cosxl": {"sigma_max": 120.0, "sigma_data": 1.0, "prediction_type": "v_prediction", "sigma_schedule": "exponential"},
}
EULER = next(spec for spec in SAMPLERS if spec.name == "Euler")


def write_edm(path: Path, kind: str, **marks: Tensor) -> Path:
    """A tiny SDXL file with these marks besides its weights."""
    plain = write_checkpoint(path.with_name("plain.safetensors"), KINDS["tiny"]["sdxl"], 4)
    save_file(load_file(plain) | MARKS[kind] | marks, path, {"easel.config": KINDS["tiny"]["sdxl"].model_dump_json()})
    plain.unlink()
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("edm")
    for kind in MARKS:
        write_edm(folder / f"{kind}.safetensors", kind)
    return folder


@pytest.fixture(params=list(MARKS))
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def model(folder: Path, kind: str) -> Components:
    checkpoint = checkpoint_at(folder / f"{kind}.safetensors")
    assert (checkpoint.family, checkpoint.prediction) == ("sdxl", "edm")
    return load_model(sd.plan(ModelChoice(checkpoint)), CPU)


def inputs(model: Components) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    """Noise, a text and what SDXL is told besides."""
    generator, unet = torch.Generator().manual_seed(0), model.modules["unet"]
    width: Any = unet.config["cross_attention_dim"]  # pyright: ignore[reportIndexIssue]
    pooled: Any = unet.config["projection_class_embeddings_input_dim"] - 6 * 256  # pyright: ignore[reportIndexIssue]
    added = {"text_embeds": torch.randn(1, pooled, generator=generator), "time_ids": torch.full((1, 6), 64.0)}
    return torch.randn(1, 4, 8, 8, generator=generator), torch.randn(1, 77, width, generator=generator), added


@torch.inference_mode()
def test_every_noise_level_and_the_way_down_are_diffusers(model: Components, kind: str) -> None:
    noise, context, added = inputs(model)
    part, settings = Pass(5, 1.0, 64, 64, EULER, None), PictureSettings()
    table = table_of(model, part, settings)
    network: Any = make_network(part, model.denoise, table, Conditioning(context, None, added=added), SkipRules(), prediction=model.prediction)
    theirs = EDMEulerScheduler(sigma_min=0.002, **SCHEDULERS[kind])
    theirs.set_timesteps(5)
    course = make_course(part, table, settings)
    torch.testing.assert_close(course.levels, theirs.sigmas, atol=1e-5, rtol=1e-5)
    x = noise * theirs.sigmas[0]
    for t, sigma in zip(theirs.timesteps, theirs.sigmas, strict=False):
        torch.testing.assert_close(table.told(sigma), t, atol=1e-6, rtol=1e-5)
        output = model.denoise(ModuleCall(theirs.scale_model_input(x, t), t[None], context, added=added))
        expected = theirs.precondition_outputs(x, output, sigma)
        torch.testing.assert_close(network.x0(x, sigma).value, expected, atol=1e-5, rtol=1e-5)
        x = theirs.step(output, t, x, return_dict=False)[0]
    sample, options = load_function(EULER.function), sampler_options(part, table, settings)
    end = sample(network, noise * course.levels[0], course.levels, lambda: torch.zeros_like(noise), options, lambda *step: None)
    torch.testing.assert_close(end, x, atol=1e-5, rtol=1e-5)


@torch.inference_mode()
def test_samplers_that_count_in_timesteps_hear_the_same(model: Components) -> None:
    """eps of x / sqrt(1 + sigma^2) is what x0 of x leaves."""
    noise, context, added = inputs(model)
    part = Pass(5, 1.0, 64, 64, EULER, None)
    table = table_of(model, part, PictureSettings())
    network: Any = make_network(part, model.denoise, table, Conditioning(context, None, added=added), SkipRules(), prediction=model.prediction)
    for t in (torch.tensor(999), torch.tensor(500), torch.tensor(300)):
        sigma = table.sigmas[int(t)]
        x0 = network.x0(noise * sigma, sigma).value
        eps = network.eps(noise * sigma / (1 + sigma**2) ** 0.5, t).value
        torch.testing.assert_close(noise * sigma - sigma * eps, x0, atol=1e-4, rtol=1e-4)


@torch.inference_mode()
def test_latents_of_playground_are_centred(model: Components, kind: str) -> None:
    vae, latents = model.autoencoder, torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    assert isinstance(vae, SdAutoencoder)
    meant = latents * STD.reshape(1, 4, 1, 1) / 0.5 + MEAN.reshape(1, 4, 1, 1) if kind == "playground" else latents / 0.13025
    pictures = vae.decode(latents)
    torch.testing.assert_close(pictures, vae.vae.decode(meant).sample, atol=1e-5, rtol=1e-5)  # pyright: ignore[reportAttributeAccessIssue]
    found = vae.vae.encode(pictures).latent_dist.mean  # pyright: ignore[reportAttributeAccessIssue]
    back = (found - MEAN.reshape(1, 4, 1, 1)) * 0.5 / STD.reshape(1, 4, 1, 1) if kind == "playground" else found * 0.13025
    torch.testing.assert_close(vae.encode(pictures), back, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sampler", ["Euler", "DPM++ 2M", "DDIM", "UniPC", "Euler a"])
def test_whole_pictures(folder: Path, kind: str, sampler: str) -> None:
    with runtime_on(folder) as runtime:
        request = Txt2Img(prompt="a red house", seed=1, steps=4, width=64, height=64, sampler=sampler, checkpoint=f"{kind}.safetensors")
        picture = next(iter(runtime.generate(request, RunTools()))).image
        assert picture.size == (64, 64) and len(set(picture.tobytes())) > 8


def test_what_such_a_model_cannot_do_is_said_at_the_field(folder: Path) -> None:
    with runtime_on(folder) as runtime:
        request = Txt2Img(prompt="x", seed=1, steps=4, width=64, height=64, sampler="LCM", checkpoint="cosxl.safetensors")
        with pytest.raises(RequestError, match="has noise levels of its own") as caught:
            next(iter(runtime.generate(request, RunTools())))
        assert caught.value.field == "sampler"


def test_it_is_not_written_as_a_folder_that_would_say_something_else(folder: Path, kind: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not written as folders"):
        convert(ConvertFiles(checkpoint_at(folder / f"{kind}.safetensors"), tmp_path / "folder", folder=True))


@pytest.mark.parametrize(("kind", "marks", "message"), [
    ("cosxl", {"edm_vpred.sigma_max": torch.tensor(0.001)}, "its noise goes from"), ("playground", {"edm_std": torch.zeros(1, 4, 1, 1)}, "no sense"),
])  # fmt: skip
def test_marks_that_make_no_sense_are_refused(tmp_path: Path, kind: str, marks: dict[str, Tensor], message: str) -> None:
    path = write_edm(tmp_path / "bad.safetensors", kind, **marks)
    with pytest.raises(ModelError, match=message):
        sd.plan(ModelChoice(checkpoint_at(path)))
