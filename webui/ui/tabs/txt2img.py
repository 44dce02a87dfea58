"""The txt2img tab: A1111's controls in A1111's order, with its ids. Generate only puts a job in line; everything that moves on the page (preview,
pictures, queue, buttons for a running job) is drawn by `web/` from the event stream."""

from __future__ import annotations

import gradio as gr

from webui.schema.generation import Txt2Img
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.hires import place_hires
from webui.ui.parts.lists import form_lists
from webui.ui.parts.refiner import place_refiner
from webui.ui.parts.sampling import place_guidance, place_overrides, place_sampler, place_scripts, place_seed, place_size
from webui.ui.parts.toprow import place_toprow, wire_generate


def make_form(studio: Studio) -> Form[Txt2Img]:
    """The (still empty) form of the tab."""
    return Form(Txt2Img, "txt2img", studio.host, form_lists(studio))


def place_tab(form: Form[Txt2Img], studio: Studio) -> None:
    """Lay the tab out in the open `gr.Tab` and wire it."""
    buttons = place_toprow(form, studio)
    with gr.Row(elem_id="txt2img_body", elem_classes="body-row"):
        with gr.Column(elem_id="txt2img_settings", elem_classes="settings-column", scale=1):
            place_sampler(form)
            place_size(form)
            place_guidance(form)
            place_hires(form, studio)
            place_refiner(form, studio)
            place_seed(form)
            place_overrides(form)
            place_scripts(form, studio)
        with gr.Column(elem_id="txt2img_results", elem_classes="results-column", scale=1):
            gr.HTML("", elem_id="txt2img_gallery_container", elem_classes="gallery-container", padding=False)
    wire_generate(form, studio, *buttons)
