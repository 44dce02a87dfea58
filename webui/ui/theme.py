"""Colours and type of Gradio's components: warm greys, one accent (viridian), the system's own fonts, so nothing is fetched from outside.

What is not a colour or a radius of a component lives in `web/easel.css`.
"""

from __future__ import annotations

from gradio.themes import Base
from gradio.themes.utils import colors

VIRIDIAN = colors.Color(
    name="viridian", c50="#effaf7", c100="#d3f1ea", c200="#a7e3d5", c300="#73cebb", c400="#43b39e", c500="#239683", c600="#16796b",
    c700="#146158", c800="#134e48", c900="#11403c", c950="#042523",
)
PAPER = colors.Color(
    name="paper", c50="#faf9f7", c100="#f4f2ee", c200="#e6e2dc", c300="#d2ccc4", c400="#a39c93", c500="#756e66", c600="#57514b",
    c700="#413c38", c800="#2a2725", c900="#1f1d1b", c950="#161413",
)
SANS = ("system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "monospace")


def page_theme() -> Base:
    """The theme of every page."""
    theme = Base(primary_hue=VIRIDIAN, secondary_hue=VIRIDIAN, neutral_hue=PAPER, font=SANS, font_mono=MONO, radius_size="md")
    return theme.set(
        body_background_fill="*neutral_50", body_background_fill_dark="*neutral_950",
        body_text_color="*neutral_900", body_text_color_dark="*neutral_100",
        body_text_color_subdued="*neutral_500", body_text_color_subdued_dark="*neutral_400",
        background_fill_primary="white", background_fill_primary_dark="*neutral_900",
        background_fill_secondary="*neutral_100", background_fill_secondary_dark="*neutral_800",
        block_background_fill="transparent", block_background_fill_dark="transparent",
        block_border_width="0px", block_border_width_dark="0px", block_padding="0px", block_shadow="none", block_shadow_dark="none",
        block_label_background_fill="transparent", block_label_background_fill_dark="transparent",
        block_title_text_color="*neutral_600", block_title_text_color_dark="*neutral_300",
        block_title_text_weight="500", block_title_text_size="*text_sm", block_title_background_fill="transparent",
        input_background_fill="white", input_background_fill_dark="*neutral_900",
        input_background_fill_focus="white", input_background_fill_focus_dark="*neutral_900",
        input_border_width="1px", input_border_width_dark="1px",
        input_border_color="*neutral_300", input_border_color_dark="*neutral_700",
        input_border_color_focus="*primary_500", input_border_color_focus_dark="*primary_400",
        input_placeholder_color="*neutral_500", input_placeholder_color_dark="*neutral_400",
        input_shadow_focus="0 0 0 3px color-mix(in srgb, var(--primary-500) 22%, transparent)",
        button_primary_background_fill="*primary_600", button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_dark="*primary_600", button_primary_background_fill_hover_dark="*primary_500",
        button_primary_text_color="white", button_primary_text_color_dark="white", button_primary_border_color="transparent",
        button_secondary_background_fill="white", button_secondary_background_fill_hover="*neutral_100",
        button_secondary_background_fill_dark="*neutral_800", button_secondary_background_fill_hover_dark="*neutral_700",
        button_secondary_border_color="*neutral_300", button_secondary_border_color_dark="*neutral_700",
        button_secondary_text_color="*neutral_800", button_secondary_text_color_dark="*neutral_100",
        button_large_radius="*radius_md", button_small_radius="*radius_md",
        slider_color="*primary_600", slider_color_dark="*primary_400",
        layout_gap="16px", form_gap_width="0px",
    )
