"""The guided network: a family's module behind two thin faces, x0 over sigma and eps over timesteps, with classifier-free guidance inside.

Latent arithmetic is float32 whatever the module computes in. Knows no sampler and no request. Ho & Salimans 2022, https://arxiv.org/abs/2207.12598;
several prompts for one picture: Liu et al. 2022, https://arxiv.org/abs/2206.01714.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from webui.backend.components import Denoise, ModuleCall
from webui.engine.conditioning import Conditioning, Conditions, Shares
from webui.engine.guidance import Guidance
from webui.engine.samplers.contract import Guided
from webui.engine.schedules import SigmaTable

Revise = Callable[[ModuleCall], ModuleCall]
"""Fills in residuals, added and patches right before the module runs; sees t and the call's number."""


@dataclass(frozen=True)
class _Contexts:
    """What is made once as long as the conditioning does not change: contexts in the module's dtype, and the picture of each row of `cond`."""

    source: Conditioning
    cond: Tensor
    uncond: Tensor | None
    both: Tensor | None
    """cond and uncond in one, when they may run together."""

    rows: Tensor | None
    """Picture number of each row of cond; None = one row a picture, in order."""


class GuidedNetwork:
    """Implements `samplers.contract.Network`. One object serves one pass; `calls` counts its calls."""

    def __init__(
        self, denoise: Denoise, table: SigmaTable, conditioning: Conditions, cfg: float | Guidance, *, dtype: torch.dtype = torch.float32,
        prediction: Literal["epsilon", "v"] = "epsilon", revise: Revise | None = None,
    ) -> None:
        self.table = table
        self.guidance = cfg if isinstance(cfg, Guidance) else Guidance(cfg)
        self.calls = 0
        self._denoise = denoise
        self._conditions = conditioning
        self._prediction = prediction
        self._dtype = dtype
        self._revise = revise
        self._contexts = self._prepare(conditioning.at(0))

    def x0(self, x: Tensor, sigma: Tensor) -> Guided:
        """See `Network.x0`. Karras et al. 2022, section 5: x0 = c_skip x + c_out F(c_in x), here for epsilon and v prediction."""
        c_in = 1 / (sigma**2 + 1) ** 0.5
        c_skip, c_out = (1.0, -sigma) if self._prediction == "epsilon" else (c_in**2, -sigma * c_in)
        cond, uncond = self._outputs(x * c_in, self.table.t_of(sigma), sigma)
        return self._guide(c_skip * self._rows(x) + c_out * cond, None if uncond is None else c_skip * x + c_out * uncond)

    def eps(self, x: Tensor, t: Tensor) -> Guided:
        """See `Network.eps`. For v prediction eps = sqrt(a) v + sqrt(1 - a) x (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512)."""
        cond, uncond = self._outputs(x, t.float(), t)
        if self._prediction == "v":
            a = self.table.alphas_cumprod[int(t)]
            cond = a**0.5 * cond + (1 - a) ** 0.5 * self._rows(x)
            uncond = None if uncond is None else a**0.5 * uncond + (1 - a) ** 0.5 * x
        return self._guide(cond, uncond)

    def _outputs(self, x: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw module outputs in float32, for the rows of cond and for uncond. One module call when both have as many tokens, else one each."""
        moment = self._conditions.at(self.calls)
        if moment is not self._contexts.source:
            self._contexts = self._prepare(moment)
        contexts = self._contexts
        x = x.to(self._dtype)
        t = t.to(x.device).reshape(1)
        rows = self._rows(x)
        if contexts.uncond is None or (self.guidance.skip and self.guidance.skip(self.calls, float(noise))):
            return self._pieces(rows, t, contexts.cond, len(x)), None
        if contexts.both is not None:
            output = self._call(torch.cat([rows, x]), t, contexts.both)
            return output[: len(rows)], output[len(rows) :]
        return self._pieces(rows, t, contexts.cond, len(x)), self._call(x, t, contexts.uncond)

    def _pieces(self, x: Tensor, t: Tensor, context: Tensor, pictures: int) -> Tensor:
        """Many parts of AND run at most two batches at a time (one, when not batched): the memory of a plain guided call."""
        size = pictures * 2 if self.guidance.batched else pictures
        if len(x) <= size:
            return self._call(x, t, context)
        return torch.cat([self._call(part, t, piece) for part, piece in zip(x.split(size), context.split(size), strict=True)])

    def _call(self, x: Tensor, t: Tensor, context: Tensor) -> Tensor:
        call = ModuleCall(x, t.expand(len(x)), context, self.calls)
        return self._denoise(self._revise(call) if self._revise else call).float()

    def _rows(self, x: Tensor) -> Tensor:
        """x of each row of cond."""
        return x if self._contexts.rows is None else x[self._contexts.rows]

    def _guide(self, cond: Tensor, uncond: Tensor | None) -> Guided:
        call, self.calls = self.calls, self.calls + 1
        shares, cfg = self._contexts.source.shares, self.guidance.cfg
        if shares is None:
            return Guided(cond if uncond is None else uncond + (cond - uncond) * cfg, uncond, cond, call)
        base = uncond if uncond is not None else torch.stack([cond[parts[0][0]] for parts in shares])
        # Without a negative prompt one alone means itself, whatever its weight and cfg: A1111 sets the first part in its place.
        return Guided(_compose(base, cond, shares, cfg), uncond, _compose(base, cond, shares, 1.0), call)

    def _prepare(self, moment: Conditioning) -> _Contexts:
        cond, uncond = moment.cond.to(self._dtype), moment.uncond
        rows = None
        if moment.shares is not None:
            rows = torch.tensor([picture for picture, parts in enumerate(moment.shares) for _ in parts], device=cond.device)
        if uncond is None or (self.guidance.cfg == 1.0 and moment.shares is None):
            return _Contexts(moment, cond, None, None, rows)
        uncond = uncond.to(self._dtype)
        together = self.guidance.batched and cond.shape[1] == uncond.shape[1]
        return _Contexts(moment, cond, uncond, torch.cat([cond, uncond]) if together else None, rows)


def _compose(base: Tensor, cond: Tensor, shares: Shares, cfg: float) -> Tensor:
    """u + sum of weight x cfg x (d - u) over the parts of each picture."""
    result = base.clone()
    for picture, parts in enumerate(shares):
        for row, weight in parts:
            result[picture] += (cond[row] - base[picture]) * (weight * cfg)
    return result
