"""`ui-config.json` as A1111 and people leave it, and as we write it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from webui.schema.errors import RequestError
from webui.services.form_defaults import FormDefaults, fields, keys_of

CHOICES = {"samplers": ["DPM++ 2M", "Euler a"], "schedulers": ["Automatic"]}


@pytest.fixture
def defaults(tmp_path: Path) -> FormDefaults:
    """No file yet."""
    return FormDefaults(tmp_path / "ui-config.json", CHOICES)


def write(defaults: FormDefaults, **content: object) -> None:
    """The file as somebody left it."""
    defaults.path.write_text(json.dumps(content))


def test_no_file_means_no_defaults(defaults: FormDefaults) -> None:
    assert defaults.read() == ({}, [])


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        ({"txt2img/Width/value": 768, "txt2img/Width/maximum": 4096}, {"width": {"value": 768, "maximum": 4096}}),
        ({"txt2img_width/value": 640}, {"width": {"value": 640}}),
        ({"customscript/sampler.py/txt2img/Sampling method/value": "Euler a"}, {"sampler": {"value": "Euler a"}}),
        ({"txt2img/Sampling method/value": "Euler a"}, {"sampler": {"value": "Euler a"}}),
        ({"customscript/seed.py/txt2img/Seed/value": -1.0}, {"seed": {"value": -1}}),
        ({"txt2img/Styles/value": ["Good"]}, {"styles": {"value": ["Good"]}}),
        ({"txt2img/Negative prompt/visible": False}, {"negative_prompt": {"visible": False}}),
        ({"img2img/Width/value": 640, "img2img_scale/value": 2}, {"img2img/width": {"value": 640}, "img2img/resize_by": {"value": 2.0}}),
        ({"extras/Width/value": "nonsense", "txt2img/Refiner/value": True}, {}),
    ],
)
def test_what_is_understood(defaults: FormDefaults, content: dict[str, object], looks: dict[str, object]) -> None:
    write(defaults, **content)
    assert defaults.read() == (looks, [])


@pytest.mark.parametrize(
    ("key", "value", "word"),
    [
        ("txt2img/Width/value", 100, "multiple of 8"),
        ("txt2img/Sampling method/value", "Euler z", "Euler z"),
        ("txt2img/Sampling steps/value", "many", "integer"),
        ("txt2img/Width/maximum", "wide", "number"),
        ("txt2img/Width/maximum", 10, "from 64 to 10"),
        ("txt2img/Prompt/minimum", 3, "no slider"),
        ("txt2img/Prompt/visible", "no", "true or false"),
        ("img2img/Resize mode/value", "stretch", "Just resize"),
    ],
)
def test_what_is_not_possible_is_named_and_the_rest_used(defaults: FormDefaults, key: str, value: object, word: str) -> None:
    write(defaults, **{key: value, "txt2img/CFG Scale/value": 5})
    looks, complaints = defaults.read()
    assert looks == {"cfg_scale": {"value": 5.0}}
    assert len(complaints) == 1 and word in complaints[0] and key.rsplit("/", 1)[0].split("/")[-1] in complaints[0]


@pytest.mark.parametrize("text", ["{", "[]", "\x00"])
def test_a_damaged_file_is_named_and_never_overwritten(defaults: FormDefaults, text: str) -> None:
    defaults.path.write_text(text)
    looks, complaints = defaults.read()
    assert looks == {} and "ui-config.json" in complaints[0]
    with pytest.raises(RequestError):
        defaults.save({"steps": 30})
    assert defaults.path.read_text() == text


def test_saving_keeps_what_others_wrote_and_writes_only_what_differs(defaults: FormDefaults) -> None:
    others = {"extras/Width/value": 640, "img2img/Width/value": 640}
    write(defaults, **others, **{"txt2img/Width/value": 768, "txt2img/Width/maximum": 4096, "txt2img_height/value": 8})
    defaults.save({"width": 512, "height": 1024, "sampler": "Euler a", "prompt": ""})
    assert json.loads(defaults.path.read_text()) == {
        "extras/Width/value": 640, "img2img/Width/value": 640, "txt2img/Width/maximum": 4096, "txt2img/Height/value": 1024,
        "customscript/sampler.py/txt2img/Sampling method/value": "Euler a",
    }
    defaults.clear()
    assert json.loads(defaults.path.read_text()) == {"extras/Width/value": 640}


@pytest.mark.parametrize(
    ("values", "field"), [({"steps": 0}, "steps"), ({"nothing": 1}, "nothing"), ({"sampler": "Euler z"}, "sampler"), ({"ext": {}}, "ext")]
)
def test_a_wrong_value_saves_nothing(defaults: FormDefaults, values: dict[str, object], field: str) -> None:
    with pytest.raises(RequestError) as caught:
        defaults.save({"width": 768, **values})  # pyright: ignore[reportArgumentType]
    assert caught.value.field == field and not defaults.path.exists()


def test_every_field_has_a_key_of_its_own() -> None:
    keys = [key for name in fields() for key in keys_of(name)]
    assert len(keys) == len(set(keys)) and {"txt2img_script_list", "img2img/Mask blur"} <= set(keys)
    assert not {"checkpoint", "img2img/checkpoint", "img2img/image", "img2img/mode", "img2img/settings"} & set(fields())
