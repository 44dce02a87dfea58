"""The img2img tab: one canvas for A1111's modes, then its controls in A1111's order, with its ids. What it shares with txt2img are the same parts."""

from __future__ import annotations

import gradio as gr

from webui.schema.img2img import Img2Img
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.canvas import place_canvas, place_depth
from webui.ui.parts.interrogate import place_interrogate
from webui.ui.parts.listen import listen
from webui.ui.parts.lists import form_lists
from webui.ui.parts.refiner import place_refiner
from webui.ui.parts.sampling import place_guidance, place_overrides, place_sampler, place_scripts, place_seed, place_size
from webui.ui.parts.switched import switched
from webui.ui.parts.toprow import place_toprow, wire_generate

SOFT_ROWS = (("soft_power", "soft_scale"), ("soft_detail", "soft_influence"), ("soft_threshold", "soft_contrast"))


def make_form(studio: Studio) -> Form[Img2Img]:
    """The (still empty) form of the tab."""
    return Form(Img2Img, "img2img", studio.host, form_lists(studio))


def place_tab(form: Form[Img2Img], studio: Studio) -> None:
    """Lay the tab out in the open `gr.Tab` and wire it."""
    buttons = place_toprow(form, studio, place_interrogate)
    with gr.Row(elem_id="img2img_body", elem_classes="body-row"):
        with gr.Column(elem_id="img2img_settings", elem_classes="settings-column", scale=1):
            place_canvas(form)
            place_depth(form)
            form.place("resize_mode")
            _place_masking(form)
            place_sampler(form)
            with place_size(form):
                fit = gr.Button("📐", elem_id="img2img_detect_image_size_btn", elem_classes="tool", min_width=40)
            listen(fit.click, js="() => window.easel.sizeOfPicture()")
            form.place("resize_by")
            form.place("denoising_strength")
            place_guidance(form, "image_cfg_scale")
            place_refiner(form, studio)
            place_seed(form)
            place_overrides(form)
            place_scripts(form, studio)
        with gr.Column(elem_id="img2img_results", elem_classes="results-column", scale=1):
            gr.HTML("", elem_id="img2img_gallery_container", elem_classes="gallery-container", padding=False)
    wire_generate(form, studio, *buttons)


def _place_masking(form: Form[Img2Img]) -> None:
    """What counts only where a part of the picture is kept; the style sheet shows it in those modes."""
    with gr.Column(elem_id="img2img_inpaint_controls", elem_classes="masking"):
        with gr.Row():
            form.place("mask_blur", min_width=180)
            form.place("mask_alpha", min_width=180, elem_classes="sketched-mask")
        form.place("inpainting_fill")
        with gr.Row(elem_classes="checks"):
            form.place("inpainting_mask_invert", min_width=160)
            form.place("inpaint_full_res", min_width=160)
        form.place("inpaint_full_res_padding")
        with switched(form, "soft_inpainting", "img2img_soft_inpainting", "soft_inpainting"):
            for names in SOFT_ROWS:
                with gr.Row():
                    for name in names:
                        form.place(name, min_width=180)
