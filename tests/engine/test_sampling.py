"""Samplers and noise beyond the vectors: Forge's samplers, the Brownian path, masks, and what a run records."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from webui.backend.families.sd_modules import scaled_linear_alphas
from webui.engine.brownian import BrownianPath
from webui.engine.course import load_function, make_course, make_table, sampler_options
from webui.engine.faces import HardMask, MaskedNetwork
from webui.engine.plan import Pass
from webui.engine.rng import BatchNoise, Variation, slerp
from webui.engine.samplers.contract import Guided
from webui.engine.samplers.deis import weights
from webui.engine.samplers.multistep import adams_bashforth
from webui.engine.tables import SAMPLERS, SCHEDULES
from webui.engine.tools import Picture, RunTools
from webui.schema.errors import RequestError
from webui.schema.settings import PictureSettings

BY_NAME = {spec.name: spec for spec in SAMPLERS}
ALPHAS = scaled_linear_alphas(0.00085, 0.012, 1000)


class Gaussian:
    """Pictures are Gaussian with this mean and spread: the exact solution of the flow is known (Karras et al. 2022, appendix B)."""

    MEAN, SPREAD = 0.4, 0.5

    def x0(self, x: torch.Tensor, sigma: torch.Tensor, *, ahead: bool = False) -> Guided:
        value = self.MEAN + self.SPREAD**2 / (self.SPREAD**2 + sigma**2) * (x - self.MEAN)
        return Guided(value, value, value, 0)

    def eps(self, x: torch.Tensor, t: torch.Tensor, *, ahead: bool = False) -> Guided:
        a = ALPHAS[int(t)]
        value = (1 - a).sqrt() / (a * self.SPREAD**2 + 1 - a) * (x - a.sqrt() * self.MEAN)
        return Guided(value, value, value, 0)

    def solution(self, x: torch.Tensor, sigma: float) -> torch.Tensor:
        return self.MEAN + self.SPREAD / (self.SPREAD**2 + sigma**2) ** 0.5 * (x - self.MEAN)


def sample(name: str, steps: int, schedule: str = "uniform", **settings: object) -> tuple[torch.Tensor, torch.Tensor, float]:
    """(result, start, sigma it started at) on Gaussian pictures."""
    chosen = PictureSettings(randn_source="CPU", **settings)
    part = Pass(steps, 1.0, 64, 64, BY_NAME[name], next(entry for entry in SCHEDULES if entry.name == schedule))
    table = make_table(ALPHAS, part, chosen)
    course, noise = make_course(part, table, chosen), BatchNoise((4, 32, 32), [3])
    x = noise.draw() * course.spread
    drawn = noise.brownian(*course.brownian_range) if part.sampler.brownian else noise.draw
    result = load_function(part.sampler.function)(Gaussian(), x, course.levels, drawn, sampler_options(part, table, chosen), lambda *step: None)
    return result, x, float(course.levels[0])


@pytest.mark.parametrize("name", ["HeunPP2", "IPNDM", "IPNDM_V", "DEIS", "Euler", "Heun", "LMS"])
def test_solvers_near_the_exact_solution(name: str) -> None:
    result, x, sigma = sample(name, 80, "karras")
    assert (result - Gaussian().solution(x, sigma)).abs().max() < (0.1 if name in ("Euler", "HeunPP2") else 0.02)


@pytest.mark.parametrize("name", ["DDPM", "Euler a", "DPM++ 2M SDE", "DPM++ SDE", "DPM++ 3M SDE"])
def test_stochastic_samplers_give_the_distribution(name: str) -> None:
    result, _, _ = sample(name, 100, "karras")
    assert result.mean().item() == pytest.approx(Gaussian.MEAN, abs=0.05)
    assert result.std().item() == pytest.approx(Gaussian.SPREAD, abs=0.05)


def test_multistep_weights() -> None:
    """Equal steps give the textbook's Adams–Bashforth; weights of any steps integrate what they can represent exactly."""
    assert adams_bashforth([0.0, -1.0, -2.0, -3.0], 1.0) == pytest.approx([55 / 24, -59 / 24, 37 / 24, -9 / 24])
    times, target = [3.0, 3.7, 5.0], 2.5
    assert sum(w * (t**2 - t) for w, t in zip(adams_bashforth(times, target), times, strict=True)) == pytest.approx(
        (target**3 - times[0] ** 3) / 3 - (target**2 - times[0] ** 2) / 2
    )
    assert sum(weights([2.0, 3.0, 5.0], 1.4)) == pytest.approx(1.4 - 2.0)


@pytest.mark.parametrize("variant", ["bh1", "bh2", "vary_coeff"])
@pytest.mark.parametrize("skip_type", ["time_uniform", "time_quadratic", "logSNR"])
def test_unipc_options_agree_in_the_limit(variant: str, skip_type: str) -> None:
    """All ways lead to the same solution when there are many steps."""
    result, _, _ = sample("UniPC", 60, uni_pc_variant=variant, uni_pc_skip_type=skip_type)
    finer, _, _ = sample("UniPC", 150)
    assert (result - finer).abs().max() < 0.05


def test_unipc_with_fewer_steps_than_its_order() -> None:
    result, _, _ = sample("UniPC", 1, uni_pc_order=3)
    assert torch.isfinite(result).all()


def test_brownian_path_is_one_path() -> None:
    """Increments add up, do not depend on what was asked before, and have the spread of their length."""
    def draw(seed: int) -> torch.Tensor:
        return torch.randn(4, 64, 64, generator=torch.Generator().manual_seed(seed))

    path, other = BrownianPath(0.03, 14.6, 5, draw), BrownianPath(0.03, 14.6, 5, draw)
    other.between(1.0, 7.3)
    whole = path.between(0.5, 9.0)
    assert torch.equal(other.between(0.5, 9.0), whole)
    torch.testing.assert_close(path.between(0.5, 2.0) + path.between(2.0, 9.0), whole, atol=1e-5, rtol=0)
    assert whole.std().item() == pytest.approx(8.5**0.5, rel=0.03)
    assert torch.equal(path.between(2.0, 2.0), torch.zeros(4, 64, 64))


def test_later_noise_does_not_depend_on_the_batch() -> None:
    for source in ("CPU", "NV"):
        alone, batch = BatchNoise((4, 8, 8), [7], source=source), BatchNoise((4, 8, 8), [5, 7], source=source)
        for _ in range(3):
            assert torch.equal(alone.draw()[0], batch.draw()[1])
        sigma, target = torch.tensor(5.0), torch.tensor(2.0)
        assert torch.equal(alone.brownian(0.1, 14.0)(sigma, target)[0], batch.brownian(0.1, 14.0)(sigma, target)[1])


def test_slerp_ends() -> None:
    low, high = torch.randn(2, 4, 8, 8)
    torch.testing.assert_close(slerp(0.0, low, high), low)
    torch.testing.assert_close(slerp(1.0, low, high), high)


def test_variation_bends_only_the_first_noise() -> None:
    plain, bent = BatchNoise((4, 8, 8), [1]), BatchNoise((4, 8, 8), [1], variation=Variation((9,), 0.5))
    assert not torch.equal(plain.draw(), bent.draw())
    assert torch.equal(plain.draw(), bent.draw())


def test_strength_zero_with_exact_steps_is_refused() -> None:
    part = Pass(20, 7.0, 64, 64, BY_NAME["Euler"], None, strength=0.0, exact_steps=True)
    with pytest.raises(RequestError) as caught:
        make_course(part, make_table(ALPHAS, part, PictureSettings()), PictureSettings())
    assert caught.value.field == "denoising_strength"


def test_a_mask_keeps_the_picture() -> None:
    picture, keep = torch.full((1, 4, 8, 8), 2.0), torch.zeros(4, 8, 8)
    keep[:, :4] = 1
    guided = MaskedNetwork(Gaussian(), HardMask(picture, keep)).x0(torch.zeros(1, 4, 8, 8), torch.tensor(1.0))
    assert torch.equal(guided.value[..., :4, :], picture[..., :4, :])
    assert torch.equal(guided.value[..., 4:, :], Gaussian().x0(torch.zeros(1, 4, 4, 8), torch.tensor(1.0)).value)


@pytest.mark.parametrize("name", [spec.name for spec in SAMPLERS])
def test_replay_gives_the_same_bytes(
    name: str, generate: Callable[..., list[Picture]], pixels: Callable[[Picture], np.ndarray],
) -> None:
    """Twice the same request, every sampler; a picture of a batch has the seed's later noise too."""
    first, again = (generate(sampler=name, steps=5) for _ in range(2))
    assert np.array_equal(pixels(first[0]), pixels(again[0]))
    assert pixels(first[0]).std() > 0


def test_settings_of_the_job_reach_the_sampler(
    generate: Callable[..., list[Picture]], pixels: Callable[[Picture], np.ndarray],
) -> None:
    plain = pixels(generate(sampler="Euler a")[0])
    for changes in ({"eta_ancestral": 0.3}, {"randn_source": "NV"}, {"eta_noise_seed_delta": 31337}, {"skip_early_cond": 0.5}):
        (picture,) = generate(RunTools(settings=PictureSettings(**changes)), sampler="Euler a")
        assert not np.array_equal(pixels(picture), plain), changes
        assert picture.plan.extras


def test_variation_seeds_of_a_run(generate: Callable[..., list[Picture]], pixels: Callable[[Picture], np.ndarray]) -> None:
    """One seed for all, one variation each; alone as in the batch, to the last bits of 8."""
    pictures = generate(subseed=40, subseed_strength=0.4, batch_size=2)
    assert [picture.seed for picture in pictures] == [7, 7] and pictures[0].plan.subseeds == (40, 41)
    (alone,) = generate(subseed=41, subseed_strength=0.4)
    assert (np.abs(pixels(alone) - pixels(pictures[1])) <= 2).mean() > 0.99
    assert not np.array_equal(pixels(pictures[0]), pixels(pictures[1]))
