"""Step 1 of a pass: prompts to what the denoiser is conditioned on. Encoded prompts are remembered, so a new seed alone encodes nothing."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from webui.backend.components import Components
from webui.engine.network import Conditioning
from webui.engine.prompt.tokens import Chunk, chunk_prompt

REMEMBERED = 16
"""Prompts per model; 16 of SD 1.x take 2 MB."""


class PromptCache:
    """Encoded prompts by text, for each loaded model; they go when the model goes."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self.size = size
        self._models: WeakKeyDictionary[Components, OrderedDict[str, Tensor]] = WeakKeyDictionary()

    def get(self, components: Components, prompt: str) -> Tensor:
        """(tokens, width) of one prompt, tokens a multiple of 77, in the text encoder's dtype."""
        known = self._models.setdefault(components, OrderedDict())
        if prompt not in known:
            known[prompt] = encode_prompt(components, prompt)
            while len(known) > self.size:
                known.popitem(last=False)
        known.move_to_end(prompt)
        return known[prompt]


def encode_prompt(components: Components, prompt: str) -> Tensor:
    """(tokens, width): every chunk of 75 tokens is encoded by itself, the results stand one after the other."""
    chunks = chunk_prompt(prompt).chunks
    return encode_chunks(components, chunks).flatten(0, 1)


def encode_chunks(components: Components, chunks: Sequence[Chunk]) -> Tensor:
    """(chunks, 77, width). Eight at a time, so that a very long prompt does not need memory for all at once."""
    device = components.device.device
    tokens = torch.tensor([chunk.tokens for chunk in chunks], device=device)
    return torch.cat([components.encode_text(part) for part in tokens.split(8)])


def encode(components: Components, cache: PromptCache, prompts: Sequence[str], negative_prompts: Sequence[str], cfg: float) -> Conditioning:
    """Conditioning of a batch. At cfg 1 the negative prompts are not used, so they are not encoded."""
    cond = _stack(components, cache, prompts)
    return Conditioning(cond, None if cfg == 1.0 else _stack(components, cache, negative_prompts))


def _stack(components: Components, cache: PromptCache, prompts: Sequence[str]) -> Tensor:
    """(batch, tokens, width): shorter prompts are padded with encoded empty chunks, as A1111 does."""
    encoded = [cache.get(components, prompt) for prompt in prompts]
    longest = max(len(item) for item in encoded)
    if all(len(item) == longest for item in encoded):
        return torch.stack(encoded)
    empty = cache.get(components, "")
    return torch.stack([torch.cat([item, empty.repeat((longest - len(item)) // len(empty), 1)]) for item in encoded])
