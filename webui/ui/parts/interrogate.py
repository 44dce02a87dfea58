"""A1111's buttons 📎 and 📦, which describe a picture in words; `web/interrogate.js` wires them to a picture and a prompt."""

from __future__ import annotations

import gradio as gr

from webui.ui.translations import word

NAMES = ("interrogate", "deepbooru")
"""A1111's ids, which are also the keys of what they say."""


def place_interrogate() -> None:
    """Make both buttons right here in the open layout."""
    for name in NAMES:
        gr.Button(word(name), elem_id=name, elem_classes=["tool", "interrogate"], min_width=40)
