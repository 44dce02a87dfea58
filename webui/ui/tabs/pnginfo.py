"""The PNG Info tab: what a picture file says about how it was made. One empty element; `web/pnginfo.js` draws in it."""

from __future__ import annotations

import gradio as gr


def place_tab() -> None:
    """Lay the tab out in the open `gr.Tab`."""
    gr.HTML("", elem_id="easel_pnginfo", padding=False)
