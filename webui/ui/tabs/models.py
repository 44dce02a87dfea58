"""The Models tab: an empty place. `web/models.js` draws cards, merger and converter in it when it is opened."""

from __future__ import annotations

import gradio as gr


def place_models() -> None:
    """Lay the tab out."""
    gr.HTML("", elem_id="easel_models", padding=False)
