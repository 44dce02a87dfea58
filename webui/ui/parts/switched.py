"""A1111's accordion with a switch in its heading: what is set in there is used only with the switch on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import gradio as gr

from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.translations import word


@contextmanager
def switched(form: Form[Any], name: str, element: str, title: str) -> Iterator[gr.Row]:
    """Lay it out; what is placed meanwhile stands in it. Gives the row of the heading. Switching on opens it, switching off leaves it as it is."""
    with gr.Column(elem_id=f"{element}_box", elem_classes="switch-box"):
        with gr.Row(elem_id=f"{element}_head", elem_classes="switch-head") as head:
            switch = form.place(name, container=False, min_width=40)
        with gr.Accordion(word(title), open=False, elem_id=element, elem_classes="switched"):
            yield head
    assert isinstance(switch, gr.Checkbox)
    listen(switch.input, inputs=[switch], js=f"(on) => window.easel.openPanel('{element}', on)")
