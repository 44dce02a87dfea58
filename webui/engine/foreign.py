"""Requests for checkpoints that are run by their own diffusers pipeline (`pipeline_run`): plain text to image, and an error for what such a run has
no place for. Needs no torch."""

from __future__ import annotations

from dataclasses import replace

from webui.engine.hires import second_pass
from webui.engine.plan import Plan
from webui.schema.errors import RequestError
from webui.schema.img2img import Img2Img
from webui.schema.model import PIPELINE, Checkpoint
from webui.schema.request import PictureRequest


def is_foreign(checkpoint: Checkpoint) -> bool:
    """Whether the checkpoint is run by its own pipeline."""
    return checkpoint.family == PIPELINE


def check_foreign(request: PictureRequest, checkpoint: Checkpoint) -> None:
    """Raises `RequestError` at the field of what such a checkpoint cannot be asked for."""
    if not is_foreign(checkpoint):
        return
    wanted = {
        "checkpoint": ("a picture to begin with", isinstance(request, Img2Img)),
        "enable_hr": ("a second pass", second_pass(request) is not None), "enable_refiner": ("a refiner", request.enable_refiner),
        "subseed_strength": ("variation seeds", bool(request.subseed_strength)), "cfg_rescale": ("CFG rescale", bool(request.cfg_rescale)),
        "seed_resize_from_w": ("seeds of another size", bool(request.seed_resize_from_w and request.seed_resize_from_h)),
    }
    for field, (what, asked) in wanted.items():
        if asked:
            message = f"{checkpoint.name} is run by its own pipeline ({checkpoint.variant}), which has no place for {what}."
            raise RequestError(message, field=field, hint="Switch that off, or choose another checkpoint.")


def as_foreign(plan: Plan) -> Plan:
    """The plan with what is true of such a run in the infotext: the sampler is the pipeline's own."""
    if not is_foreign(plan.checkpoint):
        return plan
    check_foreign(plan.request, plan.checkpoint)
    return replace(plan, extras=(*plan.extras, ("Sampler", f"{plan.checkpoint.variant} (its own)"), ("Schedule type", None)))
