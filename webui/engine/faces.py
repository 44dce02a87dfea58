"""Networks around the guided network, for what a pass adds to it: a mask, or the scalings of a consistency model. They know no sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from webui.backend.components import Denoise, Prediction
from webui.engine.conditioning import Conditions
from webui.engine.guidance import Guidance, SkipRules
from webui.engine.network import GuidedNetwork
from webui.engine.plan import Pass
from webui.engine.samplers.contract import Guided, Network
from webui.engine.schedules import SigmaTable
from webui.engine.step_hooks import PassHooks


class ConsistencyNetwork:
    """Luo et al. 2023, "Latent Consistency Models", section 3: x0 = c_out(t) x0' + c_skip(t) x, with sigma_data 1/2 and 10 t for time."""

    SIGMA_DATA = 0.5

    def __init__(self, network: Network, table: SigmaTable) -> None:
        self._network, self._table = network, table

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`."""
        time = float(self._table.t_of(sigma)) * 10
        scale = time**2 + self.SIGMA_DATA**2
        skip, out = self.SIGMA_DATA**2 / scale, time / scale**0.5
        return _each(self._network.x0(x, sigma, ahead=ahead), lambda value: out * value + skip * x)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._network.eps(x, t, ahead=ahead)


class Keeping(Protocol):
    """How a picture's latents are kept while others are made anew."""

    def blend(self, x: Tensor, level: Tensor) -> Tensor:
        """x (batch, channels, h, w) with the picture where it is kept, at a noise level."""
        ...

    def finish(self, x: Tensor) -> Tensor:
        """The same when all steps are done."""
        ...


@dataclass(frozen=True)
class HardMask:
    """Keeps the picture where `keep` is 1 (0 … 1, broadcast over x), at every level alike."""

    picture: Tensor
    keep: Tensor

    def blend(self, x: Tensor, level: Tensor) -> Tensor:
        """See `Keeping.blend`."""
        return self.finish(x)

    def finish(self, x: Tensor) -> Tensor:
        """See `Keeping.finish`."""
        return x * (1 - self.keep) + self.picture * self.keep


class MaskedNetwork:
    """Keeps a picture's latents. The sigma face mixes them into the answer, the timestep face mixes the clean picture into the question: so does
    A1111, and pictures depend on it."""

    def __init__(self, network: Network, keeping: Keeping) -> None:
        self._network, self._keeping = network, keeping

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`."""
        guided = self._network.x0(x, sigma, ahead=ahead)
        return replace(guided, value=self._keeping.blend(guided.value, sigma))

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._network.eps(self._keeping.blend(x, t), t, ahead=ahead)


class RefinedNetwork:
    """Another model goes on where `due(level, calls)` first says so. `follow` makes its network, from so many calls on; the one before is let go
    first, and with it its model."""

    def __init__(self, first: Network, due: Callable[[Tensor, int], bool], follow: Callable[[int], Network]) -> None:
        self._network: Network | None = first
        self._due, self._follow = due, follow
        self._refined = False
        self._calls = 0

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`."""
        return self._at(sigma).x0(x, sigma, ahead=ahead)

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._at(t).eps(x, t, ahead=ahead)

    def _at(self, level: Tensor) -> Network:
        if not self._refined and self._due(level, self._calls):
            self._refined, self._network = True, None
            self._network = self._follow(self._calls)
        self._calls += 1
        assert self._network is not None
        return self._network


def make_network(
    part: Pass, denoise: Denoise, table: SigmaTable, conditioning: Conditions, skip: SkipRules, *, batched: bool = True,
    dtype: torch.dtype = torch.float32, prediction: Prediction = "epsilon", hooks: PassHooks | None = None, picture: Tensor | None = None,
    calls: int = 0, keeping: Keeping | None = None,
) -> Network:
    """The guided network of a pass, as its sampler needs it. A consistency model's answer is taken as epsilon whatever the model predicts, as in
    A1111. `picture` is what a model that looks at one gets besides the latents; `calls`: model calls of the pass before; `keeping`: what stays of the
    picture it began with."""
    guidance = Guidance(part.guidance, batched, skip, part.cfg_rescale, part.picture_cfg)
    consistency = part.sampler.consistency
    network: Network = GuidedNetwork(
        denoise, table, conditioning, guidance, dtype=dtype, prediction="epsilon" if consistency else prediction, hooks=hooks,
        picture=picture, calls=calls,
    )
    if consistency:
        network = ConsistencyNetwork(network, table)
    return network if keeping is None else MaskedNetwork(network, keeping)


def _each(guided: Guided, change: Callable[[Tensor], Tensor]) -> Guided:
    """The same change to all three answers: it is affine with weights that sum to one, so guidance and it may change places."""
    uncond = None if guided.uncond is None else change(guided.uncond)
    return Guided(change(guided.value), uncond, change(guided.cond), guided.call)
