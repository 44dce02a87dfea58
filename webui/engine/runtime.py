"""The engine as the worker holds it: one device, its loaded models, and the way from a request to pictures. Built on the worker thread.

This is the module by which torch enters the process. It knows no job, no file of ours and no page.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from webui.backend.catalog import Catalog
from webui.backend.device import choose_device
from webui.backend.manager import ModelManager
from webui.backend.parts import ModelChoice
from webui.engine.generate import Workshop, generate
from webui.engine.plan import Plan, make_plan
from webui.engine.preview import Previewer
from webui.engine.steps.encode import PromptCache
from webui.engine.tools import Picture, RunTools
from webui.plugins.host import PluginHost
from webui.plugins.registry import Registries
from webui.schema.errors import WebuiError
from webui.schema.generation import Txt2Img
from webui.schema.machine import DeviceOptions
from webui.schema.model import Checkpoint
from webui.schema.settings import MachineSettings, PictureSettings


class Runtime:
    """One device at work. Used from one thread at a time."""

    def __init__(self, options: DeviceOptions, catalog: Catalog, registries: Registries, host: PluginHost | None = None) -> None:
        self.device = choose_device(options)
        self.shop = Workshop(ModelManager(self.device), PromptCache(), Previewer(), host)
        self._catalog = catalog
        self._registries = registries

    @property
    def description(self) -> str:
        """The device in words."""
        return self.device.description

    def plan(self, request: Txt2Img, settings: PictureSettings | None = None) -> Plan:
        """The request with everything resolved. Raises `RequestError` or `ModelError` at the field that is wrong."""
        checkpoint = self._catalog.get(request.checkpoint or self._catalog.default() or "")
        return make_plan(request, checkpoint, self._registries, settings=settings)

    def generate(self, request: Txt2Img, tools: RunTools | None = None) -> Iterator[Picture]:
        """Pictures of a request, one by one; see `generate.generate` for interrupt and skip. Raises `WebuiError` in words for the person."""
        tools = tools or RunTools()
        plan = self.plan(request, tools.settings)
        with _out_of_memory_in_words(plan):
            yield from generate(plan, self.shop, tools)

    def preload(self, checkpoint: Checkpoint, machine: MachineSettings) -> None:
        """Load a checkpoint before the first job asks for it. Raises `ModelError`."""
        with self.shop.manager.lease(ModelChoice(checkpoint), machine.sd_checkpoints_limit):
            pass

    def close(self) -> None:
        """End the preview thread and give the memory back."""
        self.shop.previewer.close()
        self.shop.manager.evict()


@contextmanager
def _out_of_memory_in_words(plan: Plan) -> Iterator[None]:
    request, largest = plan.request, max(plan.passes, key=lambda part: part.width * part.height)
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not isinstance(error, (MemoryError, torch.OutOfMemoryError)) and "allocate memory" not in str(error):  # the CPU's has no class of its own
            raise
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        raise WebuiError(
            f"There is not enough memory for {request.batch_size} × {largest.width} × {largest.height} pixels at once.",
            hint="Take a smaller size or batch size.",
        ) from error
