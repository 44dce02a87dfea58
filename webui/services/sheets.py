"""What is to be written for a picture, settled before any file is: A1111's line, the request, folder and name. Knows no disk and no database.

A picture does not wait for the hash of its checkpoint, which takes a minute for a large file. Until it is known a sheet holds line, folder and name
twice: without the hash, and with a mark in its place. So a sheet can be kept as plain JSON and carried out by a later start of the server.
"""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from webui import __version__
from webui.backend.vae_choice import file_name
from webui.engine.hires import second_pass
from webui.engine.tools import Picture
from webui.schema.base import Frozen
from webui.schema.img2img import Img2Img
from webui.schema.job import Job
from webui.schema.model import Checkpoint
from webui.schema.output_settings import PictureFormat
from webui.schema.result import PictureRecord
from webui.schema.settings import PictureSettings
from webui.services.formats import Notes
from webui.services.infotext.writer import prompts_of, write_infotext
from webui.services.names import NameFacts, apply_pattern
from webui.services.placing import below

GRID = "grid"
"""The key and basename of grids: `grid-0000.png`."""

SHORT = 10
"""Digits of a checkpoint's hash in the line and in names."""


@dataclass(frozen=True)
class KindFolders:
    """Where one kind of picture goes, below the outputs folder."""

    samples: str
    grids: str


@dataclass(frozen=True)
class Place:
    """Where the pictures of a run go instead of the folder of their kind, and what they are called instead of what the pattern says."""

    folder: Path | None = None
    name: str = ""

    def name_of(self, picture: Picture) -> str:
        """The name of one of them: with its number behind it where there are several; "" = by the pattern."""
        count = picture.plan.request.batch_count * picture.plan.request.batch_size
        return f"{self.name}-{picture.index + 1}" if self.name and count > 1 else self.name


@dataclass(frozen=True)
class Saving:
    """What is to be saved as which child of which job, and where if not at the place of its kind."""

    job: Job
    key: str
    picture: Picture
    place: Place | None = None

    @property
    def settings(self) -> PictureSettings:
        """The job's settings with the overrides of this picture's request, which a script may have made."""
        return self.job.settings_for(self.picture.plan.request)

    @property
    def folders(self) -> KindFolders:
        """The folders of this kind of picture."""
        settings = self.settings
        if isinstance(self.picture.plan.request, Img2Img):
            return KindFolders(settings.outdir_img2img_samples, settings.outdir_img2img_grids)
        return KindFolders(settings.outdir_txt2img_samples, settings.outdir_txt2img_grids)


class Label(Frozen):
    """The words on a file: A1111's line, the folder, and the text that a filled name pattern gives (it may hold folders too)."""

    infotext: str
    folder: str
    name: str

    def named(self, ending: str) -> Label:
        """The label of a companion whose name ends so."""
        return self.revise(name=f"{self.name}-{ending}" if self.name else ending)


class Sheet(Frozen):
    """Everything about a file but its pixels."""

    checkpoint: Checkpoint
    label: Label
    marked: Label | None = None
    """The label with `mark` where the hash is to be; None when nothing has to be waited for."""

    mark: str = ""
    easel: str | None
    form: PictureFormat
    basename: str = ""
    settings: PictureSettings

    @classmethod
    def read(cls, text: str) -> Sheet:
        """A sheet that was kept as JSON; settings that this version does not know are left out. Raises `pydantic.ValidationError`."""
        values = json.loads(text)
        values["settings"] = {key: value for key, value in values["settings"].items() if key in PictureSettings.model_fields}
        return cls.model_validate(values)

    def with_hash(self, sha256: str | None) -> Sheet:
        """The sheet as it is carried out: with the hash in its places, or without one."""
        if self.marked is None or not sha256:
            return self.revise(marked=None, mark="")
        words = {name: text.replace(self.mark, sha256[:SHORT]) for name, text in self.marked.model_dump().items()}
        return self.revise(label=Label(**words), marked=None, mark="")

    def named(self, ending: str) -> Sheet:
        """The sheet of a companion whose name ends so."""
        return self.revise(label=self.label.named(ending), marked=self.marked and self.marked.named(ending))

    @property
    def notes(self) -> Notes:
        """What is written into the file."""
        return Notes(self.label.infotext if self.settings.enable_pnginfo else None, self.easel)


class Aside(Frozen):
    """A picture that lies aside in a file of Easel's own until somebody keeps it: what is to be written then, and its row (`path`: that file)."""

    sheet: Sheet
    record: PictureRecord


def wants_hash(settings: PictureSettings) -> bool:
    """Whether the hash of the checkpoint appears in lines or names."""
    patterns = f"{settings.samples_filename_pattern} {settings.directories_filename_pattern}".lower()
    return settings.add_model_hash_to_info or "[model_hash" in patterns


def make_sheet(saving: Saving, root: Path, sha256: str | None, wait: bool, vae_hash: str | None = None) -> Sheet:
    """The sheet of a picture, or of a grid (key `GRID`), below `root`. With `wait` the hash of the checkpoint comes later."""
    settings = saving.settings
    if saving.place and saving.place.name:  # whatever has this name, an original or another result, is not to be lost
        settings = settings.revise(save_images_replace_action="Add number suffix")
    mark = _mark(saving) if wait else ""
    return Sheet(
        checkpoint=saving.picture.plan.checkpoint, label=_label(saving, root, sha256, vae_hash),
        marked=_label(saving, root, mark, vae_hash) if mark else None, mark=mark,
        easel=describe(saving) if settings.easel_request_in_png and saving.key != GRID else None,
        form=settings.grid_format if saving.key == GRID else settings.samples_format, basename=GRID if saving.key == GRID else "", settings=settings,
    )


def _label(saving: Saving, root: Path, sha256: str | None, vae_hash: str | None) -> Label:
    settings, picture = saving.settings, saving.picture
    facts, place = facts_of(saving, sha256), saving.place or Place()
    samples = settings.samples_filename_pattern
    if saving.key == GRID:
        below_root, pattern = settings.grid_save_to_dirs, (samples or "[seed]") if settings.grid_extended_filename else ""
    else:
        below_root, pattern = settings.save_to_dirs and not place.folder, samples or ("[seed]" if settings.save_to_dirs else "[seed]-[prompt_spaces]")
    folder = below(root, apply_pattern(settings.directories_filename_pattern or "[prompt_words]", facts)) if below_root else root
    infotext = write_infotext(picture.plan, picture.index, sha256, settings, saving.job.owner, vae_hash)
    return Label(infotext=infotext, folder=str(folder), name=place.name_of(picture) or apply_pattern(pattern, facts))


def _mark(saving: Saving) -> str:
    """As many hexadecimal digits as the hash has, so that names are cut at the same place; not in any text of the request."""
    texts = saving.picture.plan.request.model_dump_json()
    while (mark := secrets.token_hex(SHORT // 2)) in texts:
        pass
    return mark


def facts_of(saving: Saving, sha256: str | None) -> NameFacts:
    """What the patterns can say of a picture."""
    job, picture, plan = saving.job, saving.picture, saving.picture.plan
    request, size = plan.request, plan.request.batch_size
    prompt, negative = prompts_of(plan, picture.index)
    return NameFacts(
        prompt=prompt, main_prompt=plan.batches[0].prompts[0], negative_prompt=negative, seed=picture.seed, seeds=plan.seeds,
        steps=plan.passes[0].steps, cfg_scale=plan.passes[0].cfg, image=picture.image, styles=request.style_texts, sampler=plan.sampler.name,
        scheduler=request.scheduler, sampler_schedule=plan.sampler.scheduler, model_hash=sha256[:SHORT] if sha256 else "",
        model_name=plan.checkpoint.stem, vae=file_name(plan.vae) if plan.vae else None, batch_size=size,
        batch_count=request.batch_count, batch_index=picture.index % size,
        batch=picture.index // size, user=job.owner or None, max_words=saving.settings.directories_max_prompt_words,
        max_length=saving.settings.filenames_max_length,
        clip_skip=getattr(saving.settings, "CLIP_stop_at_last_layers", 1),
        denoising=request.denoising_strength if isinstance(request, Img2Img) or second_pass(request) else None,
        begun=datetime.fromtimestamp(job.started or job.created or time.time()), basename=saving.key if saving.key == GRID else "",
    )


def describe(saving: Saving) -> str:
    """The JSON of the PNG chunk `easel`: everything needed to run this picture again."""
    picture = saving.picture
    content = {"version": __version__, "request": picture.plan.request.model_dump(mode="json"), "index": picture.index, "key": saving.key}
    return json.dumps(content)
