"""Making a picture of the library again and saying whether it is the same: what to run, how to compare. Knows no routes and no engine.

Matrix kernels are not the same to the bit for every batch size, so the batch that was recorded is run, and only the wanted picture of it compared.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from PIL import Image, ImageChops

import webui
from webui.schema.errors import ConflictError, NotFoundError, RequestError
from webui.schema.event import Event, ReplayDone
from webui.schema.generation import Replay
from webui.schema.metadata import Metadata
from webui.schema.result import PictureRecord, ReplayReport
from webui.services.library import Library
from webui.services.run import JobRun

LOSSY = {".jpg", ".jpeg", ".webp", ".avif", ".jxl"}
"""Formats that (may) change pixels when they are saved."""


def plan_replay(record: PictureRecord, found: Metadata) -> Replay:
    """What to run for a picture whose file says `found`. Raises `ConflictError` when it cannot be made again, `RequestError` at `checkpoint` when
    that is not here."""
    if record.partial:
        raise ConflictError("This picture was interrupted, so there is nothing to compare.", hint="Replay a finished picture.")
    if found.request is None:
        raise ConflictError("The file does not say how this picture was made.", hint="Turn on enable_pnginfo or easel_request_in_png for new ones.")
    named = str(found.fields.get("Model") or found.request.checkpoint)
    checkpoint = str(found.values.get("checkpoint", ""))
    if named and not checkpoint:
        short = found.fields.get("Model hash")
        raise RequestError(
            f"The checkpoint “{named[:200]}”{f' [{short}]' if short else ''} is not here.", field="checkpoint",
            hint="Put the file into models/Stable-diffusion and replay again.",
        )
    request = found.request.without_script().revise(checkpoint=checkpoint)
    unmatched = list(found.comments)
    if found.index is None:
        unmatched.insert(0, "The file has no request of Easel's in it; A1111's line was used.")
    version, here = found.fields.get("Version"), f"Easel-{webui.__version__}"
    if version and version != here:
        unmatched.append(f"It was made by {version}; this is {here}.")
    if Path(record.path).suffix.lower() in LOSSY:
        unmatched.append("The file is not a PNG: saving it may have changed its pixels.")
    return Replay(picture=record.id, index=found.index or 0, request=request, unmatched=tuple(unmatched))


def run_replay(run: JobRun, replay: Replay, library: Library, emit: Callable[[Event], None]) -> ReplayReport:
    """Make the picture, compare it with the file, keep the report and tell it; the outputs stay as they are. Raises `NotFoundError`, `Cancelled`."""
    made = run.make_again(replay.request, replay.index)
    record = library.picture(replay.picture)
    try:
        with Image.open(record.path if record else "") as file:
            kept = file.convert("RGB")
    except OSError:
        raise NotFoundError(f"Picture {replay.picture} is not on the disk any more.") from None
    unmatched = list(replay.unmatched)
    if made.size != kept.size:
        unmatched.append(f"The file has {kept.width}×{kept.height} pixels, the picture {made.width}×{made.height}.")
    largest, share = difference(made, kept)
    report = ReplayReport(
        picture_id=replay.picture, job_id=run.job.id, identical=largest == 0, max_difference=largest, differing=share, unmatched=tuple(unmatched),
        created=time.time(),
    )
    library.put_replay(report)
    emit(ReplayDone(report=report))
    return report


def difference(one: Image.Image, other: Image.Image) -> tuple[int, float]:
    """The largest difference of any channel (0 to 255) and the share of pixels that differ at all (0 to 1). Other sizes: all of it differs."""
    if one.size != other.size:
        return 255, 1.0
    channels = ImageChops.difference(one.convert("RGB"), other.convert("RGB")).split()
    worst = channels[0]
    for channel in channels[1:]:
        worst = ImageChops.lighter(worst, channel)
    largest = worst.getextrema()[1]
    same = worst.histogram()[0]
    return int(largest), 1.0 - same / (one.width * one.height)  # pyright: ignore[reportArgumentType]
