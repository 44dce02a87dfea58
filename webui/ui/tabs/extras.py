"""The Extras tab: an empty place. `web/extras.js` draws pictures, operations and results in it when it is opened."""

from __future__ import annotations

import gradio as gr


def place_extras() -> None:
    """Lay the tab out."""
    gr.HTML("", elem_id="easel_extras", padding=False)
