"""The page as a whole: builds Gradio's Blocks and mounts it at "/" of the app. The only long-lived thing of this package.

Knows what stands on the page, not what a job is or how it runs: that is the studio's.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import gradio as gr
from fastapi import FastAPI

import webui
from webui.schema.page_settings import TAB_NAMES
from webui.services.infotext.restore import SETTINGS
from webui.services.studio import Studio
from webui.ui.form import Form
from webui.ui.parts.listen import listen
from webui.ui.parts.top import place_top
from webui.ui.tabs.extras import place_extras
from webui.ui.tabs.models import place_models
from webui.ui.tabs.pnginfo import place_tab as place_pnginfo
from webui.ui.tabs.settings import place_settings
from webui.ui.tabs.txt2img import list_styles, make_form, place_tab
from webui.ui.theme import page_theme
from webui.ui.translations import page_i18n, word

WEB = Path(__file__).parent / "web"
SETTING_NAMES = {name: key for key, name in SETTINGS.items()} | {"sd_vae": "VAE"}
"""Setting → what A1111's line calls it."""


@dataclass(frozen=True)
class PageOptions:
    """What the command line says about the page."""

    theme: Literal["auto", "light", "dark"] = "auto"
    """What a browser shows that has not chosen for itself; `auto` follows its system."""

    checkpoint_folder: str = "models/Stable-diffusion"
    """Where to put model files; shown while there is none."""


def mount(app: FastAPI, studio: Studio, page: PageOptions) -> None:
    """Build the page and serve it at "/". Routes that `app` already has win over it."""
    form = make_form(studio)
    blocks = build(form, studio)
    gr.mount_gradio_app(
        app, blocks, path="/", theme=page_theme(), i18n=page_i18n(), head=_head(form, page), css_paths=[WEB / "easel.css"],
        ssr_mode=False, run_history=False, footer_links=[], show_error=True, enable_monitoring=False, mcp_server=False, pwa=False,
        allowed_paths=[], favicon_path=str(WEB / "favicon.png"),
    )


def build(form: Form, studio: Studio) -> gr.Blocks:
    """The Blocks with everything on it; `form` is filled on the way."""
    with gr.Blocks(title="Easel", analytics_enabled=False, fill_width=True) as blocks:
        place_top(form, studio, blocks)
        with gr.Tabs(elem_id="tabs"):
            with gr.Tab(word("tab_txt2img"), id="txt2img", elem_id="tab_txt2img") as txt2img:
                place_tab(form, studio)
            with gr.Tab(word("tab_extras"), id="extras", elem_id="tab_extras") as extras:
                place_extras()
            with gr.Tab(word("tab_pnginfo"), id="pnginfo", elem_id="tab_pnginfo") as pnginfo:
                place_pnginfo()
            with gr.Tab(word("tab_models"), id="models", elem_id="tab_models") as models:
                place_models()
            with gr.Tab(word("tab_settings"), id="settings", elem_id="tab_settings") as settings:
                place_settings()
        for tab in (txt2img, extras, pnginfo, models, settings):
            listen(tab.select, js=f"() => window.easel.openedTab({json.dumps(tab.id)})")
        _place_filling(form)
        styles = form.components["styles"]
        listen(blocks.load, partial(list_styles, studio), inputs=[styles], outputs=[styles], preprocess=False)
        for action, inputs, output in form.loads:
            listen(blocks.load, action, inputs=inputs, outputs=[output], preprocess=False)
        for path, component in form.components.items():
            # Kept by the browser itself, per field: a draft that survives reload and restart without a round trip.
            listen(component.change, inputs=[component], js=f"(value) => window.easel.keep({json.dumps(path)}, value)")
    return blocks


def _place_filling(form: Form) -> None:
    """The doors through which a script of ours reads all fields of the form and sets some of them, whether they are drawn or folded away. Values
    come and go in the order of `form.components`."""
    components = list(form.components.values())
    read = gr.Button("", elem_id="easel_read", elem_classes="out-of-sight")
    fill = gr.Button("", elem_id="easel_fill", elem_classes="out-of-sight")
    listen(read.click, inputs=components, js="(...values) => window.easel.read(values)")
    listen(fill.click, inputs=components, outputs=components, js="(...values) => window.easel.fill(values)")


def _head(form: Form, page: PageOptions) -> str:
    """What the scripts must know before Gradio draws, `boot.js` itself (it puts the draft into the page), and the start of the rest."""
    facts = {
        "version": webui.__version__, "theme": page.theme, "checkpointFolder": page.checkpoint_folder,
        "labels": form.labels, "settingNames": SETTING_NAMES, "elements": form.elements, "tabNames": TAB_NAMES,
        "ids": {path: component._id for path, component in form.components.items()},
    }
    text = json.dumps(facts).replace("<", "\\u003c")
    boot = (WEB / "boot.js").read_text(encoding="utf-8")
    sheets = ("paste.css", "models.css")  # not by css_paths: there Gradio confines rules in @media to its own elements
    style = "".join(f'<link rel="stylesheet" href="web/{sheet}">' for sheet in sheets)
    return f'{style}\n<script>window.easelPage = {text};</script>\n<script>{boot}</script>\n<script type="module" src="web/main.js"></script>'
