"""The guided network: a family's module behind two thin faces, x0 over sigma and eps over timesteps, with classifier-free guidance inside.

Latent arithmetic is float32 whatever the module computes in. Knows no sampler and no request. Ho & Salimans 2022, https://arxiv.org/abs/2207.12598;
several prompts for one picture: Liu et al. 2022, https://arxiv.org/abs/2206.01714.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from webui.backend.components import Denoise, ModuleCall, Prediction
from webui.engine.conditioning import Conditioning, Conditions, Shares
from webui.engine.guidance import Guidance
from webui.engine.samplers.contract import Guided
from webui.engine.schedules import EdmTable, SigmaTable
from webui.engine.step_hooks import PassHooks

Revise = Callable[[ModuleCall], ModuleCall]
"""Fills in residuals, added and patches right before the module runs; sees t and the call's number."""


@dataclass(frozen=True)
class _Rows:
    """What the rows of a module call are conditioned on, in the module's dtype."""

    context: Tensor
    added: Mapping[str, Tensor]
    picture: Tensor | None = None
    """What is looked at besides the latents (rows, channels, h, w)."""

    def __len__(self) -> int:
        return len(self.context)

    def split(self, size: int) -> Iterator[_Rows]:
        """At most so many rows each."""
        for first in range(0, len(self), size):
            part = slice(first, first + size)
            picture = None if self.picture is None else self.picture[part]
            yield _Rows(self.context[part], {name: value[part] for name, value in self.added.items()}, picture)


@dataclass(frozen=True)
class _Contexts:
    """What is made once as long as the conditioning does not change, and the picture of each row of `cond`."""

    source: Conditioning
    cond: _Rows
    uncond: _Rows | None
    blank: _Rows | None
    """The negative prompt without the picture that is to be edited."""

    together: _Rows | None
    """All of them in one, when they may run in one call."""

    rows: Tensor | None
    """Picture number of each row of cond; None = one row a picture, in order."""


@dataclass(frozen=True)
class _Answers:
    """What the module says, float32: rows of cond, pictures, pictures."""

    cond: Tensor
    uncond: Tensor | None = None
    blank: Tensor | None = None


class GuidedNetwork:
    """Implements `samplers.contract.Network`. One object serves one pass; `calls` counts its calls, from those that another
    model has made of it."""

    def __init__(
        self, denoise: Denoise, table: SigmaTable, conditioning: Conditions, cfg: float | Guidance, *, dtype: torch.dtype = torch.float32,
        prediction: Prediction = "epsilon", revise: Revise | None = None, hooks: PassHooks | None = None, picture: Tensor | None = None,
        calls: int = 0,
    ) -> None:
        self.table = table
        self.guidance = cfg if isinstance(cfg, Guidance) else Guidance(cfg)
        self.calls = calls
        self._denoise = denoise
        self._conditions = conditioning
        self._prediction = prediction
        self._dtype = dtype
        self._revise = revise
        self._hooks = hooks
        self._picture = None if picture is None else picture.to(dtype)
        self._contexts = self._prepare(conditioning.at(calls))

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`. Karras et al. 2022, section 5: x0 = c_skip x + c_out F(c_in x), here for epsilon and v prediction. For flow prediction
        x = (1 - sigma) picture + sigma noise, as in Esser et al. 2024, https://arxiv.org/abs/2403.03206, and x0 = x - sigma F(x). Pictures of
        another spread than 1 (EDM) stand in c_in, c_skip and c_out."""
        x, sigma = self._enter(x, sigma)
        if self._prediction == "flow":
            outputs = self._outputs(x, self.table.told(sigma), sigma)
            base, scale = x, -sigma
        else:
            c_in = 1 / (sigma**2 + self.table.data**2) ** 0.5
            outputs = self._outputs(x * c_in, self.table.told(sigma), sigma)
            base, scale = (x, -sigma) if self._prediction == "epsilon" else self._parted(x, sigma, c_in)
        return self._guide(self._answers(outputs, base, scale), base, sigma)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`. For v prediction eps = sqrt(a) v + sqrt(1 - a) x (Salimans & Ho 2022, https://arxiv.org/abs/2202.00512). Flow prediction
        is the same seen from x / |(1 - sigma, sigma)|: eps = x' + (1 - sigma) F(x')."""
        x, t = self._enter(x, t)
        if isinstance(self.table, EdmTable):
            return self._eps_of_edm(x, t)
        if self._prediction == "epsilon":
            return self._guide(self._outputs(x, t.float(), t), None, t)
        if self._prediction == "v":
            a = self.table.alphas_cumprod[int(t)]
            base, scale = (1 - a) ** 0.5 * x, a**0.5
            outputs = self._outputs(x, t.float(), t)
        else:
            sigma = self.table.sigmas[int(t)]
            base, scale = x * ((1 - sigma) ** 2 + sigma**2) ** 0.5, 1 - sigma
            outputs = self._outputs(base, self.table.told(sigma), t)
        return self._guide(self._answers(outputs, base, scale), base, t)

    def _eps_of_edm(self, x: Tensor, t: Tensor) -> Guided:
        """The same for noise levels of a model's own: eps = (y - x0) / sigma with y = sqrt(1 + sigma^2) x, which is how x stands in `x0`."""
        sigma = self.table.sigmas[int(t)]
        y, c_in = x * (1 + sigma**2) ** 0.5, 1 / (sigma**2 + self.table.data**2) ** 0.5
        outputs = self._outputs(y * c_in, self.table.told(sigma), t)
        base, scale = self._parted(y, sigma, c_in)
        return self._guide(self._answers(outputs, (y - base) / sigma, -scale / sigma), (y - base) / sigma, t)

    def _parted(self, x: Tensor, sigma: Tensor, c_in: Tensor) -> tuple[Tensor, Tensor]:
        """c_skip x and c_out, for v and for F of EDM, which has the other sign."""
        data = self.table.data
        return (data * c_in) ** 2 * x, (sigma if self._prediction == "edm" else -sigma) * (data * c_in)

    def _enter(self, x: Tensor, level: Tensor) -> tuple[Tensor, Tensor]:
        """A call begins: which conditioning is in force, and what plugins make of everything."""
        moment = self._conditions.at(self.calls)
        if self._hooks is not None:
            x, level, moment = self._hooks.model_input(x, level, moment, self.calls)
        if moment is not self._contexts.source:
            self._contexts = self._prepare(moment)
        return x, level

    def _outputs(self, x: Tensor, t: Tensor, noise: Tensor) -> _Answers:
        """Raw module outputs, for the rows of cond and for uncond. One module call when both have as many tokens, else one each."""
        contexts = self._contexts
        x = x.to(self._dtype)
        t = t.to(x.device).reshape(1)
        rows = self._rows(x)
        if contexts.uncond is None or (contexts.blank is None and self.guidance.skip and self.guidance.skip(self.calls, float(noise))):
            return _Answers(self._pieces(rows, t, contexts.cond, len(x)))
        again = [x] if contexts.blank is None else [x, x]
        if contexts.together is not None:
            output = self._call(torch.cat([rows, *again]), t, contexts.together)
            return _Answers(output[: len(rows)], *output[len(rows) :].split(len(x)))
        blank = None if contexts.blank is None else self._call(x, t, contexts.blank)
        return _Answers(self._pieces(rows, t, contexts.cond, len(x)), self._call(x, t, contexts.uncond), blank)

    def _answers(self, outputs: _Answers, base: Tensor, scale: Tensor) -> _Answers:
        """base + scale x output."""
        uncond, blank = (None if output is None else base + scale * output for output in (outputs.uncond, outputs.blank))
        return _Answers(self._rows(base) + scale * outputs.cond, uncond, blank)

    def _pieces(self, x: Tensor, t: Tensor, rows: _Rows, pictures: int) -> Tensor:
        """Many parts of AND run at most two batches at a time (one, when not batched): the memory of a plain guided call."""
        size = pictures * 2 if self.guidance.batched else pictures
        if len(x) <= size:
            return self._call(x, t, rows)
        return torch.cat([self._call(part, t, piece) for part, piece in zip(x.split(size), rows.split(size), strict=True)])

    def _call(self, x: Tensor, t: Tensor, rows: _Rows) -> Tensor:
        x = x if rows.picture is None else torch.cat([x, rows.picture], 1)
        call = ModuleCall(x, t.expand(len(x)), rows.context, self.calls, added=rows.added)
        return self._denoise(self._revise(call) if self._revise else call).float()

    def _rows(self, x: Tensor) -> Tensor:
        """x of each row of cond."""
        return x if self._contexts.rows is None else x[self._contexts.rows]

    def _guide(self, answers: _Answers, base: Tensor | None, level: Tensor) -> Guided:
        """`base` is the part of the answers that the model did not say (they are base + scale x output); None = 0."""
        call, self.calls = self.calls, self.calls + 1
        cond, uncond = answers.cond, answers.uncond
        if self._hooks is not None:
            cond, uncond = self._hooks.after_output(cond, uncond, level)
        value, alone = self._combine(cond, uncond)
        if answers.blank is not None and uncond is not None:
            value = value + (uncond - answers.blank) * (self.guidance.picture - 1)
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
        rows = None
        if moment.shares is not None:
            rows = torch.tensor([picture for picture, parts in enumerate(moment.shares) for _ in parts], device=moment.cond.device)
        cond = self._conditioned(moment.cond, moment.added, rows)
        if moment.uncond is None or (self.guidance.cfg == 1.0 and self.guidance.picture == 1.0 and moment.shares is None):
            return _Contexts(moment, cond, None, None, None, rows)
        uncond = self._conditioned(moment.uncond, moment.uncond_added)
        blank = None
        if uncond.picture is not None and self.guidance.picture != 1.0:
            blank = _Rows(uncond.context, uncond.added, torch.zeros_like(uncond.picture))
        together = None
        if self.guidance.batched and cond.context.shape[1] == uncond.context.shape[1]:
            together = _stacked([cond, uncond] if blank is None else [cond, uncond, blank])
        return _Contexts(moment, cond, uncond, blank, together, rows)

    def _conditioned(self, context: Tensor, added: Mapping[str, Tensor], rows: Tensor | None = None) -> _Rows:
        """In the module's dtype. One picture to look at is that of all rows."""
        picture = self._picture
        if picture is not None:
            picture = picture.expand(len(context), -1, -1, -1) if len(picture) == 1 else picture if rows is None else picture[rows]
        return _Rows(context.to(self._dtype), {name: value.to(self._dtype) for name, value in added.items()}, picture)


def _stacked(groups: list[_Rows]) -> _Rows:
    """All rows in one."""
    pictures = [group.picture for group in groups if group.picture is not None]
    return _Rows(
        torch.cat([group.context for group in groups]),
        {name: torch.cat([group.added[name] for group in groups]) for name in groups[0].added},
        torch.cat(pictures) if pictures else None,
    )


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
