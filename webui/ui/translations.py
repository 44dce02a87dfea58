"""The page's words: one flat JSON file per language under `web/i18n`, the same files for Gradio's components and for our own scripts.

Knows nothing of the components that use them. Adding a language is adding a file: the browser's language chooses.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import gradio as gr
from gradio.i18n import I18nData

FOLDER = Path(__file__).parent / "web" / "i18n"


@cache
def translations() -> dict[str, dict[str, str]]:
    """Language → key → text, of every file in the folder."""
    return {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(FOLDER.glob("*.json"))}


@cache
def page_i18n() -> gr.I18n:
    """What `mount_gradio_app` wants; the browser picks the language and falls back to English."""
    return gr.I18n(**translations())


def word(key: str) -> str | I18nData:
    """The translated text for a key of ours; text that is no key (a label of an extension) stays as it is."""
    return page_i18n()(key) if key in translations()["en"] else key
