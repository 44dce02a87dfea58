"""How far things in a picture are, for models that look at depth: estimated by a network from files in models/, or by the checkpoint's own.

Where they belong, `estimators` says. Loaded for the pictures of one call and let go."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from PIL import Image
from safetensors import SafetensorError
from torch import Tensor
from transformers import AutoImageProcessor, AutoModelForDepthEstimation, DPTImageProcessor

from webui.backend.device import Device
from webui.backend.families.midas import load_midas
from webui.engine.estimators import HINT, Estimator, find_estimator, no_estimator
from webui.schema.errors import ModelError
from webui.schema.model import Checkpoint

log = logging.getLogger(__name__)

FAILS = (OSError, ValueError, KeyError, RuntimeError, TypeError, AttributeError, SafetensorError, UnpicklingError)
"""What transformers raises for folders that are not whole."""


class DepthEstimator:
    """Estimates depth on one device. `models` is the models folder, None where there is none."""

    def __init__(self, device: Device, models: Path | None) -> None:
        self._device = device
        self._models = models

    def estimate(self, checkpoint: Checkpoint, images: Sequence[Image.Image], *, hires: bool = False) -> Tensor:
        """(pictures, 1, height, width) float32 of RGB pictures of one size, in the network's own size and unit: nearer is larger. It is shown one
        picture at a time: none depends on the others, to the last bit. Raises `RequestError` without an estimator (`hires`: see `no_estimator`),
        `ModelError` when it cannot be read."""
        found = find_estimator(checkpoint, self._models)
        if found is None:
            raise no_estimator(checkpoint, hires=hires)
        with torch.inference_mode(False):
            prepare, network = self._load(found)
        log.info("estimating depth by %s", found.network)
        try:
            network = network.to(self._device.device)
            seen = [prepare(images=image, return_tensors="pt").pixel_values for image in images]
            with torch.inference_mode():
                depth = torch.cat([network(pixels.to(self._device.device, torch.float32)).predicted_depth for pixels in seen])
        finally:
            del network
            self._device.free_memory()
        if not bool(torch.isfinite(depth).all()):
            raise ModelError(f"The depth estimator in {found.network.name} produced NaN (not a number).", field="depth", hint="Give a depth map.")
        return depth[:, None].float()

    def _load(self, found: Estimator) -> tuple[Any, Any]:
        """What prepares a picture, and the network."""
        if found.preparation is None:
            return DPTImageProcessor(), load_midas(found.network, self._device)
        return _load_folders(found.preparation, found.network)


def _load_folders(preparation: Path, network: Path) -> tuple[Any, Any]:
    """In float32: batch normalisation, which some have, is not for 16 bits. Nothing is downloaded, and no code that lies there is run."""
    local: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        prepare = AutoImageProcessor.from_pretrained(preparation, **local)
        loaded, told = AutoModelForDepthEstimation.from_pretrained(network, dtype=torch.float32, output_loading_info=True, **local)
    except FAILS as error:
        raise ModelError(f"The depth estimator in {network.name} cannot be read: {str(error)[:200]}", field="depth", hint=HINT) from error
    if lacking := sorted(told["missing_keys"]):  # transformers would go on with random ones
        what = f"The depth estimator in {network.name} lacks {len(lacking)} weights, the first is {lacking[0]}."
        raise ModelError(what, field="depth", hint="Download the folder again.")
    return prepare, loaded.eval()
