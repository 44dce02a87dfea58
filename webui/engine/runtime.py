"""The engine as the worker holds it: one device, its loaded models, and the way from a request to pictures. Built on the worker thread.

This is the module by which torch enters the process. It knows no job, no file of ours and no page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from webui.backend.catalog import Catalog, find_named
from webui.backend.device import choose_device
from webui.backend.image_models import ImageModels
from webui.backend.manager import ModelManager
from webui.backend.memory import Work
from webui.backend.network_files import NetworkFiles
from webui.backend.parts import ModelChoice
from webui.backend.pipelines import Pipelines
from webui.backend.vae_choice import choose_vae
from webui.engine.captions import Captioner
from webui.engine.depth import DepthEstimator
from webui.engine.enlarging import Enlarger
from webui.engine.extras.faces import Mender
from webui.engine.extras.piece import Piece
from webui.engine.extras.pipeline import Bench, process
from webui.engine.extras.restorers import find_restorer
from webui.engine.fitting import fit, is_out_of_memory
from webui.engine.foreign import as_foreign, is_foreign
from webui.engine.generate import Workshop, generate
from webui.engine.plan import Plan, make_plan
from webui.engine.preview import Previewer
from webui.engine.steps.encode import PromptCache
from webui.engine.tools import Picture, RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import WebuiError
from webui.schema.extras import Extras
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint, FileKind, ModelFile
from webui.schema.request import PictureRequest
from webui.schema.settings import MachineSettings, PictureSettings


@dataclass(frozen=True)
class _Shelf:
    """Implements `parts.Shelf`."""

    catalog: Catalog
    network_files: NetworkFiles | None

    def files(self, kind: FileKind) -> list[ModelFile]:
        return self.network_files.files(kind) if self.network_files else []

    def folders(self, kind: FileKind) -> tuple[Path, ...]:
        return self.network_files.folders_of(kind) if self.network_files else ()

    def checkpoint(self, name: str) -> Checkpoint | None:
        usable = [entry for entry in self.catalog.checkpoints() if entry.error is None]
        short = name.lower()
        return find_named(usable, name) or next((entry for entry in usable if len(short) >= 10 and (entry.sha256 or "").startswith(short)), None)


class Runtime:
    """One device at work. Used from one thread at a time."""

    def __init__(
        self, options: DeviceOptions, catalog: Catalog, registries: Registries, host: PluginHost | None = None, files: NetworkFiles | None = None,
        models: Path | None = None,
    ) -> None:
        self.device = choose_device(options)
        self._image_models = ImageModels(self.device)
        self._captioner = Captioner(self.device, models)
        self._mender = Mender(self._image_models, self._file_of)
        enlarger = Enlarger(self._image_models)
        shelf = _Shelf(catalog, files)
        self.shop = Workshop(
            ModelManager(self.device), PromptCache(), Previewer(), enlarger, host, options, shelf, Pipelines(self.device),
            DepthEstimator(self.device, models), self._mender,
        )
        self._files = files
        self._catalog = catalog
        self._registries = registries

    @property
    def description(self) -> str:
        """The device in words."""
        return self.device.description

    def plan(self, request: PictureRequest, settings: PictureSettings | None = None) -> Plan:
        """The request with everything resolved. Raises `RequestError` or `ModelError` at the field that is wrong."""
        checkpoint = self._catalog.get(request.checkpoint or self._catalog.default() or "")
        settings = settings or PictureSettings()
        plan = as_foreign(make_plan(request, checkpoint, self._registries, settings=settings, find=self._catalog.get))
        others = tuple((one.name, self._vae(one, settings)) for one in plan.others)
        return replace(plan, vae=self._vae(checkpoint, settings), vaes=others)

    def _vae(self, checkpoint: Checkpoint, settings: PictureSettings) -> ModelFile | None:
        return choose_vae(settings.sd_vae, checkpoint, self._files.files("vae") if self._files else ())

    def generate(self, request: PictureRequest, tools: RunTools | None = None) -> Iterator[Picture]:
        """Pictures of a request, one by one; see `generate.generate` for interrupt and skip. Raises `WebuiError` in words for the person."""
        tools = tools or RunTools()
        plan = self.plan(request, tools.settings)
        with _out_of_memory_in_words(plan, self.shop.manager):
            yield from generate(plan, self.shop, tools)

    def process(self, image: Image.Image, request: Extras, tools: RunTools) -> list[Piece]:
        """What the operations of Extras make of a picture. Raises `WebuiError` in words for the person, `Cancelled` between two steps."""
        bench = Bench(self.shop.enlarger, self._mender, self._registries.upscalers, self._captioner, tools)
        chosen = (self._registries.upscalers.get(name).pipeline for name in (request.upscaler_1, request.upscaler_2)) if request.upscale else ()
        if pipelines := [*filter(None, chosen)]:
            self.shop.manager.evict()  # models as large as a checkpoint: one of them is enough
            made = [self.shop.enlarger.estimate(one, image.size, tools.settings) for one in pipelines]
            tools = replace(tools, note=max(made, key=lambda one: one.need).line)
            bench = replace(bench, tools=tools)
        try:
            return process(image, request, bench)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            self.shop.manager.evict()
            raise WebuiError(
                f"There is not enough memory for this picture of {image.width}×{image.height} pixels.", hint="Enlarge it less, or take small tiles.",
            ) from error

    def describe(self, image: Image.Image, kind: str, settings: PictureSettings) -> str:
        """A picture in words, see `captions.Captioner`. Raises `WebuiError`."""
        return self._captioner.describe(image, kind, settings)

    def tidy(self, keep_captioner: bool = False) -> None:
        """After a job on finished pictures: let go of what is not to stay."""
        self.shop.enlarger.trim()
        self._captioner.trim(keep_captioner)

    def _file_of(self, kind: str, name: str) -> Path | None:
        files = self._files
        found = find_restorer(files, kind, name) if files else None
        return Path(found.path) if found else None

    def preload(self, checkpoint: Checkpoint, machine: MachineSettings) -> None:
        """Load a checkpoint before the first job asks for it, for a small picture. Raises `ModelError`."""
        if is_foreign(checkpoint):
            return
        settings = PictureSettings()
        choice = ModelChoice(checkpoint, self._vae(checkpoint, settings), self.shop.shelf)
        fitted = fit(self.shop.manager, choice, Work(512 * 512, 2), self.shop.options, RunTools(machine=machine, settings=settings))
        with self.shop.manager.lease(choice, machine.sd_checkpoints_limit, residence=fitted.residence, budget=fitted.budget):
            pass

    def close(self) -> None:
        """End the preview thread and give the memory back."""
        self.shop.previewer.close()
        self.shop.manager.evict()
        if self.shop.pipelines is not None:
            self.shop.pipelines.evict()


@contextmanager
def _out_of_memory_in_words(plan: Plan, manager: ModelManager) -> Iterator[None]:
    request, largest = plan.request, max(plan.passes, key=lambda part: part.width * part.height)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        manager.evict()
        raise WebuiError(
            f"There is not enough memory for {request.batch_size} × {largest.width} × {largest.height} pixels at once.",
            hint="Take a smaller size or batch size.",
        ) from error
