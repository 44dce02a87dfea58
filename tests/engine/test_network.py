"""The guided network's two faces, on modules that are formulas."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from webui.backend.components import ModuleCall, Residuals
from webui.backend.families.sd1 import scaled_linear_alphas
from webui.engine.conditioning import Conditioning
from webui.engine.network import GuidedNetwork
from webui.engine.schedules import SigmaTable

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


def test_module_runs_in_its_own_precision_and_the_rest_in_float32() -> None:
    module = Recorder()
    network = GuidedNetwork(module, TABLE, Conditioning(_context(1.0), _context(0.0)), 7.0, dtype=torch.bfloat16)
    guided = network.x0(X, torch.tensor(1.5))
    assert (module.calls[0].x.dtype, module.calls[0].context.dtype) == (torch.bfloat16, torch.bfloat16)
    assert guided.value.dtype == torch.float32


def test_revise_may_add_residuals(runtime, generate) -> None:
    """What a ControlNet will do: zeros change nothing, anything else changes the prediction of the real UNet."""
    with runtime.shop.manager.lease(generate(steps=1)[0].plan.checkpoint) as components, torch.inference_mode():
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
