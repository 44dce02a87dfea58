"""The guided network: a family's module behind two thin faces, x0 over sigma and eps over timesteps, with classifier-free guidance inside.

Latent arithmetic is float32 whatever the module computes in. Knows no sampler and no request. Ho & Salimans 2022, https://arxiv.org/abs/2207.12598.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from webui.backend.components import Denoise, ModuleCall
from webui.engine.guidance import SkipRules
from webui.engine.samplers.contract import Guided
from webui.engine.schedules import SigmaTable

Revise = Callable[[ModuleCall], ModuleCall]
"""Fills in residuals, added and patches right before the module runs; sees t and the call's number."""


@dataclass(frozen=True)
class Conditioning:
    """Encoded prompts of a batch, (batch, tokens, width) each; `uncond` may be None when guidance never needs it."""

    cond: Tensor
    uncond: Tensor | None


class GuidedNetwork:
    """Implements `samplers.contract.Network`. One object serves one pass; `calls` counts its calls."""

    def __init__(
        self, denoise: Denoise, table: SigmaTable, conditioning: Conditioning, cfg: float, *, dtype: torch.dtype = torch.float32,
        prediction: Literal["epsilon", "v"] = "epsilon", revise: Revise | None = None, skip: SkipRules | None = None,
    ) -> None:
        self.table = table
        self.cfg = cfg
        self.calls = 0
        self._denoise = denoise
        self._prediction = prediction
        self._dtype = dtype
        self._revise = revise
        self._skip = skip or SkipRules()
        self._contexts = _contexts(conditioning, cfg, dtype)
        self._cond_only = [(conditioning.cond.to(dtype), 1)]

    def x0(self, x: Tensor, sigma: Tensor) -> Guided:
        """See `Network.x0`. Karras et al. 2022, section 5: x0 = c_skip x + c_out F(c_in x), here for epsilon and v prediction."""
        c_in = 1 / (sigma**2 + 1) ** 0.5
        c_skip, c_out = (1.0, -sigma) if self._prediction == "epsilon" else (c_in**2, -sigma * c_in)
        outputs = self._outputs(x * c_in, self.table.t_of(sigma), sigma)
        return self._guide([c_skip * x + c_out * output for output in outputs])

    def eps(self, x: Tensor, t: Tensor) -> Guided:
        """See `Network.eps`. For v prediction eps = sqrt(a) v + sqrt(1 - a) x (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512)."""
        outputs = self._outputs(x, t.float(), t)
        if self._prediction == "v":
            a = self.table.alphas_cumprod[int(t)]
            outputs = [a**0.5 * output + (1 - a) ** 0.5 * x for output in outputs]
        return self._guide(outputs)

    def _outputs(self, x: Tensor, t: Tensor, level: Tensor) -> list[Tensor]:
        """Raw module outputs in float32: [cond] or [cond, uncond]. One module call when both contexts have as many tokens, else one each."""
        skip = self._skip and self._skip(self.calls, float(level))
        x = x.to(self._dtype)
        t = t.to(x.device).reshape(1)
        results: list[Tensor] = []
        for context, parts in self._cond_only if skip else self._contexts:
            batch = x if parts == 1 else torch.cat([x] * parts)
            call = ModuleCall(batch, t.expand(len(batch)), context, self.calls)
            output = self._denoise(self._revise(call) if self._revise else call).float()
            results += output.chunk(parts)
        return results

    def _guide(self, results: list[Tensor]) -> Guided:
        call, self.calls = self.calls, self.calls + 1
        if len(results) == 1:
            return Guided(results[0], None, results[0], call)
        cond, uncond = results
        return Guided(uncond + (cond - uncond) * self.cfg, uncond, cond, call)


def _contexts(conditioning: Conditioning, cfg: float, dtype: torch.dtype) -> list[tuple[Tensor, int]]:
    """What each module call of a step sees and for how many copies of the batch: conds of all pictures first, then unconds."""
    cond, uncond = conditioning.cond.to(dtype), conditioning.uncond
    if uncond is None or cfg == 1.0:
        return [(cond, 1)]
    uncond = uncond.to(dtype)
    if cond.shape[1] == uncond.shape[1]:
        return [(torch.cat([cond, uncond]), 2)]
    return [(cond, 1), (uncond, 1)]
