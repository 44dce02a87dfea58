"""Further checkpoints in the form: A1111's "Refiner", an accordion whose heading carries the switch, and lists that follow the files on disk."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from webui.services.studio import Studio
from webui.ui.form import Choices, Form
from webui.ui.parts.switched import switched


def place_refiner(form: Form[Any], studio: Studio) -> None:
    """Lay it out and wire it. What is set in there is used only with the switch on."""
    with switched(form, "enable_refiner", f"{form.tab}_enable", "refiner"), gr.Row():
        place_further(form, studio, "refiner_checkpoint", min_width=200)
        form.place("refiner_switch_at", min_width=200)


def place_further(form: Form[Any], studio: Studio, name: str, **look: Any) -> None:
    """The list of a field that names another checkpoint; it is read again when a page opens and when the files have changed."""
    picker = form.place(name, **look)
    assert isinstance(picker, gr.Dropdown)
    first = form.sources["refiners" if name == "refiner_checkpoint" else "hires_checkpoints"]
    form.lists.append((partial(list_further, studio, first), picker, form.catalog_changed))


def list_further(studio: Studio, source: Any, chosen: str | None) -> dict[str, Any]:
    """The list as it is now; the choice stays while its file is there. Nothing changes while there is no list yet."""
    if not studio.models_at_hand:
        return gr.update()
    choices: Choices = source()
    return gr.update(choices=choices) if chosen in {value for _, value in choices} else gr.update(choices=choices, value="")
