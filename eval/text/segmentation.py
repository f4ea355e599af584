"""Words and sentences with their character offsets, for length limits and capital letters.

Words keep their apostrophes and hyphens, so that "L'homme qu'on aime n'est pas là." has six words. Sentences
end at ``. ! ? …``, at the marks of other scripts or at the end of a line. Decimals, initials, abbreviations, list
numbers and German ordinals do not end a sentence.
"""

from __future__ import annotations

import regex

from xltjax.eval.text.abbreviations import ABBREVIATIONS, BEFORE_NUMBERS
from xltjax.eval.text.scripts import unspaced, words_in_run

Span = tuple[int, int]

# Those of typesetting, and what keyboards and phones give in their place: acute accents, primes, fullwidth ones.
APOSTROPHES = "'’ʼ‘‛´′＇"
# What joins the parts of a word besides: hyphens, the joiners of Persian and Hindi, the point of Catalan's "l·l".
_JOIN = rf"(?:[{APOSTROPHES}\-‐‑\u200c\u200d]|(?<=[lL])·(?=[lL]))"

_WORD = regex.compile(
    rf"\p{{N}}+(?:[.,]\p{{N}}+)+|[\p{{L}}\p{{M}}\p{{N}}]+(?:{_JOIN}[\p{{L}}\p{{M}}\p{{N}}]+)*"
)
_LAST_WORD = regex.compile(rf"(?r)[\p{{L}}\p{{M}}\p{{N}}{APOSTROPHES}\-‐‑]++\Z")
_SAYS = regex.compile(r"[\p{L}\p{N}\p{So}]")
_VISIBLE = regex.compile(r"[^\p{C}\p{Z}]")
# Matches only at the start of a run of marks, so that a line of dots costs no more than its length.
_MARK = "[.!?…।॥؟۔።]"
_CLOSING = r"[\p{Pe}\p{Pf}\p{Pi}\"'*_]*+"
# No space follows a mark in Chinese and Japanese.
_ENDING = regex.compile(rf"(?<!{_MARK}){_MARK}++{_CLOSING}(?=\s|$)|(?<![。！？｡])[。！？｡]++{_CLOSING}")
# A line that starts in lower case continues the line before, as in hard-wrapped text.
_LINE = regex.compile(r"[^\n]+(?:\n[ \t]*(?=\p{Ll})[^\n]+)*")
_NEXT_CHARACTER = regex.compile(r"[^\p{L}\p{N}]{0,20}([\p{L}\p{N}])")
_LONE_LETTER_AHEAD = regex.compile(r"\s*\p{L}\.")
_LIST_NUMBER = regex.compile(r"[\s>#*_]*(?:\p{N}{1,3}|\p{L})[.)](?=\s)")


def is_empty(text: str) -> bool:
    """Whether nothing of ``text`` can be seen: it has only spaces, control and zero-width characters."""
    return _VISIBLE.search(text) is None


def says_nothing(text: str) -> bool:
    """Whether ``text`` has only spaces, marks and control characters: no letter, digit or picture."""
    return _SAYS.search(text) is None


def without_cut_word(text: str) -> str:
    """``text`` without the word at its very end, where generation stopped at the token limit.

    A text that ends with a space or a mark ends with a whole word. Where no spaces stand between words, nothing
    is taken away.
    """
    match = _LAST_WORD.search(text)
    return text[: match.start()] if match and not unspaced(match.group()) else text


def words(text: str) -> list[Span]:
    """The spans of the words and numbers of ``text``, in order."""
    return [match.span() for match in _WORD.finditer(text)]


def count_words(text: str) -> int:
    """How many words and numbers ``text`` has; a run of Chinese and the like counts for as many as it says."""
    return sum(words_in_run(match.group()) for match in _WORD.finditer(text))


def sentences(text: str, language: str) -> list[Span]:
    """The spans of the sentences of ``text``; a span without a letter or digit is not a sentence.

    Args:
        text: plain text or Markdown; every non-empty line starts a new sentence.
        language: ISO 639-1 code, for abbreviations and ordinals; an unknown language has none.
    """
    spans = []
    for line in _LINE.finditer(text):
        start, stop = line.span()
        numbered = _LIST_NUMBER.match(text, start, stop)
        position = numbered.end() if numbered else start
        for ending in _ENDING.finditer(text, position, stop):
            if ending.end() == stop or not _goes_on(text, position, ending, stop, language):
                spans.append((start, ending.end()))
                start = position = ending.end()
        spans.append((start, stop))
    return [trim(text, span) for span in spans if _WORD.search(text, *span)]


def _goes_on(text: str, start: int, ending: regex.Match[str], stop: int, language: str) -> bool:
    """Whether the sentence continues after the mark that ``ending`` matched."""
    following = _NEXT_CHARACTER.match(text, ending.end(), stop)
    if following is not None and following.group(1).islower():
        return True
    if not ending.group().startswith(".") or ending.group().startswith(".."):
        return False
    before = text[max(start, ending.start() - 24) : ending.start()].split()
    abbreviations = ABBREVIATIONS.get(language, frozenset())
    last = before[-1].lstrip("([«„“\"'*_") if before else ""
    if len(last) == 1 and (last.isupper() or _LONE_LETTER_AHEAD.match(text, ending.end(), stop)):
        return True  # "J. Smith", "z. B."
    if last.casefold() in abbreviations:
        return True
    pair = "".join(before[-2:]).casefold()
    if len(before) > 1 and before[-2].endswith(".") and pair in abbreviations:
        return True  # written with a space: "z. B.", "т. е."
    before_number = following is not None and following.group(1).isdigit()
    if before_number and last.casefold() in BEFORE_NUMBERS.get(language, frozenset()):
        return True
    # "am 3. Oktober", "im 19. Jahrhundert": nouns are capitalized, so the case does not tell.
    return language == "de" and last.isdigit() and len(last) <= 2


def trim(text: str, span: Span) -> Span:
    """``span`` of ``text`` without the spaces at its ends."""
    start, stop = span
    part = text[start:stop]
    return start + len(part) - len(part.lstrip()), stop - len(part) + len(part.rstrip())
