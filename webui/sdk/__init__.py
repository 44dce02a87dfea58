"""What extensions and scripts import. Version 1 of the plugin API; names here stay. Needs no torch.

`webui.sdk.ui` (may use Gradio) is imported only while the page is built, `webui.sdk.engine` (torch) only on the worker.
"""

from webui.plugins.discover import API_VERSION
from webui.plugins.hookspecs import hookimpl
from webui.plugins.registry import Params, Registries
from webui.plugins.script import Run, Script
from webui.schema.errors import RequestError, WebuiError
from webui.schema.generation import ImageRef, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.request import PictureRequest
from webui.schema.result import Caption, PictureRecord
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec
from webui.schema.widgets import Checkbox, Dropdown, Number, Picture, Slider, TextBox

__all__ = [
    "API_VERSION", "Caption", "Checkbox", "Dropdown", "ImageRef", "Img2Img", "Number", "Params", "Picture", "PictureRecord", "PictureRequest",
    "Registries", "RequestError", "Run", "SamplerSpec", "ScheduleSpec", "Script", "Slider", "TextBox", "Txt2Img", "UpscalerSpec",
    "WebuiError", "hookimpl",
]
