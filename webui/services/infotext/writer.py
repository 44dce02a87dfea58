"""The infotext of a picture of ours, from the plan it was made by. Reading is `reader`; the text itself is `line`."""

from __future__ import annotations

from webui import __version__
from webui.backend.vae_choice import file_name
from webui.engine.plan import Plan
from webui.schema.settings import PictureSettings
from webui.services.infotext.line import Facts, build_infotext

RECORDED = {
    "Emphasis": "emphasis", "Old prompt editing timelines": "use_old_scheduling", "Pad conds": "pad_cond_uncond",
    "Pad conds v0": "pad_cond_uncond_v0", "FP8 weight": "fp8_storage", "Low-bit weights": "low_bit_storage",
}  # fmt: skip
"""Settings of prompts and models that are written when they are not at their default. Those of sampling come with the plan (`Plan.extras`)."""


def write_infotext(
    plan: Plan, index: int, sha256: str | None, settings: PictureSettings | None = None, user: str = "", vae_hash: str | None = None,
) -> str:
    """The infotext of picture number `index` of a plan. `sha256` is that of the checkpoint, `vae_hash` that of the VAE's own file; None when hashing
    is off."""
    settings = settings or PictureSettings()
    first = plan.passes[0]
    facts = Facts(
        steps=first.steps, sampler=plan.sampler.name, scheduler=plan.schedule_label, cfg_scale=first.cfg, size=(first.width, first.height),
        seeds=list(plan.seeds), model=plan.checkpoint.stem if settings.add_model_name_to_info else None,
        model_hash=sha256[:10] if sha256 and settings.add_model_hash_to_info else None,
        vae=file_name(plan.vae) if plan.vae and settings.add_vae_name_to_info else None,
        vae_hash=vae_hash[:10] if plan.vae and vae_hash and settings.add_vae_hash_to_info else None,
        clip_skip=getattr(settings, "CLIP_stop_at_last_layers", 1),
        version=f"Easel-{__version__}" if settings.add_version_to_infotext else None,
        user=user if user and settings.add_user_name_to_info else None,
    )
    prompt, negative = prompts_of(plan, index)
    return build_infotext(prompt, negative, facts.fields() | _recorded(settings) | dict(plan.extras), index)


def _recorded(settings: PictureSettings) -> dict[str, object]:
    known = type(settings).model_fields
    values = {key: getattr(settings, name) for key, name in RECORDED.items() if name in known}
    return {key: value for key, value in values.items() if value != known[RECORDED[key]].default}


def prompts_of(plan: Plan, index: int) -> tuple[str, str]:
    """Prompt and negative prompt of a picture, styles applied: what A1111 records."""
    batch = next(batch for batch in plan.batches if batch.first <= index < batch.first + len(batch.seeds))
    return batch.prompts[index - batch.first], batch.negative_prompts[index - batch.first]
