"""Noise schedules: which sigmas the sampler visits. Also the table between a model's timesteps and sigmas. Float32 torch on the CPU; knows no model.

Every schedule is `(n, sigma_min, sigma_max, model, **options) -> n + 1 sigmas, the last one 0`. Float32 is part of the meaning: A1111's pictures
depend on the last bits for some samplers.
"""

from __future__ import annotations

import torch
from torch import Tensor


class SigmaTable:
    """The sigmas a model was trained at, sigma = sqrt((1 - a) / a), and the way between sigma and (fractional) timestep, linear in log sigma."""

    def __init__(self, alphas_cumprod: Tensor) -> None:
        self.alphas_cumprod = alphas_cumprod.to("cpu", torch.float32)
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()

    @property
    def sigma_min(self) -> float:
        """Smallest sigma of the table."""
        return self.sigmas[0].item()

    @property
    def sigma_max(self) -> float:
        """Largest sigma of the table."""
        return self.sigmas[-1].item()

    def sigma_of(self, t: Tensor) -> Tensor:
        """Sigma at timesteps in [0, len - 1], which may be fractional."""
        t = t.float()
        low, high, weight = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - weight) * self.log_sigmas[low] + weight * self.log_sigmas[high]).exp()

    def t_of(self, sigma: Tensor) -> Tensor:
        """Fractional timestep of sigmas; beyond the table its ends."""
        log_sigma = sigma.log()
        last = len(self.log_sigmas) - 1
        low = (torch.searchsorted(self.log_sigmas, log_sigma.reshape(-1), right=True) - 1).clamp(0, last - 1).reshape(log_sigma.shape)
        left, right = self.log_sigmas[low], self.log_sigmas[low + 1]
        weight = ((left - log_sigma) / (left - right)).clamp(0, 1)
        return (1 - weight) * low + weight * (low + 1)


def uniform(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Evenly spaced timesteps from the noisiest to 0: the model's own sigmas."""
    del sigma_min, sigma_max  # every schedule is called the same way
    return _end_with_zero(model.sigma_of(torch.linspace(len(model.sigmas) - 1, 0, n)))


def karras(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None, rho: float = 7.0) -> Tensor:
    """Karras et al. 2022, https://arxiv.org/abs/2206.00364, equation 5: evenly spaced in sigma^(1/rho)."""
    del model
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _end_with_zero((high + ramp * (low - high)) ** rho)


def _end_with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
