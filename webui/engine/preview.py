"""Live previews: what the model thinks the picture is, from latents by a linear map to colours, made on a thread of its own.

The map is fitted once per loaded model: a drawn picture goes through the model's own VAE, and least squares finds the colours of its latents. The
sampling loop only hands tensors over and never waits. Knows no request and no job.
"""

from __future__ import annotations

import io
import logging
import math
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from weakref import WeakKeyDictionary, ref

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from webui.backend.components import Components
from webui.backend.offload import is_moved_about
from webui.schema.settings import MachineSettings

log = logging.getLogger(__name__)

Emit = Callable[[int, int, bytes], None]
"""width, height, JPEG bytes"""

SIDE = 128
"""Pixels of the drawn picture: 16 x 16 latent cells are plenty for 5 unknowns per colour, and a full-size VAE encodes it in a moment."""

LONGER_SIDE = (256, 512)
"""The preview's longer side is brought between these."""


class Previewer:
    """Owns the preview thread and the fitted maps; lives as long as the runtime."""

    def __init__(self) -> None:
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="preview")
        self._maps: WeakKeyDictionary[Components, np.ndarray] = WeakKeyDictionary()

    def begin(self, components: Components, machine: MachineSettings, emit: Emit) -> PreviewRun:
        """Previews for one run; nothing is emitted any more after its `end`."""
        if is_moved_about(components.modules["vae"]):
            self.map_of(components)  # here and now: on the other thread the VAE would push the denoiser off the device
        return PreviewRun(self, components, machine, emit)

    def submit(self, work: Callable[[], None]) -> Future[None]:
        """Run on the preview thread."""
        return self._thread.submit(work)

    def map_of(self, components: Components) -> np.ndarray:
        """(channels + 1, 3) of a model, fitted at the first call: on the preview thread, or before it begins."""
        known = self._maps.get(components)
        if known is None:
            known = self._maps[components] = fit_map(components)
        return known

    def close(self) -> None:
        """End the thread."""
        self._thread.shutdown(wait=True, cancel_futures=True)


class PreviewRun:
    """Decides when a preview is due. At most one is in the making; what comes meanwhile is passed over, so the newest one always wins.

    It does not keep the model in memory: a refiner may take its place in the middle of the run, and its map serves on."""

    def __init__(self, previewer: Previewer, components: Components, machine: MachineSettings, emit: Emit) -> None:
        self._previewer = previewer
        self._components = ref(components)
        self._map: np.ndarray | None = None
        self._every = machine.show_progress_every_n_steps if machine.live_previews_enable else 0
        self._period = machine.live_preview_refresh_period / 1000
        self._emit = emit
        self._last = -math.inf
        self._pending: Future[None] | None = None
        self._active = True
        self._lock = threading.Lock()

    def offer(self, step: int, x0: Tensor) -> None:
        """A step is finished. Takes microseconds when no preview is due."""
        now = time.monotonic()
        if self._every <= 0 or step % self._every or now - self._last < self._period or not self._idle():
            return
        self._last = now
        self._pending = self._previewer.submit(lambda: self._make(x0))

    def end(self) -> None:
        """Stop: when this returns, `emit` will not be called again."""
        with self._lock:
            self._active = False

    def _idle(self) -> bool:
        if self._pending is None:
            return True
        if not self._pending.done():
            return False
        error = self._pending.exception()
        if error is not None:
            log.error("no more previews in this run: making one failed", exc_info=error)
            self._every = 0
        self._pending = None
        return error is None

    def _make(self, x0: Tensor) -> None:
        colours = self._colours()
        if colours is None:
            return
        image = preview_image(x0.float().cpu().numpy(), colours)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=85)
        with self._lock:
            if self._active:
                self._emit(image.width, image.height, buffer.getvalue())

    def _colours(self) -> np.ndarray | None:
        """The map; None when the model went before it was fitted."""
        if self._map is None and (components := self._components()) is not None:
            self._map = self._previewer.map_of(components)
        return self._map


def fit_map(components: Components) -> np.ndarray:
    """(channels + 1, 3) float32: latents with a 1 appended, times this, are colours in [0, 1]. Least squares over one drawn picture."""
    picture = _drawn_picture()
    with torch.inference_mode():
        pictures = torch.from_numpy(picture * 2 - 1).permute(2, 0, 1)[None].to(components.device.device)
        latents = components.autoencoder.encode(pictures)[0].cpu().numpy()
    cells = SIDE // latents.shape[1]
    colours = picture.reshape(latents.shape[1], cells, latents.shape[2], cells, 3).mean(axis=(1, 3)).reshape(-1, 3)
    return np.linalg.lstsq(_with_one(latents), colours, rcond=None)[0].astype(np.float32)


def preview_image(x0: np.ndarray, colour_map: np.ndarray) -> Image.Image:
    """(batch, channels, h, w) → one RGB picture; several stand in a grid as square as can be."""
    batch, _, height, width = x0.shape
    columns = math.ceil(math.sqrt(batch))
    rows = math.ceil(batch / columns)
    grid = np.zeros((rows * height, columns * width, 3), np.uint8)
    for number, latents in enumerate(x0):
        colours = (_with_one(latents) @ colour_map).reshape(height, width, 3)
        row, column = divmod(number, columns)
        grid[row * height : (row + 1) * height, column * width : (column + 1) * width] = (np.nan_to_num(colours).clip(0, 1) * 255).astype(np.uint8)
    longer = max(grid.shape[:2])
    scale = min(max(longer * 8, LONGER_SIDE[0]), LONGER_SIDE[1]) / longer
    size = (max(round(grid.shape[1] * scale), 1), max(round(grid.shape[0] * scale), 1))
    return Image.fromarray(grid, "RGB").resize(size, Image.Resampling.BILINEAR)


def _with_one(latents: np.ndarray) -> np.ndarray:
    """(channels, h, w) → (h w, channels + 1), the last column 1."""
    flat = latents.reshape(latents.shape[0], -1).T
    return np.concatenate([flat, np.ones((len(flat), 1), flat.dtype)], axis=1)


def _drawn_picture() -> np.ndarray:
    """(SIDE, SIDE, 3) float32 in [0, 1]: patches of every corner of the colour cube and of greys, over smooth gradients of all colours."""
    y, x = np.mgrid[0:SIDE, 0:SIDE].astype(np.float32) / SIDE
    turns = np.array([1.0, 1.5, 2.0], np.float32)
    picture = 0.5 + 0.5 * np.sin(2 * np.pi * (turns * x[..., None] + turns[::-1] * y[..., None]) + np.arange(3))
    patch = SIDE // 8
    for number in range(16):
        level = [number & 1, number >> 1 & 1, number >> 2 & 1] if number < 8 else [(number - 8) / 7] * 3
        row, column = number * 5 % 8, number % 8
        picture[row * patch : (row + 1) * patch, column * patch : (column + 1) * patch] = level
    return picture.astype(np.float32)
