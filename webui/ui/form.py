"""From a request class to a form and back: each field with a widget becomes one component, bound by its field path.

Knows widgets and field paths; knows neither where on the page a component stands nor what happens to the request.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, TypeVar

import gradio as gr
from gradio.components import Component
from gradio.i18n import I18nData
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from webui.plugins.host import PluginHost
from webui.plugins.registry import Params
from webui.schema.errors import ErrorInfo, WebuiError, field_errors
from webui.schema.generation import GenerationRequest
from webui.schema.widgets import Checkbox, Dropdown, Number, Overrides, Picture, Radio, Slider, TextBox, Widget, widget_of
from webui.ui.translations import word

Control = gr.Textbox | gr.Number | gr.Slider | gr.Dropdown | gr.Checkbox | gr.Radio | gr.JSON
"""What a field can look like."""

Choices = Sequence[tuple[str | I18nData, str]]
"""What a dropdown lists: (text shown, value)."""

SHARED_ELEMENTS = {"checkpoint": "setting_sd_model_checkpoint", "hr_prompt": "hires_prompt", "hr_negative_prompt": "hires_neg_prompt"}
"""Fields whose component has an id without the tab's name, as in A1111."""

R = TypeVar("R", bound=GenerationRequest)


class Form(Generic[R]):
    """The components of one request class. `sources` gives the entries of a dropdown by the name in its widget."""

    def __init__(self, request: type[R], tab: str, host: PluginHost, sources: Mapping[str, Callable[[], Choices]]) -> None:
        self.request = request
        self.tab = tab
        self.host = host
        self.sources = sources
        self.components: dict[str, Control] = {}
        self.elements: dict[str, str] = {}
        self.labels: dict[str, str] = {}
        self.adopted: set[str] = set()
        self.lists: list[tuple[Callable[..., Any], Component, Sequence[Callable[..., Any]]]] = []
        """Lists that are read when a page opens and at further events: the action, the component with the list, the events."""

        self.catalog_changed: list[Callable[..., Any]] = []
        """Events that say that the list of checkpoints is another one."""

        self.before: str | None = None
        """Script that Generate's values, in the order of `components`, go through on their way from the browser."""

    def adopt(self, name: str, other: Form[Any]) -> None:
        """Use the component of a field of another form: the page has it once (the checkpoint picker)."""
        self.components[name] = other.components[name]
        self.elements[name] = other.elements[name]
        self.labels[name] = other.labels[name]
        self.catalog_changed = other.catalog_changed
        self.adopted.add(name)

    def key(self, path: str) -> str:
        """What the browser's draft calls a field: its path, in other tabs than the first with the tab before it."""
        return path if self.tab == "txt2img" or path in self.adopted else f"{self.tab}/{path}"

    def place(self, name: str, **look: Any) -> Control:
        """Make the component of a field right here in the open layout. `look` goes to Gradio (scale, min_width, value, …)."""
        field = self.request.model_fields[name]
        widget = widget_of(field)
        if widget is None:
            raise ValueError(f"{self.request.__name__}.{name} has no widget")
        element = SHARED_ELEMENTS.get(name) or f"{self.tab}_{widget.elem or name}"
        return self._make(name, element, field, widget, look)

    def check_params(self, params: type[Params]) -> None:
        """Raise `WebuiError` naming the field when one of the widgets of `params` cannot be drawn here."""
        for name, field in params.model_fields.items():
            widget = widget_of(field)
            if isinstance(widget, Dropdown) and widget.source and widget.source not in self.sources:
                raise WebuiError(f"The field {name} lists “{widget.source}”, which is no list. There are {', '.join(self.sources)}.")
            if widget is not None and not isinstance(widget, (TextBox, Number, Slider, Dropdown, Checkbox)):
                raise WebuiError(f"The field {name} asks for a {type(widget).__name__}, which this page cannot draw yet.")

    def place_params(self, key: str, params: type[Params]) -> None:
        """Make the components of `request.ext[key]` right here: every field of `params` that has a widget."""
        for name, field in params.model_fields.items():
            widget = widget_of(field)
            if widget is not None:
                self._make(f"ext.{key}.{name}", f"{self.tab}_{key}_{widget.elem or name}", field, widget, {})

    def parse(self, fields: Mapping[str, Any]) -> R | list[ErrorInfo]:
        """The request that the raw component values by field path mean, or every error at its field; nothing is corrected."""
        fields = {path: self._empty(path) if value is None else value for path, value in fields.items()}
        empty = [path for path, value in fields.items() if value is None and isinstance(self.components.get(path), (gr.Number, gr.Slider))]
        errors = [ErrorInfo(type="RequestError", message="This box is empty.", field=path, hint="Enter a number.") for path in empty]
        values = {path: value for path, value in fields.items() if "." not in path and path not in empty}
        script = str(values.get("script") or "")
        if script:
            values["ext"] = {script: self._params(script, fields, errors)}
        try:
            request = self.request.model_validate(values)
        except ValidationError as error:
            errors += field_errors(error)
            return sorted(errors, key=self._place_of)  # the page goes to the first
        return errors or request

    def _empty(self, path: str) -> list[str] | dict[str, Any] | None:
        """What a component that says nothing means: no entry, or None where there has to be one."""
        component = self.components.get(path)
        if isinstance(component, gr.JSON):
            return {} if path == "settings" else None
        return [] if isinstance(component, gr.Dropdown) and component.multiselect else None

    def _place_of(self, error: ErrorInfo) -> int:
        """Where the field stands in the form; a complaint about no field of ours comes last."""
        return list(self.components).index(error.field) if error.field in self.components else len(self.components)

    def _params(self, key: str, fields: Mapping[str, Any], errors: list[ErrorInfo]) -> dict[str, Any]:
        """The values under `ext.<key>.`; what its `Params` refuses is added to `errors`."""
        prefix = f"ext.{key}."
        values = {path.removeprefix(prefix): value for path, value in fields.items() if path.startswith(prefix)}
        if key in self.host.registries.params and not any((error.field or "").startswith(prefix) for error in errors):
            try:
                self.host.registries.params.get(key).model_validate(values)
            except ValidationError as error:
                errors += [info.revise(field=prefix + info.field if info.field else None) for info in field_errors(error)]
        return values

    def _make(self, path: str, element: str, field: FieldInfo, widget: Widget, look: dict[str, Any]) -> Control:
        """The one place where form components are made: named, bound, and announced to plugins."""
        component = self._component(widget, field, {"elem_id": element, "label": word(widget.label), "interactive": True} | look)
        self.components[path] = component
        self.elements[path] = element
        self.labels[path] = widget.label
        self.host.call("component_created", elem_id=element, component=component)
        return component

    def _component(self, widget: Widget, field: FieldInfo, common: dict[str, Any]) -> Control:
        common.setdefault("value", field.get_default(call_default_factory=True))
        if widget.info:
            common["info"] = word(widget.info)
        match widget:
            case TextBox():
                return gr.Textbox(lines=widget.lines, max_lines=max(widget.lines, 12), placeholder=word(widget.placeholder), **common)
            case Number():
                return gr.Number(precision=widget.precision, **common)
            case Slider():
                return gr.Slider(widget.minimum, widget.maximum, step=widget.step, buttons=[], **common)
            case Dropdown():
                choices = self.sources[widget.source]() if widget.source else [(word(name), name) for name in widget.choices]
                if widget.multiple:
                    common["value"] = list(common["value"])
                return gr.Dropdown(choices, multiselect=widget.multiple or None, **common)
            case Checkbox():
                return gr.Checkbox(**common)
            case Radio():
                return gr.Radio([(word(name), name) for name in widget.choices], **common)
            case Overrides() | Picture():  # holds the value; `web/paste.js` and `web/canvas.js` draw it
                return gr.JSON(common["value"], elem_id=common["elem_id"], visible=False)
        raise ValueError(f"There is no component for the widget {type(widget).__name__}.")
