"""Finished pictures: found again, copied by the Save button, zipped. Knows rows and files, not how a picture is made."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import IO

from webui.schema.errors import NotFoundError
from webui.schema.result import PictureRecord
from webui.schema.settings import Settings
from webui.services.library import Library
from webui.services.outputs import copy_to_log
from webui.services.queue import JobQueue
from webui.services.zips import write_zip, zip_name


class Gallery:
    """The pictures of the library. `folder` is the data folder."""

    def __init__(self, library: Library, queue: JobQueue, settings: Callable[[], Settings], folder: Path) -> None:
        self._library = library
        self._queue = queue
        self._settings = settings
        self._folder = folder

    def record(self, picture_id: int) -> PictureRecord:
        """A finished picture. Raises `NotFoundError`, also when its file is gone."""
        record = self._library.picture(picture_id)
        if record is None or not Path(record.path).is_file():
            raise NotFoundError(f"There is no picture {picture_id}{' on the disk any more' if record else ''}.")
        return record

    def save_copy(self, picture_id: int) -> Path:
        """A1111's Save button. Returns the path of the copy, relative to the data folder where it is below it."""
        settings = self._settings()
        target = copy_to_log(self.record(picture_id), self._folder / settings.outdir_save, settings.save_write_log_csv)
        return target.relative_to(self._folder) if target.is_relative_to(self._folder) else target

    def zip_pictures(self, picture_ids: list[int], file: IO[bytes]) -> str:
        """Write the pictures as one zip and return what it is called. Raises `NotFoundError` before anything is written."""
        records = [self.record(picture_id) for picture_id in picture_ids]
        name = zip_name(records, self._queue.get(records[0].job_id), self._settings().grid_zip_filename_pattern)
        write_zip(records, file)
        return name
