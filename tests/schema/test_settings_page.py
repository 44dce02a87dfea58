"""Every setting has its place, its words in three languages, and a line in the docs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tools.settings_docs import PAGE, render
from webui.schema.sections import SECTIONS, describe_settings, effect_of
from webui.schema.settings import Settings
from webui.schema.widgets import widget_of

SOURCES = {
    "samplers": ["Euler"], "schedulers": ["Karras"], "vaes": ["Automatic", "None"], "image_upscalers": ["None"], "interrogate_lists": [],
    "quicksettings": ["sd_model_checkpoint"], "tabs": ["txt2img"],
}
WORDS = Path(__file__).parents[2] / "webui" / "ui" / "web" / "i18n" / "settings"
PLACED = [key for section in SECTIONS for key in section.settings]


def settings_of(section: dict) -> list[dict]:
    """The settings of a described section."""
    return section["settings"]


def test_every_setting_stands_in_one_section() -> None:
    missing = sorted(set(Settings.model_fields) - set(PLACED))
    assert not missing, f"Add these to a section of webui/schema/sections.py: {missing}"
    assert sorted(PLACED) == sorted(set(PLACED)), "a setting stands in two sections"
    assert set(PLACED) <= set(Settings.model_fields)


@pytest.mark.parametrize("key", Settings.model_fields)
def test_every_setting_has_label_help_and_widget(key: str) -> None:
    widget = widget_of(Settings.model_fields[key])
    assert widget, f"Give {key} a widget: Annotated[..., Checkbox(label=..., info=...)], see webui/schema/output_settings.py"
    assert widget.label and widget.info, f"{key} lacks a label or help (info)"


def test_labels_are_unique() -> None:
    labels = [setting["label"] for section in describe_settings(SOURCES) for setting in settings_of(section)]
    assert len(labels) == len(set(labels))


def test_what_the_page_gets() -> None:
    found = {setting["key"]: setting for section in describe_settings(SOURCES) for setting in settings_of(section)}
    assert found["samples_format"]["choices"] == ["png", "jpg", "jpeg", "webp", "avif", "jxl"] and found["samples_format"]["kind"] == "dropdown"
    assert found["hide_samplers"]["choices"] == ["Euler"] and found["hide_samplers"]["multiple"] is True and found["hide_samplers"]["default"] == []
    assert (found["jpeg_quality"]["minimum"], found["jpeg_quality"]["maximum"], found["jpeg_quality"]["step"]) == (1, 100, 1)
    assert found["target_side_length"]["minimum"] == 64 and found["target_side_length"]["step"] == 1


@pytest.mark.parametrize(
    ("key", "effect"),
    [("infotext_styles", "at once"), ("samples_save", "next job"), ("live_previews_enable", "next job"), ("hide_samplers", "page reload")],
)
def test_when_a_change_counts(key: str, effect: str) -> None:
    assert effect_of(key) == effect


@pytest.mark.parametrize("language", ["ru", "zh-CN"])
def test_every_label_is_translated(language: str) -> None:
    words = json.loads((WORDS / f"{language}.json").read_text(encoding="utf-8"))
    wanted = {*Settings.model_fields, *(f"section:{section.id}" for section in SECTIONS)}
    assert sorted(wanted - set(words)) == [], f"Add [label, help] of these to i18n/settings/{language}.json"
    assert sorted(set(words) - wanted) == [], "words for settings that do not exist"
    assert all(isinstance(entry, list) and 1 <= len(entry) <= 2 and all(part.strip() for part in entry) for entry in words.values())


def test_the_docs_are_fresh() -> None:
    assert PAGE.read_text(encoding="utf-8") == render(), "Run python tools/settings_docs.py"
