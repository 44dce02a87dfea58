"""What the engine is given for one run and what it gives back. Needs no torch, so that services can speak of it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from webui.engine.cancel import CancelToken
from webui.schema.errors import RequestError, WebuiError
from webui.schema.settings import MachineSettings, PictureSettings

log = logging.getLogger(__name__)

if TYPE_CHECKING:
    from PIL import Image

    from webui.engine.plan import Plan
    from webui.schema.generation import ImageRef


@dataclass(frozen=True)
class Step:
    """Where a run is: `step` of `steps` model steps of the batch whose first picture is number `picture` (from 0) of `pictures`."""

    phase: str
    picture: int
    pictures: int
    step: int
    steps: int
    share: float | None = None
    """Share of this batch's work that is done, 0 … 1, where steps are not all equally dear; None = step / steps."""

    note: str = ""
    """What the person may want to know of how it is done: the memory it is expected to need, and how it is made to fit."""


def _no_pictures(ref: ImageRef) -> Image.Image:
    raise RequestError("There is no store of pictures to take one from.")


def _ignore_step(step: Step) -> None:
    """Nobody is watching."""


def _log(text: str) -> None:
    log.warning("%s", text)


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

    open_image: Callable[[ImageRef], Image.Image] = _no_pictures
    """Opens a picture that the request names: RGB, RGBA where it is transparent, or grey. Raises `WebuiError` when it is not there."""

    tell: Callable[[str], None] = _log
    """Says something to the person that they would not expect: a sentence."""

    note: str = ""
    """What every report says of how the run is done."""

    def picture(self, ref: ImageRef, field: str) -> Image.Image:
        """A picture that a field of the request names. Raises `RequestError` there."""
        try:
            return self.open_image(ref)
        except WebuiError as error:
            raise RequestError(error.message, field=field, hint=error.hint) from error

    @property
    def vae_notice(self) -> Callable[[str], None] | None:
        """Hears of a VAE that is widened because it gave NaN; None when the settings forbid that."""
        return self.tell if self.settings.auto_vae_precision else None


@dataclass(frozen=True)
class Companion:
    """A picture that is made beside another one. `ending`: how its name goes on."""

    ending: str
    image: Image.Image
    kept: bool = True
    """Whether it is saved as a file beside the other."""

    shown: bool = False
    """Whether it is a picture of its own in the gallery, too."""


@dataclass(frozen=True)
class Picture:
    """One picture fresh from the engine: RGB, 8 bits, with what it was made from."""

    image: Image.Image
    plan: Plan
    index: int
    """Number within the run, from 0."""

    partial: bool = False
    companions: tuple[Companion, ...] = ()
    """What the settings want beside it."""

    original: Image.Image | None = None
    """The picture it began with, when the settings want to have it saved."""

    @property
    def seed(self) -> int:
        """The seed of this picture."""
        return self.plan.seeds[self.index]
