"""Lists, names, schedules and the way between timestep and sigma, against A1111's and Forge's."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.golden import vectors
from webui.backend.families.sd_modules import scaled_linear_alphas
from webui.engine.course import load_function, make_course, make_table
from webui.engine.plan import Pass, img2img_steps, make_plan
from webui.engine.sampler_names import hires_names_of_infotext, names_of_infotext, sampler_and_schedule
from webui.engine.schedules import SigmaTable, zero_terminal_snr
from webui.engine.tables import A1111_SAMPLERS, A1111_SCHEDULES, SAMPLERS, SCHEDULES, register_tables
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings

ALPHAS = vectors.arrays("alphas")
NAMES = {"sd15": "sd15_alphas_cumprod", "zsnr": "sd15_zero_terminal_snr"}
BY_LABEL = {spec.label: spec for spec in SCHEDULES}


def of_kind(kind: str) -> list[dict]:
    return [case for case in vectors.cases("sigmas") if case["kind"] == kind]


def table(case: dict) -> SigmaTable:
    return SigmaTable(torch.from_numpy(ALPHAS[NAMES[case.get("alphas", "sd15")]]), sdxl=case.get("is_sdxl", False))


def schedule(case: dict) -> torch.Tensor:
    spec = BY_LABEL[case["schedule"]]
    options = {"rho": case["rho"]} if "rho" in case else {}
    options |= {parameter: case[f"beta_{parameter}"] for parameter, _ in spec.settings if f"beta_{parameter}" in case}
    assert spec.function
    return load_function(spec.function)(case["steps"], case["sigma_min"], case["sigma_max"], table(case), **options)


@pytest.mark.parametrize("case", of_kind("schedule_function") + vectors.cases("sigmas_forge"), ids=lambda case: case["id"])
def test_schedule(case: dict) -> None:
    if case["error"]:
        with pytest.raises((ZeroDivisionError, IndexError, RuntimeError, ValueError)):
            schedule(case)
        return
    sigmas = schedule(case)
    assert sigmas.dtype == torch.float32
    np.testing.assert_allclose(sigmas.numpy(), case["sigmas"], rtol=1e-5)


@pytest.mark.parametrize("case", of_kind("sampler_schedule"), ids=lambda case: case["id"])
def test_schedule_of_a_sampler(case: dict) -> None:
    registries = Registries()
    register_tables(registries)
    settings = PictureSettings(**case["opts"])
    request = Txt2Img(sampler=case["sampler"], scheduler=case["scheduler"] or "Automatic", steps=case["steps"], seed=1)
    plan = make_plan(request, Checkpoint(name="toy", path="toy", size=0, mtime=0, family="sd1"), registries, settings=settings)
    part = plan.passes[0]
    course = make_course(part, make_table(torch.from_numpy(ALPHAS["sd15_alphas_cumprod"]), part, settings), settings)
    expected = case.get("sigmas") or case["timesteps"]
    if not part.sampler.range_only:
        np.testing.assert_allclose(course.levels.numpy(), expected, rtol=1e-5)
    label = {"Schedule type": plan.schedule_label} if plan.schedule_label else {}
    assert label | {key: value for key, value in plan.extras if key != "RNG"} == case["infotext"]


@pytest.mark.parametrize("case", of_kind("img2img_steps"), ids=lambda case: case["id"])
def test_steps_of_img2img(case: dict) -> None:
    asked = case["steps_argument"]
    exactly = case["do_exactly_steps"] or asked is not None
    assert img2img_steps(asked or case["steps"], case["denoising_strength"], exactly=exactly) == (case["result_steps"], case["result_t_enc"])


@pytest.mark.parametrize("case", of_kind("sampler_name"), ids=lambda case: case["id"])
def test_names(case: dict) -> None:
    assert list(sampler_and_schedule(case["sampler"], case["scheduler"], convert_automatic=case["convert_automatic"])) == case["result"]


@pytest.mark.parametrize("case", of_kind("infotext_sampler"), ids=lambda case: case["id"])
def test_names_of_infotext(case: dict) -> None:
    assert names_of_infotext(case["infotext"]) == (case["sampler"], case["scheduler"])
    assert hires_names_of_infotext(case["infotext"]) == (case["hr_sampler"], case["hr_scheduler"])


@pytest.mark.parametrize("case", of_kind("t_to_sigma"), ids=lambda case: case["id"])
def test_sigma_of_timestep(case: dict) -> None:
    assert table(case).sigma_of(torch.tensor(case["t"])).item() == pytest.approx(case["sigma"], rel=1e-5)


@pytest.mark.parametrize("case", of_kind("sigma_to_t"), ids=lambda case: case["id"])
def test_timestep_of_sigma(case: dict) -> None:
    sigma = torch.tensor(case["sigma"])
    assert table(case).t_of(sigma).item() == pytest.approx(case["t"], rel=1e-5, abs=1e-5)
    rounding = SigmaTable(torch.from_numpy(ALPHAS["sd15_alphas_cumprod"]), quantize=True)
    assert rounding.t_of(sigma).item() == case["t_quantized"]


@pytest.mark.parametrize("name", NAMES)
def test_one_sigma_is_read_as_many_are(name: str) -> None:
    """Bit for bit, also beyond the ends of the table and on its entries."""
    model = SigmaTable(torch.from_numpy(ALPHAS[NAMES[name]]))
    sigmas = torch.cat([torch.linspace(0.001, 20, 4001), model.sigmas, torch.tensor([1e-6, 5000.0])])
    assert torch.equal(torch.stack([model.t_of(sigma) for sigma in sigmas]), model.t_of(sigmas))


def test_alphas() -> None:
    alphas = scaled_linear_alphas(0.00085, 0.012, 1000)
    np.testing.assert_allclose(alphas.numpy(), ALPHAS["sd15_alphas_cumprod"], rtol=1e-6)
    np.testing.assert_allclose(SigmaTable(alphas).sigmas.numpy(), ALPHAS["sd15_sigmas"], rtol=1e-6)
    part = Pass(1, 1.0, 64, 64, next(spec for spec in SAMPLERS if spec.consistency), None)
    consistency = make_table(alphas, part, PictureSettings()).sigmas.numpy()
    np.testing.assert_allclose(consistency, next(ALPHAS[name] for name in ALPHAS.files if "lcm" in name), rtol=1e-6)


def test_zero_terminal_snr() -> None:
    """Float32 square roots differ in the last bit between kinds of CPU, and the difference to the last root magnifies that: listed are the entries
    where the machine that made the vectors rounded otherwise than ours."""
    found, expected = zero_terminal_snr(torch.from_numpy(ALPHAS["sd15_alphas_cumprod"])).numpy(), ALPHAS["sd15_zero_terminal_snr"]
    rounded_otherwise = [969, 977, 986, 988]
    keep = np.setdiff1d(np.arange(1000), rounded_otherwise)
    np.testing.assert_allclose(found[keep], expected[keep], rtol=1e-6)
    np.testing.assert_allclose(found, expected, rtol=4e-6)


def test_lists() -> None:
    """A1111's samplers and schedules, in its order; Forge's come after them."""
    document = vectors.document("sampler_table")
    flags = ("second_order", "uses_ensd", "discard_next_to_last_sigma")
    assert len(A1111_SAMPLERS) == len(document["samplers"]) and SAMPLERS[: len(A1111_SAMPLERS)] == A1111_SAMPLERS
    for spec, expected in zip(A1111_SAMPLERS, document["samplers"], strict=True):
        options = expected["options"]
        assert (spec.name, list(spec.aliases), spec.scheduler) == (expected["name"], expected["aliases"], options.get("scheduler"))
        assert [getattr(spec, flag) for flag in flags] == [options.get(flag, False) for flag in flags]
        assert spec.brownian == options.get("brownian_noise", False)
    for spec, expected in zip(A1111_SCHEDULES, document["schedulers"], strict=True):
        assert (spec.name, spec.label, list(spec.aliases)) == (expected["name"], expected["label"], expected["aliases"] or [])
        assert (spec.default_rho or -1, spec.needs_model) == (expected["default_rho"], expected["need_inner_model"])
    names = {name.lower(): spec.name for spec in A1111_SAMPLERS for name in (spec.name, *spec.aliases)}
    assert names == document["samplers_map"]
