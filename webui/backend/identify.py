"""What a checkpoint is, from headers and notes alone: family, variant, layout, parts. Reads a few kilobytes and needs no torch.

Goes by the names and shapes of weights (`kinds`), by the file's notes, by a .yaml of A1111's kind beside it, by its card; never by the file's name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from webui.backend import diffusers_folder, kinds
from webui.backend.distilled import has_guidance_input, suggest
from webui.backend.formats.contract import Header, refusal
from webui.backend.headers import read_header
from webui.backend.layouts import beside, trunk_of
from webui.backend.model_defaults import defaults_of
from webui.backend.model_yaml import read_card, read_yaml
from webui.schema.model import Prediction, Suggestions

log = logging.getLogger(__name__)

RECOGNITION = 4
"""Raised by one when the same file would be recognised as something else, so that what was remembered is forgotten."""

SUGGESTS_KEY = "easel.suggests"
"""Metadata key under which a file carries `Suggestions` as JSON."""

_NOTED: Mapping[str, Prediction] = {"v": "v", "v_prediction": "v", "v-prediction": "v", "epsilon": "epsilon", "eps": "epsilon"}
"""Values of `modelspec.prediction_type` (https://github.com/Stability-AI/ModelSpec)."""


@dataclass(frozen=True)
class Identity(kinds.Model):
    """What a checkpoint is, and what it says of itself."""

    suggests: Suggestions | None = None


def identify(path: Path) -> Identity:
    """What lies at `path`: a file, an index of shards, or a diffusers folder. That it was recognised does not mean that it can be run: see `support`.

    Raises `ModelError` at `checkpoint` with the reason when it is no checkpoint.
    """
    if path.is_dir():
        model = _by_hand(path, diffusers_folder.read_folder(path))
        return _with(model, defaults_of(model.family, model.variant) or suggest(path.name, {}, diffusers_folder.scheduler_of(path)))
    header = read_header(path)
    found = kinds.recognise(header)
    if found is None:
        seen = kinds.describe_unknown(header)
        raise refusal(path, f"is not a model of a family known to Easel ({seen})", "Known: Stable Diffusion 1, 2, XL, 3 and Flux.1.")
    if isinstance(found, kinds.Other):
        raise refusal(path, f"is {found.reason}", "Put it into the folder for its kind, or choose another checkpoint.")
    model = _by_hand(path, _overridden(path, _noted(found, header.metadata)))
    return _with(model, _suggestions(path, header, model))


def _with(model: kinds.Model, suggests: Suggestions | None) -> Identity:
    return Identity(**{**vars(model), "suggests": suggests})


def _noted(model: kinds.Model, notes: Mapping[str, str]) -> kinds.Model:
    """What the file's notes say of the prediction, where its weights are silent."""
    said = _NOTED.get(notes.get("modelspec.prediction_type", "").lower())
    if said is None and notes.get("modelspec.architecture", "").lower().startswith("stable-diffusion-v2-768-v"):
        said = "v"
    zero = model.zero_snr or notes.get("ss_zero_terminal_snr", "").lower() == "true"
    return replace(model, prediction=model.prediction or said, zero_snr=zero)


def _overridden(path: Path, model: kinds.Model) -> kinds.Model:
    """What a .yaml beside the file says. It decides what weights cannot tell; where it contradicts them, one of the two is the wrong file."""
    note = beside(path, ".yaml")
    said = read_yaml(note)
    if said is None:
        return model
    if said.family not in (None, model.family) or said.variant not in (None, model.variant):
        claims = " ".join(filter(None, (said.family, said.variant)))
        what = f"and {note.name} beside it contradict each other: that says {claims}, the weights are {model.family} {model.variant}"
        raise refusal(path, what, f"Remove {note.name}, or put the right one there.")
    return replace(model, prediction=said.prediction or model.prediction, zero_snr=model.zero_snr or said.zero_snr)


def _by_hand(path: Path, model: kinds.Model) -> kinds.Model:
    """What a person set on the model's card, which wins over everything but the weights: flow and EDM models are known by theirs."""
    said = read_card(beside(path, ".json"))
    if said is None or model.prediction in ("flow", "edm"):
        return model
    return replace(model, prediction=said.prediction, zero_snr=said.zero_snr)


def _suggestions(path: Path, header: Header, model: kinds.Model) -> Suggestions | None:
    """What the file says itself, or what its kind is good with. Nonsense in there is logged and ignored: the model itself is none the worse."""
    text = header.metadata.get(SUGGESTS_KEY)
    try:
        if text:
            return Suggestions.model_validate_json(text)
        guided = has_guidance_input(header)
        return defaults_of(model.family, model.variant) or suggest(trunk_of(path).name, header.metadata, consistent=guided)
    except ValidationError as error:
        log.warning("%s: its %s is ignored: %s", path.name, SUGGESTS_KEY, error.errors(include_url=False)[0]["msg"])
        return None
