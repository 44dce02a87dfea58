"""Weighted pieces of a prompt to chunks of 75 tokens, A1111's way (a1111-contract §1). Knows no model; the tokenizer is a function it is given."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from webui.engine.prompt.attention import BREAK, parse_attention
from webui.engine.prompt.tokens import COMMA, END, START, encode

CHUNK = 75
T5_PAD, T5_END = 0, 1
"""T5's padding and end mark (Raffel et al. 2020, https://arxiv.org/abs/1910.10683)."""

Tokenize = Callable[[str], list[int]]


@dataclass(frozen=True)
class Embedding:
    """A textual inversion as the chunker sees it: the tokens of its name, and how many positions its vectors take."""

    name: str
    token_ids: tuple[int, ...]
    vectors: int


@dataclass(frozen=True)
class Fix:
    """An embedding's vectors go to tokens `offset + 1`, … of the chunk (the start mark is token 0)."""

    offset: int
    name: str


@dataclass(frozen=True)
class Chunk:
    """77 tokens with start and end, and the weight of each: what the text encoder sees at once."""

    tokens: tuple[int, ...]
    weights: tuple[float, ...]
    fixes: tuple[Fix, ...] = ()


EMPTY = Chunk((START, *[END] * (CHUNK + 1)), (1.0,) * (CHUNK + 2))


@dataclass(frozen=True)
class Chunks:
    """A whole prompt. `count` is what the live counter shows."""

    chunks: tuple[Chunk, ...]
    count: int

    @property
    def limit(self) -> int:
        """Room of the chunks in use: 75, 150, …"""
        return math.ceil(max(self.count, 1) / CHUNK) * CHUNK


def chunk_prompt(
    text: str, backtrack: int = 20, *, literal: bool = False, embeddings: Sequence[Embedding] = (), tokenize: Tokenize = encode,
    field: str = "prompt",
) -> Chunks:
    """A prompt as chunks; `literal` leaves brackets and BREAK as they are (emphasis None). Raises `PromptError` at a weight that is no number.

    When a chunk is full and its last comma stands at most `backtrack` tokens back, what follows that comma moves on to the next chunk, so that a
    phrase is not torn; 0 turns this off. An embedding is never torn. There is one chunk at least.
    """
    pieces = [(text, 1.0)] if literal else parse_attention(text, field)
    by_first: dict[int, list[Embedding]] = {}
    for embedding in sorted(embeddings, key=lambda item: len(item.token_ids), reverse=True):
        by_first.setdefault(embedding.token_ids[0], []).append(embedding)
    builder = _Builder(backtrack, by_first)
    for piece in pieces:
        if piece == BREAK:
            builder.close()
        else:
            builder.add(tokenize(piece[0]), piece[1])
    return builder.finish()


def long_chunks(texts: Sequence[str], tokenize: Tokenize, length: int, *, literal: bool = False, field: str = "prompt") -> tuple[Chunk, ...]:
    """One chunk a text for an encoder that reads it whole: its tokens, T5's end mark, and padding up to `length`, or up to the longest of them. BREAK
    means nothing. Raises `PromptError` at a weight that is no number."""
    rows: list[tuple[list[int], list[float]]] = []
    for text in texts:
        tokens, weights = list[int](), list[float]()
        for piece in [(text, 1.0)] if literal else parse_attention(text, field):
            if piece != BREAK:
                found = tokenize(piece[0])
                tokens += found
                weights += [piece[1]] * len(found)
        rows.append(([*tokens, T5_END], [*weights, 1.0]))
    longest = max(length, *(len(tokens) for tokens, _ in rows))
    return tuple(
        Chunk((*tokens, *[T5_PAD] * (longest - len(tokens))), (*weights, *[1.0] * (longest - len(tokens)))) for tokens, weights in rows
    )


class _Builder:
    """Fills one chunk after the other."""

    def __init__(self, backtrack: int, embeddings: dict[int, list[Embedding]]) -> None:
        self._backtrack = backtrack
        self._embeddings = embeddings
        self._done: list[Chunk] = []
        self._tokens: list[int] = []
        self._weights: list[float] = []
        self._fixes: list[Fix] = []
        self._comma = -1

    def add(self, tokens: Sequence[int], weight: float) -> None:
        """Tokens of one piece, all of one weight."""
        place = 0
        while place < len(tokens):
            self._make_room(tokens[place])
            embedding = self._embedding_at(tokens, place)
            if embedding is None:
                self._tokens.append(tokens[place])
                self._weights.append(weight)
                place += 1
                continue
            if len(self._tokens) + embedding.vectors > CHUNK:
                self.close()
            self._fixes.append(Fix(len(self._tokens), embedding.name))
            self._tokens += [0] * embedding.vectors
            self._weights += [weight] * embedding.vectors
            place += len(embedding.token_ids)

    def close(self) -> None:
        """Pad the chunk and begin the next one."""
        room = CHUNK - len(self._tokens)
        tokens, weights = (START, *self._tokens, *[END] * (room + 1)), (1.0, *self._weights, *[1.0] * (room + 1))
        self._done.append(Chunk(tokens, weights, tuple(self._fixes)))
        self._tokens, self._weights, self._fixes, self._comma = [], [], [], -1

    def finish(self) -> Chunks:
        """Everything. A chunk that BREAK or a moved phrase closed counts as full."""
        count = CHUNK * len(self._done) + len(self._tokens)
        if self._tokens or not self._done:
            self.close()
        return Chunks(tuple(self._done), count)

    def _make_room(self, token: int) -> None:
        full = len(self._tokens) == CHUNK
        if token == COMMA:
            self._comma = len(self._tokens)
        elif full and self._backtrack and self._comma != -1 and CHUNK - self._comma <= self._backtrack:
            cut = self._comma + 1
            tokens, weights = self._tokens[cut:], self._weights[cut:]
            del self._tokens[cut:], self._weights[cut:]
            self.close()  # with its fixes, also of vectors that moved: so does A1111
            self._tokens, self._weights = tokens, weights
        if len(self._tokens) == CHUNK:
            self.close()

    def _embedding_at(self, tokens: Sequence[int], place: int) -> Embedding | None:
        found = self._embeddings.get(tokens[place], ())
        return next((item for item in found if tuple(tokens[place : place + len(item.token_ids)]) == item.token_ids), None)
