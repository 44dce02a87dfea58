"""The form of img2img without a browser: its fields, what it shares with txt2img, and what a picture's field means."""

from __future__ import annotations

import gradio as gr
import pytest

from tests.ui.test_form import SOURCES
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.generation import Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.widgets import widget_of
from webui.ui.form import Form

SHA = "a" * 64


@pytest.fixture
def form() -> Form[Img2Img]:
    """Every field of an img2img request; the checkpoint is the one of a txt2img form."""
    host = PluginHost(Registries())
    first, second = Form(Txt2Img, "txt2img", host, SOURCES), Form(Img2Img, "img2img", host, SOURCES)
    with gr.Blocks():
        first.place("checkpoint")
        second.adopt("checkpoint", first)
        for name, field in Img2Img.model_fields.items():
            if widget_of(field) and name != "checkpoint":
                second.place(name)
    assert second.components["checkpoint"] is first.components["checkpoint"]
    return second


def values(form: Form[Img2Img], **changes: object) -> dict[str, object]:
    """What the browser would send for an untouched form, with changes."""
    return {path: component.value for path, component in form.components.items()} | changes


def test_an_untouched_form_is_the_default_request(form: Form[Img2Img]) -> None:
    assert form.parse(values(form)) == Img2Img()


def test_ids_are_those_of_a1111_and_keys_name_the_tab(form: Form[Img2Img]) -> None:
    names = ("denoising_strength", "mask_blur", "inpainting_fill", "resize_mode", "checkpoint", "resize_by")
    assert [form.elements[name] for name in names] == [
        "img2img_denoising_strength", "img2img_mask_blur", "img2img_inpainting_fill", "img2img_resize_mode", "setting_sd_model_checkpoint",
        "img2img_scale",
    ]  # fmt: skip
    assert (form.key("steps"), form.key("checkpoint")) == ("img2img/steps", "checkpoint")


def test_what_is_on_the_canvas_comes_as_references(form: Form[Img2Img]) -> None:
    picture = {"sha256": SHA, "width": 64, "height": 48}
    request = form.parse(values(form, mode="inpaint", image=picture, mask=picture, colour=None))
    assert isinstance(request, Img2Img)
    assert request.image is not None and request.image.sha256 == SHA and request.colour is None and request.settings == {}


@pytest.mark.parametrize(("field", "value"), [("mode", "batch"), ("image", {"sha256": "x", "width": 1, "height": 1}), ("inpainting_fill", "noise")])
def test_what_is_not_possible_is_refused_at_its_field(form: Form[Img2Img], field: str, value: object) -> None:
    errors = form.parse(values(form, **{field: value}))
    assert isinstance(errors, list)
    assert errors[0].field is not None and errors[0].field.split(".")[0] == field
