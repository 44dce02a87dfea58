"""Noise schedules: which sigmas the sampler visits. Also the table between a model's timesteps and sigmas. Float32 torch on the CPU; knows no model.

Every schedule is `(n, sigma_min, sigma_max, model, **options) -> sigmas`, nearly always n + 1 with the last one 0. Float32 is part of the meaning:
A1111's pictures depend on the last bits for some samplers.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from scipy.special import betaincinv
from torch import Tensor

LAST_ALPHA = 4.8973451890853435e-08
"""What stands for 0 at the end of a zero-terminal-SNR table: sigma must stay finite."""


class SigmaTable:
    """The sigmas a model was trained at, sigma = sqrt((1 - a) / a), and the way between sigma and (fractional) timestep, linear in log sigma.

    `quantize`: timesteps are rounded to the nearest trained one (A1111's "Enable quantization in K samplers"). `sdxl` picks fixed schedules.
    """

    data = 1.0
    """The spread of the pictures that the model was trained on."""

    def __init__(self, alphas_cumprod: Tensor, *, quantize: bool = False, sdxl: bool = False) -> None:
        self.alphas_cumprod = alphas_cumprod.to("cpu", torch.float32)
        self.sigmas = ((1 - self.alphas_cumprod) / self.alphas_cumprod) ** 0.5
        self.log_sigmas = self.sigmas.log()
        self._log_sigmas = self.log_sigmas.numpy()
        self.quantize = quantize
        self.sdxl = sdxl

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
        """Timestep of sigmas, fractional unless `quantize`; beyond the table its ends."""
        log_sigma = sigma.log()
        if self.quantize:
            return self._nearest(log_sigma)
        if log_sigma.ndim == 0:
            return torch.tensor(self._between(np.float32(log_sigma.item())))
        last = len(self.log_sigmas) - 1
        low = (torch.searchsorted(self.log_sigmas, log_sigma.reshape(-1), right=True) - 1).clamp(0, last - 1).reshape(log_sigma.shape)
        left, right = self.log_sigmas[low], self.log_sigmas[low + 1]
        weight = ((left - log_sigma) / (left - right)).clamp(0, 1)
        return (1 - weight) * low + weight * (low + 1)

    def _between(self, log_sigma: np.float32) -> np.float32:
        """`t_of` for one value, as every model call asks it: the same operations on the same bits without a dozen tensors of one number."""
        table = self._log_sigmas
        low = min(max(int(table.searchsorted(log_sigma, side="right")) - 1, 0), len(table) - 2)
        left, right = table[low], table[low + 1]
        weight = min(max((left - log_sigma) / (left - right), np.float32(0)), np.float32(1))
        return (np.float32(1) - weight) * np.float32(low) + weight * np.float32(low + 1)

    def told(self, sigma: Tensor) -> Tensor:
        """What the model is told the time is at these sigmas."""
        return self.t_of(sigma)

    def own(self, n: int) -> Tensor:
        """The model's own schedule of n steps, and the 0 at its end."""
        return uniform(n, self.sigma_min, self.sigma_max, self)

    def _nearest(self, log_sigma: Tensor) -> Tensor:
        """Index of the nearest entry by log sigma."""
        return (log_sigma - self.log_sigmas.reshape(-1, *[1] * log_sigma.ndim)).abs().argmin(dim=0)


class ConsistencyTable(SigmaTable):
    """What a latent consistency model was trained at: every 20th timestep, 19, 39, … 999 (Luo et al. 2023). Any sigma means the nearest of those."""

    SKIP = 20

    def __init__(self, alphas_cumprod: Tensor, *, sdxl: bool = False) -> None:
        super().__init__(alphas_cumprod[self.SKIP - 1 :: self.SKIP], sdxl=sdxl)

    def sigma_of(self, t: Tensor) -> Tensor:
        """Sigma at timesteps in [19, 999] of the whole model."""
        return super().sigma_of(((t - (self.SKIP - 1)) / self.SKIP).float().clamp(0, len(self.sigmas) - 1))

    def t_of(self, sigma: Tensor) -> Tensor:
        """The nearest trained timestep of the whole model."""
        return self._nearest(sigma.log()) * self.SKIP + (self.SKIP - 1)


class FlowTable(SigmaTable):
    """For flow prediction: sigma is the share of noise in x = (1 - sigma) picture + sigma noise, and the model is told 1000 sigma. Timesteps are
    evenly spaced, then shifted towards the noise: shift s / (1 + (shift - 1) s) (Esser et al. 2024, https://arxiv.org/abs/2403.03206, eq. 23).

    `even`: the model's own schedule goes evenly down to 0 (Flux), instead of to its least noise and then to 0 (SD 3)."""

    def __init__(self, shift: float = 3.0, even: bool = False, timesteps: int = 1000) -> None:
        sigmas = _shifted(torch.arange(1, timesteps + 1, dtype=torch.float32) / timesteps, shift)
        super().__init__(((1 - sigmas) ** 2 / ((1 - sigmas) ** 2 + sigmas**2)).clamp(min=LAST_ALPHA))
        self.sigmas, self.log_sigmas = sigmas, sigmas.log()
        self.shift, self.even = shift, even

    def sigma_of(self, t: Tensor) -> Tensor:
        """Sigma at timesteps in [0, len - 1], which may be fractional."""
        return _shifted((t.float() + 1) / len(self.sigmas), self.shift)

    def t_of(self, sigma: Tensor) -> Tensor:
        """What is told at these sigmas, counted from 0. It is no inverse of `sigma_of`, which shifts once more: so Stability's sd3-ref makes its
        schedule, and ComfyUI, Forge and diffusers theirs after it."""
        return sigma * len(self.sigmas) - 1

    def told(self, sigma: Tensor) -> Tensor:
        """What the model is told at these sigmas."""
        return sigma * 1000

    def own(self, n: int) -> Tensor:
        """Flux: evenly spaced shares of noise from 1 on, shifted (`flux/sampling.py`, `get_schedule`), which "Simple" gives to the nearest timestep.
        SD 3: as `uniform`."""
        if not self.even:
            return super().own(n)
        return _end_with_zero(_shifted(1 - torch.arange(n) / n, self.shift))


class EdmTable(SigmaTable):
    """Noise levels of a model's own, evenly spaced in log sigma; it is told 0.25 ln sigma (Karras et al. 2022, table 1). `karras`: its own schedule
    is that paper's."""

    def __init__(self, least: float, most: float, data: float = 1.0, karras: bool = False, *, sdxl: bool = False, timesteps: int = 1000) -> None:
        sigmas = torch.linspace(math.log(least), math.log(most), timesteps).exp()
        super().__init__(1 / (1 + sigmas**2), sdxl=sdxl)
        self.sigmas, self.log_sigmas = sigmas, sigmas.log()
        self._log_sigmas = self.log_sigmas.numpy()
        self.data, self.karras = data, karras

    def told(self, sigma: Tensor) -> Tensor:
        """What the model is told at these sigmas."""
        return sigma.log() / 4

    def own(self, n: int) -> Tensor:
        """See `SigmaTable.own`."""
        return karras(n, self.sigma_min, self.sigma_max) if self.karras else super().own(n)


def _shifted(share: Tensor, shift: float) -> Tensor:
    return shift * share / (1 + (shift - 1) * share)


def zero_terminal_snr(alphas_cumprod: Tensor) -> Tensor:
    """The table shifted and scaled so that its last entry is pure noise: Lin et al. 2023, https://arxiv.org/abs/2305.08891, algorithm 1."""
    roots = alphas_cumprod.to("cpu", torch.float32).sqrt()
    first, last = roots[0].clone(), roots[-1].clone()
    scaled = ((roots - last) * (first / (first - last))) ** 2
    scaled[-1] = LAST_ALPHA
    return scaled


def uniform(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Evenly spaced timesteps from the noisiest to the least noisy: the model's own sigmas."""
    del sigma_min, sigma_max  # every schedule is called the same way
    start, end = _timesteps(model, model.sigma_max, model.sigma_min)
    return _end_with_zero(model.sigma_of(torch.linspace(start, end, n)))


def karras(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None, rho: float = 7.0) -> Tensor:
    """Karras et al. 2022, https://arxiv.org/abs/2206.00364, equation 5: evenly spaced in sigma^(1/rho)."""
    del model
    ramp = torch.linspace(0, 1, n)
    low, high = sigma_min ** (1 / rho), sigma_max ** (1 / rho)
    return _end_with_zero((high + ramp * (low - high)) ** rho)


def exponential(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None) -> Tensor:
    """Evenly spaced in log sigma."""
    del model
    return _end_with_zero(torch.linspace(math.log(sigma_max), math.log(sigma_min), n).exp())


def polyexponential(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None, rho: float = 1.0) -> Tensor:
    """A power of an even ramp in log sigma; with rho 1 it is exponential."""
    del model
    ramp = torch.linspace(1, 0, n) ** rho
    return _end_with_zero((ramp * (math.log(sigma_max) - math.log(sigma_min)) + math.log(sigma_min)).exp())


def sgm_uniform(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Evenly spaced timesteps of which the last is the end itself, so that the step to 0 is as long as the others (Stability's generative models)."""
    start, end = _timesteps(model, sigma_max, sigma_min)
    return _end_with_zero(model.sigma_of(torch.linspace(start, end, n + 1)[:-1]))


def normal(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Evenly spaced timesteps between two sigmas."""
    start, end = _timesteps(model, sigma_max, sigma_min)
    return _end_with_zero(model.sigma_of(torch.linspace(start, end, n)))


def kl_optimal(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None) -> Tensor:
    """Evenly spaced in arctan sigma ("Align Your Steps", equation 15). Ends at sigma_min: there is no 0."""
    del model
    share = torch.arange(n + 1) / n
    low, high = (torch.tensor(sigma).arctan() for sigma in (sigma_min, sigma_max))
    return (share * low + (1.0 - share) * high).tan()


def simple(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Every (1000 / n)th of the model's sigmas, from the largest."""
    del sigma_min, sigma_max
    stride = len(model.sigmas) / n
    return _end_with_zero(model.sigmas[[-(1 + int(i * stride)) for i in range(n)]])


def ddim(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Every (1000 // n)th of the model's sigmas, counted from the second smallest: often more than n."""
    del sigma_min, sigma_max
    return _end_with_zero(model.sigmas[1 :: max(len(model.sigmas) // n, 1)].flip(0))


def beta(n: int, sigma_min: float, sigma_max: float, model: SigmaTable | None = None, alpha: float = 0.6, beta: float = 0.6) -> Tensor:
    """Quantiles of a beta distribution between the ends: more steps at both. Lee et al. 2024, https://arxiv.org/abs/2407.12173, but in sigma, as
    A1111."""
    del model
    places = betaincinv(alpha, beta, 1 - np.linspace(0, 1, n))
    return _end_with_zero(torch.tensor(sigma_min + places * (sigma_max - sigma_min), dtype=torch.float32))


def turbo(n: int, sigma_min: float, sigma_max: float, model: SigmaTable) -> Tensor:
    """Forge's schedule for one-step ("turbo") models: the timesteps 1000, 1000 - 1000/n, … minus 1, rounded."""
    del sigma_min, sigma_max
    timesteps = (torch.arange(1, n + 1) * (1000.0 / n) - 1).flip(0).round().clamp(0, 999)
    return _end_with_zero(model.sigma_of(timesteps))


def ddim_timesteps(steps: int) -> Tensor:
    """Rising timesteps for the timestep samplers: 1, 1 + 1000 // steps, … often more than asked for."""
    return torch.arange(0, 1000, max(1000 // steps, 1)).add(1).clamp(0, 999)


def _timesteps(model: SigmaTable, *sigmas: float) -> list[float]:
    return [float(model.t_of(torch.tensor(sigma))) for sigma in sigmas]


def _end_with_zero(sigmas: Tensor) -> Tensor:
    return torch.cat([sigmas, sigmas.new_zeros(1)])
