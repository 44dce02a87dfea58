"""The canvas of a form with a picture: an empty place, and the fields that hold what is on it. `web/canvas.js` draws and fills both."""

from __future__ import annotations

import json

import gradio as gr

from webui.schema.img2img import Img2Img
from webui.ui.form import Form


def place_canvas(form: Form[Img2Img]) -> None:
    """Lay it out. What is on the canvas goes into Generate's values on their way from the browser, when its upload is through."""
    gr.HTML("", elem_id=f"{form.tab}_canvas", elem_classes="canvas-place", padding=False)
    form.place("mode", elem_classes="out-of-sight")
    for name in ("image", "colour", "mask"):
        form.place(name)
    form.before = f"(...values) => window.easel.withCanvas({json.dumps(form.tab)}, values)"


def place_depth(form: Form[Img2Img]) -> None:
    """A place for the picture's depth map, seen only with a checkpoint that looks at depth. `web/depth.js` draws it and fills the field."""
    gr.HTML("", elem_id=f"{form.tab}_depth_place", elem_classes="depth-place", padding=False)
    form.place("depth")
