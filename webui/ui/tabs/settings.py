"""The Settings tab: an empty place. `web/settings.js` draws it from the API when it is opened, so it costs the start of the page nothing."""

from __future__ import annotations

import gradio as gr


def place_settings() -> None:
    """Lay the tab out."""
    gr.HTML("", elem_id="settings", padding=False)
