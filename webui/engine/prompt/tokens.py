"""Text to CLIP tokens. Knows no torch and no model.

The vocabulary is OpenAI's, read from the installed open_clip package without importing it (that would import torch).
"""

from __future__ import annotations

import functools
import gzip
import importlib.util
import json
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import BPE

from webui.schema.errors import WebuiError

START = 49406
END = 49407
COMMA = 267
"""Token of `,` as a word of its own."""

MERGES = 48_894
"""Pair merges of CLIP: 49,152 entries less 256 bytes and 2 marks; the file holds more, for other vocabularies."""

_WORDS = r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


@functools.cache
def load_tokenizer() -> Tokenizer:
    """CLIP's byte-pair tokenizer, equal to transformers' `CLIPTokenizer`. Raises `WebuiError` when open_clip_torch is not installed.

    Sennrich et al. 2016, https://arxiv.org/abs/1508.07909; table and details: openai/CLIP `simple_tokenizer.py`.
    """
    vocabulary, merges = read_vocabulary(_vocabulary_file())
    model = BPE(vocab=vocabulary, merges=merges, continuing_subword_prefix="", end_of_word_suffix="</w>", fuse_unk=False, unk_token="<|endoftext|>")
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()])
    words = pre_tokenizers.Split(Regex(_WORDS), behavior="removed", invert=True)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tokenizer.add_special_tokens([AddedToken(mark, normalized=False, special=True) for mark in ("<|startoftext|>", "<|endoftext|>")])
    return tokenizer


def read_vocabulary(path: Path) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Vocabulary and merges out of `bpe_simple_vocab_16e6.txt.gz`: bytes, bytes that end a word, merged pairs, two marks, in this order."""
    lines = gzip.decompress(path.read_bytes()).decode("utf-8").split("\n")[1 : MERGES + 1]
    merges = [(left, right) for left, right in (line.split() for line in lines)]
    letters = _byte_letters()
    entries = letters + [letter + "</w>" for letter in letters] + [left + right for left, right in merges]
    return {entry: number for number, entry in enumerate([*entries, "<|startoftext|>", "<|endoftext|>"])}, merges


def tokenizer_files(pad: str) -> dict[str, str]:
    """The files of a `tokenizer` folder from which transformers makes the same tokenizer; it fills up with `pad`. Raises `WebuiError` as above."""
    vocabulary, merges = read_vocabulary(_vocabulary_file())
    mark = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>", "pad_token": pad}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, "do_lower_case": True, "add_prefix_space": False, **mark}
    return {
        "vocab.json": json.dumps(vocabulary, ensure_ascii=False), "merges.txt": "\n".join(["#version: 0.2", *map(" ".join, merges), ""]),
        "tokenizer_config.json": json.dumps(config, indent=2), "special_tokens_map.json": json.dumps(mark, indent=2),
    }


def encode(text: str) -> list[int]:
    """Tokens of a text, without start and end."""
    return load_tokenizer().encode(text, add_special_tokens=False).ids


def _byte_letters() -> list[str]:
    """A visible letter for each of the 256 bytes: itself where it is printable Latin-1, else the next free one from 256 on, printable ones first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    rest = 256 - len(printable)
    return [chr(code) for code in printable] + [chr(256 + number) for number in range(rest)]


def _vocabulary_file() -> Path:
    spec = importlib.util.find_spec("open_clip")
    path = Path(spec.origin).parent / "bpe_simple_vocab_16e6.txt.gz" if spec and spec.origin else None
    if path is None or not path.is_file():
        raise WebuiError("CLIP's vocabulary is missing (package open_clip_torch).", hint="Run `python launch.py --reinstall`.")
    return path
