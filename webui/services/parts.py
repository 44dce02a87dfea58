"""The long-lived objects of the application, which the studio puts to work together. Knows how none of them is made: that is `webui.main`'s."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from webui.backend.catalog import Catalog
from webui.backend.network_files import NetworkFiles
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.services.events import EventBus
from webui.services.extras import ExtrasDesk
from webui.services.folder_batch import FolderBatches
from webui.services.folders import Folders
from webui.services.form_defaults import FormDefaults
from webui.services.hashing import Hasher
from webui.services.images import ImageStore
from webui.services.library import Library
from webui.services.outputs import Outputs
from webui.services.preferences import Preferences
from webui.services.queue import JobQueue
from webui.services.replay import Replays
from webui.services.settings import SettingsStore
from webui.services.shelf import ModelShelf
from webui.services.styles import Styles
from webui.services.watcher import Watcher
from webui.services.worker import Worker


@dataclass(frozen=True)
class Parts:
    """The long-lived objects, made by `webui.main`."""

    folders: Folders
    library: Library
    settings: SettingsStore
    events: EventBus
    queue: JobQueue
    outputs: Outputs
    images: ImageStore
    styles: Styles
    defaults: FormDefaults
    catalog: Catalog
    registries: Registries
    host: PluginHost
    workers: tuple[Worker, ...]
    hasher: Hasher
    files: NetworkFiles
    preferences: Preferences
    shelf: ModelShelf
    watcher: Watcher
    replays: Replays
    extras: ExtrasDesk
    batches: FolderBatches
    params: Path | None = None
    """A1111's `params.txt`: the line of the last pictures, for the button ↙ above an empty prompt; None = it is not kept."""

    checkpoint: str | None = None
    """The checkpoint named on the command line."""
