"""What every format's reader gives, and how it refuses a file: in words, at field `checkpoint`, with a way out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from webui.schema.errors import ModelError

Shapes = dict[str, tuple[int, ...]]

AGAIN = "Download the file again."
UNFINISHED = "The download was not finished; download the file again."
LIMIT = 100_000_000
"""Bytes that a header may have; the limit of the safetensors library itself."""


@dataclass(frozen=True, eq=False)
class Tensors:
    """Names, shapes and kinds of all tensors of a file. One object for files that say the same, so that it is known again."""

    shapes: Shapes
    dtypes: dict[str, str]


@dataclass(frozen=True)
class Header:
    """Names, shapes and kinds of all tensors, and the file's own notes. Kinds have safetensors' names (`F16`, `BF16`, `F8_E4M3`); quantised
    tensors of a GGUF file have ggml's (`Q4_K`)."""

    shapes: Shapes
    dtypes: Mapping[str, str]
    metadata: Mapping[str, str] = field(default_factory=dict)
    inert: tuple[str, ...] = ()
    """Foreign classes that a pickle names and that are read as empty things (`pytorch_lightning…ModelCheckpoint`)."""

    alike: Tensors | None = None
    """The same shapes and kinds, one object for all files that agree in them; None where nobody looked."""


def refusal(path: Path, what: str, hint: str) -> ModelError:
    """The error for a file that is no use: its name, then `what` ("is empty")."""
    return ModelError(f"{path.name} {what}.", field="checkpoint", hint=hint)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Troubles of the disk inside become a `ModelError` with their reason."""
    try:
        yield
    except FileNotFoundError as error:
        raise refusal(path, "is not there any more", "Refresh the list of checkpoints.") from error
    except OSError as error:
        raise refusal(path, f"cannot be read ({error.strerror or error})", "Check the file's permissions and the disk.") from error
