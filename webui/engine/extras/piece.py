"""What goes through the operations of Extras: a picture, and what was done to it. Needs no torch, so that services can speak of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from PIL import Image


@dataclass(frozen=True)
class Piece:
    """A picture in the making, RGB or RGBA. `notes` become the line of the file; `tags` end its name."""

    image: Image.Image
    notes: dict[str, object] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    caption: str = ""
    finished: bool = False
    """No later operation is to touch it."""

    def with_image(self, image: Image.Image, **notes: object) -> Piece:
        """The same piece with another picture; keys of notes have _ for blanks."""
        return replace(self, image=image, notes=self.notes | {key.replace("_", " "): value for key, value in notes.items()})


def endings(pieces: Sequence[Piece]) -> list[str]:
    """What the name of each file ends with: its tags, or a number where two would be called the same (A1111's rule)."""
    used: set[str] = set()
    found = []
    for piece in pieces:
        base = "".join(f"-{tag}" for tag in piece.tags)
        ending, number = base, 0
        while ending in used:
            number += 1
            ending = f"{base}-{number}"
        used.add(ending)
        found.append(ending)
    return found
