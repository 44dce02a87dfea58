"""Files in which bitsandbytes stored weights in four bits (NF4): `x.weight` as bytes, with `x.weight.absmax`, `x.weight.quant_map`, for scales that
are quantised themselves `nested_absmax` and `nested_quant_map`, and the shape as JSON in `x.weight.quant_state.bitsandbytes__nf4`.

The layout is `QuantState.as_dict(packed=True)` of bitsandbytes/functional.py. Knows no families.
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from webui.backend.formats.contract import AGAIN, Header, refusal
from webui.backend.low_bits import BLOCK, CODE, unpack_nf4
from webui.backend.weights import Weights, Wrapped, open_weights

_STATE = ".quant_state.bitsandbytes__nf4"
_OTHER = ".quant_state.bitsandbytes__fp4"
_FURTHER = (".absmax", ".quant_map", ".nested_absmax", ".nested_quant_map", _STATE)


@dataclass(frozen=True)
class State:
    """How one weight is stored."""

    shape: tuple[int, ...]
    block: int
    nested_block: int = 0
    offset: float = 0.0


def read_states(path: Path, header: Header) -> dict[str, State]:
    """The weights of a file that are stored so. Empty for other files, without opening them. Raises `ModelError` for nonsense, and for bitsandbytes'
    other code (FP4)."""
    other = next((name for name in header.shapes if name.endswith(_OTHER)), None)
    if other:
        raise refusal(path, "is stored in FP4 of bitsandbytes, which Easel does not read", "Take the file in NF4, in 8 or 16 bits, or a .gguf.")
    marks = [name for name in header.shapes if name.endswith(_STATE)]
    if not marks:
        return {}
    try:
        with open_weights(path) as weights:
            return {mark.removesuffix(_STATE): _state(weights, mark, header) for mark in marks}
    except (ValueError, KeyError, TypeError) as error:
        raise refusal(path, f"has notes of NF4 that make no sense ({error})", AGAIN) from error


def real_header(header: Header, states: Mapping[str, State]) -> Header:
    """The header of the weights that the file stands for."""
    further = {name + end for name in states for end in _FURTHER}
    shapes = {name: states[name].shape if name in states else shape for name, shape in header.shapes.items() if name not in further}
    return replace(header, shapes=shapes, alike=None)


def fits_rows(state: State) -> bool:
    """Whether every row begins with a block of its own, as in a layer of `low_bits`."""
    return len(state.shape) == 2 and state.block == BLOCK and state.shape[1] % state.block == 0


class Nf4Weights(Wrapped):
    """What such a file stands for: plain numbers, but for `kept`, which stay packed, with `x.scales` beside `x.weight`, as `low_bits` has them."""

    def __init__(self, weights: Weights, states: Mapping[str, State], kept: Collection[str] = ()) -> None:
        super().__init__(weights)
        self._states, self._kept = states, {scales_of(name): name for name in kept}

    def keys(self) -> list[str]:
        """All names."""
        further = {name + end for name in self._states for end in _FURTHER}
        return [*(name for name in self._weights.keys() if name not in further), *self._kept]  # noqa: SIM118 (no dict)

    def shape(self, key: str) -> tuple[int, ...]:
        """Without reading; of what is packed, that of the numbers."""
        return self._states[key].shape if key in self._states else self._weights.shape(key)

    def get(self, key: str) -> Tensor:
        """The tensor."""
        if key in self._kept:
            state = self._states[self._kept[key]]
            return self._scales(self._kept[key], state).reshape(state.shape[0], -1).contiguous().view(torch.uint8)
        if key not in self._states:
            return self._weights.get(key)
        state, packed = self._states[key], self._weights.get(key)
        if key in self._kept.values():
            return packed.reshape(state.shape[0], -1)
        blocks = self._scales(key, state).reshape(-1, 1)
        return unpack_nf4(packed.reshape(len(blocks), -1), blocks).reshape(state.shape)

    def _scales(self, key: str, state: State) -> Tensor:
        scales = self._weights.get(f"{key}.absmax")
        if not state.nested_block:
            return scales.float()
        chosen = self._weights.get(f"{key}.nested_quant_map")[scales.int()]
        wide = self._weights.get(f"{key}.nested_absmax").repeat_interleave(state.nested_block)[: len(chosen)]
        return chosen * wide + state.offset


def scales_of(name: str) -> str:
    """The name of the scales beside these weights, in a layer of `low_bits`."""
    return f"{name.removesuffix('.weight')}.scales"


def _state(weights: Weights, mark: str, header: Header) -> State:
    name = mark.removesuffix(_STATE)
    said = json.loads(bytes(weights.get(mark).tolist()))
    state = State(tuple(map(int, said["shape"])), int(said["blocksize"]), int(said.get("nested_blocksize", 0)), float(said.get("nested_offset", 0)))
    numbers = math.prod(state.shape)
    if numbers % state.block or math.prod(header.shapes[name]) * 2 != numbers or math.prod(header.shapes[f"{name}.absmax"]) * state.block != numbers:
        raise ValueError(f"{name} has another size")
    if not torch.allclose(weights.get(f"{name}.quant_map").float(), torch.tensor(CODE), atol=1e-6):
        raise ValueError(f"{name} has another code")
    return state
