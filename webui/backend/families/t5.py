"""T5's encoder as SD 3 and Flux use it: built, asked, and its words. Its words come from a file of the model's, for no package of ours has them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5DenseGatedActDense, T5Stack

from webui.backend.components import Encoded
from webui.backend.families.spiece import read_ggml, read_spiece
from webui.backend.quantised import is_quantised
from webui.schema.errors import ModelError

FILES = ("tokenizer.json", "spiece.model")
FOLDERS = ("", "tokenizer", "tokenizer_3", "tokenizer_2", "t5_tokenizer")
"""Where such a file may lie, seen from the folder of the weights. SD 3's folders call the third one T5's, Flux' the second."""


class Shielded(nn.Module):
    """A layer that shows no `weight`: transformers' feed-forward asks its last one what dtype it computes in, and packed weights are bytes."""

    weight = None

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, states: Tensor) -> Tensor:
        """What the layer answers."""
        return self.layer(states)


def build_t5(sizes: dict[str, Any]) -> nn.Module:
    """transformers' encoder of these sizes (`T5Config`). Its names lack the `encoder.` of the file's."""
    return T5Stack(T5Config.from_dict({**sizes, "is_decoder": False, "is_encoder_decoder": False, "use_cache": False}))


def shield(module: nn.Module) -> nn.Module:
    """The same encoder, with those layers shielded whose weights are packed and whose dtype is asked for."""
    for block in module.modules():
        if isinstance(block, T5DenseGatedActDense) and is_quantised(block.wo):
            block.register_module("wo", Shielded(block.wo))
    return module


def encode_t5(module: nn.Module, tokens: Tensor) -> Encoded:
    """States (texts, tokens, width). Padding is read like any word, as both models were trained."""
    return Encoded(module(tokens).last_hidden_state)


def find_tokenizer(folders: Iterable[Path]) -> Path | None:
    """The first tokenizer file in or below these folders."""
    places = (folder / below / name for folder in folders for below in FOLDERS for name in FILES)
    return next((place for place in places if place.is_file()), None)


def tokenizer_of(path: Path) -> Callable[[str], list[int]]:
    """The words of a text, without an end mark. Raises `ModelError` when the file is damaged."""
    return _load(str(path), path.stat().st_mtime)


@lru_cache(maxsize=4)
def _load(path: str, mtime: float) -> Callable[[str], list[int]]:
    del mtime  # a file that was replaced is read anew
    try:
        read = {".json": lambda file: Tokenizer.from_file(str(file)), ".gguf": read_ggml}.get(Path(path).suffix.lower(), read_spiece)
        tokenizer = read(Path(path))
    except Exception as error:
        what = f"{Path(path).name}, the tokenizer of T5, cannot be read: {error}."
        raise ModelError(what, field="checkpoint", hint="Download it again.") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: tokenizer.encode(text, add_special_tokens=False).ids


def wide_dtype(dtype: torch.dtype) -> torch.dtype:
    """What T5 computes in where the rest computes in `dtype`: its numbers outgrow float16."""
    return torch.bfloat16 if dtype == torch.float16 else dtype
