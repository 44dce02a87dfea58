"""The page as a whole: builds Gradio's Blocks and mounts it at "/" of the app. The only long-lived thing of this package.

Knows what stands on the page, not what a job is or how it runs: that is the studio's.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any, Literal, cast

import gradio as gr
from fastapi import FastAPI
from gradio.data_classes import BlocksConfigDict
from gradio.route_utils import BUILD_PATH_LIB
from starlette.responses import Response
from starlette.staticfiles import PathLike, StaticFiles
from starlette.types import Scope

import webui
from webui.schema.generation import Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.page_settings import TAB_NAMES
from webui.services.infotext.restore import SETTINGS
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.parts.top import place_top
from webui.ui.tabs import img2img, txt2img
from webui.ui.tabs.extras import place_extras
from webui.ui.tabs.models import place_models
from webui.ui.tabs.pnginfo import place_tab as place_pnginfo
from webui.ui.tabs.settings import place_settings
from webui.ui.theme import page_theme
from webui.ui.translations import page_i18n, word

WEB = Path(__file__).parent / "web"
SETTING_NAMES = {name: key for key, name in SETTINGS.items()} | {
    "sd_vae": "VAE", "face_restoration": "Face restoration", "face_restoration_model": "Face restoration model",
}
"""Setting → what A1111's line calls it."""


@dataclass(frozen=True)
class PageOptions:
    """What the command line says about the page."""

    theme: Literal["auto", "light", "dark"] = "auto"
    """What a browser shows that has not chosen for itself; `auto` follows its system."""

    checkpoint_folder: str = "models/Stable-diffusion"
    """Where to put model files; shown while there is none."""


class _Page(gr.Blocks):
    """Gradio asks a page for its configuration, which describes every component, four times before it is whole, and throws away what it got: a
    tenth of a second of the start."""

    def get_config_file(self) -> BlocksConfigDict:
        """The configuration that is served: the last one, which has the head."""
        return super().get_config_file() if getattr(self, "head", None) else cast(BlocksConfigDict, {})


class _Lasting(StaticFiles):
    """Files whose addresses change with what is in them, so a browser need not ask for them again. Gradio's are such, but it does not say so and
    sends all of them with each page; ours are under `_web_address`."""

    def file_response(self, full_path: PathLike, stat_result: os.stat_result, scope: Scope, status_code: int = 200) -> Response:
        """A file, to be kept."""
        answer = super().file_response(full_path, stat_result, scope, status_code)
        answer.headers["Cache-Control"] = "max-age=31536000, immutable"
        return answer


def mount(app: FastAPI, studio: Studio, page: PageOptions) -> None:
    """Build the page and serve it at "/". Routes that `app` already has win over it."""
    forms = (txt2img.make_form(studio), img2img.make_form(studio))
    blocks = build(*forms, studio)
    app.mount("/assets", _Lasting(directory=Path(BUILD_PATH_LIB)))
    app.mount(f"/{_web_address()}", _Lasting(directory=WEB))
    gr.mount_gradio_app(
        app, blocks, path="/", theme=page_theme(), i18n=page_i18n(), head=_head(forms, page), css_paths=[WEB / "easel.css"],
        ssr_mode=False, run_history=False, footer_links=[], show_error=True, enable_monitoring=False, mcp_server=False, pwa=False,
        allowed_paths=[], favicon_path=str(WEB / "favicon.png"),
    )


def build(form: Form[Txt2Img], pictured: Form[Img2Img], studio: Studio) -> gr.Blocks:
    """The Blocks with everything on it; `form` (txt2img) and `pictured` (img2img) are filled on the way."""
    with _Page(title="Easel", analytics_enabled=False, fill_width=True) as blocks:
        place_top(form, studio)
        pictured.adopt("checkpoint", form)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(word("tab_txt2img"), id="txt2img", elem_id="tab_txt2img") as first:
                txt2img.place_tab(form, studio)
            with gr.Tab(word("tab_img2img"), id="img2img", elem_id="tab_img2img") as second:
                img2img.place_tab(pictured, studio)
            with gr.Tab(word("tab_extras"), id="extras", elem_id="tab_extras") as extras:
                place_extras()
            with gr.Tab(word("tab_pnginfo"), id="pnginfo", elem_id="tab_pnginfo") as pnginfo:
                place_pnginfo()
            with gr.Tab(word("tab_models"), id="models", elem_id="tab_models") as models:
                place_models()
            with gr.Tab(word("tab_settings"), id="settings", elem_id="tab_settings") as settings:
                place_settings()
        for tab in (first, second, extras, pnginfo, models, settings):
            listen(tab.select, js=f"() => window.easel.openedTab({json.dumps(tab.id)})")
        for each in (form, pictured):
            _wire_form(each, blocks)
    return blocks


def _wire_form(form: Form[Any], blocks: gr.Blocks) -> None:
    """What the browser does with every field of a form, and what is asked once when a page opens."""
    _place_filling(form)
    for action, picker, events in form.lists:  # one listener for each: an older answer of another one could come last
        reread = partial(gr.on, [blocks.load, *events])
        listen(reread, action, inputs=[picker], outputs=[picker], preprocess=False, trigger_mode="always_last")
    # Kept by the browser itself, per field: a draft that survives reload and restart without a round trip. One listener for all fields: each costs
    # the start of the page time.
    components = list(form.components.values())
    changes = [component.change for component in components]
    listen(partial(gr.on, changes), inputs=components, js=f"(...values) => window.easel.note(values, '{form.tab}')", trigger_mode="multiple")


def _place_filling(form: Form[Any]) -> None:
    """The doors through which a script of ours reads all fields of the form and sets some of them, whether they are drawn or folded away. Values
    come and go in the order of `form.components`."""
    components = list(form.components.values())
    read = gr.Button("", elem_id=f"{form.tab}_read", elem_classes="out-of-sight")
    fill = gr.Button("", elem_id=f"{form.tab}_fill", elem_classes="out-of-sight")
    listen(read.click, inputs=components, js=f"(...values) => window.easel.read(values, '{form.tab}')")
    listen(fill.click, inputs=components, outputs=components, js=f"(...values) => window.easel.fill(values, '{form.tab}')")


@cache
def _web_address() -> str:
    """Where a page finds our scripts and styles: another place when one of them has changed since the start before."""
    digest = hashlib.sha256()
    for path in sorted(WEB.glob("*.*")):
        digest.update(path.name.encode() + path.read_bytes())
    return f"web-{digest.hexdigest()[:12]}"


def _head(forms: Sequence[Form[Any]], page: PageOptions) -> str:
    """What the scripts must know before Gradio draws, `boot.js` itself (it puts the draft into the page), and the start of the rest."""
    facts = {
        "version": webui.__version__, "web": _web_address(), "theme": page.theme, "checkpointFolder": page.checkpoint_folder,
        "settingNames": SETTING_NAMES, "tabNames": TAB_NAMES,
        "forms": {form.tab: {path: _facts(form, path) for path in form.components} for form in forms},
    }
    text = json.dumps(facts).replace("<", "\\u003c")
    boot = (WEB / "boot.js").read_text(encoding="utf-8")
    sheets = ("paste.css", "models.css", "canvas.css")  # not by css_paths: there Gradio confines rules in @media to its own elements
    style = "".join(f'<link rel="stylesheet" href="{_web_address()}/{sheet}">' for sheet in sheets)
    start = f'<script type="module" src="{_web_address()}/main.js"></script>'
    return f"{style}\n<script>window.easelPage = {text};</script>\n<script>{boot}</script>\n{start}"


def _facts(form: Form[Any], path: str) -> dict[str, Any]:
    """What the scripts must know of a field: number and id of its component, the key of its label, its name in the draft."""
    return {"id": form.components[path]._id, "element": form.elements[path], "label": form.labels[path], "key": form.key(path)}
