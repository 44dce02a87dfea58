"""Model files opened for reading, tensor by tensor. Knows names and tensors, no families."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from safetensors import SafetensorError, safe_open
from torch import Tensor

from webui.schema.errors import ModelError


class Weights(Protocol):
    """An opened file."""

    metadata: Mapping[str, str]

    def keys(self) -> list[str]:
        """Names of all tensors."""
        ...

    def get(self, key: str) -> Tensor:
        """One tensor, mapped from the file without a copy where the format allows it."""
        ...


class _Safetensors:
    def __init__(self, file: safe_open) -> None:
        self._file = file
        self.metadata: Mapping[str, str] = file.metadata() or {}

    def keys(self) -> list[str]:
        return list(self._file.keys())

    def get(self, key: str) -> Tensor:
        return self._file.get_tensor(key)


@contextmanager
def open_weights(path: Path) -> Iterator[Weights]:
    """The file's tensors, for as long as the `with` lasts. Raises `ModelError` when the file is gone or cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            yield _Safetensors(file)
    except FileNotFoundError as error:
        raise ModelError(f"{path.name} is not there any more.", field="checkpoint", hint="Refresh the list of checkpoints.") from error
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path.name} cannot be read: {error}", field="checkpoint", hint="Download the file again.") from error
