"""A text as segments for an engine that translates sentences, and back without a byte changed around them.

Engines such as NLLB read a sentence or a few: they drop the later ones of a long input, repeat themselves, and take
lines, lists and code for running text. So a text is cut into pieces. Those to be translated are groups of sentences
within one line (``blocks`` says when several lines are one), of up to 150 tokens of the engine; everything else
is copied: spaces, line ends, list markers, frames of tables, code, tags, formulas, addresses, numbers, pictures.

What stands inside a sentence and is copied, such as an address or `code`, cuts the sentence there: both sides are
translated by themselves. The other way, to send the sentence whole and to see whether the address came back, keeps
its grammar, but engines put spaces into addresses, translate the words in them and drop backticks, and placeholders
do not survive either; a fragment that reads a little less well is the smaller damage in data to train on. Other
sentences are not grouped with such a fragment. Marks of emphasis, which engines mostly keep, stay in a sentence, but
are cut off where they enclose all of it or a label in front of it (``**Note:** …``). Links keep their targets,
their words are translated.

A piece without a word (a number, one letter as in the answer "B", a picture) is copied too.
"""

from __future__ import annotations

from bisect import bisect, bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import regex

from xltjax.eval.text.scripts import unspaced
from xltjax.translate.blocks import units
from xltjax.translate.copied import Span, copied_spans
from xltjax.translate.sentences import LONGEST_WORD, Fits, groups, sentences


@dataclass(frozen=True)
class Piece:
    """A part of a text.

    Attributes:
        text: the part; one that is translated has no spaces at its ends.
        translate: whether it is translated; otherwise it is copied.
    """

    text: str
    translate: bool


# What is invisible at the edges of a piece is copied: spaces, marks of direction, unusable characters.
_EDGE = r"[\s\p{Z}\p{C}]"
_LEADING = regex.compile(rf"{_EDGE}*+")
_TRAILING = regex.compile(rf"(?r){_EDGE}*+")
# Next to what is copied, brackets and marks belong to it.
_AFTER_COPIED = regex.compile(rf"(?:{_EDGE}|[\p{{Pe}}\p{{Pf}}\"'.,;:!?…*_~。，、；：！？])*+")
_BEFORE_COPIED = regex.compile(rf"(?r)(?:{_EDGE}|[\p{{Ps}}\p{{Pi}}\"'*_~])*+")
_LETTER = regex.compile(r"\p{L}")
_WORDS = regex.compile(
    r"\p{L}.*?\p{L}|[\p{L}&&[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]]",
    regex.DOTALL | regex.V1,
)
_EMPHASIS = regex.compile(
    r"(\*{1,3}|_{1,3}|~~)(?=[^\s*_~])(?P<inside>[^*_~]{1,500})(?<!\s)\1(?![*_~\p{L}\p{N}])"
)
_NUMBER = regex.compile(r"\p{Nd}{1,3}[.)]\s++")


def split(text: str, source: str, *, fits: Fits) -> list[Piece]:
    """The pieces of ``text`` in order; their texts together are ``text``.

    Args:
        text: any text, also empty or with characters that are no text.
        source: the code of its language, such as ``en``.
        fits: whether a group of sentences is short enough for the engine (150 of its tokens).
    """
    return _pieces(text, _translated(text, source, fits))


def finer(text: str, source: str) -> list[Piece] | None:
    """The pieces of a segment sentence by sentence, to translate it once more; None when it has only one.

    Args:
        text: the text of a piece that is translated.
        source: the code of its language.
    """
    spans = [trimmed for span in sentences(text, source) if (trimmed := _trim(text, *span)) is not None]
    return _pieces(text, spans) if len(spans) > 1 else None


def join(pieces: Sequence[Piece], translations: Sequence[str]) -> str:
    """The text with its translated pieces replaced, all else byte for byte.

    Where two segments touch, as sentences do in Chinese, and their translations are written with spaces, one is put
    between them.

    Args:
        pieces: of ``split`` or ``finer``.
        translations: one for each piece that is translated, in order.

    Raises:
        ValueError: when there are more or fewer translations than such pieces.
    """
    expected = sum(piece.translate for piece in pieces)
    if len(translations) != expected:
        raise ValueError(f"{len(translations)} translations for {expected} segments")
    given = iter(translations)
    parts: list[str] = []
    before: str | None = None  # the source of the piece before, if that was translated too
    for piece in pieces:
        part = next(given) if piece.translate else piece.text
        if piece.translate and before is not None and unspaced(before[-2:]):
            last = parts[-1][-2:]
            if last.strip() and not unspaced(last) and part[:1].strip():
                parts.append(" ")
        parts.append(part)
        before = piece.text if piece.translate else None
    return "".join(parts)


def _pieces(text: str, spans: Sequence[Span] | Iterator[Span]) -> list[Piece]:
    pieces = []
    position = 0
    for start, stop in spans:
        if position < start:
            pieces.append(Piece(text[position:start], False))
        pieces.append(Piece(text[start:stop], True))
        position = stop
    if position < len(text):
        pieces.append(Piece(text[position:], False))
    return pieces


def _translated(text: str, source: str, fits: Fits) -> Iterator[Span]:
    """The spans of ``text`` that are translated, in order."""
    for start, stop in units(text):
        if _LETTER.search(text, start, stop) is None:
            continue
        for inner_start, inner_stop in _of_unit(text[start:stop], source, fits):
            yield start + inner_start, start + inner_stop


def _of_unit(unit: str, source: str, fits: Fits) -> Iterator[Span]:
    copied = copied_spans(unit)
    starts, ends = [start for start, _ in copied], [stop for _, stop in copied]
    masked = _masked(unit, copied)
    spans = _with_labels_apart(unit, _trim(unit, 0, len(unit)) or (0, 0))
    for start, stop in spans:
        whole: list[Span] = []  # sentences with nothing to copy inside
        for first, last in sentences(masked[start:stop], source):
            sentence = (start + first, start + last)
            # A copied span never goes over the end of a sentence, because it is masked.
            inside = copied[bisect(ends, sentence[0]) : bisect_left(starts, sentence[1])]
            if not inside:
                whole.append(sentence)
                continue
            yield from _grouped(unit, whole, fits)
            whole = []
            for part in _between(unit, sentence, inside):
                yield from _grouped(unit, [part], fits)
        yield from _grouped(unit, whole, fits)


def _grouped(unit: str, spans: list[Span], fits: Callable[[str], bool]) -> Iterator[Span]:
    for start, stop in groups(unit, spans, fits):
        trimmed = _trim(unit, start, stop)
        if trimmed is None:
            continue
        word = unit[slice(*trimmed)]
        if len(word) <= LONGEST_WORD or " " in word or unspaced(word) or fits(word):
            yield trimmed


def _masked(unit: str, copied: list[Span]) -> str:
    """``unit`` with letters where it is copied, so that no sentence ends inside an address."""
    parts = []
    position = 0
    for start, stop in copied:
        parts += [unit[position:start], "X" * (stop - start)]
        position = stop
    return "".join([*parts, unit[position:]])


def _between(unit: str, sentence: Span, copied: list[Span]) -> Iterator[Span]:
    """The parts of a sentence between what is copied in it, without the marks that belong to that."""
    position, after = sentence[0], False
    for start, stop in [*copied, (sentence[1], sentence[1])]:
        last = start == sentence[1]
        begin = _edge(_AFTER_COPIED, unit, position, start) if after else position
        end = start if last else _edge_back(_BEFORE_COPIED, unit, begin, start)
        if begin < end and (trimmed := _trim(unit, begin, end)) is not None:
            yield trimmed
        position, after = max(position, stop), True


def _edge(pattern: regex.Pattern[str], text: str, start: int, stop: int) -> int:
    match = pattern.match(text, start, max(start, stop))
    assert match is not None  # it may be empty
    return match.end()


def _edge_back(pattern: regex.Pattern[str], text: str, start: int, stop: int) -> int:
    match = pattern.match(text, start, max(start, stop))  # a reversed pattern matches from its end
    assert match is not None
    return match.start()


def _trim(text: str, start: int, stop: int) -> Span | None:
    """The span without what is invisible at its ends; None where it has no word."""
    start = _edge(_LEADING, text, start, stop)
    stop = _edge_back(_TRAILING, text, start, stop)
    return (start, stop) if _WORDS.search(text, start, stop) is not None else None


def _with_labels_apart(unit: str, span: Span) -> Iterator[Span]:
    """``span`` without the marks of emphasis around all of it, and a label in such marks apart from the rest."""
    start, stop = span
    emphasis = _EMPHASIS.match(unit, start, stop)
    if emphasis is None:
        yield span
        return
    inside = emphasis.span("inside")
    rest = emphasis.end()
    label = emphasis["inside"].endswith((":", "：", ".", "!", "?")) or unit[rest : rest + 1] in (":", "：")
    if rest < stop and not label:
        yield span
        return
    number = _NUMBER.match(unit, *inside)
    yield (number.end() if number else inside[0]), inside[1]
    if rest < stop:
        yield _edge(_AFTER_COPIED, unit, rest, stop), stop
