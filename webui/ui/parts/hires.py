"""A1111's "Hires. fix": an accordion whose heading carries the switch and says what comes out, and what the button ✨ needs of it."""

from __future__ import annotations

import html
from functools import partial
from typing import Any

import gradio as gr
from pydantic import ValidationError

from webui.engine.hires import hires_size
from webui.schema.generation import Hires, Txt2Img
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.parts.refiner import place_further
from webui.ui.parts.switched import switched
from webui.ui.translations import word

SIZES = ("enable_hr", "width", "height", "hr_scale", "hr_resize_x", "hr_resize_y")
"""What the sizes of the two passes follow from."""

ROWS = (("hr_upscaler", "hr_second_pass_steps"), ("denoising_strength", "hr_scale"), ("hr_resize_x", "hr_resize_y"))
MORE_ROWS = (("hr_sampler", "hr_scheduler"), ("hr_distilled_cfg", "hr_cfg"), ("hr_prompt", "hr_negative_prompt"))


def place_hires(form: Form[Txt2Img], studio: Studio) -> None:
    """Lay it out and wire it. What is set in there is used only with the switch on, and by ✨ always."""
    with switched(form, "enable_hr", f"{form.tab}_hr", "hires_fix") as head:
        with head:
            sizes = gr.HTML("", elem_id=f"{form.tab}_hr_finalres", padding=False)
        for names in ROWS:
            _place_row(form, names)
        with gr.Accordion(word("hires_more"), open=False, elem_id=f"{form.tab}_hires_fix_more"):
            place_further(form, studio, "hr_checkpoint_name")
            for names in MORE_ROWS:
                _place_row(form, names)
    watched, say = [form.components[name] for name in SIZES], partial(say_sizes, studio)
    # One listener for every change and for the page's opening: answers of several could come in another order than they were asked.
    listen(partial(gr.on, None), say, inputs=watched, outputs=[sizes], preprocess=False, trigger_mode="always_last")
    _wire_button(form, form.tab)


def say_sizes(studio: Studio, *values: Any) -> str:
    """The line in the heading: nothing while it is off, or while a number is missing."""
    fields = dict(zip(SIZES, values, strict=True))
    width, height = fields.pop("width"), fields.pop("height")
    try:
        hires = Hires.model_validate(fields)
        size = hires_size(int(width), int(height), hires, old=studio.settings().use_old_hires_fix_width_height)
    except (ValidationError, TypeError, ValueError, ZeroDivisionError):
        return ""
    return html.escape(f"{size.first[0]}×{size.first[1]} → {size.final[0]}×{size.final[1]}") if hires.enable_hr else ""


def hires_fields(form: Form, /, **fields: Any) -> dict[str, Any]:
    """The fields of the second pass for ✨: `{"hires"}`, or `{"errors"}` for the page to show. What else the form says does not matter."""
    found = form.parse({name: value for name, value in fields.items() if name in Hires.model_fields})
    if isinstance(found, list):
        return {"errors": [error.model_dump() for error in found]}
    return {"hires": {name: getattr(found, name) for name in Hires.model_fields}}


def _fields_for(form: Form, /, picture: int | None, **fields: Any) -> dict[str, Any]:
    """The same with the number of the picture that was looked at when the button was pressed: by now it may be another."""
    return {"picture": picture} | hires_fields(form, **fields)


def _place_row(form: Form, names: tuple[str, ...]) -> None:
    with gr.Row():
        for name in names:
            form.place(name, min_width=200, **({"elem_classes": "for-distilled-hires"} if name == "hr_distilled_cfg" else {}))


def _wire_button(form: Form, tab: str) -> None:
    """The hidden button that ✨ presses: the browser's values in, checked fields out, which our own script sends with the picture's number."""
    press = gr.Button("✨", elem_id=f"{tab}_upscale_fields", elem_classes="out-of-sight")
    answer = gr.JSON(visible=False, elem_id=f"{tab}_upscale_answer")
    chosen = {"picture": answer} | {name: form.components[name] for name in Hires.model_fields}
    event = listen(
        press.click, partial(_fields_for, form), inputs_kwargs=chosen, outputs=[answer], preprocess=False, trigger_mode="multiple",
        js="(_, ...values) => [window.easel.shown(), ...values]",
    )
    listen(event.then, inputs=[answer], js="(answer) => window.easel.enlarge(answer)")
