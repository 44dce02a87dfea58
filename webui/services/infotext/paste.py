"""What a picture's metadata puts into a form: values by field path, for this one picture, with a comment for what this server cannot do.

Knows no page: which of the values differ from what is there, and which are wanted, the person decides.
"""

from __future__ import annotations

from pydantic import JsonValue, ValidationError

from webui.engine.prompt.styles import apply_styles
from webui.schema.errors import field_errors
from webui.schema.img2img import Img2Img
from webui.schema.metadata import Metadata
from webui.schema.request import PictureRequest
from webui.schema.settings import PictureSettings
from webui.services.infotext.restore import Known, to_request

NOT_PASTED = {"kind", "style_texts", "batch_count", "batch_size", "ext", "script"}
"""How many pictures to make is the person's choice; extensions and scripts are handled apart."""


def form_values(found: Metadata, known: Known) -> tuple[dict[str, JsonValue], list[str]]:
    """Field path → value, only of fields that the picture speaks of, and the comments. `request` of Easel's own files is a whole run; here it becomes
    its picture number `index` alone, without the script that asked for it."""
    request = found.request
    if request is None:
        return {}, []
    comments: list[str] = []
    exact = found.index is not None
    if exact:
        request = request.single(found.index or 0)
        request = _with_texts(request, known, comments)
    values = request.model_dump(mode="json", include=request.model_fields_set - NOT_PASTED)
    for key, params in request.ext.items():
        values |= {f"ext.{key}.{name}": value for name, value in params.items()}
    if exact:
        values["script"] = ""
        _fit_to_server(values, found, known, comments)
    if isinstance(request, Img2Img):
        values["enable_hr"] = False  # where it is pasted into the form of txt2img
    if values.get("checkpoint") == "":
        del values["checkpoint"]
    return values, comments


def _with_texts(request: PictureRequest, known: Known, comments: list[str]) -> PictureRequest:
    """Styles that are not here, or say something else now, are written out in the prompts, with those that were applied before them: the prompts
    that the model reads stay the same."""
    here = {style.name: style for style in known.styles}
    count = max((number for number, style in enumerate(request.style_texts, start=1) if here.get(style.name) != style), default=0)
    if not count:
        return request
    prompt, negative = apply_styles(request.prompt, request.negative_prompt, request.style_texts[:count])
    names = ", ".join(style.name for style in request.style_texts[:count])
    comments.append(f"Not every style is here as it was then, so the prompts say what these did: {names}.")
    return request.model_copy(update={"prompt": prompt, "negative_prompt": negative, "styles": request.styles[count:]})


def _fit_to_server(values: dict[str, JsonValue], found: Metadata, known: Known, comments: list[str]) -> None:
    """The line beside the request tells what the request leaves to the server: the settings of that time."""
    overrides = found.request.overrides if found.request else {}
    line, more = to_request(found.fields, known)
    comments += [text for text in more if text not in found.comments]
    overrides |= line.settings
    values["settings"] = _overrides(overrides, known, comments)
    for field, noun, names in (
        ("sampler", "sampler", {spec.name for spec in known.samplers}), ("scheduler", "schedule type", {entry.label for entry in known.schedulers}),
    ):
        if values.get(field) not in names:
            comments.append(f"There is no {noun} “{str(values.pop(field, ''))[:80]}” here; the present one stays.")


def _overrides(overrides: dict[str, JsonValue], known: Known, comments: list[str]) -> dict[str, JsonValue]:
    """Those that are settings here, have a possible value and differ from the server's."""
    kept: dict[str, JsonValue] = {}
    for name, value in overrides.items():
        if name not in PictureSettings.model_fields:
            comments.append(f"There is no setting “{name[:80]}” here; it was left out.")
            continue
        try:
            meant = getattr(PictureSettings.model_validate({name: value}), name)
        except ValidationError as error:
            comments.append(f"{name}: {field_errors(error)[0].message}. It was left out.")
            continue
        if meant != getattr(known.settings, name):
            kept[name] = value
    return kept
