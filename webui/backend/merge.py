"""Two or three checkpoints become one, tensor by tensor: A1111's merger, with a weight for each block of the UNet if wanted.

The arithmetic is A1111's to the bit (`modules/extras.py`): in the files' own dtypes, each product rounded before the sum. So its recipes give its
files. Knows no families: goes by the names and shapes of the tensors.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from webui.backend.folder_layout import open_ldm
from webui.backend.recipes import MergeFiles, block_weight, canonical_name
from webui.backend.rewrite import as_dtype, with_vae, without
from webui.backend.tensor_file import Stream, flat_pieces, stored, write_tensors
from webui.backend.weights import Weights, open_weights
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

NOT_MERGED = "cond_stage_model.transformer.text_model.embeddings.position_ids"
"""Counts 0 to 76 in every model; a sum of two would not."""

Arithmetic = Callable[[Tensor, Tensor, Tensor | None, float], Tensor]


@dataclass(frozen=True)
class _Input:
    """An open checkpoint: today's names of its tensors → the file's own."""

    name: str
    weights: Weights
    names: dict[str, str]

    def get(self, name: str) -> Tensor:
        tensor = self.weights.get(self.names[name])
        if type(tensor) is not Tensor:
            raise ModelError(f"{self.name} is quantised and cannot be merged.", hint="Use the 16-bit file of the same model.")
        return tensor.half() if tensor.dtype.itemsize == 1 and tensor.is_floating_point() else tensor  # nothing can be computed in 8 bits


def merge(files: MergeFiles, metadata: dict[str, str], progress: Callable[[float], None] = lambda fraction: None) -> None:
    """Write the merged file. `progress` hears 0..1 and may raise to stop it. Raises `ModelError` for inputs that do not fit each other,
    `StorageError` when it cannot be written; then nothing is left."""
    with ExitStack() as stack:
        first, second, third = (_open(entry, stack) for entry in (files.primary, files.secondary, files.tertiary))
        if first is None:
            raise ModelError("Merging needs a primary model.", field="primary_model_name")
        streams = {name: _combined(name, first, second, third, files) for name in first.names}
        if files.vae is not None:
            streams = with_vae(streams, stack.enter_context(open_weights(files.vae)))
        streams = without(as_dtype(streams, files.dtype), re.compile(files.discard) if files.discard else None)
        if not streams:
            raise ModelError("Every weight was discarded.", field="discard_weights", hint="Make the expression narrower.")
        write_tensors(files.target, streams, metadata, replace=files.replace, progress=progress)


def weighted_sum(a: Tensor, b: Tensor, c: Tensor | None, multiplier: float) -> Tensor:
    """(1 − M)·A + M·B."""
    return (1 - multiplier) * a + multiplier * b


def add_difference(a: Tensor, b: Tensor, c: Tensor | None, multiplier: float) -> Tensor:
    """A + M·(B − C). What C lacks adds nothing."""
    return a + multiplier * (torch.zeros_like(b) if c is None else b - c)


METHODS: dict[str, Arithmetic] = {"Weighted sum": weighted_sum, "Add difference": add_difference}


def _open(entry: Checkpoint | None, stack: ExitStack) -> _Input | None:
    if entry is None:
        return None
    weights = open_ldm(entry, stack)
    return _Input(Path(entry.path).name, weights, {canonical_name(key): key for key in weights.keys()})  # noqa: SIM118 (no dict)


def _combined(name: str, first: _Input, second: _Input | None, third: _Input | None, files: MergeFiles) -> Stream:
    """One tensor of the result, not yet computed."""
    method = METHODS.get(files.method)
    if method is None or second is None or name == NOT_MERGED or "model" not in name or name not in second.names:
        return stored(first.weights, first.names[name])
    a, b = first.get(name), second.get(name)
    c = third.get(name) if third is not None and name in third.names else None
    if not (a.is_floating_point() and b.is_floating_point()):
        return stored(first.weights, first.names[name])
    multiplier = block_weight(name, files.multiplier, files.base, files.blocks)
    if c is not None and c.shape != b.shape:
        raise _misfit(name, second, third, b, c)
    if a.shape == b.shape:
        dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), c.dtype if c is not None else b.dtype)
        return Stream(dtype, tuple(a.shape), lambda: _pieces(method, multiplier, first.get(name), second.get(name),
                                                            third.get(name) if third is not None and c is not None else None))
    if a.ndim == b.ndim and a.shape[:1] + a.shape[2:] == b.shape[:1] + b.shape[2:] and b.shape[1] == 4 and a.shape[1] in (8, 9):
        return Stream(a.dtype, tuple(a.shape), lambda: flat_pieces(_first_channels(method, multiplier, a, b, c)))
    raise _misfit(name, first, second, a, b)


def _pieces(method: Arithmetic, multiplier: float, a: Tensor, b: Tensor, c: Tensor | None) -> Iterator[Tensor]:
    others = flat_pieces(c) if c is not None else None
    for left, right in zip(flat_pieces(a), flat_pieces(b), strict=True):
        yield method(left, right, next(others) if others is not None else None, multiplier)


def _first_channels(method: Arithmetic, multiplier: float, a: Tensor, b: Tensor, c: Tensor | None) -> Tensor:
    """An inpainting (9) or editing (8 channels) model A with a plain B: the latents' four channels are merged, the others are A's."""
    result = a.clone()
    result[:, :4] = method(a[:, :4], b, c, multiplier)
    return result


def _misfit(name: str, one: _Input | None, other: _Input | None, left: Tensor, right: Tensor) -> ModelError:
    one_name, other_name = one.name if one else "", other.name if other else ""
    if left.ndim == right.ndim == 4 and left.shape[1] == 4 and right.shape[1] in (8, 9):
        what = "inpainting" if right.shape[1] == 9 else "editing (instruct-pix2pix)"
        return ModelError(f"{other_name} is an {what} model and {one_name} is not.", field="primary_model_name",
                          hint=f"Choose the {what} model as A, the primary one.")
    return ModelError(f"{one_name} and {other_name} do not fit: {name} is {tuple(left.shape)} in one and {tuple(right.shape)} in the other.",
                      field="secondary_model_name", hint="Merge models of the same family.")
