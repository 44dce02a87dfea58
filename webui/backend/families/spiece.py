"""A SentencePiece model (`spiece.model`) as a tokenizer, without the package sentencepiece.

The file is a protocol buffer (https://github.com/google/sentencepiece/blob/master/src/sentencepiece_model.proto): field 1 is a piece (1 its text, 2
its score), field 3 how texts are normalised (2 the compiled table). How it becomes a tokenizer is what transformers does for T5.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from tokenizers import Regex, Tokenizer, normalizers, pre_tokenizers
from tokenizers.models import Unigram

_BLANK = "▁"
UNKNOWN = 2
"""T5's piece for what is unknown."""

EXTRA = 100
"""Marks `<extra_id_99>` … `<extra_id_0>` behind the pieces: T5's own, no piece of the file."""


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
    if len(pieces) <= UNKNOWN:
        raise ValueError("it is no SentencePiece model")
    pieces += [(f"<extra_id_{number}>", 0.0) for number in reversed(range(EXTRA))]
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
