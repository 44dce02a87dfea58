"""The txt2img tab: A1111's controls in A1111's order, with its ids. Generate only puts a job in line; everything that moves on the page (preview,
pictures, queue, buttons for a running job) is drawn by `web/` from the event stream."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import gradio as gr

from webui.schema.errors import ErrorInfo, WebuiError
from webui.schema.generation import Txt2Img
from webui.services.studio import Studio
from webui.ui.form import Choices, Form
from webui.ui.parts.hires import place_hires
from webui.ui.parts.listen import listen
from webui.ui.parts.refiner import place_refiner
from webui.ui.translations import word

TAB = "txt2img"


def checkpoint_choices(studio: Studio) -> Choices:
    """The checkpoint list as the picker shows it; a file that cannot be used is marked, not hidden. Empty while it would have to be waited for."""
    short = studio.settings().sd_checkpoint_dropdown_use_short
    found = []
    for item in studio.checkpoints() if studio.models_at_hand else ():
        title = item.stem if short else item.title
        found.append((title if item.error is None else f"⚠ {title}", item.name))
    return found or [("—", "")]


def further_choices(studio: Studio, none: str) -> Choices:
    """The same for a checkpoint beside the first: there may be none, and then the list says `none`."""
    return [(word(none), ""), *((title, name) for title, name in checkpoint_choices(studio) if name)]


def style_choices(studio: Studio) -> Choices:
    """The styles in the order of their file."""
    return [(style.name, style.name) for style in studio.styles()]


def list_styles(studio: Studio, chosen: list[str] | None) -> dict[str, Any]:
    """The style picker with the file as it is now; chosen ones stay while they are there."""
    choices = style_choices(studio)
    known = {value for _, value in choices}
    return gr.update(choices=choices, value=[name for name in chosen or [] if name in known])


def make_form(studio: Studio) -> Form:
    """The (still empty) form of the tab."""
    registries = studio.registries
    return Form(
        Txt2Img, TAB, studio.host,
        {
            "checkpoints": lambda: checkpoint_choices(studio),
            "hires_checkpoints": lambda: further_choices(studio, "same_checkpoint"),
            "refiners": lambda: further_choices(studio, "no_checkpoint"),
            "samplers": lambda: [(name, name) for name in registries.samplers],
            "schedulers": lambda: [(name, name) for name in registries.schedulers],
            "upscalers": lambda: [(name, name) for name in registries.upscalers],
            "hires_samplers": lambda: [(word("same_sampler"), ""), *((name, name) for name in registries.samplers)],
            "hires_schedulers": lambda: [(word("same_scheduler"), ""), *((name, name) for name in registries.schedulers)],
            "styles": lambda: style_choices(studio),
            "scripts": lambda: [("—", ""), *((script.title, script.id) for script in registries.scripts.values())],
        },
    )


def place_tab(form: Form, studio: Studio) -> None:
    """Lay the tab out in the open `gr.Tab` and wire it."""
    with gr.Row(elem_id=f"{TAB}_toprow"):
        with gr.Column(elem_id=f"{TAB}_prompt_container", scale=6):
            _place_prompt(form, "prompt", f"{TAB}_token_counter")
            _place_prompt(form, "negative_prompt", f"{TAB}_negative_token_counter")
            gr.HTML("", elem_id=f"{TAB}_examples", padding=False)
        buttons = _place_actions(form, studio)
    with gr.Row(elem_id=f"{TAB}_body"):
        with gr.Column(elem_id=f"{TAB}_settings", scale=1):
            _place_settings(form, studio)
        with gr.Column(elem_id=f"{TAB}_results", scale=1):
            gr.HTML("", elem_id=f"{TAB}_gallery_container", padding=False)
    _wire_generate(form, studio, *buttons)


def generate(form: Form, studio: Studio, repeat: bool, /, **fields: Any) -> dict[str, Any]:
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


def _place_prompt(form: Form, name: str, counter: str) -> None:
    with gr.Group(elem_classes="prompt-box"):
        form.place(name, elem_classes="prompt")
        gr.HTML("", elem_id=counter, elem_classes="token-counter", padding=False)


def _place_actions(form: Form, studio: Studio) -> tuple[gr.Button, gr.Button]:
    """The column of buttons; gives Generate and its hidden twin that generates forever (chosen in Generate's context menu)."""
    with gr.Column(elem_id=f"{TAB}_actions_column", scale=1, min_width=200):
        start = gr.Button(word("generate"), elem_id=f"{TAB}_generate", variant="primary", size="lg")
        forever = gr.Button(word("generate_forever"), elem_id=f"{TAB}_generate_forever", elem_classes="out-of-sight")
        with gr.Row(elem_id=f"{TAB}_generate_box"):
            gr.Button(word("interrupt"), elem_id=f"{TAB}_interrupt", interactive=False, min_width=80)
            gr.Button(word("skip"), elem_id=f"{TAB}_skip", interactive=False, min_width=80)
        gr.HTML("", elem_id=f"{TAB}_generate_note", padding=False)
        with gr.Row(elem_id=f"{TAB}_styles_row"):
            form.place("styles", min_width=120)
        with gr.Row(elem_id=f"{TAB}_tools"):
            apply = gr.Button("📋", elem_id=f"{TAB}_style_apply", elem_classes="tool", min_width=40)
            gr.Button("🖌", elem_id=f"{TAB}_styles_edit_button", elem_classes="tool", min_width=40)
            gr.Button("↙", elem_id="paste", elem_classes="tool", min_width=40)
            relist = gr.Button("", elem_id="easel_relist_styles", elem_classes="out-of-sight")
    _wire_styles(form, studio, apply, relist)
    return start, forever


def _wire_styles(form: Form, studio: Studio, apply: gr.Button, relist: gr.Button) -> None:
    texts = [form.components[name] for name in ("prompt", "negative_prompt", "styles")]
    listen(apply.click, inputs=texts, outputs=texts, js="(...texts) => window.easel.applyStyles(...texts)")
    listen(relist.click, partial(list_styles, studio), inputs=[texts[2]], outputs=[texts[2]], preprocess=False)


def _place_settings(form: Form, studio: Studio) -> None:
    with gr.Row(elem_id=f"sampler_selection_{TAB}"):
        form.place("sampler", min_width=130)
        form.place("scheduler", min_width=130)
        form.place("steps", min_width=180, scale=2)
    with gr.Row(elem_id=f"{TAB}_dimensions_row"):
        with gr.Column(elem_id=f"{TAB}_column_size", scale=4, min_width=200):
            width = form.place("width")
            height = form.place("height")
        swap = gr.Button("⇅", elem_id=f"{TAB}_res_switch_btn", elem_classes="tool", min_width=40)
        with gr.Column(elem_id=f"{TAB}_column_batch", scale=3, min_width=180):
            form.place("batch_count")
            form.place("batch_size")
    listen(swap.click, inputs=[width, height], outputs=[width, height], js="(width, height) => [height, width]")
    _place_guidance(form)
    place_hires(form, studio, TAB)
    place_refiner(form, studio, TAB)
    with gr.Row(elem_id=f"{TAB}_seed_row"):
        seed = form.place("seed", min_width=120, scale=4)
        randomise = gr.Button("🎲", elem_id=f"{TAB}_random_seed", elem_classes="tool", min_width=40)
        reuse = gr.Button("♻", elem_id=f"{TAB}_reuse_seed", elem_classes="tool", min_width=40)
    listen(randomise.click, outputs=[seed], js="() => -1")
    listen(reuse.click, inputs=[seed], outputs=[seed], js="(seed) => window.easel.reuseSeed(seed)")
    _place_seed_extra(form)
    form.place("settings")
    gr.HTML("", elem_id=f"{TAB}_override_settings", padding=False)
    _place_scripts(form, studio)


def _place_guidance(form: Form) -> None:
    """The CFG scale, what models with built-in guidance are told (only with them on the page), and folded away what is rarely set beside it. What is
    set in there counts whether it is open or not."""
    form.place("cfg_scale")
    form.place("distilled_cfg_scale", elem_classes="for-distilled")
    with gr.Accordion(word("guidance_extra"), open=False, elem_id=f"{TAB}_guidance_extra"):
        form.place("cfg_rescale")


def _place_seed_extra(form: Form) -> None:
    """Variation and resize of the seed: rarely wanted, so folded away. What is set in there counts whether it is open or not."""
    with gr.Accordion(word("seed_extra"), open=False, elem_id=f"{TAB}_seed_extra"):
        with gr.Row():
            form.place("subseed", min_width=120)
            form.place("subseed_strength", min_width=180)
        with gr.Row():
            form.place("seed_resize_from_w", min_width=180)
            form.place("seed_resize_from_h", min_width=180)


def _place_scripts(form: Form, studio: Studio) -> None:
    """The script list, and under it the panel of the chosen script. Which panel shows is decided in the browser: no round trip."""
    for script in studio.registries.scripts.values():  # before anything is drawn: a plugin whose panel is impossible must not take the page with it
        try:
            form.check_params(script.Params)
        except WebuiError as error:
            owner = studio.registries.scripts.owner(script.id)
            studio.host.fault(owner, f"panel of {script.id}", error)
            studio.host.disable(owner)
    picker = form.place("script")
    panels = []
    for script in studio.registries.scripts.values():
        panels.append(script.id)
        with gr.Column(elem_id=f"{TAB}_script_{script.id}", elem_classes="script-panel"):
            form.place_params(script.id, script.Params)
    if panels:
        listen(picker.change, inputs=[picker], js="(script) => window.easel.showScript(script)")


def _wire_generate(form: Form, studio: Studio, start: gr.Button, forever: gr.Button) -> None:
    answer = gr.JSON(visible=False, elem_id=f"{TAB}_answer")
    for button, repeat in ((start, False), (forever, True)):
        event = listen(
            button.click, _bind(form, studio, repeat), inputs_kwargs=form.components, outputs=[answer],
            preprocess=False, trigger_mode="multiple",
        )
        listen(event.then, inputs=[answer], js="(answer) => window.easel.answered(answer)")


def _bind(form: Form, studio: Studio, repeat: bool) -> Callable[..., dict[str, Any]]:
    """`generate` with its first three arguments filled in, in the shape Gradio can bind by name."""
    return partial(generate, form, studio, repeat)
