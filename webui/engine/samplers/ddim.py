"""DDIM: Song et al. 2020, "Denoising Diffusion Implicit Models", https://arxiv.org/abs/2010.02502, equation 12. DDIM CFG++: Chung et al. 2024,
"CFG++", https://arxiv.org/abs/2406.08070: the way back to noise follows the unguided prediction, and guidance is weaker (A1111: cfg / 12.5)."""

from __future__ import annotations

import torch
from torch import Tensor

from webui.engine.samplers.contract import Guided, Network, Noise, OnStep, SamplerOptions


def sample_ddim(network: Network, x: Tensor, timesteps: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the lowest timestep. eta 0 is deterministic, 1 is DDPM."""
    return _sample(network, x, timesteps, noise, options, step, unguided_direction=False)


def sample_ddim_cfgpp(network: Network, x: Tensor, timesteps: Tensor, noise: Noise, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the lowest timestep."""
    return _sample(network, x, timesteps, noise, options, step, unguided_direction=True)


def levels(timesteps: Tensor, options: SamplerOptions) -> tuple[Tensor, Tensor]:
    """(alphas_cumprod of every timestep, of the one below it), float64. Below the lowest stands timestep 0."""
    if options.alphas_cumprod is None:
        raise ValueError("A timestep sampler needs the model's alphas_cumprod.")
    table = options.alphas_cumprod.double()
    return table[timesteps], table[torch.nn.functional.pad(timesteps[:-1], (1, 0))]


def _sample(
    network: Network, x: Tensor, timesteps: Tensor, noise: Noise, options: SamplerOptions, step: OnStep, *, unguided_direction: bool,
) -> Tensor:
    here, below = levels(timesteps, options)
    spread = options.eta * ((1 - below) / (1 - here) * (1 - here / below)).sqrt()
    for number, i in enumerate(range(len(timesteps) - 1, 0, -1)):
        guided = network.eps(x, timesteps[i])
        x0 = (x - _number(1 - here[i]) * guided.value) / _number(here[i])
        step(number, timesteps[i], x, x0)
        direction = _unguided(guided) if unguided_direction else guided.value
        fresh = noise()  # drawn also when eta is 0, like every draw of A1111's
        x = _number(below[i]) * x0 + _number(1 - below[i] - spread[i] ** 2) * direction + float(spread[i]) * fresh
    return x


def _unguided(guided: Guided) -> Tensor:
    return guided.cond if guided.uncond is None else guided.uncond


def _number(square: Tensor) -> float:
    return float(square.sqrt())
