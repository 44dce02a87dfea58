"""Pictures in one zip, and what it is called. Knows rows and files, not who asks."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import IO

from PIL import Image

from webui.engine.prompt.styles import apply_styles
from webui.schema.generation import GenerationRequest
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.result import PictureRecord
from webui.services.names import NameFacts, apply_pattern, sanitize

DEFAULT_PATTERN = "[datetime]_[model_name]_[seed]-[seed_last]"


def write_zip(records: Sequence[PictureRecord], file: IO[bytes]) -> None:
    """Write the pictures as one zip; they are stored as they are, pictures do not get smaller."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, record in _distinct_names(records):
            archive.write(record.path, name)


def zip_name(records: Sequence[PictureRecord], job: Job, pattern: str) -> str:
    """The file name of a zip of these pictures, by A1111's pattern; tokens speak of the first picture and its job."""
    request, first = job.request, records[0]
    if not isinstance(request, GenerationRequest):
        return "easel.zip"
    prompt, negative = apply_styles(request.prompt, request.negative_prompt, request.style_texts)
    try:
        image = Image.open(first.path)
    except OSError:
        return "easel.zip"  # damaged since; the file goes into the zip as it is
    with image:
        facts = NameFacts(
            prompt=prompt, main_prompt=prompt, negative_prompt=negative, seed=first.seed, seeds=tuple(record.seed for record in records),
            steps=request.steps, cfg_scale=request.cfg_scale, image=image, styles=request.style_texts, sampler=request.sampler,
            scheduler=request.scheduler, model_name=Checkpoint(name=request.checkpoint, path="", size=0, mtime=0).stem, batch_size=len(records),
            batch_count=request.batch_count, user=job.owner or None, zip=True, max_words=job.settings.directories_max_prompt_words,
            max_length=job.settings.filenames_max_length,
            begun=datetime.fromtimestamp(job.started or job.created),
        )
        name = sanitize(apply_pattern(pattern or DEFAULT_PATTERN, facts), replace_spaces=False)
    return f"{name or 'easel'}.zip"


def _distinct_names(records: Sequence[PictureRecord]) -> Iterator[tuple[str, PictureRecord]]:
    seen: set[str] = set()
    for record in records:
        name = Path(record.path).name
        if name in seen:
            name = f"{record.id}-{name}"
        seen.add(name)
        yield name, record
