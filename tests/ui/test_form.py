"""The form without a browser: names, binding, order, and what raw values become."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Annotated

import gradio as gr
import pytest

from webui.builtin import prompts_from_file
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import WebuiError
from webui.schema.generation import Hires, Txt2Img
from webui.schema.settings import Settings
from webui.schema.widgets import Picture as PictureWidget
from webui.schema.widgets import widget_of
from webui.sdk import Dropdown, Params, hookimpl
from webui.ui.form import Form
from webui.ui.parts.hires import hires_fields, say_sizes

LISTS = {
    "checkpoints": [""], "samplers": ["DPM++ 2M"], "schedulers": ["Automatic"], "scripts": ["", "prompts_from_file"], "styles": ["Good", "Wrap"],
    "upscalers": ["Latent"], "hires_samplers": [""], "hires_schedulers": [""], "hires_checkpoints": [""], "refiners": [""],
}  # fmt: skip
SOURCES = {name: lambda keys=keys: [(key, key) for key in keys] for name, keys in LISTS.items()}


class Watcher:
    """A plugin that writes down which components were made."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    @hookimpl
    def component_created(self, elem_id: str, component: object) -> None:
        """Note the id."""
        assert getattr(component, "elem_id", None) == elem_id
        self.seen.append(elem_id)


@pytest.fixture
def watcher() -> Watcher:
    return Watcher()


@pytest.fixture
def form(watcher: Watcher) -> Form:
    """Every field of a txt2img request and the panel of one script."""
    host = PluginHost(Registries())
    host.add("watcher", watcher)
    host.add("prompts_from_file", prompts_from_file)
    made = Form(Txt2Img, "txt2img", host, SOURCES)
    with gr.Blocks():
        for name, field in Txt2Img.model_fields.items():
            if widget_of(field):
                made.place(name)
        made.place_params("prompts_from_file", prompts_from_file.PromptParams)
    return made


def values(form: Form, **changes: object) -> dict[str, object]:
    """What the browser would send for an untouched form, with changes."""
    return {path: component.value for path, component in form.components.items()} | changes


def test_an_untouched_form_is_the_default_request(form: Form) -> None:
    assert form.parse(values(form)) == Txt2Img()


def test_ids_are_those_of_a1111_and_every_component_is_announced_in_order(form: Form, watcher: Watcher) -> None:
    assert form.elements["checkpoint"] == "setting_sd_model_checkpoint"
    assert form.elements["sampler"] == "txt2img_sampling"
    assert form.elements["negative_prompt"] == "txt2img_neg_prompt"
    assert {name: form.elements[name] for name in ("enable_hr", "hr_second_pass_steps", "hr_scale", "hr_prompt", "hr_negative_prompt")} == {
        "enable_hr": "txt2img_hr-checkbox", "hr_second_pass_steps": "txt2img_hires_steps", "hr_scale": "txt2img_hr_scale",
        "hr_prompt": "hires_prompt", "hr_negative_prompt": "hires_neg_prompt",
    }
    assert watcher.seen == list(form.elements.values())
    assert watcher.seen.index("txt2img_width") < watcher.seen.index("txt2img_height") < watcher.seen.index("txt2img_prompts_from_file_text")


def test_every_error_stands_at_its_field_in_the_order_of_the_form(form: Form) -> None:
    errors = form.parse(values(form, sampler="x", scheduler="y", seed=None, width=100, steps=0))
    assert isinstance(errors, list)
    assert [error.field for error in errors] == ["steps", "width", "seed"]
    assert all(error.message for error in errors)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), "many", 2.5, [1]])
def test_what_is_no_number_is_refused_not_mended(form: Form, wrong: object) -> None:
    errors = form.parse(values(form, steps=wrong))
    assert isinstance(errors, list)
    assert [error.field for error in errors] == ["steps"]


def test_a_chosen_script_takes_its_values_along(form: Form) -> None:
    changes = {"script": "prompts_from_file", "ext.prompts_from_file.text": "a\nb"}
    request = form.parse(values(form, **changes))
    assert isinstance(request, Txt2Img)
    assert request.ext["prompts_from_file"]["text"] == "a\nb"
    without = form.parse(values(form, **{"script": "", "ext.prompts_from_file.text": "a\nb"}))
    assert isinstance(without, Txt2Img)
    assert without.ext == {}


def test_a_panel_that_cannot_be_drawn_is_named(form: Form) -> None:
    class WithPicture(Params):
        """Asks for a widget that the page has not."""

        image: Annotated[str, PictureWidget(label="image")] = ""

    class WithList(Params):
        """Asks for a list that does not exist."""

        image: Annotated[str, Dropdown(label="image", source="nothing")] = ""

    form.check_params(prompts_from_file.PromptParams)
    for params, words in ((WithPicture, "Picture"), (WithList, "nothing")):
        with pytest.raises(WebuiError, match=words):
            form.check_params(params)


def test_a_wrong_script_value_is_named_by_its_path(form: Form) -> None:
    errors = form.parse(values(form, **{"script": "prompts_from_file", "ext.prompts_from_file.position": "middle"}))
    assert isinstance(errors, list)
    assert [error.field for error in errors] == ["ext.prompts_from_file.position"]


def test_several_styles_can_be_chosen_and_none(form: Form) -> None:
    assert getattr(form.components["styles"], "multiselect", None) is True
    chosen = form.parse(values(form, styles=["Wrap", "Good"]))
    assert isinstance(chosen, Txt2Img) and chosen.styles == ("Wrap", "Good")
    assert form.parse(values(form, styles=None)) == Txt2Img()


def test_the_heading_of_hires_fix_says_the_sizes() -> None:
    studio = SimpleNamespace(settings=Settings)
    assert say_sizes(studio, True, 512, 640, 1.5, 0, 0) == "512×640 → 768×960"  # type: ignore[arg-type]
    assert say_sizes(studio, True, 512, 512, 1.33, 0, 0) == "512×512 → 680×680"  # type: ignore[arg-type]
    assert say_sizes(studio, True, 512, 512, 2, 1280, 720) == "512×512 → 1280×720"  # type: ignore[arg-type]
    assert say_sizes(studio, False, 512, 512, 2, 0, 0) == ""  # type: ignore[arg-type]
    assert say_sizes(studio, True, None, 512, 2, 0, 0) == say_sizes(studio, True, 512, 512, "x", 0, 0) == ""  # type: ignore[arg-type]
    old = SimpleNamespace(settings=lambda: Settings(use_old_hires_fix_width_height=True))
    assert say_sizes(old, True, 1024, 1024, 2, 0, 0) == "512×512 → 1024×1024"  # type: ignore[arg-type]


def test_the_button_on_a_picture_takes_only_the_fields_of_the_second_pass(form: Form) -> None:
    fields = {name: value for name, value in values(form, hr_scale=1.5, hr_prompt="larger").items() if name in Hires.model_fields}
    assert hires_fields(form, **fields) == {"hires": Hires(hr_scale=1.5, hr_prompt="larger").model_dump()}
    refused = hires_fields(form, **fields | {"hr_scale": None})
    assert [error["field"] for error in refused["errors"]] == ["hr_scale"]


def test_override_settings_travel_as_they_are(form: Form) -> None:
    request = form.parse(values(form, settings={"CLIP_stop_at_last_layers": 2}))
    assert isinstance(request, Txt2Img) and request.settings == {"CLIP_stop_at_last_layers": 2}
    bare = form.parse(values(form, settings=None))
    assert isinstance(bare, Txt2Img) and bare.settings == {}
    assert form.labels["settings"] == "override_settings" and list(form.labels) == list(form.components)
