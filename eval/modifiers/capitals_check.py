"""The check for the modifier "capitalize each first letter in the answer"."""

from __future__ import annotations

from collections.abc import Iterator

import regex

from xltjax.eval.modifiers.small_words import SMALL_WORDS
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided
from xltjax.eval.text.markup import prose
from xltjax.eval.text.segmentation import APOSTROPHES, Span, sentences

STRICT_CAPITALS, LOOSE_CAPITALS = 0.9, 0.7

_TOKEN = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]+(?:[{APOSTROPHES}\-‐‑][\p{{L}}\p{{M}}\p{{N}}]+)*")
# A French elision belongs to the next word: L'homme and l'Homme both have their capital.
_ELISION = regex.compile(rf"(?i)(?:[cdjlmnst]|(?:jus|lors|puis|quoi)?qu)[{APOSTROPHES}](?=\p{{L}})")

# What parts the items of a list and sentences; but a comma behind a quotation continues: „Warum?“, fragte sie.
_ITEM_START = regex.compile(r"[\n,;:.!?…|/•(\[«„“\"—–]")
_SPEAKER = regex.compile(r"[”“»\"],|,[”“»\"]|[!?…»”][ \t]+[—–]|[?!][ \t]*[”“»]$")
# "Don't Worry", "Посолите Мясо"
_CLAUSE = {
    "en": regex.compile(r"(?i)\p{L}+n['’]t|let['’]s"),
    "ru": regex.compile(r"(?i)\p{L}+[ийь]те(?:сь)?"),
}


def capitalize(response: str, language: str) -> Verdict:
    """Whether the words of ``response`` begin with capital letters; code, tags and addresses do not count.

    Words that begin with a digit or in a script without case do not count either; without any others the program
    abstains. Strict: at least .9 of the words do, and most words are not in capitals throughout. Loose: at least
    .7 do, or .9 without the first or last line where these hold no more than half of the words ("Sure, here it
    is:").

    Neither is earned by words that ordinary writing capitalizes too: German needs a capital on a word that would be
    small inside a sentence ("Das Haus Ist Schön", not "Straße, Maß"), and so do lists of names in the other languages
    ("Paris, Rome, Oslo"). Without one the check abstains, or fails where a word is small ("Paris, Rome and Oslo").

    The detail's ``grade`` is ``words``, ``all-caps``, ``sentences`` (every sentence begins with a capital, as
    in ordinary writing) or ``none``; ``rate`` is the share of words.
    """
    text = prose(response)
    tokens = [token for token in _TOKEN.finditer(text) if _case(token.group()) is not None]
    if not tokens:
        return abstain("no word in a script with capitals")
    lower = [token for token in tokens if not _case(token.group())]
    rate = 1 - len(lower) / len(tokens)
    shouted = sum(1 for token in tokens if len(token.group()) > 1 and token.group().isupper())
    all_caps = shouted > len(tokens) / 2
    strict = rate >= STRICT_CAPITALS and not all_caps
    loose = rate >= LOOSE_CAPITALS or any(
        _rate(text, start, stop) >= STRICT_CAPITALS for start, stop in _framed(text, len(tokens))
    )
    if loose:
        grade = "all-caps" if all_caps else "words"
    else:
        starts = [_TOKEN.search(text, *span) for span in sentences(text, language)]
        grade = (
            "sentences" if all(token and _case(token.group()) is not False for token in starts) else "none"
        )
    if loose and not all_caps and not _beyond_ordinary_writing(text, language):
        if not lower:
            return abstain("ordinary writing has these capitals too: for the judge", words=len(tokens))
        strict = loose = False
        grade = "none"
    broken = _find_word(response, lower[0].group()) if lower and not strict else None
    whole = (len(response) - len(response.lstrip()), len(response.rstrip()))
    return decided(
        strict, loose, whole if strict else broken, grade=grade, rate=round(rate, 4), words=len(tokens)
    )


def _beyond_ordinary_writing(text: str, language: str) -> bool:
    """Whether some capital of ``text`` is one that ordinary writing in ``language`` does not have.

    A single word may pass, and so may any text in a language without a list of small words.
    """
    small = SMALL_WORDS.get(language)
    tokens = list(_TOKEN.finditer(text))
    if small is None or sum(1 for token in tokens if _case(token.group()) is not None) < 2:
        return True
    items = commas = length = 0
    first = ""  # the first word of the item, which ordinary writing may capitalize
    previous = None
    for token in tokens:
        word = token.group()
        gap = "\n" if previous is None else text[previous.end() : token.start()]
        if _ITEM_START.search(gap) and not _SPEAKER.search(gap):
            items += "\n" in gap
            commas += "," in gap or ";" in gap or "|" in gap
            first, length = word, 0
        elif _case(word):
            length += 1
            if _is_small(word, small) or _starts_a_clause(first, language, length):
                return True
        previous = token
    return language != "de" and items < 2 and commas < 2


def _is_small(word: str, small: frozenset[str]) -> bool:
    """Whether ``word``, or a part of it with a capital as in "L'Est-Il", would be small inside a sentence."""
    parts = [
        part for part in regex.split(rf"[{APOSTROPHES}\-‐‑]", word) if len(part) > 1 and part[0].isupper()
    ]
    return word.lower().replace("’", "'") in small or any(part.lower() in small for part in parts)


def _starts_a_clause(first: str, language: str, length: int) -> bool:
    """Whether ``first`` cannot begin a name, so that the next capital, the ``length``-th behind it, is no name's."""
    if language == "de":
        # A noun may follow the article, but not two.
        return length > 1 and first.lower() in ("den", "dem", "einen", "einem", "eines")
    pattern = _CLAUSE.get(language)
    return pattern is not None and pattern.fullmatch(first) is not None


def _case(token: str) -> bool | None:
    """Whether ``token`` begins with a capital; None when its first character has no case."""
    elision = _ELISION.match(token)
    first = token[0]
    if elision is not None and first.islower():
        first = token[elision.end()]
    return (
        first.isupper() or first.istitle() if first.isupper() or first.islower() or first.istitle() else None
    )


def _rate(text: str, start: int, stop: int) -> float:
    cases = [_case(token.group()) for token in _TOKEN.finditer(text, start, stop)]
    return cases.count(True) / max(1, cases.count(True) + cases.count(False))


def _framed(text: str, total: int) -> Iterator[Span]:
    """The spans of ``text`` without its first line, its last line, and both, if half of the words remain."""
    lines = [line.span() for line in regex.finditer(r"[^\n]*\S[^\n]*", text)]
    for first, last in ((1, 0), (0, 1), (1, 1)):
        if first + last < len(lines):
            start, stop = lines[first][0], lines[len(lines) - 1 - last][1]
            if 2 * sum(1 for _ in _TOKEN.finditer(text, start, stop)) >= total:
                yield start, stop


def _find_word(response: str, word: str) -> Span | None:
    return next((token.span() for token in _TOKEN.finditer(response) if token.group() == word), None)
