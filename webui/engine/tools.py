"""What the engine is given for one run and what it gives back. Needs no torch, so that services can speak of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webui.engine.cancel import CancelToken
from webui.schema.settings import MachineSettings, PictureSettings

if TYPE_CHECKING:
    from PIL import Image

    from webui.engine.plan import Plan


@dataclass(frozen=True)
class Step:
    """Where a run is: `step` of `steps` model steps of the batch whose first picture is number `picture` (from 0) of `pictures`."""

    phase: str
    picture: int
    pictures: int
    step: int
    steps: int


def _ignore_step(step: Step) -> None:
    """Nobody is watching."""


@dataclass(frozen=True)
class RunTools:
    """The caller's side of one run."""

    cancel: CancelToken = field(default_factory=CancelToken)
    report: Callable[[Step], None] = _ignore_step
    """Called on the worker thread at every phase and step; must return at once."""

    preview: Callable[[int, int, bytes], None] | None = None
    """Called on the preview thread with width, height and JPEG bytes; None = no previews are made."""

    machine: MachineSettings = field(default_factory=MachineSettings)
    finished: frozenset[int] = frozenset()
    """Numbers of pictures that an earlier run of the same job has on disk: a batch of only these is not run again."""

    settings: PictureSettings = field(default_factory=PictureSettings)
    """The settings frozen into the job."""


@dataclass(frozen=True)
class Picture:
    """One picture fresh from the engine: RGB, 8 bits, with what it was made from."""

    image: Image.Image
    plan: Plan
    index: int
    """Number within the run, from 0."""

    partial: bool = False

    @property
    def seed(self) -> int:
        """The seed of this picture."""
        return self.plan.seeds[self.index]
