"""The guided network's two faces, on modules that are formulas."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_flow_match_euler_discrete import FlowMatchEulerDiscreteScheduler

from webui.backend.components import ModuleCall, Residuals
from webui.backend.families.sd_modules import scaled_linear_alphas
from webui.backend.parts import ModelChoice
from webui.engine.conditioning import Conditioning
from webui.engine.guidance import Guidance
from webui.engine.network import GuidedNetwork
from webui.engine.samplers.contract import SamplerOptions
from webui.engine.samplers.euler import sample_euler
from webui.engine.schedules import FlowTable, SigmaTable, simple

TABLE = SigmaTable(scaled_linear_alphas(0.00085, 0.012, 1000))
X = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(0))


class Recorder:
    """A module that answers the mean of its context and remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[ModuleCall] = []

    def __call__(self, call: ModuleCall) -> torch.Tensor:
        self.calls.append(call)
        return call.context.float().mean(dim=(1, 2)).reshape(-1, 1, 1, 1).expand_as(call.x).to(call.x.dtype)


def _context(value: float, tokens: int = 77) -> torch.Tensor:
    return torch.full((2, tokens, 8), value)


def test_guidance_is_batched_cond_first() -> None:
    module = Recorder()
    guided = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), _context(-1.0)), 7.0).eps(X, torch.tensor(500))
    (call,) = module.calls
    assert call.x.shape == (4, 4, 8, 8)
    assert call.context[:, 0, 0].tolist() == [1, 1, -1, -1]
    assert call.t.tolist() == [500] * 4
    assert guided.value.unique().tolist() == [-1 + 2 * 7.0]
    assert (guided.cond.mean().item(), guided.uncond.mean().item()) == (1, -1)


def test_contexts_of_different_length_run_separately() -> None:
    module = Recorder()
    guided = GuidedNetwork(module, TABLE, Conditioning(_context(1.0, 154), _context(-1.0)), 7.0).eps(X, torch.tensor(500))
    assert [call.context.shape[1] for call in module.calls] == [154, 77]
    assert guided.value.unique().tolist() == [13]


def test_cfg_one_runs_no_uncond() -> None:
    module = Recorder()
    guided = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), _context(-1.0)), 1.0).eps(X, torch.tensor(500))
    assert module.calls[0].x.shape == X.shape
    assert guided.uncond is None


def test_calls_are_counted() -> None:
    module = Recorder()
    network = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), None), 1.0)
    assert [network.x0(X, torch.tensor(2.0)).call for _ in range(3)] == [0, 1, 2]
    assert [call.call for call in module.calls] == [0, 1, 2]


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_a_perfect_module_gives_the_picture_back(prediction: str) -> None:
    """Picture and noise are known, the module tells the truth about them, so both faces must find them."""
    picture, noise = X, torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor(600)
    sigma, a = TABLE.sigmas[600], TABLE.alphas_cumprod[600]

    def module(call: ModuleCall) -> torch.Tensor:
        assert call.t.tolist() == pytest.approx([600] * len(call.t), abs=1e-2)
        torch.testing.assert_close(call.x, a**0.5 * picture + (1 - a) ** 0.5 * noise, atol=1e-4, rtol=1e-4)
        return noise if prediction == "epsilon" else a**0.5 * noise - (1 - a) ** 0.5 * picture

    network = GuidedNetwork(module, TABLE, Conditioning(_context(0.0), None), 1.0, prediction=prediction)
    torch.testing.assert_close(network.x0(picture + sigma * noise, sigma).value, picture, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.eps(a**0.5 * picture + (1 - a) ** 0.5 * noise, t).value, noise, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_a_perfect_flow_module_gives_the_picture_back(shift: float) -> None:
    """Both faces put the question at the same place of the flow, whatever space their sampler works in."""
    table = FlowTable(shift)
    picture, noise = X, torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    t = torch.tensor(600)
    sigma, a = table.sigmas[600], table.alphas_cumprod[600]

    def module(call: ModuleCall) -> torch.Tensor:
        assert call.t.tolist() == pytest.approx([1000 * float(sigma)] * len(call.t), abs=1e-2)
        torch.testing.assert_close(call.x, (1 - sigma) * picture + sigma * noise, atol=1e-4, rtol=1e-4)
        return noise - picture

    network = GuidedNetwork(module, table, Conditioning(_context(0.0), None), 1.0, prediction="flow")
    torch.testing.assert_close(network.x0((1 - sigma) * picture + sigma * noise, sigma).value, picture, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(network.eps(a**0.5 * picture + (1 - a) ** 0.5 * noise, t).value, noise, atol=1e-4, rtol=1e-4)


def test_a_flow_is_walked_to_its_picture() -> None:
    """The flow of a single picture is a straight line: Euler's steps over the table's sigmas, from pure noise at sigma 1, end in it."""
    table, picture = FlowTable(), X

    def module(call: ModuleCall) -> torch.Tensor:
        return (call.x - picture) / (call.t[0] / 1000)

    sigmas = torch.cat([table.sigma_of(torch.linspace(999, 100, 8)), torch.zeros(1)])
    assert sigmas[0] == 1
    network = GuidedNetwork(module, table, Conditioning(_context(0.0), None), 1.0, prediction="flow")
    start = torch.randn(2, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    end = sample_euler(network, start, sigmas, lambda: torch.zeros_like(X), SamplerOptions(), lambda *step: None)
    torch.testing.assert_close(end, picture, atol=1e-4, rtol=1e-4)


class Two:
    """A module with one output for the prompt (context 1) and another for the negative prompt."""

    def __init__(self) -> None:
        noise = torch.Generator().manual_seed(5)
        self.cond, self.uncond = torch.randn(2, 4, 8, 8, generator=noise), torch.randn(2, 4, 8, 8, generator=noise)

    def __call__(self, call: ModuleCall) -> torch.Tensor:
        first = call.context[:, 0, 0].reshape(-1, 1, 1, 1) > 0
        return torch.where(first, self.cond.repeat(len(call.x) // 2, 1, 1, 1), self.uncond.repeat(len(call.x) // 2, 1, 1, 1))


def _rescaled(module: Two, cfg: float, phi: float) -> torch.Tensor:
    """Lin et al. 2023, equations 14 to 16, picture by picture."""
    found = []
    for cond, uncond in zip(module.cond, module.uncond, strict=True):
        guided = uncond + (cond - uncond) * cfg
        found.append(phi * guided * (cond.std() / guided.std()) + (1 - phi) * guided)
    return torch.stack(found)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "flow"])
@pytest.mark.parametrize("phi", [0.0, 0.7, 1.0])
def test_cfg_rescale_is_about_the_module_s_output(prediction: str, phi: float) -> None:
    module, table = Two(), FlowTable() if prediction == "flow" else TABLE
    conditioning = Conditioning(_context(1.0), _context(-1.0))
    network = GuidedNetwork(module, table, conditioning, Guidance(7.0, rescale=phi), prediction=prediction)
    alone = GuidedNetwork(lambda call: _rescaled(module, 7.0, phi), table, Conditioning(_context(1.0), None), 1.0, prediction=prediction)
    sigma = table.sigmas[600]
    torch.testing.assert_close(network.x0(X, sigma).value, alone.x0(X, sigma).value, atol=1e-4, rtol=1e-4)
    t = torch.tensor(600)
    torch.testing.assert_close(network.eps(X, t).value, alone.eps(X, t).value, atol=1e-4, rtol=1e-4)


def test_cfg_rescale_without_a_negative_prompt_is_nothing() -> None:
    module = Two()
    network = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), _context(-1.0)), Guidance(1.0, rescale=1.0))
    assert torch.equal(network.eps(X, torch.tensor(600)).value, module.cond)


def test_module_runs_in_its_own_precision_and_the_rest_in_float32() -> None:
    module = Recorder()
    network = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), _context(0.0)), 7.0, dtype=torch.bfloat16)
    guided = network.x0(X, torch.tensor(1.5))
    assert (module.calls[0].x.dtype, module.calls[0].context.dtype) == (torch.bfloat16, torch.bfloat16)
    assert guided.value.dtype == torch.float32


def test_revise_may_add_residuals(runtime, generate) -> None:
    """What a ControlNet will do: zeros change nothing, anything else changes the prediction of the real UNet."""
    with runtime.shop.manager.lease(ModelChoice(generate(steps=1)[0].plan.checkpoint)) as components, torch.inference_mode():
        shapes = []
        unet = components.modules["unet"]
        handle = unet.mid_block.register_forward_hook(lambda module, given, output: shapes.append(output.shape))
        context = Conditioning(torch.randn(2, 77, 32), None)
        plain = GuidedNetwork(components.denoise, TABLE, context, 1.0).x0(X, torch.tensor(3.0)).value
        handle.remove()

        def adding(value: float) -> torch.Tensor:
            middle = torch.full(shapes[0], value)
            down = tuple(torch.zeros(1) for _ in range(4))
            return GuidedNetwork(
                components.denoise, TABLE, context, 1.0, revise=lambda call: dataclasses.replace(call, residuals=Residuals(down, middle)),
            ).x0(X, torch.tensor(3.0)).value

        assert torch.equal(adding(0.0), plain)
        assert not torch.allclose(adding(1.0), plain, atol=1e-2)


@pytest.mark.parametrize("steps", [1, 4, 7, 28])
def test_a_flow_models_own_schedule_is_that_of_diffusers(steps: int) -> None:
    """SD 3's pipeline leaves the sigmas to the scheduler, Flux' gives them."""
    medium = FlowMatchEulerDiscreteScheduler(shift=3.0)
    medium.set_timesteps(steps)
    torch.testing.assert_close(FlowTable(3.0).own(steps), medium.sigmas, atol=1e-6, rtol=0)
    dev, mu = FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True), 0.9
    dev.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    table = FlowTable(math.exp(mu), even=True)
    torch.testing.assert_close(table.own(steps), dev.sigmas, atol=1e-6, rtol=0)
    torch.testing.assert_close(table.told(table.own(steps)[:-1]), dev.timesteps, atol=1e-3, rtol=0)


def test_simple_is_the_even_schedule_where_steps_divide_a_thousand() -> None:
    table = FlowTable(2.0, even=True)
    torch.testing.assert_close(simple(20, table.sigma_min, table.sigma_max, table), table.own(20), atol=1e-6, rtol=0)
