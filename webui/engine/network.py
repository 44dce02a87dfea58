"""The guided network: a family's module behind two thin faces, x0 over sigma and eps over timesteps, with classifier-free guidance inside.

Latent arithmetic is float32 whatever the module computes in. Knows no sampler and no request. Ho & Salimans 2022, https://arxiv.org/abs/2207.12598;
several prompts for one picture: Liu et al. 2022, https://arxiv.org/abs/2206.01714.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.backend.components import Denoise, ModuleCall, Prediction
from webui.engine.conditioning import Conditioning, Conditions, Shares
from webui.engine.guidance import Guidance
from webui.engine.samplers.contract import Guided
from webui.engine.schedules import SigmaTable
from webui.engine.step_hooks import PassHooks

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
        prediction: Prediction = "epsilon", revise: Revise | None = None, hooks: PassHooks | None = None,
    ) -> None:
        self.table = table
        self.guidance = cfg if isinstance(cfg, Guidance) else Guidance(cfg)
        self.calls = 0
        self._denoise = denoise
        self._conditions = conditioning
        self._prediction = prediction
        self._dtype = dtype
        self._revise = revise
        self._hooks = hooks
        self._contexts = self._prepare(conditioning.at(0))

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`. Karras et al. 2022, section 5: x0 = c_skip x + c_out F(c_in x), here for epsilon and v prediction. For flow prediction
        x = (1 - sigma) picture + sigma noise, as in Esser et al. 2024, https://arxiv.org/abs/2403.03206, and x0 = x - sigma F(x)."""
        x, sigma = self._enter(x, sigma)
        if self._prediction == "flow":
            cond, uncond = self._outputs(x, self.table.t_of(sigma), sigma)
            base, scale = x, -sigma
        else:
            c_in = 1 / (sigma**2 + 1) ** 0.5
            cond, uncond = self._outputs(x * c_in, self.table.t_of(sigma), sigma)
            base, scale = (x, -sigma) if self._prediction == "epsilon" else (c_in**2 * x, -sigma * c_in)
        return self._guide(self._rows(base) + scale * cond, None if uncond is None else base + scale * uncond, base, sigma)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`. For v prediction eps = sqrt(a) v + sqrt(1 - a) x (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512). Flow prediction
        is the same seen from x / |(1 - sigma, sigma)|: eps = x' + (1 - sigma) F(x')."""
        x, t = self._enter(x, t)
        if self._prediction == "epsilon":
            return self._guide(*self._outputs(x, t.float(), t), None, t)
        if self._prediction == "v":
            a = self.table.alphas_cumprod[int(t)]
            base, scale = (1 - a) ** 0.5 * x, a**0.5
            cond, uncond = self._outputs(x, t.float(), t)
        else:
            sigma = self.table.sigmas[int(t)]
            base, scale = x * ((1 - sigma) ** 2 + sigma**2) ** 0.5, 1 - sigma
            cond, uncond = self._outputs(base, self.table.t_of(sigma), t)
        return self._guide(self._rows(base) + scale * cond, None if uncond is None else base + scale * uncond, base, t)

    def _enter(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """A call begins: which conditioning is in force, and what plugins make of everything."""
        moment = self._conditions.at(self.calls)
        if self._hooks is not None:
            x, level, moment = self._hooks.model_input(x, level, moment, self.calls)
        if moment is not self._contexts.source:
            self._contexts = self._prepare(moment)
        return x, level

    def _outputs(self, x: Tensor, t: Tensor, noise: Tensor) -> tuple[Tensor, Tensor | None]:
        """Raw module outputs in float32, for the rows of cond and for uncond. One module call when both have as many tokens, else one each."""
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

    def _guide(self, cond: Tensor, uncond: Tensor | None, base: Tensor | None, level: Tensor) -> Guided:
        """`base` is the part of the answers that the model did not say (they are base + scale x output); None = 0."""
        call, self.calls = self.calls, self.calls + 1
        if self._hooks is not None:
            cond, uncond = self._hooks.after_output(cond, uncond, level)
        value, alone = self._combine(cond, uncond)
        if self.guidance.rescale and value is not alone:
            value = _rescale(value, alone, 0.0 if base is None else base, self.guidance.rescale)
        if self._hooks is not None:
            value = self._hooks.after_guidance(value, cond, uncond, level)
        return Guided(value, uncond, alone, call)

    def _combine(self, cond: Tensor, uncond: Tensor | None) -> tuple[Tensor, Tensor]:
        """The guided answer, and that of the prompt alone; one and the same tensor when there is nothing to guide."""
        shares, cfg = self._contexts.source.shares, self.guidance.cfg
        if shares is None:
            return (cond if uncond is None else uncond + (cond - uncond) * cfg), cond
        base = uncond if uncond is not None else torch.stack([cond[parts[0][0]] for parts in shares])
        # Without a negative prompt one alone means itself, whatever its weight and cfg: A1111 sets the first part in its place.
        return _compose(base, cond, shares, cfg), _compose(base, cond, shares, 1.0)

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


def _rescale(guided: Tensor, cond: Tensor, base: Tensor | float, phi: float) -> Tensor:
    """Lin et al. 2023, https://arxiv.org/abs/2305.08891, equations 14 to 16: each picture's guided output gets the spread of the prompt's own. It is
    about the module's outputs, so what was added to them to make answers is taken off; their common scale drops out."""
    output = guided - base
    axes = tuple(range(1, output.ndim))
    ratio = (cond - base).std(axes, keepdim=True) / output.std(axes, keepdim=True)
    return base + output * (phi * ratio + (1 - phi))
