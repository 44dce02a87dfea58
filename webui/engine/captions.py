"""A picture in words: BLIP's sentence, with what CLIP finds in lists, or a tagger's tags, from files in models/. `captioners` says where.

Tags are A1111's DeepBooru in form; the networks are WD taggers, DeepDanbooru and others of their layout (ONNX), which run on the CPU.
"""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import BlipForConditionalGeneration, BlipProcessor

from webui.backend.device import Device
from webui.engine.captioners import BLIP, CLIP, TAGGER, WD, Tag, find_captioner, find_lists, join_ranked, join_tags, lacks_clip
from webui.engine.clip_ranking import ClipRanker
from webui.engine.framing import frame_image
from webui.schema.errors import ModelError
from webui.schema.settings import PictureSettings

log = logging.getLogger(__name__)

RATING = "9"
"""The category of tags that say how decent a picture is; they are left out."""


class Captioner:
    """Loaded captioners of one device. `models` is the models folder, None where there is none."""

    def __init__(self, device: Device, models: Path | None) -> None:
        self._device = device
        self._models = models
        self._held: dict[str, Any] = {}

    def describe(self, image: Image.Image, kind: str, settings: PictureSettings) -> str:
        """The words of `BLIP`, of `CLIP` (BLIP's with what CLIP finds in the lists, when it and they are there) or of `Deepbooru`. Raises
        `ModelError` with the expected place when there are no files for it."""
        picture = image.convert("RGB")
        if kind == TAGGER.name:
            return join_tags(self._tags(find_captioner(self._models, kind), picture), settings)
        sentence = self._blip(find_captioner(self._models, BLIP.name), picture, settings)
        return sentence if kind == BLIP.name else join_ranked(sentence, self._ranked(picture, settings), settings)

    def trim(self, keep: bool = False) -> None:
        """Let go of what is loaded, unless it is to stay."""
        if self._held and not keep:
            self._held.clear()
            self._device.free_memory()

    def _blip(self, folder: Path, picture: Image.Image, settings: PictureSettings) -> str:
        if "blip" not in self._held:
            try:
                processor = BlipProcessor.from_pretrained(folder, local_files_only=True)
                model = BlipForConditionalGeneration.from_pretrained(folder, local_files_only=True)
            except (OSError, ValueError, KeyError, RuntimeError) as error:
                raise ModelError(f"The BLIP model in {folder.name} cannot be read: {str(error)[:200]}", hint="Get its folder again.") from error
            self._held["blip"] = processor, model.to(self._device.device).eval()  # pyright: ignore[reportArgumentType]
        processor, model = self._held["blip"]
        inputs = processor(images=picture, return_tensors="pt").to(self._device.device)  # pyright: ignore[reportCallIssue]
        with torch.inference_mode():
            tokens = model.generate(
                **inputs, num_beams=settings.interrogate_clip_num_beams, min_length=settings.interrogate_clip_min_length,
                max_length=settings.interrogate_clip_max_length, do_sample=False,
            )
        return processor.decode(tokens[0], skip_special_tokens=True).strip()

    def _ranked(self, picture: Image.Image, settings: PictureSettings) -> list[Tag]:
        lists = find_lists(self._models, settings.interrogate_clip_skip_categories)
        if not lists or lacks_clip(self._models, settings):
            return []
        if "clip" not in self._held:
            self._held["clip"] = ClipRanker(find_captioner(self._models, CLIP.name), self._device)
        ranker: ClipRanker = self._held["clip"]
        seen = ranker.look(picture)
        return [tag for each in lists for tag in ranker.rank(seen, each.entries(settings.interrogate_clip_dict_limit), each.top)]

    def _tags(self, folder: Path, picture: Image.Image) -> list[Tag]:
        table = folder / WD[1]
        if "tagger" not in self._held:
            self._held["tagger"] = open_session(sorted(folder.glob("*.onnx"))[0]), read_tags(table) if table.is_file() else read_names(folder)
        session, names = self._held["tagger"]
        scores = run_tagger(session, picture) if table.is_file() else run_danbooru(session, picture)
        if len(scores) != len(names):
            raise ModelError(f"{folder.name}: the network gives {len(scores)} scores for {len(names)} tags.", hint=TAGGER.hint)
        pairs = zip(names, scores, strict=True)
        return [Tag(name, float(score)) for (name, category), score in pairs if category != RATING]


def open_session(path: Path) -> Any:
    """An ONNX network on the CPU. Raises `ModelError` when onnxruntime is not installed or the file is damaged."""
    try:
        import onnxruntime  # pyright: ignore[reportMissingImports]  # optional: only taggers need it

        return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except ImportError as error:
        raise ModelError("Taggers need the package onnxruntime.", hint="Install it: pip install onnxruntime") from error
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"{path.name} cannot be read as an ONNX network: {str(error)[:200]}", hint=TAGGER.hint) from error


def read_tags(path: Path) -> list[tuple[str, str]]:
    """Name and category of each output of a tagger, from its table. Raises `ModelError`."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            return [(row["name"], row["category"]) for row in csv.DictReader(file)]
    except (OSError, KeyError, UnicodeDecodeError) as error:
        raise ModelError(f"{path.name} is no table of tags.", hint=TAGGER.hint) from error


def read_names(folder: Path) -> list[tuple[str, str]]:
    """Name and category of each output of a DeepDanbooru, from its tags.txt. Raises `ModelError`."""
    try:
        names = (folder / "tags.txt").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError("tags.txt is no list of tags.", hint=TAGGER.hint) from error
    return [(name.strip(), RATING if name.startswith("rating:") else "0") for name in names if name.strip()]


def run_danbooru(session: Any, picture: Image.Image) -> np.ndarray:
    """The score of each tag, 0 … 1, as A1111 asks: all of the picture in a square, the rest in the colours of its edge; RGB in 0 … 1."""
    entry = session.get_inputs()[0]
    sides = [size for size in entry.shape[1:] if isinstance(size, int) and size != 3]
    pixels = np.asarray(frame_image(picture, (sides[0], sides[0]) if sides else (512, 512), "fit"), np.float32)[None] / 255
    if entry.shape[1] == 3:  # channels first
        pixels = pixels.transpose(0, 3, 1, 2)
    return np.asarray(session.run([session.get_outputs()[0].name], {entry.name: np.ascontiguousarray(pixels)})[0])[0]


def run_tagger(session: Any, picture: Image.Image) -> np.ndarray:
    """The score of each tag, 0 … 1: the picture on a white square, BGR in 0 … 255, height × width × channels."""
    entry = session.get_inputs()[0]
    side = next((size for size in entry.shape[1:3] if isinstance(size, int)), 448)
    longest = max(picture.size)
    square = Image.new("RGB", (longest, longest), "white")
    square.paste(picture, ((longest - picture.width) // 2, (longest - picture.height) // 2))
    pixels = np.asarray(square.resize((side, side), Image.Resampling.BICUBIC), np.float32)[None, :, :, ::-1]
    feed: Mapping[str, np.ndarray] = {entry.name: np.ascontiguousarray(pixels)}
    return np.asarray(session.run([session.get_outputs()[0].name], feed)[0])[0]
