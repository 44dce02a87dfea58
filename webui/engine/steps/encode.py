"""Step 1 of a pass: prompts to what the denoiser is conditioned on. Encoded prompts are remembered, so a new seed alone encodes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from webui.backend.components import END, Components, Encoded, Frame, TextEncoder
from webui.engine.conditioning import Line, Padding, Timeline
from webui.engine.emphasis import apply_emphasis
from webui.engine.prompt.chunks import EMPTY, Chunk, long_chunks
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
    clip_skip: tuple[int, bool]
    backtrack: int


class PromptCache:
    """Encoded schedules for each loaded model; they go when the model goes."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self.size = size
        self._models: WeakKeyDictionary[Components, OrderedDict[_Key, dict[str, Encoded]]] = WeakKeyDictionary()

    def get(self, components: Components, texts: Texts, settings: PictureSettings, field: str = "prompt") -> tuple[Encoded, ...]:
        """Of each text of one schedule: states (tokens, width), all equally long, tokens a multiple of 77, in the text encoder's dtype; pooled
        (width,)."""
        known = self._models.setdefault(components, OrderedDict())
        clip_skip = (settings.CLIP_stop_at_last_layers, settings.sdxl_clip_l_skip)
        key = _Key(texts, settings.emphasis, clip_skip, settings.comma_padding_backtrack)
        if key not in known:
            known[key] = encode_texts(components, texts, settings, field)
            while len(known) > self.size:
                known.popitem(last=False)
        known.move_to_end(key)
        return tuple(known[key][text] for text in texts)

    def forget(self) -> None:
        """The encoders' weights changed: nothing known holds any more."""
        self._models.clear()


def encode_texts(components: Components, texts: Texts, settings: PictureSettings, field: str = "prompt") -> dict[str, Encoded]:
    """States (tokens, width) and pooled (width,) of each different text. Every chunk of 75 tokens is encoded by itself, the results stand one after
    the other; shorter texts are padded with encoded empty chunks. The vector for the whole is that of the first chunk. An encoder with words of its
    own gets each text in one piece. Raises `PromptError`."""
    different = list(dict.fromkeys(texts))
    chunked = [chunks_of(text, settings, field).chunks for text in different]
    longest = max(len(chunks) for chunks in chunked)
    in_chunks = [(*chunks, *[EMPTY] * (longest - len(chunks))) for chunks in chunked]
    order = [different.index(text) for text in texts]

    def of(encoder: TextEncoder) -> Encoded:
        skip, filled = _clip_skip(encoder, settings), in_chunks
        if encoder.tokenize is not None:
            whole = long_chunks(different, encoder.tokenize, encoder.length, literal=settings.emphasis == "None", field=field)
            filled = [(chunk,) for chunk in whole]
        encoded = encode_chunks(encoder, [chunk.tokens for chunks in filled for chunk in chunks], components.device.device, skip)
        columns = [
            _weigh([encoded[chunks[place].tokens].states for chunks in filled], [chunks[place] for chunks in filled], settings.emphasis, order)
            for place in range(len(filled[0]))
        ]
        pooled = [vector for chunks in filled if (vector := encoded[chunks[0].tokens].pooled) is not None]
        return Encoded(torch.cat(columns, dim=1), torch.stack(pooled) if pooled else None)

    whole = components.join([of(encoder) for encoder in components.text_encoders])
    return {text: _at(whole, number) for number, text in enumerate(different)}


def encode_chunks(
    encoder: TextEncoder, chunks: Sequence[tuple[int, ...]], device: torch.device, clip_skip: int | None = None,
) -> dict[tuple[int, ...], Encoded]:
    """States (77, width) and pooled (width,) of each different chunk of 77 tokens. Eight at a time, so that a very long prompt does not need memory
    for all at once."""
    different = list(dict.fromkeys(chunks))
    tokens = torch.tensor([_padded(chunk, encoder.pad) for chunk in different], device=device)
    pieces = [encoder.encode(part, clip_skip) for part in tokens.split(8)]
    return dict(zip(different, (_at(piece, number) for piece in pieces for number in range(len(piece.states))), strict=True))


def _clip_skip(encoder: TextEncoder, settings: PictureSettings) -> int | None:
    counts = encoder.clip_skip == "always" or (encoder.clip_skip == "asked" and settings.sdxl_clip_l_skip)
    return settings.CLIP_stop_at_last_layers if counts else None


def _padded(chunk: tuple[int, ...], pad: int) -> tuple[int, ...]:
    """What stands behind the first end mark becomes the encoder's own padding (a1111-contract §1)."""
    if pad == END:
        return chunk
    filled = chunk.index(END) + 1
    return (*chunk[:filled], *[pad] * (len(chunk) - filled))


def _at(encoded: Encoded, number: int) -> Encoded:
    """One text of several."""
    return Encoded(encoded.states[number], None if encoded.pooled is None else encoded.pooled[number])


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
    size: tuple[int, int] = (512, 512), *, distilled: float = 3.5,
) -> Timeline:
    """Conditioning of a batch over the calls of a pass of this size (width, height). Where guidance needs no negative prompt (cfg 1, no AND), none is
    encoded. `distilled`: see `Frame`."""

    def line(text: str, *, negative: bool = False) -> Line:
        field = reading.fields[negative]
        entries = parse_schedule(text, timing, field)
        encoded = cache.get(components, tuple(entry.text for entry in entries), settings, field)
        if negative and components.zero_negative and not any(entry.text for entry in entries):
            encoded = tuple(_zeros(one) for one in encoded)
        frame = replace(_frame(size, settings, negative), distilled=distilled)
        added: list[Mapping[str, Tensor]] = [components.describe(one.pooled, frame) for one in encoded]
        return Line(tuple(entry.end for entry in entries), tuple(one.states for one in encoded), tuple(added))

    pictures = [split_parts(prompt) for prompt in reading.prompts]
    cond = [[(part.weight, line(part.text)) for part in parts] for parts in pictures]
    if all(_leads_alone(parts, cfg) for parts in pictures):
        return Timeline(cond, None)
    uncond = [line(text, negative=True) for text in reading.negative_prompts]
    if settings.pad_cond_uncond_v0:
        padding = Padding("v0")
    elif settings.pad_cond_uncond:
        padding = Padding("repeat", cache.get(components, ("",), settings)[0].states)
    else:
        padding = Padding()
    return Timeline(cond, uncond, padding)


def _zeros(encoded: Encoded) -> Encoded:
    return Encoded(torch.zeros_like(encoded.states), None if encoded.pooled is None else torch.zeros_like(encoded.pooled))


def _frame(size: tuple[int, int], settings: PictureSettings, negative: bool) -> Frame:
    score = settings.sdxl_refiner_low_aesthetic_score if negative else settings.sdxl_refiner_high_aesthetic_score
    return Frame(*size, settings.sdxl_crop_top, settings.sdxl_crop_left, score)


def _leads_alone(parts: Sequence[Part], cfg: float) -> bool:
    """u + cfg (d - u) is d."""
    return cfg == 1.0 and len(parts) == 1 and parts[0].weight == 1.0
