"""Whole sampler runs against A1111's, on a denoiser that is a formula: a mixture of two Gaussians per latent value."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from webui.backend.components import ModuleCall
from webui.engine.denoise import load_function
from webui.engine.network import Conditioning, GuidedNetwork
from webui.engine.plan import make_plan
from webui.engine.rng import BatchNoise
from webui.engine.samplers.contract import SamplerOptions
from webui.engine.schedules import SigmaTable, uniform
from webui.engine.tables import register_tables
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.model import Checkpoint

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "samplers.json").read_text())["cases"]
ARRAYS = np.load(DATA / "samplers.npz")
ALPHAS = np.load(DATA / "alphas.npz")
CHECKPOINT = Checkpoint(name="toy", path="toy", size=0, mtime=0, family="sd1")
MIXTURE = ((0.6, 0.35, 0.8, 0.5, 0.0), (0.4, 0.5, -0.6, 0.25, -0.1))
"""weight, spread, mean's share of the base picture, of the conditioning value, and constant"""


class Toy:
    """The denoiser: sees x / sqrt(1 + sigma^2), t and a context filled with one number; answers eps or v. All in float64."""

    def __init__(self, alphas: np.ndarray, prediction: str) -> None:
        a = alphas.astype(np.float64)
        self.log_sigmas = 0.5 * np.log((1 - a) / a)
        self.prediction = prediction
        self.calls = 0

    def __call__(self, call: ModuleCall) -> torch.Tensor:
        self.calls += 1
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


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['id']}-{case['sampler']}-{case['steps']}")
def test_sampler_runs_as_in_a1111(case: dict) -> None:
    registries = Registries()
    register_tables(registries)
    request = Txt2Img(sampler=case["sampler"], scheduler=case["scheduler"], steps=case["steps"], cfg_scale=case["cfg_scale"], seed=case["seeds"][0])
    plan = make_plan(request, CHECKPOINT, registries)
    assert plan.schedule_label == case["infotext_extra"].get("Schedule type")

    prediction = "v" if case.get("parameterization") == "v" else "epsilon"
    alphas = ALPHAS["sd15_zero_terminal_snr" if case.get("alphas") == "zsnr" else "sd15_alphas_cumprod"]
    table, toy = SigmaTable(torch.from_numpy(alphas)), Toy(alphas, prediction)
    options = case.get("opts", {})
    schedule = load_function(plan.schedule.function) if plan.schedule and plan.schedule.function else uniform
    rho = {"rho": options["rho"]} if "rho" in options else {}
    sigmas = schedule(case["steps"], table.sigma_min, table.sigma_max, table, **rho)

    cond = torch.stack([torch.full((77, 8), parts[0]["schedule"][0][1]) for parts in case["cond"]])
    uncond = torch.stack([torch.full((77, 8), schedule[0][1]) for schedule in case["uncond"]])
    network = GuidedNetwork(toy, table, Conditioning(cond, uncond), case["cfg_scale"], prediction=prediction)
    noise = BatchNoise(tuple(case["shape"]), case["seeds"])
    first = noise.draw()
    assert np.array_equal(first.numpy(), ARRAYS[f"{case['id']}/noise"])

    knobs = SamplerOptions(eta=case.get("eta", 1.0), s_churn=options.get("s_churn", 0.0), s_noise=options.get("s_noise", 1.0))
    seen: list[int] = []
    result = load_function(plan.sampler.function)(
        network, first * sigmas[0], sigmas, noise.draw, knobs, lambda number, sigma, x, x0: seen.append(number),
    )
    worst = np.abs(result.numpy() - ARRAYS[f"{case['id']}/out"]).max()
    assert worst <= max(1e-3, 2 * case["float64_max_abs_diff"])
    assert seen == list(range(case["steps"]))
    assert toy.calls == case["n_model_calls"]


def test_euler_draws_noise_at_every_step() -> None:
    """Also with churn 0: A1111's later draws of the same generator depend on it."""
    table = SigmaTable(torch.from_numpy(ALPHAS["sd15_alphas_cumprod"]))
    network = GuidedNetwork(Toy(ALPHAS["sd15_alphas_cumprod"], "epsilon"), table, Conditioning(torch.zeros(1, 77, 8), None), 1.0)
    draws: list[torch.Tensor] = []

    def noise() -> torch.Tensor:
        draws.append(torch.zeros(1, 4, 8, 8))
        return draws[-1]

    sample = load_function("webui.engine.samplers.euler:sample_euler")
    sample(network, torch.ones(1, 4, 8, 8), uniform(5, 0.03, 14.6, table), noise, SamplerOptions(), lambda *step: None)
    assert len(draws) == 5
