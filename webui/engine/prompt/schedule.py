"""Prompts that change while the picture is made: `[before:after:when]`, `[after:when]`, `[before::when]`, `[one|other|…]`, nested as one likes.

Times are counted in model calls, not steps (a1111-contract §1). Text in, texts out: knows no weights, though brackets for weights must pair for a
construct around them to be one. The grammar is small enough for one pass with a stack; what forms no construct is literal text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, field

from webui.schema.errors import PromptError

_TOKEN = re.compile(r"(?:[^\\\[\]():|]|\\.)+|[\[\]():|]")
_NUMBER = re.compile(r"\s*([+-]?(?:[0-9]+[eE][+-]?[0-9]+|(?:[0-9]+\.[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?|[0-9]+))\s*")
_MARKS = frozenset("[]():")
_OPENER = {")": "(", "]": "["}


@dataclass(frozen=True)
class Entry:
    """Text in force up to and including model call `end` of the parser's count."""

    end: int
    text: str


@dataclass(frozen=True)
class Timing:
    """How numbers become model calls. `calls` of the first pass; `hires_calls` when it is the second pass that is parsed for."""

    calls: int
    hires_calls: int | None = None
    old: bool = False
    """A1111's option for pictures made before 1.6: below 1 is a fraction, and the second pass counts like the first."""

    @property
    def total(self) -> int:
        """Calls of the pass parsed for."""
        return self.calls if self.hires_calls is None or self.old else self.hires_calls

    def boundary(self, number: str) -> int:
        """The last call before the switch, at most `total`; below 1 the switch was before the first call. Raises `OverflowError`, `ValueError`."""
        value = float(number)
        second = self.hires_calls is not None and not self.old
        if self.old:
            value = value * self.total if value < 1 else value
        elif "." in number:
            value = (value - second) * self.total
        else:
            value = value - self.calls if second else value
        return min(self.total, int(value))


@dataclass(frozen=True)
class _Switch:
    before: _Text
    after: _Text
    when: int


@dataclass(frozen=True)
class _Turns:
    options: tuple[_Text, ...]


_Text = tuple["str | _Switch | _Turns | _Text", ...]
"""Pieces in order; a tuple inside is a pair of brackets with what is between."""


@dataclass
class _Frame:
    """A bracket that is still open, token number `place`. `parts` are what stands between its separators."""

    opener: str
    place: int
    parts: list[list] = field(default_factory=lambda: [[]])
    separators: list[str] = field(default_factory=list)

    def pieces(self) -> Iterator:
        """The opener and all that followed, as plain pieces."""
        yield self.opener
        for number, part in enumerate(self.parts):
            if number:
                yield self.separators[number - 1]
            yield from part


class _NotOne(Exception):
    """The prompt does not parse."""


def parse_schedule(prompt: str, timing: Timing, field: str = "prompt") -> tuple[Entry, ...]:
    """The texts of a prompt in order; always one at least, the last one ends with the pass.

    A prompt that does not parse stands as it is. Raises `PromptError` at a time too large to be counted (`1e999`), where A1111 raises as well.
    """
    try:
        tokens = _tokens(prompt)
        parser = _Parser(tokens, timing, field)
        text = parser.parse()
        literal = _literal_tokens(tokens, parser)
        if not literal.isdisjoint(parser.openers):
            parser = _Parser(tokens, timing, field, literal)
            text = parser.parse()
    except _NotOne:
        return (Entry(timing.total, prompt),)
    if parser.error is not None:
        raise parser.error
    return tuple(Entry(end, _at(text, end)) for end in sorted(parser.boundaries))


def entry_at(ends: Sequence[int], call: int) -> int:
    """Index of the entry for a model call counted from 0: the first that ends at or after it, else the first of all.

    So an entry that ends at 3 serves four calls, 0 to 3: A1111's own count, part of its pictures.
    """
    return next((index for index, end in enumerate(ends) if call <= end), 0)


def _tokens(prompt: str) -> list[re.Match[str]]:
    """Plain runs, brackets, `:` and `|`. Raises `_NotOne` at a lone backslash."""
    tokens = list(_TOKEN.finditer(prompt))
    if sum(match.end() - match.start() for match in tokens) < len(prompt):
        raise _NotOne
    return tokens


def _literal_tokens(tokens: list[re.Match[str]], parser: _Parser) -> set[int]:
    """Numbers of the tokens that are text, with A1111's choice where the grammar leaves one.

    Behind a construct a run of brackets and colons that form none may begin with the construct's own closing bracket, and then it is none itself:
    `[a:b:0.5])` is a schedule, `[a:b:0.5]))` is text, `[a:b:0.5])))` is a schedule. Which way lark's Earley parser goes was found by asking it:
    of a run whose length is odd it takes all at once, else the last one or two, and then looks again.
    """
    literal: set[int] = set()
    end = len(tokens)
    while end:
        last = end - 1
        if tokens[last].group() not in _MARKS:
            end = last
        elif last in parser.openers:
            end = parser.openers[last]
        else:
            start = end
            while start and tokens[start - 1].group() in _MARKS and start - 1 not in parser.turns:
                start -= 1
            run = end - start
            end -= run if run % 2 else 1 if run == 2 else 2
            literal.update(range(end, last + 1))
    return literal


class _Parser:
    """One prompt being read."""

    def __init__(self, tokens: list[re.Match[str]], timing: Timing, field: str, literal: Set[int] = frozenset()) -> None:
        self.boundaries = {timing.total}
        self.error: PromptError | None = None
        self.openers: dict[int, int] = {}
        """Token number of each construct's closing bracket → that of its opening one."""

        self.turns: set[int] = set()
        """Token numbers of closing brackets of `[a|b]`: text cannot begin before them."""

        self._tokens = tokens
        self._literal = literal
        self._timing = timing
        self._field = field
        self._root: list = []
        self._stack: list[_Frame] = []

    def parse(self) -> _Text:
        """The whole prompt. Raises `_NotOne`."""
        for number, match in enumerate(self._tokens):
            if number in self._literal:
                self._append(match.group())
            else:
                self._take(match.group(), number)
        self._spill()
        return tuple(self._root)

    def _take(self, token: str, place: int) -> None:
        stack = self._stack
        if token in ("(", "["):
            stack.append(_Frame(token, place))
        elif token == "|" and not (stack and stack[-1].opener == "["):
            raise _NotOne
        elif token in (":", "|") and stack:
            stack[-1].separators.append(token)
            stack[-1].parts.append([])
        elif token in _OPENER:
            made = self._close(token, place)
            if made is not None:
                self.openers[place] = stack.pop().place
            else:  # nothing that is open around this can become a construct any more
                self._spill()
            self._append(token if made is None else made)
        else:
            self._append(token)

    def _append(self, piece: object) -> None:
        (self._stack[-1].parts[-1] if self._stack else self._root).append(piece)

    def _spill(self) -> None:
        """Open brackets are text after all; the constructs inside them stay."""
        for frame in self._stack:
            if "|" in frame.separators:
                raise _NotOne
            self._root.extend(frame.pieces())
        self._stack.clear()

    def _close(self, closer: str, place: int) -> _Text | _Switch | _Turns | None:
        """What the innermost open bracket is, now that it closes; None = no construct."""
        frame = self._stack[-1] if self._stack else None
        if frame is None or frame.opener != _OPENER[closer]:
            return None
        colons, bars = frame.separators.count(":"), frame.separators.count("|")
        if colons + bars == 0 or (closer == ")" and colons == 1):
            return (*frame.pieces(), closer)
        if closer == ")" or (colons and bars) or colons > 2:
            return None
        if bars:
            self.turns.add(place)
            self.boundaries.update(range(1, self._timing.total + 1))
            return _Turns(tuple(tuple(part) for part in frame.parts))
        *texts, last = frame.parts
        number = _NUMBER.fullmatch(last[0]) if len(last) == 1 and isinstance(last[0], str) else None
        if number is None:
            return None
        when = self._when(number.group(1), place)
        return _Switch(tuple(texts[0]) if len(texts) == 2 else (), tuple(texts[-1]), when)

    def _when(self, number: str, place: int) -> int:
        try:
            when = self._timing.boundary(number)
        except (OverflowError, ValueError):
            self.error = self.error or PromptError(
                f"The time “{number}” is too large.", self._field, self._tokens[place].start(), hint="Write a step or a fraction.",
            )
            return 0
        if when >= 1:
            self.boundaries.add(when)
        return when


def _at(text: _Text, call: int) -> str:
    """The text at a call counted from 1. A stack instead of recursion: brackets may be thousands deep."""
    result: list[str] = []
    stack: list[Iterator] = [iter(text)]
    while stack:
        for piece in stack[-1]:
            if isinstance(piece, str):
                result.append(piece)
                continue
            if isinstance(piece, _Switch):
                piece = piece.before if call <= piece.when else piece.after
            elif isinstance(piece, _Turns):
                piece = piece.options[(call - 1) % len(piece.options)]
            stack.append(iter(piece))
            break
        else:
            stack.pop()
    return "".join(result)
