"""`ui-config.json`, A1111's file of what the form begins with: `txt2img/Width/value`, also `minimum`, `maximum`, `step`, `visible`. Beside
A1111's labels the ids of the components are understood (`txt2img_width/value`). Keys of other forms are kept. Read anew whenever a page is loaded.
"""

from __future__ import annotations

import json
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Any

from pydantic import JsonValue, ValidationError

from webui.schema.errors import RequestError, StorageError, field_errors
from webui.schema.generation import GenerationRequest, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.widgets import Dropdown, Overrides, Picture, Slider, Widget, widget_of
from webui.services.folders import write_atomically

FORMS: dict[str, type[GenerationRequest]] = {"txt2img": Txt2Img, "img2img": Img2Img}
"""The forms of the page by the tab they stand in."""

LABELS = {
    "prompt": "Prompt", "negative_prompt": "Negative prompt", "styles": "Styles", "sampler": "Sampling method", "scheduler": "Schedule type",
    "steps": "Sampling steps", "width": "Width", "height": "Height", "batch_count": "Batch count", "batch_size": "Batch size",
    "cfg_scale": "CFG Scale", "seed": "Seed", "subseed": "Variation seed", "subseed_strength": "Variation strength",
    "seed_resize_from_w": "Resize seed from width", "seed_resize_from_h": "Resize seed from height", "enable_hr": "Hires. fix",
    "hr_upscaler": "Upscaler", "hr_second_pass_steps": "Hires steps", "denoising_strength": "Denoising strength", "hr_scale": "Upscale by",
    "hr_resize_x": "Resize width to", "hr_resize_y": "Resize height to", "resize_mode": "Resize mode", "resize_by": "Scale",
    "image_cfg_scale": "Image CFG Scale", "mask_blur": "Mask blur", "mask_alpha": "Mask transparency", "inpainting_fill": "Masked content",
    "inpaint_full_res_padding": "Only masked padding, pixels",
}
"""A1111's labels, which its keys are made of. A field without one is known by its component's id alone."""

BUILT_IN_SCRIPTS = {"sampler": "sampler.py", "scheduler": "sampler.py", "steps": "sampler.py", "seed": "seed.py", "subseed": "seed.py",
                    "subseed_strength": "seed.py", "seed_resize_from_w": "seed.py", "seed_resize_from_h": "seed.py"}
"""Fields that A1111 since 1.6 draws in scripts of its own: their keys begin with `customscript/<file>/`."""

ENDS = ("minimum", "maximum", "step")

Look = dict[str, JsonValue]
"""What a component begins with instead of what the schema says: some of value, minimum, maximum, step, visible."""


class FormDefaults:
    """The file. A field of the page is called as in the browser's draft: `steps`, `img2img/steps`.

    `choices` gives the entries of a dropdown by the name of its source; a source that is not in it is not checked."""

    def __init__(self, path: Path, choices: Mapping[str, Container[str]]) -> None:
        self.path = path
        self._choices = choices

    def read(self) -> tuple[dict[str, Look], list[str]]:
        """Looks by field, and a sentence for each value that is not possible and therefore not used."""
        try:
            content = self._content()
        except RequestError as error:
            return {}, [f"{error.message} {error.hint}"]
        looks: dict[str, Look] = {}
        complaints: list[str] = []
        for field, widget in fields().items():
            found = ((part, f"{key}/{part}") for key in reversed(keys_of(field)) for part in ("value", "visible", *ENDS))
            given = {part: (key, content[key]) for part, key in found if key in content}
            look: Look = {}
            for part, (key, value) in given.items():
                try:
                    look[part] = self._checked(field, widget, part, value)
                except RequestError as error:
                    complaints.append(f"{self.path.name}: {key}: {error.message}")
            wrong = _wrong_ends(widget, look)
            if wrong:
                complaints.append(f"{self.path.name}: {keys_of(field)[0]}: {wrong}")
                look = {part: value for part, value in look.items() if part not in ENDS}
            if look:
                looks[field] = look
        return looks, complaints

    def save(self, values: Mapping[str, JsonValue]) -> None:
        """Make these the defaults of their fields. Raises `RequestError` at the field; then nothing is written. Raises `StorageError`."""
        known = fields()
        content = self._content()
        for field, given in values.items():
            if field not in known:
                raise RequestError(f"“{field}” has no default that could be saved.", field=field)
            value = self._checked(field, known[field], "value", given)
            for key in keys_of(field):
                content.pop(f"{key}/value", None)
            tab, name = _split(field)
            if value != FORMS[tab]().model_dump(mode="json")[name]:
                content[f"{keys_of(field)[0]}/value"] = value
        self._write(content)

    def clear(self) -> None:
        """Forget every default of this form, its ends and what is hidden too. Raises `RequestError`, `StorageError`."""
        own = {f"{key}/{part}" for field in fields() for key in keys_of(field) for part in ("value", "visible", *ENDS)}
        self._write({key: value for key, value in self._content().items() if key not in own})

    def _checked(self, field: str, widget: Widget, part: str, value: JsonValue) -> JsonValue:
        """The value as the page needs it. Raises `RequestError` when it is not possible."""
        if part == "visible":
            if not isinstance(value, bool):
                raise RequestError("It is true or false.", field=field)
            return value
        if part in ENDS:
            if isinstance(value, bool) or not isinstance(value, (int, float)):
                raise RequestError("It is a number.", field=field)
            return value
        try:
            tab, name = _split(field)
            found = FORMS[tab].model_validate({name: value}).model_dump(mode="json")[name]
        except ValidationError as error:
            raise RequestError(field_errors(error)[0].message, field=field) from error
        if isinstance(widget, Dropdown) and widget.source in self._choices and found not in self._choices[widget.source]:
            raise RequestError(f"There is no “{found}”.", field=field)
        return found

    def _content(self) -> dict[str, Any]:
        hint = "Mend the file or move it away; nothing in it is used."
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise RequestError(f"{self.path.name} cannot be read ({error}).", hint=hint) from error
        if not isinstance(content, dict):
            raise RequestError(f"{self.path.name} holds no object.", hint=hint)
        return content

    def _write(self, content: dict[str, Any]) -> None:
        try:
            write_atomically(self.path, json.dumps(content, indent=4, ensure_ascii=False).encode())
        except OSError as error:
            raise StorageError(f"The defaults could not be written to {self.path}: {error.strerror or error}.") from error


def fields() -> dict[str, Widget]:
    """The fields that can have a default of the person's own. The checkpoint has not (the server's is used), nor have overrides of settings, what
    is on the canvas, and its mode."""
    found = {}
    for tab, request in FORMS.items():
        for name, info in request.model_fields.items():
            widget = widget_of(info)
            if widget is not None and not isinstance(widget, (Overrides, Picture)) and name not in ("checkpoint", "mode"):
                found[field_key(tab, name)] = widget
    return found


def field_key(tab: str, name: str) -> str:
    """What the page and its draft call a field of the form in `tab`."""
    return name if tab == "txt2img" else f"{tab}/{name}"


def _split(field: str) -> tuple[str, str]:
    """Tab and name of a field."""
    tab, _, name = field.rpartition("/")
    return tab or "txt2img", name


def keys_of(field: str) -> list[str]:
    """What stands before `/value` for a field: the key we write first, then the others that are understood."""
    tab, name = _split(field)
    label, script = LABELS.get(name), BUILT_IN_SCRIPTS.get(name)
    widget = widget_of(FORMS[tab].model_fields[name])
    keys = [f"customscript/{script}/{tab}/{label}"] if script else []
    if label:
        keys.append(f"{tab}/{label}")
    return [*keys, f"{tab}_{(widget.elem if widget else '') or name}"]


def _wrong_ends(widget: Widget, look: Look) -> str:
    """What is wrong with the ends of a slider, empty when nothing is."""
    given = {part: look[part] for part in ENDS if part in look}
    if not given:
        return ""
    if not isinstance(widget, Slider):
        return "It is no slider and has no ends."
    low, high, step = (float(given.get(part, getattr(widget, part))) for part in ENDS)  # pyright: ignore[reportArgumentType]
    if low >= high or step <= 0:
        return f"A slider cannot go from {low:g} to {high:g} in steps of {step:g}."
    return ""
