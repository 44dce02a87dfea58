"""What the dropdowns of a form list, by the name of the list in their widget."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import gradio as gr

from webui.services.studio import Studio
from webui.ui.form import Choices
from webui.ui.translations import word


def form_lists(studio: Studio) -> Mapping[str, Callable[[], Choices]]:
    """Name of a list → its entries as they are now."""
    registries = studio.registries
    return {
        "checkpoints": lambda: checkpoint_choices(studio),
        "hires_checkpoints": lambda: further_choices(studio, "same_checkpoint"),
        "refiners": lambda: further_choices(studio, "no_checkpoint"),
        "samplers": lambda: [(name, name) for name in registries.samplers],
        "schedulers": lambda: [(name, name) for name in registries.schedulers],
        "upscalers": lambda: [(name, name) for name in registries.upscalers],
        "hires_samplers": lambda: [(word("same_sampler"), ""), *((name, name) for name in registries.samplers)],
        "hires_schedulers": lambda: [(word("same_scheduler"), ""), *((name, name) for name in registries.schedulers)],
        "styles": lambda: style_choices(studio),
        "scripts": lambda: [("—", ""), *((script.title, script.id) for script in registries.scripts.values())],
    }


def checkpoint_choices(studio: Studio) -> Choices:
    """The checkpoint list as the picker shows it; a file that cannot be used is marked, not hidden. Empty while it would have to be waited for."""
    short = studio.settings().sd_checkpoint_dropdown_use_short
    found = []
    for item in studio.checkpoints() if studio.models_at_hand else ():
        title = item.stem if short else item.title
        found.append((title if item.error is None else f"⚠ {title}", item.name))
    return found or [("—", "")]


def further_choices(studio: Studio, none: str) -> Choices:
    """The same for a checkpoint beside the first: there may be none, and then the list says `none`."""
    return [(word(none), ""), *((title, name) for title, name in checkpoint_choices(studio) if name)]


def style_choices(studio: Studio) -> Choices:
    """The styles in the order of their file."""
    return [(style.name, style.name) for style in studio.styles()]


def list_styles(studio: Studio, chosen: list[str] | None) -> dict[str, Any]:
    """The style picker with the file as it is now; chosen ones stay while they are there."""
    choices = style_choices(studio)
    known = {value for _, value in choices}
    kept = [name for name in chosen or [] if name in known]
    return gr.update(choices=choices) if kept == (chosen or []) else gr.update(choices=choices, value=kept)
