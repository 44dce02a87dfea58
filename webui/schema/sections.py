"""The settings as pages: which stands where, and all that a reader needs to know of each. The settings tab, the API and
docs/settings.md come from here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from webui.schema.base import Frozen
from webui.schema.page_settings import PageSettings, ServerSettings
from webui.schema.settings import MachineSettings, PictureSettings, Settings
from webui.schema.widgets import Checkbox, Dropdown, Number, Slider, TextBox, Widget, widget_of

Effect = Literal["at once", "next job", "page reload"]
"""When a change counts. Nothing here needs a restart of the server."""

EFFECTS: tuple[tuple[type[Frozen], Effect], ...] = (
    (ServerSettings, "at once"), (PictureSettings, "next job"), (MachineSettings, "next job"), (PageSettings, "page reload"),
)
KINDS: dict[type[Widget], str] = {Checkbox: "checkbox", Dropdown: "dropdown", Number: "number", Slider: "slider", TextBox: "textbox"}


@dataclass(frozen=True)
class Section:
    """One page of the settings tab: keys in the order they are shown. Ids are A1111's where it has such a page."""

    id: str
    title: str
    settings: tuple[str, ...]


SECTIONS = (
    Section("saving-images", "Saving pictures", (
        "samples_save", "samples_format", "save_incomplete_images", "save_images_before_highres_fix",
        "save_mask", "save_mask_composite", "save_images_before_color_correction", "save_images_before_face_restoration",
        "save_init_img", "save_txt", "jpeg_quality", "webp_lossless",
        "export_for_4chan", "img_downscale_threshold", "target_side_length", "save_images_add_number", "save_images_replace_action",
        "samples_filename_pattern", "save_selected_only", "save_write_log_csv", "grid_zip_filename_pattern",
    )),
    Section("saving-paths", "Folders", (
        "outdir_samples", "outdir_txt2img_samples", "outdir_img2img_samples", "outdir_grids", "outdir_txt2img_grids", "outdir_img2img_grids",
        "outdir_init_images", "outdir_save", "save_to_dirs", "grid_save_to_dirs",
        "directories_filename_pattern", "directories_max_prompt_words", "filenames_max_length",
    )),
    Section("saving-grids", "Grids", (
        "grid_save", "grid_format", "grid_only_if_multiple", "grid_extended_filename", "grid_prevent_empty_spots", "n_rows", "img_max_size_mp",
        "font", "grid_text_active_color", "grid_text_inactive_color", "grid_background_color",
    )),
    Section("vae", "Models and memory", (
        "sd_vae", "sd_vae_overrides_per_model_preferences", "auto_vae_precision", "fp8_storage", "low_bit_storage", "sd_checkpoints_limit",
        "memory_mode", "vae_tiling", "models_ram_gb", "models_vram_gb", "disable_mmap_load_safetensors",
    )),
    Section("sd", "Prompts and noise", (
        "emphasis", "CLIP_stop_at_last_layers", "comma_padding_backtrack", "enable_prompt_comments", "randn_source",
    )),
    Section("sdxl", "Stable Diffusion XL", (
        "sdxl_crop_top", "sdxl_crop_left", "sdxl_refiner_low_aesthetic_score", "sdxl_refiner_high_aesthetic_score", "sdxl_clip_l_skip",
        "hires_fix_refiner_pass",
    )),
    Section("sampler-params", "Sampler parameters", (
        "hide_samplers", "hide_schedulers", "eta_ancestral", "eta_ddim", "eta_noise_seed_delta", "s_churn", "s_tmin", "s_tmax", "s_noise",
        "sigma_min", "sigma_max", "rho", "beta_dist_alpha", "beta_dist_beta", "always_discard_next_to_last_sigma", "sgm_noise_multiplier",
        "uni_pc_variant", "uni_pc_skip_type", "uni_pc_order", "uni_pc_lower_order_final", "sd_noise_schedule",
    )),
    Section("img2img", "img2img and hires fix", (
        "img2img_fix_steps", "img2img_extra_noise", "initial_noise_multiplier", "inpainting_mask_weight", "overlay_inpaint",
        "img2img_color_correction", "color_correction_method", "img2img_background_color", "upscaler_for_img2img",
        "return_mask", "return_mask_composite",
        "img2img_batch_use_original_name", "img2img_batch_show_results_limit",
    )),
    Section("upscaling", "Upscaling", (
        "ESRGAN_tile", "ESRGAN_tile_overlap", "DAT_tile", "DAT_tile_overlap", "SWIN_tile", "SWIN_tile_overlap", "SCUNET_tile", "SCUNET_tile_overlap",
        "x4_upscaler_noise_level", "x4_upscaler_steps", "x4_upscaler_tile", "x4_upscaler_tile_overlap",
    )),
    Section("face-restoration", "Face restoration", (
        "face_restoration", "face_restoration_model", "code_former_weight", "face_restoration_unload",
    )),
    Section("postprocessing", "Extras", ("outdir_extras_samples", "use_original_name_batch", "postprocessing_existing_caption_action")),
    Section("interrogate", "Interrogate", (
        "interrogate_keep_models_in_memory", "interrogate_return_ranks", "interrogate_clip_num_beams", "interrogate_clip_min_length",
        "interrogate_clip_max_length", "interrogate_clip_dict_limit", "interrogate_clip_skip_categories",
        "interrogate_deepbooru_score_threshold", "deepbooru_sort_alpha", "deepbooru_use_spaces", "deepbooru_escape", "deepbooru_filter_tags",
    )),
    Section("optimizations", "Optimizations", (
        "batch_cond_uncond", "pad_cond_uncond", "pad_cond_uncond_v0", "skip_early_cond", "s_min_uncond", "s_min_uncond_all",
    )),
    Section("compatibility", "Compatibility", (
        "auto_backcompat", "use_old_scheduling", "use_old_hires_fix_width_height", "use_old_karras_scheduler_sigmas", "enable_quantization",
        "refiner_switch_by_sample_steps",
    )),
    Section("infotext", "Infotext", (
        "enable_pnginfo", "easel_request_in_png", "add_model_name_to_info", "add_model_hash_to_info", "add_vae_name_to_info",
        "add_vae_hash_to_info", "add_version_to_infotext",
        "add_user_name_to_info", "infotext_styles", "infotext_skip_pasting",
    )),
    Section("live-preview", "Live previews", (
        "live_previews_enable", "show_progress_every_n_steps", "live_preview_refresh_period", "show_progressbar", "show_progress_in_title",
        "prevent_screen_sleep_during_generation",
    )),
    Section("ui", "Page", (
        "quicksettings_list", "ui_tab_order", "hidden_tabs", "localization", "sd_checkpoint_dropdown_use_short", "disable_token_counters",
        "include_styles_into_token_counters", "js_modal_lightbox", "gallery_height",
    )),
)


def describe_settings(sources: Mapping[str, Sequence[str]]) -> list[dict[str, JsonValue]]:
    """The sections as data: `{id, title, settings: [{key, label, help, kind, default, effect, choices, multiple, minimum, maximum, step}]}`.

    `sources` gives the choices of a list that is known only at run time, by the name in its widget; an empty list of choices means: type anything.
    """
    properties = Settings.model_json_schema()["properties"]
    return [
        {"id": section.id, "title": section.title, "settings": [_describe(key, properties[key], sources) for key in section.settings]}
        for section in SECTIONS
    ]


def describe_fields(request: type[Frozen], sources: Mapping[str, Sequence[str]]) -> list[dict[str, JsonValue]]:
    """The fields of a request that have a widget, in their order, as `describe_settings` gives settings; labels are keys of the translations."""
    properties = request.model_json_schema()["properties"]
    shown = {name: widget for name, field in request.model_fields.items() if (widget := widget_of(field)) is not None}
    return [{"elem": widget.elem} | _describe_field(name, widget, properties[name], sources) for name, widget in shown.items()]


def effect_of(key: str) -> Effect:
    """When a change of this setting counts."""
    return next(effect for owner, effect in EFFECTS if key in owner.model_fields)


def _describe(key: str, schema: dict[str, Any], sources: Mapping[str, Sequence[str]]) -> dict[str, JsonValue]:
    widget = widget_of(Settings.model_fields[key])
    if widget is None:
        raise ValueError(f"The setting {key} has no widget.")
    return _describe_field(key, widget, schema, sources) | {"effect": effect_of(key)}


def _describe_field(key: str, widget: Widget, schema: dict[str, Any], sources: Mapping[str, Sequence[str]]) -> dict[str, JsonValue]:
    about: dict[str, JsonValue] = {
        "key": key, "label": widget.label, "help": widget.info, "kind": KINDS[type(widget)], "default": schema["default"],
        "choices": [], "multiple": False, "minimum": schema.get("minimum"), "maximum": schema.get("maximum"), "step": None,
    }
    match widget:
        case Dropdown():
            choices = sources[widget.source] if widget.source else widget.choices or schema.get("enum", ())
            about |= {"choices": list(choices), "multiple": widget.multiple}
        case Slider():
            about |= {"minimum": widget.minimum, "maximum": widget.maximum, "step": widget.step}
        case TextBox():
            about["lines"] = widget.lines
        case Number():
            about["step"] = 1 if widget.precision == 0 else None
    return about
