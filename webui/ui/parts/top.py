"""The bar above the tabs: name, checkpoint picker with refresh and the model's defaults, queue and theme buttons (drawn by `web/`)."""

from __future__ import annotations

from functools import partial
from typing import Any

import gradio as gr

from webui.services.studio import Studio
from webui.ui.form import Choices, Form
from webui.ui.parts.listen import listen
from webui.ui.parts.lists import checkpoint_choices


def place_top(form: Form[Any], studio: Studio) -> None:
    """Lay the bar out. The list of checkpoints is read again when a page opens, at refresh, and when the server says that it changed."""
    with gr.Row(elem_id="easel_top"):
        gr.HTML('<span class="brand">Easel</span>', elem_id="easel_brand", padding=False)
        with gr.Row(elem_id="quicksettings"):
            picker = form.place("checkpoint", value=studio.default_checkpoint() or "" if studio.models_at_hand else "", min_width=160, scale=1)
            refresh = gr.Button("⟳", elem_id="refresh_sd_model_checkpoint", elem_classes="tool", min_width=40)
            gr.Button("≡", elem_id="easel_model_defaults", elem_classes="tool", min_width=40)
            gr.HTML("", elem_id="easel_quicksettings", padding=False)
            relist = gr.Button("", elem_id="easel_relist_checkpoints", elem_classes="out-of-sight")
        gr.HTML("", elem_id="easel_tools", padding=False)
    gr.HTML("", elem_id="easel_notices", padding=False)
    form.catalog_changed.append(relist.click)
    form.lists.append((partial(list_checkpoints, studio), picker, form.catalog_changed))
    listen(refresh.click, js="() => window.easel.rescan()")


def list_checkpoints(studio: Studio, chosen: str | None) -> dict[str, Any]:
    """The picker with the list as it is now; while its file is there nothing is said of the choice (the person may have made another since), else it
    becomes the default. Nothing changes while there is no list yet."""
    if not studio.models_at_hand:
        return gr.update()
    choices: Choices = checkpoint_choices(studio)
    known = {value for _, value in choices}
    return gr.update(choices=choices) if chosen in known else gr.update(choices=choices, value=studio.default_checkpoint() or "")
