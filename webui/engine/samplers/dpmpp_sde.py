"""DPM++ SDE: Lu et al. 2022, "DPM-Solver++", https://arxiv.org/abs/2211.01095, the stochastic singlestep solver with r = 1/2 (after k-diffusion).

Its noise is a Brownian path asked at exp(-t), t = -ln sigma in float32, and the asked times are part of the picture: they are computed exactly so.
"""

from __future__ import annotations

from torch import Tensor

from webui.engine.samplers.contract import Network, NoiseBetween, OnStep, SamplerOptions
from webui.engine.samplers.euler_ancestral import ancestral_step


def sample_dpmpp_sde(network: Network, x: Tensor, sigmas: Tensor, noise: NoiseBetween, options: SamplerOptions, step: OnStep) -> Tensor:
    """x at the last sigma. Two calls a step: to the middle, and with its answer to the end. The step to 0 is Euler's."""
    for i in range(len(sigmas) - 1):
        x0 = network.x0(x, sigmas[i]).value
        step(i, sigmas[i], x, x0)
        if sigmas[i + 1] == 0:
            x = x0
            continue
        t, t_next = sigmas[i].log().neg(), sigmas[i + 1].log().neg()
        s = t + (t_next - t) * 0.5
        here, middle, target = t.neg().exp(), s.neg().exp(), t_next.neg().exp()
        halfway = _towards(x, x0, here, middle, noise, options)
        x = _towards(x, network.x0(halfway, middle, ahead=True).value, here, target, noise, options)
    return x


def _towards(x: Tensor, x0: Tensor, here: Tensor, target: Tensor, noise: NoiseBetween, options: SamplerOptions) -> Tensor:
    """From sigma `here` to sigma `target` with the answer x0: lower than asked, then noise up to it."""
    down, up = ancestral_step(float(here), float(target), options.eta)
    return x0 + (x - x0) * (down / float(here)) + noise(here, target) * (options.s_noise * up)
