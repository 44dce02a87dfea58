"""The one door to the application: the page, the HTTP API and the A1111 edge all come through here, so they cannot differ."""

from __future__ import annotations

import logging
import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image
from pydantic import ValidationError

from webui.backend.vae_choice import vae_names
from webui.engine.captioners import find_lists
from webui.engine.estimators import check_depth, lookers
from webui.engine.extras.restorers import check_restorer
from webui.engine.foreign import check_foreign
from webui.engine.model_rules import check_model
from webui.engine.painted import check_mask
from webui.engine.plan import check_kind, check_prompts, further_checkpoints
from webui.engine.prompt.hints import Hint, prompt_hints
from webui.engine.prompt.reading import COUNTED_CALLS, count_tokens
from webui.engine.prompt.styles import apply_styles
from webui.schema.errors import ConflictError, LostPictureError, NotFoundError, RequestError, WebuiError, field_errors
from webui.schema.event import CatalogChanged, Notice, Snapshot
from webui.schema.generation import GenerationRequest, HashCheckpoint, Hires, ImageRef, Refiner, Txt2Img
from webui.schema.img2img import Img2Img
from webui.schema.job import Job, JobStatus, JobView
from webui.schema.metadata import Metadata
from webui.schema.model import Checkpoint, Suggestions
from webui.schema.page_settings import CHECKPOINT_SETTING, TAB_NAMES, PageSettings
from webui.schema.request import PictureRequest, Replay
from webui.schema.result import PictureView
from webui.schema.sections import describe_settings
from webui.schema.settings import Settings
from webui.schema.style import Style
from webui.services.folder_batch import shown_of
from webui.services.form_defaults import FORMS, field_key
from webui.services.gallery import Gallery
from webui.services.infotext.files import read_metadata
from webui.services.infotext.reader import ReadOptions
from webui.services.infotext.restore import Known
from webui.services.parts import Parts
from webui.services.preferences import form_values, settle_vae
from webui.services.replay import plan_replay
from webui.services.sheets import wants_hash

log = logging.getLogger(__name__)

ENDED_SHOWN = 20
"""Ended jobs in a snapshot."""

UNUSED_PICTURE_SECONDS = 7 * 24 * 3600.0
"""A stored picture that no job names, and one made again that nobody kept, is deleted after a week."""


class Studio:
    """Everything a person or a program can do."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.boot = secrets.token_hex(8)
        self.registries = parts.registries
        self.host = parts.host
        self.events = parts.events
        self.images = parts.images
        self.shelf = parts.shelf
        self.gallery = Gallery(parts.library, parts.queue, parts.settings.get, parts.folders.data)
        self.replays = parts.replays
        self.extras = parts.extras
        self._warmed = threading.Event()

    # Life

    def start(self) -> None:
        """Start the workers and tidy up. Waiting jobs of the last run begin at once."""
        for complaint in self._parts.settings.complaints:
            self.notify("settings", "warning", complaint)
        for complaint in self._parts.defaults.read()[1]:
            log.warning("%s", complaint)  # every page shows it by itself
        if self._parts.library.set_aside:
            name = self._parts.library.set_aside.name
            self.notify("database", "error", f"The database was damaged. It was kept as .easel/{name}, and a new, empty one is used.")
        self.host.call("startup", data_dir=self._parts.folders.own / "plugins")
        for worker in self._parts.workers:
            worker.start()
        self._parts.outputs.resume()
        self._parts.watcher.start()
        if not self.models_at_hand:
            threading.Thread(target=self.refresh_checkpoints, name="models", daemon=True).start()
        threading.Thread(target=self._tidy, name="tidy", daemon=True).start()

    def close(self) -> None:
        """Interrupt what runs (its partial picture is kept), finish saving, close the database."""
        self._parts.watcher.close()
        self._parts.queue.close()
        for worker in self._parts.workers:
            worker.close()
        self._parts.outputs.close()
        self.host.call("shutdown")
        self._parts.events.close()
        self._parts.library.close()

    def warm_up(self) -> None:
        """A page is open: get ready for its first job. Only the first call does something."""
        if not self._warmed.is_set():
            self._warmed.set()
            self._parts.workers[0].warm_up()

    def notify(self, notice_id: str, level: Any, message: str) -> None:
        """Tell every page something."""
        self.events.publish(Notice(id=notice_id, level=level, message=message))

    # Jobs

    def submit(self, request: PictureRequest, repeat: bool = False, owner: str = "") -> Job:
        """Check the request, let plugins revise it, and queue it. Raises `WebuiError` at the wrong field; then nothing is queued."""
        request = self.check(request)
        try:
            snapshot = self.settings().snapshot(request.overrides)
        except ValidationError as error:
            info = field_errors(error)[0]
            raise RequestError(info.message, field=f"settings.{info.field}") from error
        checkpoint = self._parts.preferences.with_kept(self._parts.catalog.get(request.checkpoint))
        snapshot = settle_vae(snapshot, checkpoint, self._parts.files.files("vae"), asked="sd_vae" in request.settings)
        check_kind(request, self.registries, snapshot)
        check_foreign(request, checkpoint)
        others = further_checkpoints(request, self._parts.catalog.get)
        check_model(request, checkpoint, self.registries, snapshot, others)
        if snapshot.face_restoration:
            restorer, field = snapshot.face_restoration_model.lower(), "restore_faces" if request.restore_faces else "settings.face_restoration"
            check_restorer(self._parts.files, restorer, "", field)
        check_depth(request, lookers(request, checkpoint, others, snapshot), self._parts.folders.models)
        if not request.script:  # a script may write other prompts and masks; the engine checks those
            check_prompts(request, self.registries, snapshot)
            if isinstance(request, Img2Img):
                check_mask(request, self._open_picture)
        job = self._parts.queue.put(request, snapshot, repeat, owner)
        if wants_hash(snapshot):
            self._parts.hasher.ask(self._parts.catalog.get(request.checkpoint))  # now, so that it goes on beside the loading
        return job

    def check(self, request: PictureRequest) -> PictureRequest:
        """The request as it will be queued: plugins heard, checkpoint put in, names and extension parameters checked. Raises `WebuiError`."""
        request = self._resolve(self.host.revise("revise_request", "request", request))
        if isinstance(request, Img2Img) and request.batch is not None:
            self._parts.batches.check(request, request.batch)
        return request

    def _resolve(self, request: PictureRequest) -> PictureRequest:
        self.registries.samplers.get(request.sampler, field="sampler")
        self.registries.schedulers.get(request.scheduler, field="scheduler")
        if request.script:
            self.registries.scripts.get(request.script, field="script")
        for field, image in request.images().items():
            self._check_picture(image, field)
        for key, values in request.ext.items():
            try:
                self.registries.params.get(key, field=f"ext.{key}").model_validate(values)
            except ValidationError as error:
                info = field_errors(error)[0]
                raise RequestError(info.message, field=f"ext.{key}.{info.field}") from error
        if tuple(style.name for style in request.style_texts) != request.styles:  # a job that was queued before brings its own
            request = request.revise(style_texts=self._parts.styles.named(request.styles))
        name = request.checkpoint or self.default_checkpoint() or ""
        others = {field: item.name for field, item in further_checkpoints(request, self._parts.catalog.get).items()}
        return request.revise(checkpoint=self._parts.catalog.get(name).name, **others)

    def _check_picture(self, ref: ImageRef, field: str) -> None:
        with _at(field):
            self.images.check(ref)

    def _open_picture(self, ref: ImageRef, field: str) -> Image.Image:
        with _at(field):
            return self.images.open(ref)

    def enlarge_picture(self, picture_id: int, hires: Hires) -> Job:
        """A1111's button ✨: only the second pass, on a finished picture, with its own prompt and seed, as `hires` says. Raises `WebuiError`."""
        record = self.gallery.record(picture_id)
        content = Path(record.path).read_bytes()
        found = self.read_metadata(content)
        request = found.request or self._parts.queue.get(record.job_id).request
        if not isinstance(request, GenerationRequest):
            raise RequestError("This picture does not say how it was made.", hint="Only pictures made here can be enlarged with ✨.")
        picture = self.images.put(content)
        shared = {*GenerationRequest.model_fields, *Refiner.model_fields}  # of an img2img picture the second pass knows only these
        single = request.single(found.index or 0).model_dump(include=shared)
        own = {
            "seed": record.seed, "batch_count": 1, "batch_size": 1, "width": picture.width, "height": picture.height, "ext": {}, "enable_hr": True,
            "firstpass_image": picture,
        }  # fmt: skip
        try:
            return self.submit(Txt2Img(**single | hires.model_dump() | own))
        except ValidationError as error:  # an extension may have changed the picture's size
            info = field_errors(error)[0]
            raise RequestError(info.message, field=info.field, hint="A picture for the second pass has sides in multiples of 8, from 64.") from error

    def stop_job(self, job_id: str | None, skip: bool = False) -> None:
        """Interrupt (or skip the batch of) the running job; without an id whatever runs on the device, if anything does. Raises `ConflictError`."""
        workers = self._parts.workers if job_id else self._parts.workers[:1]
        if not any(worker.stop_job(job_id, skip) for worker in workers) and job_id:
            raise ConflictError(f"This job is {self._parts.queue.get(job_id).status}, not running.")

    def cancel(self, job_id: str) -> None:
        """Take a waiting job out of the queue."""
        self._parts.queue.cancel(job_id)

    def requeue(self, job_id: str) -> None:
        """Put an ended job in line again."""
        job = self._parts.queue.get(job_id)
        if isinstance(job.request, GenerationRequest):
            self.check(job.request)
        elif isinstance(job.request, Replay):
            self._resolve(job.request.request)
        self._parts.queue.requeue(job_id)

    def move(self, job_id: str, before: str | None) -> None:
        """Put a waiting job before another, or last."""
        self._parts.queue.move(job_id, before)

    def stop_repeating(self) -> int:
        """End "generate forever"."""
        return self._parts.queue.stop_repeating()

    def job(self, job_id: str) -> tuple[Job, list[PictureView]]:
        """A job and its pictures."""
        return self._parts.queue.get(job_id), [PictureView.of(row) for row in self._parts.library.pictures_of(job_id)]

    def view(self, job: Job) -> JobView:
        """The job as pages see it."""
        return self._parts.queue.view(job)

    def snapshot(self) -> Snapshot:
        """Everything a page that just opened needs."""
        library, queue = self._parts.library, self._parts.queue
        active = library.jobs_with(JobStatus.RUNNING, JobStatus.QUEUED)
        ended = library.last_ended(ENDED_SHOWN)
        shown = [job for job in (*active, *ended) if not isinstance(job.request, HashCheckpoint)]
        makers = [job for job in shown if isinstance(job.request, GenerationRequest)]  # a replay has no pictures of its own
        running = [job for job in makers if job.status is JobStatus.RUNNING]  # two, while the pictures of one are still being saved
        current = max(running, key=lambda job: job.started or 0.0) if running else next((job for job in makers if job.status.ended), None)
        pictures = shown_of(current, library.pictures_of(current.id)) if current else []
        return Snapshot(
            boot=self.boot, jobs=tuple(queue.view(job) for job in shown), waiting=tuple(job.id for job in shown if job.status is JobStatus.QUEUED),
            pictures=tuple(PictureView.of(row) for row in pictures), progress=self.events.progress, preview=self.events.preview,
            notices=self.events.notices(), hashing=self.events.hashing, working=self.events.working,
            replays=tuple(library.replays(*(row.id for row in pictures))),
        )

    # Pictures

    def picture_info(self, picture_id: int) -> Metadata:
        """What the file of a picture says. Raises `NotFoundError`."""
        return self.read_metadata(Path(self.gallery.record(picture_id).path).read_bytes())

    def replay(self, picture_id: int, owner: str = "") -> Job:
        """Put the making again of a picture in line, with the settings of its own job while that is known. Raises `WebuiError`."""
        record = self.gallery.record(picture_id)
        found = self.picture_info(picture_id)
        planned = plan_replay(record, found)
        request = self._resolve(planned.request)
        job = self._parts.library.job(record.job_id)
        overrides = found.values.get("settings")
        snapshot = job.settings if job else self.settings().snapshot(dict(overrides) if isinstance(overrides, dict) else {})
        return self._parts.queue.put(planned.revise(request=request), snapshot, owner=owner)

    def last_parameters(self) -> Metadata:
        """What `params.txt` says: how the last pictures were made. Of kind `none` when nothing was generated yet."""
        try:
            content = self._parts.params.read_bytes() if self._parts.params else b""
        except OSError:
            content = b""
        return self.read_metadata(content) if content.strip() else Metadata(kind="none")

    # Models, settings, prompts

    @property
    def models_at_hand(self) -> bool:
        """False while thousands of files are looked at for the first time; every page is told when it is done."""
        return self._parts.catalog.at_hand

    def checkpoints(self) -> list[Checkpoint]:
        """The checkpoints, usable and not, with what is kept for each."""
        return [self._parts.preferences.with_kept(item) for item in self._parts.catalog.checkpoints()]

    def keep_preferences(self, checkpoint: str, values: Suggestions | None) -> None:
        """Keep values for a checkpoint, or with None forget them. Raises `WebuiError`."""
        self._parts.preferences.keep(self._parts.catalog.get(checkpoint).name, values)
        self.events.publish(CatalogChanged())

    def default_checkpoint(self) -> str | None:
        """Name of the checkpoint used when a request names none."""
        return self._parts.checkpoint or self._parts.catalog.default()

    def refresh_checkpoints(self) -> list[Checkpoint]:
        """Look for new, changed and removed files."""
        self._parts.catalog.refresh()
        self.events.publish(CatalogChanged())
        return self.checkpoints()

    def settings(self) -> Settings:
        """All settings."""
        return self._parts.settings.get()

    def change_settings(self, values: dict[str, Any]) -> Settings:
        """Change some settings. Raises `RequestError` at the key."""
        return self._parts.settings.change(values)

    def settings_schema(self) -> list[dict[str, Any]]:
        """The sections of the settings page, with what can be chosen on this server."""
        return describe_settings({
            "samplers": list(self.registries.samplers), "schedulers": list(self.registries.schedulers),
            "vaes": vae_names(self._parts.files.files("vae")), "quicksettings": [CHECKPOINT_SETTING, *Settings.model_fields],
            "tabs": list(TAB_NAMES.values()),
            "interrogate_lists": [each.name for each in find_lists(self._parts.folders.models)],
            "image_upscalers": [spec.name for spec in self.registries.upscalers.values() if spec.latent_mode is None],
        })

    def page_facts(self) -> dict[str, Any]:
        """What a page must know before it is drawn: its settings, what its form begins with, and what was wrong with that."""
        settings = self.settings().model_dump(mode="json", include=set(PageSettings.model_fields))
        looks, complaints = self._parts.defaults.read()
        default = next((item for item in self.checkpoints() if item.name == self.default_checkpoint()), None) if self.models_at_hand else None
        for name, value in form_values(default).items():
            for tab in FORMS if name != "prompt" else ("txt2img",):  # what to make of a picture is not the model's to say
                looks.setdefault(field_key(tab, name), {}).setdefault("value", value)
        return {"settings": settings, "form": looks, "complaints": complaints}

    def save_defaults(self, values: dict[str, Any]) -> None:
        """Make these values of the form what it begins with. Raises `RequestError` at the field."""
        self._parts.defaults.save(values)

    def clear_defaults(self) -> None:
        """Let the form begin as it does without `ui-config.json`."""
        self._parts.defaults.clear()

    def styles(self) -> list[Style]:
        """The styles, in the order of the file."""
        return self._parts.styles.all()

    def apply_styles(self, prompt: str, negative_prompt: str, names: Sequence[str]) -> tuple[str, str]:
        """Both prompts with the texts of these styles in them. Raises `RequestError` at `styles` for one that does not exist."""
        return apply_styles(prompt, negative_prompt, self._parts.styles.named(names))

    def replace_styles(self, styles: list[Style]) -> list[Style]:
        """Write all styles anew. Raises `RequestError` for two of one name."""
        self._parts.styles.replace(styles)
        return self.styles()

    def read_metadata(self, content: bytes, whole_prompts: bool = False) -> Metadata:
        """What a picture file or a pasted text says about how it was made, fitted to what this server has. With `whole_prompts` no styles are found
        in its prompts and taken out. Raises `RequestError`."""
        settings = self.settings()
        reading = ReadOptions(
            "Ignore" if whole_prompts else settings.infotext_styles, settings.auto_backcompat, settings.infotext_skip_pasting,
            settings.use_old_hires_fix_width_height,
        )
        return read_metadata(content, Known(
            samplers=self.registries.samplers.values(), schedulers=self.registries.schedulers.values(), checkpoints=self.checkpoints(),
            styles=self.styles(), settings=settings, reading=reading, upscalers=self.registries.upscalers.values(), files=self._parts.files,
        ))

    def count_tokens(self, text: str, negative: bool = False, calls: int = COUNTED_CALLS) -> tuple[int, int]:
        """Tokens of a prompt and the limit of its chunks, as the engine counts for so many model calls."""
        return count_tokens(text, self.settings(), negative=negative, calls=calls)

    def prompt_hints(self, text: str) -> list[Hint]:
        """What looks like a slip in a prompt."""
        return prompt_hints(text)

    def _tidy(self) -> None:
        try:
            self.images.collect(self._parts.library.images_named(), UNUSED_PICTURE_SECONDS)
            self.replays.tidy(UNUSED_PICTURE_SECONDS)
        except (OSError, WebuiError):
            log.exception("tidying up failed")


@contextmanager
def _at(field: str) -> Iterator[None]:
    """An error in here is one of this field."""
    try:
        yield
    except WebuiError as error:
        kind = LostPictureError if isinstance(error, NotFoundError) else RequestError
        raise kind(error.message, field=field, hint=error.hint) from error
