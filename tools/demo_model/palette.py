"""The twelve colours of the world and the arithmetic on them. Knows no pictures."""

from __future__ import annotations

Rgb = tuple[int, int, int]

COLOURS: dict[str, Rgb] = {
    "red": (214, 40, 40), "orange": (247, 127, 0), "yellow": (252, 211, 42), "green": (56, 160, 70), "turquoise": (60, 195, 185),
    "blue": (45, 90, 200), "purple": (125, 60, 170), "pink": (247, 140, 185), "brown": (125, 78, 42), "white": (246, 246, 242),
    "black": (34, 34, 38), "gray": (142, 142, 147),
}

WHITE: Rgb = (255, 255, 255)
BLACK: Rgb = (0, 0, 0)
INK: Rgb = (52, 46, 58)
"""Outlines and small dark details."""


def mix(first: Rgb, second: Rgb, share: float) -> Rgb:
    """`share` (0 to 1) of the second colour in the first."""
    return tuple(round(a + (b - a) * share) for a, b in zip(first, second, strict=True))  # pyright: ignore[reportReturnType]


def lighter(colour: Rgb, share: float = 0.35) -> Rgb:
    """Towards white."""
    return mix(colour, WHITE, share)


def darker(colour: Rgb, share: float = 0.3) -> Rgb:
    """Towards black; what is nearly black already becomes lighter, so that details stay visible."""
    return mix(colour, WHITE, 0.3) if sum(colour) < 150 else mix(colour, BLACK, share)


def distance(first: Rgb, second: Rgb) -> float:
    """Euclidean distance in 0–255 RGB."""
    return sum((a - b) ** 2 for a, b in zip(first, second, strict=True)) ** 0.5
