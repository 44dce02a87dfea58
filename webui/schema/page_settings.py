"""Settings of the page and of what the server does on a click, under A1111's keys where it has them. None of them can change a picture."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from webui.schema.base import Frozen
from webui.schema.output_settings import Folder, Pattern
from webui.schema.widgets import Checkbox, Dropdown, TextBox

CHECKPOINT_SETTING = "sd_model_checkpoint"
"""A1111's key of the checkpoint picker. Here the checkpoint belongs to the request; the key only says whether and where the picker is shown."""

TAB_NAMES = {
    "txt2img": "txt2img", "img2img": "img2img", "extras": "Extras", "pnginfo": "PNG Info", "models": "Models", "settings": "Settings",
}
"""Tabs of the page by id, in their order, with what A1111's settings call them."""

Names = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=1000)]


class ServerSettings(Frozen):
    """Read whenever they are needed: a change counts at once."""

    infotext_styles: Annotated[
        Literal["Ignore", "Apply", "Discard", "Apply if any"],
        Dropdown(
            label="Styles in pasted infotext",
            info="Ignore: they stay text in the prompts. Apply: taken out of the prompts and chosen. Discard: taken out and forgotten.",
        ),
    ] = "Apply if any"
    infotext_skip_pasting: Annotated[
        Names, Dropdown(label="Fields of pasted infotext to leave out", info="Such as Seed or Clip skip.", multiple=True)
    ] = ()
    auto_backcompat: Annotated[
        bool,
        Checkbox(
            label="Behave like the version that wrote a line", info="Add the compatibility switches of older A1111 to a line that one of them wrote.",
        ),
    ] = True
    grid_zip_filename_pattern: Annotated[
        Pattern, TextBox(label="File name pattern of zips", info="Empty: [datetime]_[model_name]_[seed]-[seed_last].")
    ] = ""
    outdir_save: Annotated[Folder, TextBox(label="Folder of the Save button", info="Below the data folder.")] = "log/images"
    save_write_log_csv: Annotated[
        bool, Checkbox(label="log.csv of the Save button", info="Add a line about each saved picture to log.csv in that folder.")
    ] = True


class PageSettings(Frozen):
    """Read when a page is loaded."""

    quicksettings_list: Annotated[
        Names,
        Dropdown(label="Quicksettings", info="At the top of the page, in this order; they count at once.", source="quicksettings", multiple=True),
    ] = (CHECKPOINT_SETTING,)
    localization: Annotated[
        Literal["None", "en", "ru", "zh-CN"], Dropdown(label="Language", info="None: the language of the browser.")
    ] = "None"
    ui_tab_order: Annotated[
        Names, Dropdown(label="Order of tabs", info="Tabs that are not named come after these.", source="tabs", multiple=True)
    ] = ()
    hidden_tabs: Annotated[
        Names, Dropdown(label="Hidden tabs", info="Left out of the page. Settings always stays.", source="tabs", multiple=True)
    ] = ()
    hide_samplers: Annotated[
        Names, Dropdown(label="Hidden samplers", info="Left out of the list on the page. They still work.", source="samplers", multiple=True)
    ] = ()
    hide_schedulers: Annotated[
        Names, Dropdown(label="Hidden schedule types", info="Left out of the list on the page. They still work.", source="schedulers", multiple=True)
    ] = ()
    sd_checkpoint_dropdown_use_short: Annotated[
        bool, Checkbox(label="Short names of checkpoints", info="The list shows file names without folder and hash.")
    ] = False
    disable_token_counters: Annotated[bool, Checkbox(label="No token counters", info="Hide the numbers above the prompts.")] = False
    include_styles_into_token_counters: Annotated[
        bool, Checkbox(label="Count the tokens of styles", info="The counters count prompts with the chosen styles applied.")
    ] = True
    js_modal_lightbox: Annotated[bool, Checkbox(label="Large view", info="A click on the picture shows it as large as the window.")] = True
    gallery_height: Annotated[
        str, Field(max_length=20, pattern=r"^(\d{1,4}(\.\d{1,3})?(px|vh|rem|em|%)?)?$"),
        TextBox(label="Height of the picture area", info="In CSS units, such as 768px or 70vh; a bare number is pixels. Empty: by the window."),
    ] = ""
    save_selected_only: Annotated[
        bool, Checkbox(label="Save only the picture shown", info="Off: the Save button copies all pictures of the job.")
    ] = True
    show_progressbar: Annotated[bool, Checkbox(label="Progress bar", info="The bar below the picture in the making.")] = True
    show_progress_in_title: Annotated[bool, Checkbox(label="Progress in the window's title", info="Percent in the tab of the browser.")] = True
    prevent_screen_sleep_during_generation: Annotated[
        bool, Checkbox(label="Keep the screen awake", info="While pictures are made and the page is visible, where the browser can.")
    ] = True
