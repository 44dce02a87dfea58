"""What every form that makes pictures asks for below its prompts: sampler, size, guidance, seed, overrides of settings, scripts."""

from __future__ import annotations

from typing import Any

import gradio as gr

from webui.schema.errors import WebuiError
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.translations import word


def place_sampler(form: Form[Any]) -> None:
    """Sampler, schedule and steps."""
    with gr.Row(elem_id=f"sampler_selection_{form.tab}", elem_classes="sampler-row"):
        form.place("sampler", min_width=130)
        form.place("scheduler", min_width=130)
        form.place("steps", min_width=180, scale=2)


def place_size(form: Form[Any]) -> gr.Column:
    """Size with its exchange button, and how many. Gives the column of the buttons between the two, for further ones."""
    with gr.Row(elem_id=f"{form.tab}_dimensions_row", elem_classes="dimensions-row"):
        with gr.Column(elem_id=f"{form.tab}_column_size", scale=4, min_width=200):
            width = form.place("width")
            height = form.place("height")
        with gr.Column(elem_id=f"{form.tab}_dimensions_tools", elem_classes="dimensions-tools", scale=0, min_width=42) as tools:
            swap = gr.Button("⇅", elem_id=f"{form.tab}_res_switch_btn", elem_classes="tool", min_width=40)
        with gr.Column(elem_id=f"{form.tab}_column_batch", elem_classes="batch-column", scale=3, min_width=180):
            form.place("batch_count")
            form.place("batch_size")
    listen(swap.click, inputs=[width, height], outputs=[width, height], js="(width, height) => [height, width]")
    return tools


def place_guidance(form: Form[Any], *further: str) -> None:
    """The CFG scale, what models with built-in guidance are told (only with them on the page), and folded away what is rarely set beside it
    (`further` fields first). What is set in there counts whether it is open or not."""
    form.place("cfg_scale")
    form.place("distilled_cfg_scale", elem_classes="for-distilled")
    with gr.Accordion(word("guidance_extra"), open=False, elem_id=f"{form.tab}_guidance_extra"):
        for name in (*further, "cfg_rescale"):
            form.place(name)


def place_seed(form: Form[Any]) -> None:
    """The seed with its buttons. Variation and resize of the seed are rarely wanted, so folded away; what is set in there counts all the same."""
    with gr.Row(elem_id=f"{form.tab}_seed_row", elem_classes="seed-row"):
        seed = form.place("seed", min_width=120, scale=4)
        randomise = gr.Button("🎲", elem_id=f"{form.tab}_random_seed", elem_classes="tool", min_width=40)
        reuse = gr.Button("♻", elem_id=f"{form.tab}_reuse_seed", elem_classes="tool", min_width=40)
    listen(randomise.click, outputs=[seed], js="() => -1")
    listen(reuse.click, inputs=[seed], outputs=[seed], js="(seed) => window.easel.reuseSeed(seed)")
    with gr.Accordion(word("seed_extra"), open=False, elem_id=f"{form.tab}_seed_extra"):
        with gr.Row():
            form.place("subseed", min_width=120)
            form.place("subseed_strength", min_width=180)
        with gr.Row():
            form.place("seed_resize_from_w", min_width=180)
            form.place("seed_resize_from_h", min_width=180)


def place_overrides(form: Form[Any]) -> None:
    """Settings for the next request only; `web/paste.js` draws them."""
    form.place("settings")
    gr.HTML("", elem_id=f"{form.tab}_override_settings", elem_classes="overrides-place", padding=False)


def place_scripts(form: Form[Any], studio: Studio) -> None:
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
        with gr.Column(elem_id=f"{form.tab}_script_{script.id}", elem_classes="script-panel"):
            form.place_params(script.id, script.Params)
    if panels:
        listen(picker.change, inputs=[picker], js=f"(script) => window.easel.showScript(script, '{form.tab}')")
