"""A1111's line of generation parameters (a1111-contract §6): written here; reading comes with the prompt issue. Pure text."""

from __future__ import annotations

import json

from webui import __version__
from webui.engine.plan import Plan


def quote(value: object) -> str:
    """A value as it stands in the line: JSON when it contains a comma, a newline or a colon, else as it is."""
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if any(mark in text for mark in ",\n:") else text


def write_infotext(plan: Plan, index: int, sha256: str | None) -> str:
    """The infotext of picture number `index` of a plan. `sha256` is that of the checkpoint, None when hashing is off."""
    request, first = plan.request, plan.passes[0]
    fields: dict[str, object | None] = {
        "Steps": first.steps,
        "Sampler": plan.sampler.name,
        "Schedule type": plan.schedule_label,
        "CFG scale": first.cfg,
        "Seed": plan.seeds[index],
        "Size": f"{first.width}x{first.height}",
        "Model hash": sha256[:10] if sha256 else None,
        "Model": plan.checkpoint.stem,
        "Version": f"Easel-{__version__}",
    }
    line = ", ".join(f"{key}: {quote(value)}" for key, value in fields.items() if value is not None)
    negative = f"\nNegative prompt: {request.negative_prompt}" if request.negative_prompt else ""
    return f"{request.prompt}{negative}\n{line}".strip()
