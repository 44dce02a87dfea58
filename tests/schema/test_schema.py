"""Requests and events as values: frozen, strict, and back from JSON as they were."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from webui.schema.base import Frozen
from webui.schema.errors import field_errors
from webui.schema.event import CatalogChanged, EventAdapter, Progress
from webui.schema.generation import GenerationRequest, HashCheckpoint, ImageRef, Txt2Img
from webui.schema.job import lane_of
from webui.schema.model import Checkpoint
from webui.schema.request import RequestAdapter
from webui.schema.widgets import Slider, TextBox, widget_of


def test_a_request_is_json_and_back() -> None:
    request = Txt2Img(prompt="ü\n“x”", ext={"a": {"image": {"sha256": "0" * 64}}}, settings={"save_to_dirs": False})
    assert RequestAdapter.validate_json(request.model_dump_json()) == request
    assert RequestAdapter.validate_python({"kind": "hash", "checkpoint": "m"}) == HashCheckpoint(checkpoint="m")


def test_revise_checks_again_and_leaves_the_original() -> None:
    request = Txt2Img()
    assert request.revise(steps=3).steps == 3 and request.steps == 20
    with pytest.raises(ValidationError):
        request.revise(steps=0)
    with pytest.raises(ValidationError):
        request.steps = 3  # type: ignore[misc]


def test_complaints_name_field_and_value() -> None:
    with pytest.raises(ValidationError) as caught:
        RequestAdapter.validate_python({"kind": "txt2img", "steps": 0, "width": "wide", "extra": 1})
    infos = {info.field: info.message for info in field_errors(caught.value)}
    assert set(infos) == {"steps", "width", "extra"} and "(got 0)" in infos["steps"] and "'wide'" in infos["width"]


@pytest.mark.parametrize("value", ["x" * 64, "a" * 63, "A" * 64])
def test_image_refs_are_hashes(value: str) -> None:
    with pytest.raises(ValidationError):
        ImageRef(sha256=value, width=1, height=1)


def test_events_know_their_kind() -> None:
    event = Progress(job_id="j", picture=1, pictures=1, step=1, steps=2, fraction=0.5, eta=None)
    assert EventAdapter.validate_json(event.model_dump_json()) == event
    assert EventAdapter.validate_json('{"type": "catalog"}') == CatalogChanged()


def test_lanes() -> None:
    assert lane_of(Txt2Img()) == "device:0" and lane_of(HashCheckpoint(checkpoint="m")) == "cpu"


def test_every_shown_field_has_a_widget_and_its_default_fits_the_control() -> None:
    shown = {name: widget_of(field) for name, field in GenerationRequest.model_fields.items()}
    assert [name for name, widget in shown.items() if widget is None] == ["style_texts", "restore_faces", "ext"]
    for name, widget in shown.items():
        default = GenerationRequest.model_fields[name].default
        if isinstance(widget, Slider):
            assert widget.minimum <= default <= widget.maximum, name
        if isinstance(widget, TextBox):
            assert default == "", name


@pytest.mark.parametrize(("name", "stem"), [("sd/v1-5.safetensors", "v1-5"), ("a.b.ckpt", "a.b"), ("folder", "folder")])
def test_checkpoint_names(name: str, stem: str) -> None:
    entry = Checkpoint(name=name, path="/x", size=1, mtime=1)
    assert entry.stem == stem and entry.title == name
    assert entry.revise(sha256="0123456789ab").title == f"{name} [0123456789]"


def test_unknown_fields_are_refused_everywhere() -> None:
    def subclasses(base: type[Frozen]) -> list[type[Frozen]]:
        return [item for child in base.__subclasses__() for item in (child, *subclasses(child))]

    assert all(model.model_config.get("extra") == "forbid" and model.model_config.get("frozen") for model in subclasses(Frozen))
