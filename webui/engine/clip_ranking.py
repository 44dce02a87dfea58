"""Which entries of a list fit a picture best, by CLIP: what A1111's "Interrogate CLIP" puts behind BLIP's sentence.

Knows neither where lists lie nor how they are written into a text.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor
from transformers import CLIPImageProcessor, CLIPModel, CLIPTokenizer

from webui.backend.device import Device
from webui.engine.captioners import CLIP, Tag
from webui.schema.errors import ModelError

TOGETHER = 256
"""Entries that are encoded at once."""

SHARPNESS = 100.0
"""What CLIP learned to multiply similarities by; A1111 writes it so."""


class ClipRanker:
    """A loaded CLIP with what it thinks of entries that it has seen before."""

    def __init__(self, folder: Path, device: Device) -> None:
        """Raises `ModelError` when the folder is not a whole CLIP."""
        try:
            self._pictures = CLIPImageProcessor.from_pretrained(folder, local_files_only=True)
            self._words = CLIPTokenizer.from_pretrained(folder, local_files_only=True)
            model = CLIPModel.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError, KeyError, RuntimeError, TypeError) as error:
            raise ModelError(f"The CLIP model in {folder.name} cannot be read: {str(error)[:200]}", hint=CLIP.hint) from error
        self._model = model.to(device.device).eval()  # pyright: ignore[reportArgumentType]
        self._device = device.device
        self._seen: dict[tuple[str, ...], Tensor] = {}

    @torch.inference_mode()
    def look(self, picture: Image.Image) -> Tensor:
        """What CLIP sees in an RGB picture: (1, width of the shared space), of length 1."""
        pixels = self._pictures(images=picture, return_tensors="pt")["pixel_values"].to(self._device)
        return _unit(self._model.visual_projection(self._model.vision_model(pixel_values=pixels).pooler_output))

    @torch.inference_mode()
    def rank(self, seen: Tensor, entries: Sequence[str], count: int) -> list[Tag]:
        """The `count` entries that fit best, with the shares (of 1, over all entries) that A1111 calls ranks."""
        if not entries:
            return []
        shares = (SHARPNESS * seen @ self._read(tuple(entries)).T).softmax(dim=-1)[0]
        best = shares.topk(min(count, len(entries)))
        return [Tag(entries[int(index)], float(share)) for share, index in zip(best.values, best.indices, strict=True)]

    def _read(self, entries: tuple[str, ...]) -> Tensor:
        if entries not in self._seen:
            parts = [self._encode(entries[first:first + TOGETHER]) for first in range(0, len(entries), TOGETHER)]
            self._seen[entries] = torch.cat(parts)
        return self._seen[entries]

    def _encode(self, entries: Sequence[str]) -> Tensor:
        longest = self._model.text_model.config.max_position_embeddings
        tokens = self._words(list(entries), padding=True, truncation=True, max_length=longest, return_tensors="pt").to(self._device)
        return _unit(self._model.text_projection(self._model.text_model(**tokens).pooler_output))


def _unit(vectors: Tensor) -> Tensor:
    return vectors / vectors.norm(dim=-1, keepdim=True)
