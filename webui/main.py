"""The composition root: launch options in, a running server out. The only place that makes long-lived objects; nobody imports it."""

from __future__ import annotations

import gc
import logging
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Sequence
from types import FrameType

import uvicorn
from fastapi import FastAPI

from webui.api.guard import LOCAL_HOSTS, Access, Guard, load_secret
from webui.api.server import make_api
from webui.builtin import BUILTINS
from webui.engine.tables import found_upscalers, register_tables
from webui.options import ROOT, choose_port, parse_options
from webui.plugins.discover import load_extensions, load_scripts
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import WebuiError
from webui.schema.event import CatalogChanged
from webui.schema.launch import LaunchOptions
from webui.services.assembly import make_catalog, make_files, make_folders, open_library
from webui.services.events import EventBus, forward_to_plugins
from webui.services.extras import ExtrasDesk, Shop
from webui.services.folder_batch import FolderBatches
from webui.services.folders import DataLock, Folders
from webui.services.form_defaults import FormDefaults
from webui.services.hashing import Hasher
from webui.services.images import ImageStore
from webui.services.model_work import ModelWorkshop
from webui.services.outputs import Outputs, Waiting
from webui.services.parts import Parts
from webui.services.picture_folders import PictureFolders
from webui.services.preferences import Preferences
from webui.services.queue import JobQueue
from webui.services.replay import Replays
from webui.services.settings import SettingsStore
from webui.services.shelf import ModelShelf
from webui.services.studio import Studio
from webui.services.styles import Styles
from webui.services.watcher import Watcher
from webui.services.worker import DeviceExecutor, FileExecutor, Worker
from webui.ui.shell import WEB, PageOptions, mount

log = logging.getLogger("webui")


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until Ctrl+C. Returns the exit status; what the person can mend is said in one line."""
    try:
        options = parse_options(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(level=options.loglevel, format="%(asctime)s %(levelname)s %(name)s: %(message)s", datefmt="%H:%M:%S")
        logging.getLogger("httpx").setLevel(logging.WARNING)
        if not options.device.xformers:  # diffusers imports it where it is installed, used or not; None is Python's word for "not to be imported"
            sys.modules.setdefault("xformers", None)  # pyright: ignore[reportArgumentType]
        logging.getLogger("xformers").setLevel(logging.ERROR)  # its import complains at length where its kernels do not load; SDPA is used there
        folders = make_folders(options)
        folders.create()
        with DataLock(folders):
            serve(options, folders)
    except KeyboardInterrupt:
        return 0
    except WebuiError as error:
        print(f"Easel cannot start: {error.message}{f' {error.hint}' if error.hint else ''}", file=sys.stderr)
        return 1
    return 0


def serve(options: LaunchOptions, folders: Folders) -> None:
    """Build the application and serve it. Raises `WebuiError` when it cannot start."""
    for flag in options.ignored:
        log.info("flag without a meaning here: %s", flag)
    port = choose_port(options.host, options.port)
    studio = make_studio(options, folders)
    app = make_app(studio, options, folders)
    if not options.local and not options.gradio_auth:
        log.warning("anyone who can reach this machine can use this page. Add --gradio-auth name:password.")
    server = _Server(uvicorn.Config(
        app, host=options.host, port=port, log_level="warning", ssl_keyfile=options.tls_keyfile, ssl_certfile=options.tls_certfile,
        timeout_graceful_shutdown=5, lifespan="on",
    ))
    server.studio = studio
    scheme = "https" if options.tls_certfile else "http"
    shown = f"{scheme}://{'127.0.0.1' if options.host in ('0.0.0.0', '::') else options.host}:{port}"
    server.ready = lambda: _say_ready(shown, options.browser)
    gc.freeze()  # what is there now stays
    gc.enable()
    studio.start()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(0))  # uvicorn raises the signal again when it is done; close must still run
    try:
        server.run()
    finally:
        studio.close()


def make_studio(options: LaunchOptions, folders: Folders) -> Studio:
    """All parts of the application, wired."""
    registries = Registries()
    register_tables(registries)
    events = EventBus()
    library = open_library(folders)
    settings = SettingsStore(folders.data / "config.json")
    catalog, checkpoint = make_catalog(options, folders, library)
    names = {"samplers": registries.samplers, "schedulers": registries.schedulers}
    defaults = FormDefaults(folders.data / "ui-config.json", names)
    queue = JobQueue(library, events.publish)
    hasher = Hasher(catalog, queue, enabled=not options.no_hashing)
    files = make_files(options, folders, library)
    registries.upscalers.follow(lambda: found_upscalers(files, catalog))
    params = folders.data / "params.txt" if options.prompt_history else None
    outputs = Outputs(
        folders.outputs, folders.own / "unsaved", library, hasher.known, emit=events.publish,
        waiting=Waiting(folders.own / "drafts", hasher.ask) if hasher.enabled else None, vae_hash_of=files.hash if hasher.enabled else None,
        params=params,
    )
    replays = Replays(folders.own / "replays", library, outputs, events.publish)
    host, images = PluginHost(registries), ImageStore(folders.own / "images")
    allowed = PictureFolders((folders.data, *options.picture_folders, folders.outputs))
    shop = Shop(registries.upscalers, files, images, allowed, library, folders.outputs, folders.models)
    extras = ExtrasDesk(shop, queue, settings.get)
    batches = FolderBatches(allowed, lambda content: studio.read_metadata(content, whole_prompts=True))
    device = DeviceExecutor(
        options.device, catalog=catalog, registries=registries, host=host, outputs=outputs, library=library, queue=queue, machine=settings.get,
        default=lambda: checkpoint or catalog.default(), images=images, files=files, replays=replays,
        extras=extras, batches=batches, models=folders.models,
    )
    workshop = ModelWorkshop(catalog, files)
    file_work = FileExecutor(catalog, outputs.finish, workshop)
    workers = (Worker("device:0", queue, device, events.publish), Worker("cpu", queue, file_work, events.publish))
    shelf = ModelShelf(catalog, files, workshop, queue, hasher)
    watcher = Watcher((*catalog.folders, *files.folders), shelf.look_again, lambda: events.publish(CatalogChanged()))
    studio = Studio(Parts(
        folders=folders, library=library, settings=settings, events=events, queue=queue, outputs=outputs, images=images,
        styles=Styles(*(options.styles_files or [folders.data / "styles.csv"])),
        defaults=defaults, catalog=catalog, registries=registries, host=host, workers=workers,
        hasher=hasher, files=files, preferences=Preferences(folders.own / "models.json"), shelf=shelf, watcher=watcher, replays=replays,
        params=params, checkpoint=checkpoint, extras=extras, batches=batches,
    ))
    host.on_fault = lambda plugin, message: studio.notify(f"plugin {plugin}", "warning", f"The extension {plugin} failed in {message}")
    events.listen(forward_to_plugins(host))
    load_plugins(host, folders, options.safe_mode)
    return studio


def load_plugins(host: PluginHost, folders: Folders, safe_mode: bool) -> None:
    """Built-ins first, then what the person dropped in (not in safe mode). The program's own folders count too when the data is elsewhere."""
    for plugin in BUILTINS:
        host.add(plugin.__name__.rsplit(".", 1)[-1], plugin)
    if safe_mode:
        log.info("safe mode: no extensions, no scripts")
        return
    for folder in dict.fromkeys((ROOT / "extensions", folders.extensions)):
        load_extensions(host, folder)
    for folder in dict.fromkeys((ROOT / "scripts", folders.scripts)):
        load_scripts(host, folder)


def make_app(studio: Studio, options: LaunchOptions, folders: Folders) -> FastAPI:
    """The web application: API, page, and the guard around both."""
    app = make_api(studio, WEB)
    mount(app, studio, PageOptions(theme=options.theme, checkpoint_folder=str(folders.models / "Stable-diffusion")))
    access = Access(
        users=dict(options.gradio_auth), api_users=dict(options.api_auth), hosts=LOCAL_HOSTS | {options.host} if options.local else None,
        secure=options.tls_certfile is not None,
    )
    app.add_middleware(Guard, access=access, secret=load_secret(folders.own / "secret"))
    return app


def _say_ready(url: str, browser: bool) -> None:
    print(f"Easel is ready: {url}", flush=True)
    if browser:
        threading.Thread(target=webbrowser.open, args=(url,), daemon=True).start()


class _Server(uvicorn.Server):
    """uvicorn that says when it answers, and that ends the event streams before it waits for connections to close."""

    studio: Studio
    ready: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Open the port, then say so."""
        await super().startup(sockets)
        if self.started:
            self.ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Ctrl+C or a polite kill."""
        self.studio.events.close()
        super().handle_exit(sig, frame)
