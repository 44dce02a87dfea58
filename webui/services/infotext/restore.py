"""From A1111's dictionary of fields to a request of ours, with a comment for everything that was changed, missing or not used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, get_args

from pydantic import ValidationError

from webui.backend.vae_choice import file_name
from webui.engine.hires import second_pass
from webui.engine.img2img import SOFT_KEYS
from webui.engine.sampler_names import SAME_SAMPLER, SAME_SCHEDULE, hires_names_of_infotext
from webui.schema.errors import field_errors
from webui.schema.extras_settings import FaceModel
from webui.schema.generation import Hires, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.model import Checkpoint
from webui.schema.request import PictureRequest
from webui.schema.sampling import SamplerSpec, ScheduleSpec, UpscalerSpec
from webui.schema.settings import PictureSettings
from webui.schema.style import Style
from webui.services.infotext.networks import Files, name_missing
from webui.services.infotext.reader import DEFAULTS, ReadOptions

REQUEST_FIELDS = {
    "Prompt": "prompt", "Negative prompt": "negative_prompt", "Styles array": "styles", "Steps": "steps", "CFG scale": "cfg_scale", "Seed": "seed",
    "Distilled CFG Scale": "distilled_cfg_scale",
    "Variation seed": "subseed", "Variation seed strength": "subseed_strength", "Seed resize from-1": "seed_resize_from_w",
    "Seed resize from-2": "seed_resize_from_h", "CFG Rescale": "cfg_rescale", "CFG Rescale φ": "cfg_rescale", "CFG rescale": "cfg_rescale",
    "CFG Rescale phi": "cfg_rescale", "Denoising strength": "denoising_strength", "Hires prompt": "hr_prompt",
    "Hires negative prompt": "hr_negative_prompt", "Hires upscale": "hr_scale", "Hires resize-1": "hr_resize_x", "Hires resize-2": "hr_resize_y",
    "Hires steps": "hr_second_pass_steps", "Hires CFG Scale": "hr_cfg", "Hires Distilled CFG Scale": "hr_distilled_cfg",
    "Refiner switch at": "refiner_switch_at", "Image CFG scale": "image_cfg_scale", "Resize mode": "resize_mode", "Mask blur": "mask_blur",
    "Masked content": "inpainting_fill",
    "Masked area padding": "inpaint_full_res_padding", "Soft inpainting enabled": "soft_inpainting", **{key: name for name, key in SOFT_KEYS.items()},
}  # fmt: skip
"""Key of the line → field of the request, where the request has it."""

SETTINGS = {
    "Clip skip": "CLIP_stop_at_last_layers", "ENSD": "eta_noise_seed_delta", "RNG": "randn_source", "Emphasis": "emphasis", "Eta": "eta_ancestral",
    "Eta DDIM": "eta_ddim", "Sigma churn": "s_churn", "Sigma tmin": "s_tmin", "Sigma tmax": "s_tmax", "Sigma noise": "s_noise",
    "Schedule min sigma": "sigma_min", "Schedule max sigma": "sigma_max", "Schedule rho": "rho", "NGMS": "s_min_uncond",
    "NGMS all steps": "s_min_uncond_all", "Skip Early CFG": "skip_early_cond", "SGM noise multiplier": "sgm_noise_multiplier",
    "Discard penultimate sigma": "always_discard_next_to_last_sigma", "UniPC variant": "uni_pc_variant", "UniPC skip type": "uni_pc_skip_type",
    "UniPC order": "uni_pc_order", "UniPC lower order final": "uni_pc_lower_order_final", "Noise Schedule": "sd_noise_schedule",
    "Beta schedule alpha": "beta_dist_alpha", "Beta schedule beta": "beta_dist_beta", "Beta scheduler alpha": "beta_dist_alpha",
    "Beta scheduler beta": "beta_dist_beta", "Old prompt editing timelines": "use_old_scheduling", "Pad conds": "pad_cond_uncond",
    "Pad conds v0": "pad_cond_uncond_v0", "FP8 weight": "fp8_storage", "Low-bit weights": "low_bit_storage",
    "Downcast alphas_cumprod": "use_downcasted_alpha_bar",
    "Extra noise": "img2img_extra_noise", "Noise multiplier": "initial_noise_multiplier", "Conditional mask weight": "inpainting_mask_weight",
    "CodeFormer weight": "code_former_weight",
    "Hires refiner": "hires_fix_refiner_pass", "Refiner switch by sampling steps": "refiner_switch_by_sample_steps",
}  # fmt: skip
"""Key of the line → setting, overridden for the job when it differs from the server's, where Easel has it."""

SAME_CHECKPOINT = "Use same checkpoint"
"""What the reader puts in where a line names none for the second pass."""

QUIET = {
    "Version", "App", "Model", "Model hash", "Sampler", "Schedule type", "Size-1", "Size-2", "User", "Size", "Parser", "Operations", "Hires sampler",
    "Hires schedule type", "Hires upscaler", "Hires checkpoint", "Refiner", "Mask mode", "Inpaint area", "Init image hash",
    "Lora hashes", "TI hashes", "VAE hash", "Face restoration",
}  # fmt: skip
"""Keys that are used in another way, or only tell."""


@dataclass(frozen=True)
class Known:
    """What the server has, to fit a foreign line to it."""

    samplers: Sequence[SamplerSpec] = ()
    schedulers: Sequence[ScheduleSpec] = ()
    checkpoints: Sequence[Checkpoint] = ()
    styles: Sequence[Style] = ()
    upscalers: Sequence[UpscalerSpec] = ()
    settings: PictureSettings = field(default_factory=PictureSettings)
    reading: ReadOptions = field(default_factory=ReadOptions)
    files: Files | None = None
    """The networks that are here; None: not looked for."""


def to_request(fields: Mapping[str, Any], known: Known) -> tuple[PictureRequest, list[str]]:
    """The request that the fields describe, and the comments. Never raises: what cannot be used is left at its default and named. A line does not
    hold the picture that img2img began with."""
    comments: list[str] = []
    values: dict[str, Any] = {}
    kind = _kind_of(fields)
    for key, name in REQUEST_FIELDS.items():
        if key in fields and name in kind.model_fields:
            _add(kind, values, name, fields[key], key, comments)
    _add_size(values, fields, comments)
    _add_sampler(values, fields, known, comments)
    if kind is Img2Img:
        _add_masking(values, fields)
    else:
        _add_hires(values, fields, known, comments)
    _add_checkpoint(values, fields, known, comments)
    _add_refiner(values, fields, known, comments)
    if known.files is not None:
        comments += name_missing(str(fields.get("Prompt", "")), fields, known.files)
    settings = _settings(fields, known, comments)
    used = QUIET | {key for key, name in REQUEST_FIELDS.items() if name in kind.model_fields} | _usable_settings().keys()
    unused = [key for key, value in fields.items() if key not in used and DEFAULTS.get(key, 0 if key.startswith("Hires resize-") else None) != value]
    if unused:
        comments.append(f"Not used here: {', '.join(unused)}.")
    return kind.model_validate(values | {"settings": settings}), comments


def _kind_of(fields: Mapping[str, Any]) -> type[PictureRequest]:
    """A denoising strength without a second pass is img2img's. Lines of A1111 before its hires fix had a name (`First pass size`) come with a
    resize."""
    larger = any(key in fields for key in ("Hires upscale", "Hires upscaler")) or any(fields.get(f"Hires resize-{side}") for side in (1, 2))
    return Img2Img if "Denoising strength" in fields and not larger else Txt2Img


def _add_masking(values: dict[str, Any], fields: Mapping[str, Any]) -> None:
    """What stands in words in the line. That there was a mask is seen only from what is written about it."""
    values["inpainting_mask_invert"] = fields.get("Mask mode") == "Inpaint not masked"
    values["inpaint_full_res"] = fields.get("Inpaint area") == "Only masked"
    told = values["inpainting_mask_invert"] or values["inpaint_full_res"] or "mask_blur" in values or "soft_inpainting" in values
    values["mode"] = "inpaint" if told or values.get("inpainting_fill", "original") != "original" else "img2img"


def find_sampler(name: str, scheduler: str, known: Known) -> tuple[str, str]:
    """A1111's rule for names: a schedule at the end of the sampler's name is split off, an unknown sampler is the first one, and a schedule that the
    sampler has anyway is Automatic. Names, labels and aliases count, with their case."""
    automatic = known.schedulers[0]
    chosen = next((entry for entry in known.schedulers if scheduler in (entry.name, entry.label)), automatic)
    for entry in known.schedulers:
        ending = next((text for text in (entry.label, entry.name, *entry.aliases) if name.endswith(f" {text}")), None)
        if ending:
            chosen, name = entry, name[: -len(ending) - 1]
    sampler = next((spec for spec in known.samplers if name == spec.name or name in spec.aliases), known.samplers[0])
    return sampler.name, automatic.label if chosen.name == sampler.scheduler else chosen.label


def _add(kind: type[PictureRequest], values: dict[str, Any], name: str, value: Any, key: str, comments: list[str]) -> None:
    try:
        values[name] = getattr(kind.model_validate({name: value}), name)
    except ValidationError as error:
        comments.append(f"{key}: {field_errors(error)[0].message}. It was left out.")


def _add_size(values: dict[str, Any], fields: Mapping[str, Any], comments: list[str]) -> None:
    for key, name in (("Size-1", "width"), ("Size-2", "height")):
        try:
            given = int(fields.get(key, ""))
        except ValueError:
            continue
        side = min(max(given // 8 * 8, 64), 8192)
        if side != given:
            comments.append(f"The {name} {given} became {side}: sides are multiples of 8 from 64 to 8192 pixels.")
        values[name] = side


def _add_sampler(values: dict[str, Any], fields: Mapping[str, Any], known: Known, comments: list[str]) -> None:
    given, schedule = str(fields.get("Sampler", "")), str(fields.get("Schedule type", "Automatic"))
    if not given or not known.samplers or not known.schedulers:
        return
    sampler, scheduler = find_sampler(given, schedule, known)
    values["sampler"], values["scheduler"] = sampler, scheduler
    names = {name for spec in known.samplers if spec.name == sampler for name in (spec.name, *spec.aliases)}
    if not any(given == name or given.startswith(f"{name} ") for name in names):
        comments.append(f"There is no sampler “{given[:80]}” here; {sampler} is taken.")
    labels = {text for entry in known.schedulers for text in (entry.name, entry.label)}
    if schedule not in labels:
        comments.append(f"There is no schedule type “{schedule[:80]}” here; {scheduler} is taken.")


def _add_hires(values: dict[str, Any], fields: Mapping[str, Any], known: Known, comments: list[str]) -> None:
    """The second pass, when the line tells of one: a denoising strength alone is that of img2img. A line without one switches it off."""
    size = any(key in fields for key in ("Hires upscale", "Hires upscaler")) or values.get("hr_resize_x") or values.get("hr_resize_y")
    values["enable_hr"] = "Denoising strength" in fields and bool(size)
    if not values["enable_hr"]:
        for name in Hires.model_fields.keys() - {"enable_hr", "denoising_strength"}:
            values.pop(name, None)
        return
    for own, first in (("hr_cfg", "cfg_scale"), ("hr_distilled_cfg", "distilled_cfg_scale")):
        if values.get(own) == values.get(first):
            values.pop(own, None)
    other = str(fields.get("Hires checkpoint", SAME_CHECKPOINT))
    if other != SAME_CHECKPOINT:
        values["hr_checkpoint_name"] = _further(other, "the second pass", known, comments)
    if known.samplers and known.schedulers:
        sampler, scheduler = hires_names_of_infotext({key: str(value) for key, value in fields.items()})
        values["hr_sampler"] = "" if sampler in (SAME_SAMPLER, values.get("sampler")) else sampler
        values["hr_scheduler"] = "" if scheduler in (SAME_SCHEDULE, values.get("scheduler")) else scheduler
    name = str(fields.get("Hires upscaler", "Latent"))
    if any(name == spec.name for spec in known.upscalers) or not known.upscalers:
        values["hr_upscaler"] = name
    else:
        values["hr_upscaler"] = "Lanczos"
        comments.append(f"There is no upscaler “{name[:80]}” here; Lanczos is taken.")


def _add_refiner(values: dict[str, Any], fields: Mapping[str, Any], known: Known, comments: list[str]) -> None:
    """A line without a refiner switches it off; one that is not here cannot be used."""
    named = str(fields.get("Refiner", ""))
    if named in ("", "None"):
        values.pop("refiner_switch_at", None)
        return
    values["refiner_checkpoint"] = _further(named, "the refiner", known, comments)
    values["enable_refiner"] = bool(values["refiner_checkpoint"])


def _further(title: str, role: str, known: Known, comments: list[str]) -> str:
    """The checkpoint here that a line calls `name [hash]`, or none."""
    name, _, short = title.removesuffix("]").partition(" [")
    by_hash = next((item for item in known.checkpoints if len(short) >= 10 and (item.sha256 or "").startswith(short.lower())), None)
    found = by_hash or next((item for item in known.checkpoints if name and name.lower() in (item.stem.lower(), item.name.lower())), None)
    if found is None:
        comments.append(f"The checkpoint “{title[:200]}” of {role} is not here; it is left out.")
    return found.name if found else ""


def refit(request: PictureRequest, fields: Mapping[str, Any], known: Known) -> tuple[PictureRequest, list[str]]:
    """A request of Easel's own, with comments for what it names that is not here. A checkpoint that is not here gives way to one of its hash or file
    name, else to the one in use."""
    comments: list[str] = []
    if known.checkpoints and request.checkpoint and all(item.name != request.checkpoint for item in known.checkpoints):
        values: dict[str, Any] = {"checkpoint": ""}
        _add_checkpoint(values, {"Model": PurePosixPath(request.checkpoint).stem, "Model hash": fields.get("Model hash", "")}, known, comments)
        if values["checkpoint"] and not comments:
            comments.append(f"The checkpoint {request.checkpoint} is here as {values['checkpoint']}.")
        request = request.revise(**values)
    second = second_pass(request) is not None
    for name, used, role in (("refiner_checkpoint", request.enable_refiner, "the refiner"), ("hr_checkpoint_name", second, "the second pass")):
        wanted = getattr(request, name, "")
        if used and wanted and known.checkpoints and all(item.name != wanted for item in known.checkpoints):
            request = request.revise(**{name: _further(PurePosixPath(wanted).stem, role, known, comments)})
    if request.enable_refiner and not request.refiner_checkpoint:
        request = request.revise(enable_refiner=False)
    if known.files is not None:
        comments += name_missing(request.prompt, fields, known.files)
    return request, comments


def _add_checkpoint(values: dict[str, Any], fields: Mapping[str, Any], known: Known, comments: list[str]) -> None:
    """By hash, else by name; A1111's oldest hashes (8 digits, of a part of the file) are no evidence either way."""
    name, short = str(fields.get("Model", "")), str(fields.get("Model hash", "")).lower()
    if not name and not short:
        return
    by_hash = next((item for item in known.checkpoints if len(short) >= 10 and (item.sha256 or "").startswith(short)), None)
    by_name = next((item for item in known.checkpoints if name and name.lower() in (item.stem.lower(), item.name.lower())), None)
    found = by_hash or by_name
    if found is None:
        comments.append(f"The checkpoint “{name[:200] or '?'}”{f' [{short[:64]}]' if short else ''} is not here; the one in use stays.")
        return
    values["checkpoint"] = found.name
    if by_hash is None and len(short) >= 10 and found.sha256:
        comments.append(f"The checkpoint {found.name} has the right name but another hash ({found.sha256[:10]}, not {short[:64]}).")


def _usable_settings() -> dict[str, str]:
    return {key: name for key, name in SETTINGS.items() if name in PictureSettings.model_fields}


def _settings(fields: Mapping[str, Any], known: Known, comments: list[str]) -> dict[str, Any]:
    overrides: dict[str, Any] = {}
    vae = known.files.find("vae", PurePosixPath(str(fields.get("VAE", ""))).stem) if known.files and fields.get("VAE") else None
    if vae is not None and file_name(vae) != known.settings.sd_vae:  # one that is not here is named by `name_missing`
        overrides["sd_vae"] = file_name(vae)
    if fields.get("Face restoration"):
        overrides |= _faces(str(fields["Face restoration"]), known, comments)
    for key, name in _usable_settings().items():
        if key not in fields:
            continue
        try:
            value = getattr(PictureSettings.model_validate({name: fields[key]}), name)
        except ValidationError as error:
            comments.append(f"{key}: {field_errors(error)[0].message}. It was left out.")
            continue
        if value != getattr(known.settings, name):
            overrides[name] = value
    return overrides


def _faces(restorer: str, known: Known, comments: list[str]) -> dict[str, Any]:
    """That faces were restored, and by what."""
    wanted: dict[str, Any] = {"face_restoration": True}
    if restorer in get_args(FaceModel):
        wanted["face_restoration_model"] = restorer
    else:
        comments.append(f"There is no face restorer “{restorer[:80]}” here; {known.settings.face_restoration_model} is taken.")
    return {name: value for name, value in wanted.items() if value != getattr(known.settings, name)}
