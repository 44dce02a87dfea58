"""Networks around the guided network, for what a pass adds to it: a mask, or the scalings of a consistency model. They know no sampler."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

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


class MaskedNetwork:
    """Keeps a picture's latents where `keep` is 1 (0 … 1, broadcast over x). The sigma face mixes them into the answer, the timestep face mixes
    the clean picture into the question: so does A1111, and pictures depend on it."""

    def __init__(self, network: Network, picture: Tensor, keep: Tensor) -> None:
        self._network, self._picture, self._keep = network, picture, keep

    def blend(self, x: Tensor) -> Tensor:
        """x with the picture where it is kept."""
        return x * (1 - self._keep) + self._picture * self._keep

    def x0(self, x: Tensor, sigma: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.x0`."""
        guided = self._network.x0(x, sigma, ahead=ahead)
        return replace(guided, value=self.blend(guided.value))

    def eps(self, x: Tensor, t: Tensor, *, ahead: bool = False) -> Guided:
        """See `Network.eps`."""
        return self._network.eps(self.blend(x), t, ahead=ahead)


def make_network(
    part: Pass, denoise: Denoise, table: SigmaTable, conditioning: Conditions, skip: SkipRules, *, batched: bool = True,
    dtype: torch.dtype = torch.float32, prediction: Prediction = "epsilon", hooks: PassHooks | None = None, picture: Tensor | None = None,
) -> Network:
    """The guided network of a pass, as its sampler needs it. A consistency model's answer is taken as epsilon whatever the model predicts, as in
    A1111. `picture` is what a model that looks at one gets besides the latents."""
    guidance = Guidance(part.guidance, batched, skip, part.cfg_rescale)
    consistency = part.sampler.consistency
    network: Network = GuidedNetwork(
        denoise, table, conditioning, guidance, dtype=dtype, prediction="epsilon" if consistency else prediction, hooks=hooks,
        picture=picture,
    )
    if consistency:
        network = ConsistencyNetwork(network, table)
    return network


def _each(guided: Guided, change: Callable[[Tensor], Tensor]) -> Guided:
    """The same change to all three answers: it is affine with weights that sum to one, so guidance and it may change places."""
    uncond = None if guided.uncond is None else change(guided.uncond)
    return Guided(change(guided.value), uncond, change(guided.cond), guided.call)
