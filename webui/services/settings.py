"""`config.json`: A1111's keys, unknown ones kept, written as a whole. What cannot be understood is set aside, named, never overwritten."""

from __future__ import annotations

import json
import logging
import threading
import time
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from webui.schema.errors import RequestError, StorageError, field_errors
from webui.schema.settings import Settings
from webui.services.folders import write_atomically

log = logging.getLogger(__name__)


class SettingsStore:
    """The settings of the server. `complaints` says what was wrong with the file when it was read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.complaints: list[str] = []
        self._lock = threading.Lock()
        self._unknown: dict[str, Any] = {}
        self._settings = self._read()

    def get(self) -> Settings:
        """A frozen snapshot of all settings."""
        return self._settings

    def change(self, values: dict[str, Any]) -> Settings:
        """Validate and write. Raises `RequestError` at the key; then nothing is changed."""
        with self._lock:
            unknown = set(values) - set(Settings.model_fields)
            if unknown:
                raise RequestError(f"There is no setting “{sorted(unknown)[0][:80]}”.", field=sorted(unknown)[0][:80])
            try:
                settings = self._settings.revise(**values)
            except ValidationError as error:
                info = field_errors(error)[0]
                raise RequestError(info.message, field=info.field) from error
            changed = {name: value for name, value in settings.model_dump().items() if value != Settings.model_fields[name].default}
            text = json.dumps(self._unknown | changed, indent=4, ensure_ascii=False)
            try:
                write_atomically(self.path, text.encode())
            except OSError as error:
                raise StorageError(f"The settings could not be written to {self.path}: {error.strerror or error}.") from error
            self._settings = settings
            return settings

    def _read(self) -> Settings:
        try:
            content = json.loads(self.path.read_text(encoding="utf-8"))
            if not isinstance(content, dict):
                raise ValueError("it holds no object")
        except FileNotFoundError:
            return Settings()
        except (OSError, ValueError) as error:
            aside = self.path.with_name(f"{self.path.name}.damaged-{time.strftime('%Y%m%d-%H%M%S')}")
            self.complaints.append(f"{self.path.name} could not be read ({error}); it was kept as {aside.name} and defaults are used.")
            try:
                self.path.rename(aside)
            except OSError:
                log.exception("could not set %s aside", self.path)
            return Settings()
        self._unknown = {key: value for key, value in content.items() if key not in Settings.model_fields}
        return self._known({key: value for key, value in content.items() if key in Settings.model_fields})

    def _known(self, values: dict[str, Any]) -> Settings:
        """Settings from the file; a value that is not possible is named and its default used, the file keeps it until it is changed."""
        try:
            return Settings.model_validate(values)
        except ValidationError as error:
            wrong = {str(item["loc"][0]): item["msg"] for item in error.errors()}
            self.complaints += [f"{self.path.name}: {key}: {message}; its default is used." for key, message in wrong.items()]
            self._unknown |= {key: values[key] for key in wrong}
            return Settings.model_validate({key: value for key, value in values.items() if key not in wrong})
