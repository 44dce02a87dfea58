"""A script turns one request into several runs of the engine: grids, loops, prompts from a file. One file, one class."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Generic, Protocol, TypeVar

from webui.plugins.registry import Params
from webui.schema.request import PictureRequest
from webui.schema.result import Caption, PictureRecord

P = TypeVar("P", bound=Params)


class Run(Protocol):
    """What a script gets. Each `generate` takes its own lease, shares the job's interrupt, and its pictures are rows (job, key) as soon as they
    are on disk, so a grid that was interrupted goes on where it stopped: a finished key is not generated again."""

    def plan(self, requests: Sequence[PictureRequest]) -> None:
        """Declare the cost: what will be generated, so that progress and ETA are of the whole."""
        ...

    def generate(self, request: PictureRequest, key: str) -> list[PictureRecord]:
        """Run the engine and save. Returns the pictures (those of the earlier run when `key` was already finished). Raises `Cancelled`."""
        ...

    def save_grid(
        self, request: PictureRequest, records: Sequence[PictureRecord | None], columns: Sequence[Sequence[Caption]] = (),
        rows: Sequence[Sequence[Caption]] = (), margin: int = 0,
    ) -> None:
        """Save a grid of pictures of this run, row by row (None: an empty place), `margin` pixels apart, with captions above its columns and beside
        its rows; `request` is what its line says."""
        ...


class Script(ABC, Generic[P]):
    """Base class of scripts. `Params` fields carry their widgets; the page shows them when the script is chosen."""

    id: ClassVar[str]
    title: ClassVar[str]
    Params: type[Params] = Params

    @abstractmethod
    def run(self, run: Run, request: PictureRequest, params: P) -> None:
        """Do the work through `run`. `request` is the submitted one; revise it for each child."""
