"""SDXL models of EDM's kind in one file: Playground 2.5 and CosXL, by the small tensors that say so. Knows no sampling.

Numbers as ComfyUI has them (`supported_models.py`, SDXL) and diffusers (`EDMDPMSolverMultistepScheduler` of Playground's folder).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from webui.backend.components import Edm, Prediction
from webui.backend.weights import open_weights
from webui.schema.errors import ModelError

_LEAST, _MOST = "edm_vpred.sigma_min", "edm_vpred.sigma_max"
_PLAYGROUND = Edm(0.002, 80.0, data=0.5, karras=True)
PLAYGROUND_SCALING = 0.5
"""What its latents are multiplied by when their channels have been brought to mean 0 and spread 1."""


@dataclass(frozen=True)
class Trained:
    """How such a model was trained. `mean` and `spread`: of the channels of its latents, (1, channels, 1, 1), where it is told them."""

    edm: Edm
    prediction: Prediction
    mean: Tensor | None = None
    spread: Tensor | None = None


def read_trained(path: Path, shapes: Mapping[str, tuple[int, ...]]) -> Trained:
    """Out of a file with these tensors. Raises `ModelError` when it does not say enough, or nonsense."""
    with open_weights(path) as weights:
        if "edm_mean" in shapes and "edm_std" in shapes:
            mean, spread = (weights.get(name).float().reshape(1, -1, 1, 1) for name in ("edm_mean", "edm_std"))
            if mean.shape != spread.shape or not (spread > 0).all():
                raise ModelError(f"{path.name}: edm_mean and edm_std make no sense.", field="checkpoint", hint="Download the file again.")
            return Trained(_PLAYGROUND, "edm", mean.clone(), spread.clone())
        if _MOST in shapes:
            most = weights.get(_MOST).float().item()
            least = weights.get(_LEAST).float().item() if _LEAST in shapes else 0.002
            if not 0 < least < most:
                raise ModelError(f"{path.name}: its noise goes from {least:g} to {most:g}.", field="checkpoint", hint="Download the file again.")
            return Trained(Edm(least, most), "v")
    what = f"{path.name} is said to be an EDM model, but has neither edm_mean nor {_MOST} to say of which kind."
    raise ModelError(what, field="checkpoint", hint="Remove the .yaml beside it if that is wrong, or take the diffusers folder.")
