"""Sentences of a unit, grouped up to what an engine translates well at a time.

Sentences are found by ``sentencex`` (rules and abbreviations of Wikipedia for some 240 languages). Its cuts after
titles and the like that our own lists know ("M. Dupont"), after initials and inside words ("c.-à-d.") are undone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import regex
import sentencex

from xltjax.eval.text.abbreviations import ABBREVIATIONS
from xltjax.eval.text.scripts import unspaced
from xltjax.translate.copied import Span

Fits = Callable[[str], bool]

# sentencex looks for the end of a quotation far ahead: unclosed ones cost quadratic time in what it is given at once.
_STRETCH = 4000
_BLANK = regex.compile(r"\s")
_BEFORE = regex.compile(r"(?r)(?<![^\s(\[«„“\"'*_])(\S{1,12})\.\s*\Z")
_UNSPACED_END = regex.compile(r"[。！？…．｡।॥၊။។」』）】》”’]\s*\Z|\s\Z")
# A clause ends at such a mark before a space; those of East Asia need none.
_CLAUSE = regex.compile(r"[,;:–—،؛](?=\s)|\s[–—-](?=\s)|[，、；：。！？]")
_WORD = regex.compile(r"\S+\s*")
_CHARACTER = regex.compile(r"\X\s*")
LONGEST_WORD = 60  # characters; what is longer and does not fit is no word of a language with spaces


def sentences(text: str, language: str) -> list[Span]:
    """The spans of the sentences of ``text``, which together are ``text``.

    Args:
        text: one unit, without lone surrogates.
        language: the code of its language; an unknown one is cut by the rules of English.
    """
    cuts = [0]
    abbreviations = ABBREVIATIONS.get(language, frozenset())
    for start, stop in _stretches(text):
        position = start
        for sentence in sentencex.segment(language, text[start:stop]):
            position += len(sentence)
            if position < stop and _ends(text[max(cuts[-1], position - 40) : position], abbreviations):
                cuts.append(position)
        assert position == stop, "sentencex gives back what it was given"
    return list(zip(cuts, [*cuts[1:], len(text)], strict=True))


def _stretches(text: str) -> Iterator[Span]:
    start = 0
    while len(text) - start > _STRETCH:
        blank = _BLANK.search(text, start + _STRETCH, start + 2 * _STRETCH)
        stop = blank.end() if blank else start + _STRETCH
        yield start, stop
        start = stop
    yield start, len(text)


def _ends(sentence: str, abbreviations: frozenset[str]) -> bool:
    """Whether a sentence ends at the end of ``sentence``, or of its last characters."""
    if _UNSPACED_END.search(sentence) is None:
        return False
    before = _BEFORE.search(sentence)
    if before is None:
        return True
    word = before[1]
    return not (word.casefold() in abbreviations or (len(word) == 1 and word.isupper()))


def groups(text: str, spans: Sequence[Span], fits: Fits) -> Iterator[Span]:
    """Neighbors among ``spans`` together, as many as fit; those that do not fit alone are cut.

    They are cut behind clauses, where even one clause is too long between words, and where no spaces stand between
    words, as in Chinese, between characters. A word that does not fit is left as it is.

    Args:
        text: one unit.
        spans: adjacent spans of it, such as its sentences.
        fits: whether a text is short enough.
    """
    yield from _grouped(text, spans, fits, 0)


def _grouped(text: str, spans: Sequence[Span], fits: Fits, level: int) -> Iterator[Span]:
    first = 0
    guess = 1  # how many fitted before
    while first < len(spans):
        count = _how_many(text, spans, first, guess, fits)
        if count:
            yield spans[first][0], spans[first + count - 1][1]
            first += count
            guess = count
            continue
        start, stop = spans[first]
        if level < 3:
            yield from _grouped(text, _parts(text, start, stop, level), fits, level + 1)
        else:
            yield start, stop
        first += 1


def _how_many(text: str, spans: Sequence[Span], first: int, guess: int, fits: Fits) -> int:
    """How many spans from ``first`` on fit together, found with few questions if ``guess`` is near."""
    most = len(spans) - first

    def fit(count: int) -> bool:
        return fits(text[spans[first][0] : spans[first + count - 1][1]].strip())

    low, high = 0, min(guess, most)  # low fits
    while fit(high):
        low = high
        if high == most:
            return most
        high = min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fit(middle) else (low, middle)
    return low


def _parts(text: str, start: int, stop: int, level: int) -> list[Span]:
    """The clauses (level 0), words (1) or characters (2) of a span."""
    if level == 0:
        cuts = [match.end() for match in _CLAUSE.finditer(text, start, stop)]
    elif level == 1:
        cuts = [match.end() for match in _WORD.finditer(text, start, stop)]
    elif unspaced(text[start:stop]):
        cuts = [match.end() for match in _CHARACTER.finditer(text, start, stop)]
    else:
        cuts = []
    edges = sorted({start, *cuts, stop})
    return list(pairwise(edges))
