"""A SentencePiece model as a tokenizer, without the package sentencepiece: of a `spiece.model`, or as llama.cpp keeps it in a GGUF file.

The file is a protocol buffer (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto): field 1 is a piece (1 its text, 2
its score), field 3 how texts are normalised (2 the compiled table). How it becomes a tokenizer is what transformers does for T5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

from webui.backend.formats.gguf import read_lists

_BLANK = "▁"
UNKNOWN = 2
"""T5's piece for what is unknown."""

EXTRA = 100
"""Marks `<extra_id_99>` … `<extra_id_0>` behind the pieces: T5's own, no piece of the file."""

_ADDED, _UNUSED = 4, 5
"""llama.cpp's kinds of a piece (`llama.h`, `llama_token_type`)."""


def read_spiece(path: Path) -> Tokenizer:
    """T5's tokenizer out of its SentencePiece model. Raises `ValueError` when the file is something else."""
    pieces, table = list[tuple[str, float]](), b""
    for number, value in _fields(path.read_bytes()):
        if number == 1 and isinstance(value, bytes):
            inner = dict(_fields(value))
            text, score = inner.get(1, b""), inner.get(2, 0.0)
            if not isinstance(text, bytes) or not isinstance(score, float):
                raise ValueError("it is no SentencePiece model")
            pieces.append((text.decode(), score))
        elif number == 3 and isinstance(value, bytes):
            inner = dict(_fields(value)).get(2, b"")
            table = inner if isinstance(inner, bytes) else b""
    return _tokenizer(pieces, table)


def read_ggml(path: Path) -> Tokenizer:
    """The same out of the notes of a GGUF file. Raises `ValueError` when they are not there."""
    notes = read_lists(path, [f"tokenizer.ggml.{name}" for name in ("tokens", "scores", "token_type", "precompiled_charsmap")])
    words, scores, kinds, table = ([*values] for values in notes.values())
    while kinds and kinds[-1] == _UNUSED:
        kinds.pop()  # fills the table up to the length that the weights have
    pieces = [(word, 0.0 if kind == _ADDED else score) for word, score, kind in zip(words, scores, kinds, strict=False)]
    return _tokenizer(pieces, bytes(table))


def _tokenizer(pieces: list[tuple[str, float]], table: bytes) -> Tokenizer:
    if len(pieces) <= UNKNOWN:
        raise ValueError("it is no SentencePiece model")
    if not any(word == "<extra_id_0>" for word, _ in pieces):
        pieces = pieces + [(f"<extra_id_{number}>", 0.0) for number in reversed(range(EXTRA))]
    tokenizer = Tokenizer(Unigram(pieces, unk_id=UNKNOWN, byte_fallback=False))
    clean = [normalizers.Precompiled(table)] if table else []
    tokenizer.normalizer = normalizers.Sequence([*clean, normalizers.Strip(left=False, right=True), normalizers.Replace(Regex(" {2,}"), _BLANK)])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement=_BLANK, prepend_scheme="always")
    return tokenizer


def _fields(data: bytes) -> Iterator[tuple[int, bytes | float | int]]:
    """(number, value) of each field of a message."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        length, place = _varint(data, place) if kind == 2 else ({1: 8, 5: 4}.get(kind, -1), place)
        if length < 0 or place + length > len(data):
            raise ValueError("it is no SentencePiece model")
        content = data[place : place + length]
        place += length
        yield number, struct.unpack("<f", content)[0] if kind == 5 else content


def _varint(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("it is cut short")
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
