"""Whole sampler runs against A1111's, on a denoiser that is a formula: a mixture of two Gaussians per latent value."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.golden import vectors
from webui.backend.components import ModuleCall
from webui.engine.conditioning import Conditioning, Line, Timeline
from webui.engine.course import Course, load_function, make_course, make_table, sampler_options, skip_rules
from webui.engine.faces import HardMask, MaskedNetwork, make_network
from webui.engine.guidance import SkipRules
from webui.engine.plan import Pass, Plan, make_plan
from webui.engine.rng import BatchNoise, Variation
from webui.engine.samplers.contract import Network
from webui.engine.sampling_extras import sampling_extras
from webui.engine.schedules import SigmaTable
from webui.engine.steps.latents import first_latents, later_noise
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint
from webui.schema.settings import PictureSettings

ALPHAS = vectors.arrays("alphas")
CHECKPOINT = Checkpoint(name="toy", path="toy", size=0, mtime=0, family="sd1")
MIXTURE = ((0.6, 0.35, 0.8, 0.5, 0.0), (0.4, 0.5, -0.6, 0.25, -0.1))
"""weight, spread, mean's share of the base picture, of the conditioning value, and constant"""
BROWNIAN_TOLERANCE, TOLERANCE = 5e-3, 1e-3


class Toy:
    """The denoiser: sees x / sqrt(1 + sigma^2), t and a context filled with one number; answers eps or v. All in float64."""

    def __init__(self, alphas: np.ndarray, prediction: str) -> None:
        a = alphas.astype(np.float64)
        self.log_sigmas = 0.5 * np.log((1 - a) / a)
        self.prediction = prediction
        self.times: list[float] = []

    def __call__(self, call: ModuleCall) -> torch.Tensor:
        self.times.append(float(call.t[0]))
        sigma = np.exp(np.interp(call.t.double().numpy(), np.arange(len(self.log_sigmas)), self.log_sigmas)).reshape(-1, 1, 1, 1)
        x = call.x.double().numpy() * np.sqrt(1 + sigma**2)
        x0 = self._x0(x, sigma, call.context[:, 0, 0].double().numpy().reshape(-1, 1, 1, 1))
        eps = (x - x0) / sigma
        a = 1 / (1 + sigma**2)
        value = eps if self.prediction == "epsilon" else np.sqrt(a) * eps - np.sqrt(1 - a) * x0
        return torch.from_numpy(value).to(call.x.dtype)

    def _x0(self, x: np.ndarray, sigma: np.ndarray, q: np.ndarray) -> np.ndarray:
        c, h, w = np.ogrid[: x.shape[1], : x.shape[2], : x.shape[3]]
        base = np.sin(0.7 * c + 0.9 * h + 0.4 * w + 0.3)
        logs, values = [], []
        for weight, spread, of_base, of_q, constant in MIXTURE:
            mean, variance = of_base * base + of_q * q + constant, spread**2 + sigma**2
            logs.append(np.log(weight) - 0.5 * np.log(variance) - (x - mean) ** 2 / (2 * variance))
            values.append(mean + spread**2 / variance * (x - mean))
        top = np.maximum(*logs)
        shares = [np.exp(log - top) for log in logs]
        return (shares[0] * values[0] + shares[1] * values[1]) / (shares[0] + shares[1])


def prediction(case: dict) -> str:
    return "v" if case.get("parameterization") == "v" else "epsilon"


def settings_of(case: dict) -> PictureSettings:
    """The options of a case; `eta` of a request is our eta setting of the sampler's kind."""
    values = {"randn_source": "CPU"} | case.get("opts", {})
    if case.get("eta") is not None:
        values["eta_ddim" if case["sampler"] in ("DDIM", "DDIM CFG++") else "eta_ancestral"] = case["eta"]
    if "s_min_uncond" in case:
        values["s_min_uncond"] = case["s_min_uncond"]
    return PictureSettings(**values)


def plan_of(case: dict, settings: PictureSettings) -> tuple[Plan, Pass]:
    """The plan of a case, with its pass as img2img or hires would make it."""
    registries = Registries()
    register_tables(registries)
    request = Txt2Img(
        sampler=case["sampler"], scheduler=case["scheduler"], steps=case.get("hr_steps") or case["steps"], cfg_scale=case["cfg_scale"],
        seed=case["seeds"][0],
    )
    plan = make_plan(request, CHECKPOINT, registries, settings=settings)
    strength = case.get("denoising_strength")
    only = plan.passes[0]
    return plan, Pass(
        only.steps, only.cfg, only.width, only.height, only.sampler, only.schedule, strength=strength, exact_steps=case.get("hr_steps") is not None,
    )


def network_of(case: dict, part: Pass, toy: Toy, table: SigmaTable, course: Course, settings: PictureSettings) -> Network:
    """The real guided network on the case's prompts: schedules, AND and weights included."""
    timeline = Timeline(
        [[(item["weight"], line_of(item["schedule"])) for item in parts] for parts in case["cond"]],
        [line_of(schedule) for schedule in case["uncond"]],
    )
    return make_network(part, toy, table, timeline, skip_rules(course, settings), prediction=prediction(case))


def line_of(schedule: list) -> Line:
    """A schedule of conditioning values as the encoder would give it."""
    return Line(tuple(end for end, _ in schedule), tuple(torch.full((77, 8), value) for _, value in schedule))


@pytest.mark.parametrize("case", vectors.cases("samplers"), ids=lambda case: f"{case['id']}-{case['sampler']}-{case['steps']}")
def test_sampler_runs_as_in_a1111(case: dict) -> None:
    arrays, settings = vectors.arrays("samplers"), settings_of(case)
    plan, part = plan_of(case, settings)
    alphas = ALPHAS["sd15_zero_terminal_snr" if case.get("alphas") == "zsnr" else "sd15_alphas_cumprod"]
    table, toy = make_table(torch.from_numpy(alphas), part, settings), Toy(alphas, prediction(case))
    course = make_course(part, table, settings)
    network = network_of(case, part, toy, table, course, settings)

    variation = Variation(tuple(case.get("subseeds", ())), case.get("subseed_strength", 0.0), eta_seed_delta=settings.eta_noise_seed_delta)
    noise = BatchNoise(tuple(case["shape"]), case["seeds"], source=settings.randn_source, variation=variation)
    picture = torch.from_numpy(arrays[f"{case['id']}/init"]) if case["mode"] == "img2img" else None
    if picture is not None and picture.ndim == 3:
        picture = picture[None]
    x = first_latents(noise, course, picture, settings.img2img_extra_noise)
    masked = None
    if "mask" in case:
        y0, y1, x0, x1 = case["mask"]
        keep = torch.ones(case["shape"])
        keep[:, y0:y1, x0:x1] = 0
        masked = HardMask(picture, keep)
        network = MaskedNetwork(network, masked)
    result = load_function(part.sampler.function)(
        network, x, course.levels, later_noise(noise, part, course), sampler_options(part, table, settings), lambda *step: None,
    )
    result = masked.finish(result) if masked else result

    worst = np.abs(result.numpy() - arrays[f"{case['id']}/out"]).max()
    assert worst <= max(BROWNIAN_TOLERANCE if part.sampler.brownian else TOLERANCE, 2 * case["float64_max_abs_diff"])
    assert len(toy.times) == case["n_model_calls"]
    np.testing.assert_allclose(toy.times, arrays[f"{case['id']}/model_t"], rtol=1e-3, atol=1e-2)
    check_infotext(case, plan, part, settings)


def check_infotext(case: dict, plan: Plan, part: Pass, settings: PictureSettings) -> None:
    """What the run adds to A1111's line; the base line's fields and the hires schedule are not in the vectors' `infotext_extra`."""
    label = {"Schedule type": plan.schedule_label} if plan.schedule_label else {}
    if case.get("is_hr_pass"):
        label = {f"Hires {key[0].lower()}{key[1:]}": value for key, value in label.items()}
    found = {key: value for key, value in sampling_extras(part, settings) if key not in ("RNG", "ENSD")}
    assert label | found == case["infotext_extra"]


def test_euler_draws_noise_at_every_step() -> None:
    """Also with churn 0: A1111's later draws of the same generator depend on it."""
    registries = Registries()
    register_tables(registries)
    plan = make_plan(Txt2Img(sampler="Euler", steps=5, cfg_scale=1.0, seed=1), CHECKPOINT, registries)
    alphas, settings = ALPHAS["sd15_alphas_cumprod"], PictureSettings()
    part, draws = plan.passes[0], []
    table = make_table(torch.from_numpy(alphas), part, settings)
    network = make_network(part, Toy(alphas, "epsilon"), table, Conditioning(torch.zeros(1, 77, 8), None), SkipRules())

    def noise() -> torch.Tensor:
        draws.append(torch.zeros(1, 4, 8, 8))
        return draws[-1]

    load_function(part.sampler.function)(
        network, torch.ones(1, 4, 8, 8), make_course(part, table, settings).levels, noise, sampler_options(part, table, settings), lambda *step: None,
    )
    assert len(draws) == 5
