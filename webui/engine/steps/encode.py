"""Step 1 of a pass: prompts to what the denoiser is conditioned on. Encoded prompts are remembered, so a new seed alone encodes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from webui.backend.components import Components
from webui.engine.conditioning import Line, Padding, Timeline
from webui.engine.emphasis import apply_emphasis
from webui.engine.prompt.chunks import EMPTY, Chunk
from webui.engine.prompt.compose import Part, split_parts
from webui.engine.prompt.reading import Reading, chunks_of
from webui.engine.prompt.schedule import Timing, parse_schedule
from webui.schema.settings import PictureSettings

REMEMBERED = 16
"""Schedules per model; 16 plain prompts of SD 1.x take 2 MB."""

Texts = tuple[str, ...]


@dataclass(frozen=True)
class _Key:
    """What an encoding depends on besides the model. The texts of a schedule stay together: with Original emphasis they change each other."""

    texts: Texts
    emphasis: str
    clip_skip: int
    backtrack: int


class PromptCache:
    """Encoded schedules for each loaded model; they go when the model goes."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self.size = size
        self._models: WeakKeyDictionary[Components, OrderedDict[_Key, dict[str, Tensor]]] = WeakKeyDictionary()

    def get(self, components: Components, texts: Texts, settings: PictureSettings, field: str = "prompt") -> tuple[Tensor, ...]:
        """(tokens, width) of each text of one schedule, all equally long, tokens a multiple of 77, in the text encoder's dtype."""
        known = self._models.setdefault(components, OrderedDict())
        key = _Key(texts, settings.emphasis, settings.CLIP_stop_at_last_layers, settings.comma_padding_backtrack)
        if key not in known:
            known[key] = encode_texts(components, texts, settings, field)
            while len(known) > self.size:
                known.popitem(last=False)
        known.move_to_end(key)
        return tuple(known[key][text] for text in texts)

    def forget(self) -> None:
        """The encoders' weights changed: nothing known holds any more."""
        self._models.clear()


def encode_texts(components: Components, texts: Texts, settings: PictureSettings, field: str = "prompt") -> dict[str, Tensor]:
    """(tokens, width) of each different text. Every chunk of 75 tokens is encoded by itself, the results stand one after the other; shorter texts are
    padded with encoded empty chunks. Raises `PromptError`."""
    different = list(dict.fromkeys(texts))
    chunked = [chunks_of(text, settings, field).chunks for text in different]
    longest = max(len(chunks) for chunks in chunked)
    filled = [(*chunks, *[EMPTY] * (longest - len(chunks))) for chunks in chunked]
    encoded = encode_chunks(components, [chunk.tokens for chunks in filled for chunk in chunks], settings.CLIP_stop_at_last_layers)
    order = [different.index(text) for text in texts]
    columns = [
        _weigh([encoded[chunks[place].tokens] for chunks in filled], [chunks[place] for chunks in filled], settings.emphasis, order)
        for place in range(longest)
    ]
    return dict(zip(different, torch.cat(columns, dim=1), strict=True))


def encode_chunks(components: Components, chunks: Sequence[tuple[int, ...]], clip_skip: int = 1) -> dict[tuple[int, ...], Tensor]:
    """(77, width) of each different chunk of 77 tokens. Eight at a time, so that a very long prompt does not need memory for all at once."""
    different = list(dict.fromkeys(chunks))
    tokens = torch.tensor(different, device=components.device.device)
    encoded = torch.cat([components.encode_text(part, clip_skip) for part in tokens.split(8)])
    return dict(zip(different, encoded, strict=True))


def _weigh(encoded: list[Tensor], chunks: list[Chunk], emphasis: str, order: list[int]) -> Tensor:
    """(texts, 77, width): one chunk of all texts with their weights; plain ones stay untouched to the last bit.

    `order` says which text stands where in the schedule: one that stands there twice counts twice in Original's mean.
    """
    z = torch.stack(encoded)
    if all(weight == 1.0 for chunk in chunks for weight in chunk.weights):
        return z
    weights = torch.tensor([chunk.weights for chunk in chunks], device=z.device)
    weighed = apply_emphasis(z.float()[order], weights[order], emphasis).to(z.dtype)
    return weighed[[order.index(text) for text in range(len(chunks))]]


def encode(
    components: Components, cache: PromptCache, reading: Reading, cfg: float, timing: Timing, settings: PictureSettings,
) -> Timeline:
    """Conditioning of a batch over the calls of a pass. Where guidance needs no negative prompt (cfg 1, no AND), none is encoded."""

    def line(text: str, field: str) -> Line:
        entries = parse_schedule(text, timing, field)
        texts = cache.get(components, tuple(entry.text for entry in entries), settings, field)
        return Line(tuple(entry.end for entry in entries), texts)

    pictures = [split_parts(prompt) for prompt in reading.prompts]
    cond = [[(part.weight, line(part.text, reading.fields[0])) for part in parts] for parts in pictures]
    if all(_leads_alone(parts, cfg) for parts in pictures):
        return Timeline(cond, None)
    uncond = [line(text, reading.fields[1]) for text in reading.negative_prompts]
    if settings.pad_cond_uncond_v0:
        padding = Padding("v0")
    elif settings.pad_cond_uncond:
        padding = Padding("repeat", cache.get(components, ("",), settings)[0])
    else:
        padding = Padding()
    return Timeline(cond, uncond, padding)


def _leads_alone(parts: Sequence[Part], cfg: float) -> bool:
    """u + cfg (d - u) is d."""
    return cfg == 1.0 and len(parts) == 1 and parts[0].weight == 1.0
