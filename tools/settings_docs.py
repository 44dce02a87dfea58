"""Writes docs/settings.md from the schema: `python tools/settings_docs.py`. A test fails while the page is not what this would write."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from webui.schema.page_settings import CHECKPOINT_SETTING, TAB_NAMES  # noqa: E402 (run as a file from anywhere)
from webui.schema.sections import describe_settings  # noqa: E402

PAGE = ROOT / "docs" / "settings.md"

HEAD = """# Settings

Written by `python tools/settings_docs.py` from `webui/schema`; change it there.

Settings are kept in `config.json` of the data folder, under A1111's keys where it has them; only what differs from its default is written, and
keys that Easel does not know are kept. They are changed on the Settings tab, by `PATCH /api/v1/settings`, or in the file while the server is
stopped. A request may override every setting that counts for the *next job* in its field `settings`, for itself alone. Nothing needs a restart.

Defaults of the form (width, steps, …) are not settings: they are in `ui-config.json`, A1111's file, under its keys (`txt2img/Width/value`, also
`minimum`, `maximum`, `step` and `visible`) or under the id of the component (`txt2img_width/value`). The file is read when a page is loaded; a
value that is not possible is named on the page and not used. “Save the form as defaults” on the Settings tab writes it. A1111's styles are in
`styles.csv`, see [infotext.md](infotext.md).
"""


def render() -> str:
    """The whole page."""
    sources = {
        "samplers": [], "schedulers": [], "vaes": ["Automatic", "None"], "image_upscalers": ["None", "Lanczos", "Nearest"],
        "quicksettings": [CHECKPOINT_SETTING], "tabs": list(TAB_NAMES.values()), "interrogate_lists": [],
    }
    parts = [HEAD]
    for section in describe_settings(sources):
        parts.append(f"\n## {section['title']}\n\n| key | meaning | values | default | counts |\n|---|---|---|---|---|\n")
        settings: Any = section["settings"]
        parts += [_row(setting) for setting in settings]
    return "".join(parts)


def _row(setting: dict[str, Any]) -> str:
    default = json.dumps(setting["default"], ensure_ascii=False)
    cells = (f"`{setting['key']}`", f"**{setting['label']}.** {setting['help']}", _values(setting), f"`{default}`", setting["effect"])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def _values(setting: dict[str, Any]) -> str:
    low, high = setting["minimum"], setting["maximum"]
    if setting["kind"] == "checkbox":
        return "yes, no"
    if setting["multiple"]:
        return "a list of names"
    if setting["choices"]:
        return ", ".join(setting["choices"])
    if setting["kind"] == "textbox":
        return "text"
    if low is not None and high is not None:
        return f"{low} to {high}"
    return f"{low} or more" if low is not None else "a number"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
