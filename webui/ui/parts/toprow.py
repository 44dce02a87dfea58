"""The top of a tab that makes pictures: prompts with their token counters, Generate and what stands around it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import gradio as gr

from webui.schema.errors import ErrorInfo, WebuiError
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.parts.lists import list_styles
from webui.ui.translations import word


def place_toprow(form: Form[Any], studio: Studio, *tools: Callable[[], None]) -> tuple[gr.Button, gr.Button]:
    """Lay it out; gives Generate and its hidden twin that generates forever, for `wire_generate` when the form is complete. `tools` place further
    buttons beside the others."""
    with gr.Row(elem_id=f"{form.tab}_toprow", elem_classes="toprow"):
        with gr.Column(elem_id=f"{form.tab}_prompt_container", elem_classes="prompt-container", scale=6):
            _place_prompt(form, "prompt", f"{form.tab}_token_counter")
            _place_prompt(form, "negative_prompt", f"{form.tab}_negative_token_counter")
            gr.HTML("", elem_id=f"{form.tab}_examples", elem_classes="examples", padding=False)
        return _place_actions(form, studio, tools)


def generate(form: Form[Any], studio: Studio, repeat: bool, /, **fields: Any) -> dict[str, Any]:
    """Put the form's request in line. Returns `{"id"}` of the job, or `{"errors"}` for the page to show at their fields."""
    request = form.parse(fields)
    if isinstance(request, list):
        return _refusal(request)
    try:
        return {"id": studio.submit(request, repeat=repeat).id}
    except WebuiError as error:
        return _refusal([error.info])


def _refusal(errors: list[ErrorInfo]) -> dict[str, Any]:
    return {"errors": [error.model_dump() for error in errors]}


def wire_generate(form: Form[Any], studio: Studio, start: gr.Button, forever: gr.Button) -> None:
    """Bind Generate to every component that `form` has by now. Its answer goes to our own script."""
    answer = gr.JSON(visible=False, elem_id=f"{form.tab}_answer")
    for button, repeat in ((start, False), (forever, True)):
        event = listen(
            button.click, partial(generate, form, studio, repeat), inputs_kwargs=form.components, outputs=[answer],
            preprocess=False, trigger_mode="multiple", js=form.before,
        )
        listen(event.then, inputs=[answer], js=f"(answer) => window.easel.answered(answer, '{form.tab}')")


def _place_prompt(form: Form[Any], name: str, counter: str) -> None:
    with gr.Group(elem_classes="prompt-box"):
        form.place(name, elem_classes="prompt")
        gr.HTML("", elem_id=counter, elem_classes="token-counter", padding=False)


def _place_actions(form: Form[Any], studio: Studio, tools: Sequence[Callable[[], None]]) -> tuple[gr.Button, gr.Button]:
    """The column of buttons; gives Generate and its hidden twin that generates forever (chosen in Generate's context menu)."""
    with gr.Column(elem_id=f"{form.tab}_actions_column", elem_classes="actions-column", scale=1, min_width=200):
        start = gr.Button(word("generate"), elem_id=f"{form.tab}_generate", elem_classes="generate", variant="primary", size="lg")
        forever = gr.Button(word("generate_forever"), elem_id=f"{form.tab}_generate_forever", elem_classes="out-of-sight")
        with gr.Row(elem_id=f"{form.tab}_generate_box", elem_classes="generate-box"):
            gr.Button(word("interrupt"), elem_id=f"{form.tab}_interrupt", interactive=False, min_width=80)
            gr.Button(word("skip"), elem_id=f"{form.tab}_skip", interactive=False, min_width=80)
        gr.HTML("", elem_id=f"{form.tab}_generate_note", elem_classes="generate-note", padding=False)
        with gr.Row(elem_id=f"{form.tab}_styles_row", elem_classes="styles-row"):
            form.place("styles", min_width=120)
        with gr.Row(elem_id=f"{form.tab}_tools", elem_classes="tools-row"):
            apply = gr.Button("📋", elem_id=f"{form.tab}_style_apply", elem_classes="tool", min_width=40)
            gr.Button("🖌", elem_id=f"{form.tab}_styles_edit_button", elem_classes="tool", min_width=40)
            gr.Button("↙", elem_id="paste" if form.tab == "txt2img" else f"{form.tab}_paste", elem_classes="tool", min_width=40)
            for place in tools:
                place()
            relist = gr.Button("", elem_id=f"{form.tab}_relist_styles", elem_classes="out-of-sight")
    _wire_styles(form, studio, apply, relist)
    return start, forever


def _wire_styles(form: Form[Any], studio: Studio, apply: gr.Button, relist: gr.Button) -> None:
    texts = [form.components[name] for name in ("prompt", "negative_prompt", "styles")]
    listen(apply.click, inputs=texts, outputs=texts, js=f"(...texts) => window.easel.applyStyles('{form.tab}', texts)")
    form.lists.append((partial(list_styles, studio), texts[2], [relist.click]))
