"""How a field wants to be shown: written once beside the field (`Annotated[int, Field(...), Slider(...)]`), read by the form, the docs and plugins.

A label is a key of the translations (`ui/web/i18n/*.json`) or, from an extension, plain text. `elem` is A1111's component id without the tab's
prefix (`steps` gives `txt2img_steps`); the field's own name when empty.
"""

from __future__ import annotations

from dataclasses import dataclass

from pydantic.fields import FieldInfo


@dataclass(frozen=True, kw_only=True)
class Widget:
    """What all widgets share. `info` is the one-line help."""

    label: str
    info: str = ""
    elem: str = ""


@dataclass(frozen=True, kw_only=True)
class TextBox(Widget):
    """Text over `lines` lines."""

    lines: int = 1
    placeholder: str = ""


@dataclass(frozen=True, kw_only=True)
class Number(Widget):
    """A number typed in."""

    precision: int | None = None


@dataclass(frozen=True, kw_only=True)
class Slider(Widget):
    """A number between two ends. The ends are those of the control; the field's own limits may be wider (the API may ask for more)."""

    minimum: float
    maximum: float
    step: float


@dataclass(frozen=True, kw_only=True)
class Dropdown(Widget):
    """One of the entries of a registry (`samplers`, `schedulers`, `checkpoints`, `scripts`, `styles`) or of `choices`; several with `multiple`."""

    source: str = ""
    choices: tuple[str, ...] = ()
    multiple: bool = False


@dataclass(frozen=True, kw_only=True)
class Radio(Widget):
    """One of a few, all in sight."""

    choices: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Checkbox(Widget):
    """Yes or no."""


@dataclass(frozen=True, kw_only=True)
class Overrides(Widget):
    """Settings changed for this request only. The page shows each, and it can be taken away."""


@dataclass(frozen=True, kw_only=True)
class Picture(Widget):
    """A picture, held in the request as an `ImageRef`."""


def widget_of(field: FieldInfo) -> Widget | None:
    """The widget written beside a field, or None for a field that is not shown."""
    return next((item for item in field.metadata if isinstance(item, Widget)), None)
