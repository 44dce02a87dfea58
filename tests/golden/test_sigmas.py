"""Schedules and the way between timestep and sigma, against A1111's numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from webui.backend.families.sd1 import scaled_linear_alphas
from webui.engine.schedules import SigmaTable, karras, uniform

DATA = Path(__file__).parent / "data"
CASES = json.loads((DATA / "sigmas.json").read_text())["cases"]
ALPHAS = np.load(DATA / "alphas.npz")
TABLES = {
    "sd15": SigmaTable(torch.from_numpy(ALPHAS["sd15_alphas_cumprod"])), "zsnr": SigmaTable(torch.from_numpy(ALPHAS["sd15_zero_terminal_snr"])),
}
SCHEDULES = {"Uniform": uniform, "Karras": karras}


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "schedule_function"], ids=lambda case: case["id"])
def test_schedule(case: dict) -> None:
    options = {"rho": case["rho"]} if "rho" in case else {}
    sigmas = SCHEDULES[case["schedule"]](case["steps"], case["sigma_min"], case["sigma_max"], TABLES[case["alphas"]], **options)
    assert sigmas.dtype == torch.float32
    np.testing.assert_allclose(sigmas.numpy(), case["sigmas"], rtol=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "t_to_sigma"], ids=lambda case: case["id"])
def test_sigma_of_timestep(case: dict) -> None:
    assert TABLES["sd15"].sigma_of(torch.tensor(case["t"])).item() == pytest.approx(case["sigma"], rel=1e-5)


@pytest.mark.parametrize("case", [case for case in CASES if case["kind"] == "sigma_to_t"], ids=lambda case: case["id"])
def test_timestep_of_sigma(case: dict) -> None:
    assert TABLES["sd15"].t_of(torch.tensor(case["sigma"])).item() == pytest.approx(case["t"], rel=1e-5, abs=1e-5)


def test_alphas_of_sd15() -> None:
    np.testing.assert_allclose(scaled_linear_alphas(0.00085, 0.012, 1000).numpy(), ALPHAS["sd15_alphas_cumprod"], rtol=1e-6)
    np.testing.assert_allclose(TABLES["sd15"].sigmas.numpy(), ALPHAS["sd15_sigmas"], rtol=1e-6)
