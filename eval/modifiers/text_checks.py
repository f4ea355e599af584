"""The checks of words and lines: for brief and detailed answers, a language, arrows and capital letters."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import regex

from xltjax.eval.language import UNKNOWN, Identify, line_language
from xltjax.eval.modifiers.verdict import Verdict, abstain, decided
from xltjax.eval.scores import Unavailable
from xltjax.eval.text.markup import prose
from xltjax.eval.text.segmentation import APOSTROPHES, Span, count_words, sentences, words

STRICT_SENTENCES, STRICT_WORDS = 5, 100
LOOSE_SENTENCES, LOOSE_WORDS = 7, 150
LEAST_DETAIL_RATIO, LEAST_DETAIL_WORDS = 1.25, 60
LEAST_SHARE = 0.5
STRICT_CAPITALS, LOOSE_CAPITALS = 0.9, 0.7


def briefly(response: str, language: str, truncated: bool, own: str | None) -> Verdict:
    """Whether ``response`` is brief: a few sentences.

    Strict: it has at most 5 sentences and 100 words and is not cut off at the token limit. Loose: at most 7 and
    150. The detail's ``length_ratio`` (words here / words of the model's own unmodified answer) is evidence and
    not part of the grade, since the same check must apply to the unmodified answer too.

    Args:
        response: the answer.
        language: ISO 639-1 code of the answer, for abbreviations.
        truncated: whether generation stopped at the token limit.
        own: the same model's unmodified answer to the same instruction, None when there is none.
    """
    word_spans, sentence_spans = words(response), sentences(response, language)
    numbers: dict[str, Any] = {
        "sentences": len(sentence_spans),
        "words": len(word_spans),
        "truncated": truncated,
        "length_ratio": None if own is None else _ratio(len(word_spans), count_words(own)),
    }
    if not word_spans:
        return decided(False, False, **numbers)
    strict = len(sentence_spans) <= STRICT_SENTENCES and len(word_spans) <= STRICT_WORDS
    loose = len(sentence_spans) <= LOOSE_SENTENCES and len(word_spans) <= LOOSE_WORDS
    # The whole answer fulfills the modifier; what stands beyond the limit breaks it.
    start, stop = sentence_spans[0][0], sentence_spans[-1][1]
    if len(sentence_spans) > STRICT_SENTENCES:
        start = sentence_spans[STRICT_SENTENCES][0]
    elif len(word_spans) > STRICT_WORDS:
        start = word_spans[STRICT_WORDS][0]
    return decided(strict and not truncated, loose and not truncated, (start, stop), **numbers)


def detailed(response: str, truncated: bool, own: str | None, own_truncated: bool) -> Verdict:
    """Whether ``response`` is more detailed than the model's own unmodified answer.

    Strict: it has at least 1.25 times as many words, and at least 60. Loose: it has more words, and at least 60.
    A program sees only the length; whether the words add substance is for a judge. The program abstains without
    the unmodified answer, and when both were cut off at the token limit.
    """
    if own is None:
        return abstain("no unmodified answer to compare with")
    if truncated and own_truncated:
        return abstain("both answers were cut off at the token limit")
    own_words, word_spans = count_words(own), words(response)
    if not own_words:
        return abstain("the unmodified answer is empty")
    long_enough = len(word_spans) >= LEAST_DETAIL_WORDS
    return decided(
        long_enough and len(word_spans) >= LEAST_DETAIL_RATIO * own_words,
        long_enough and len(word_spans) > own_words,
        (word_spans[0][0], word_spans[-1][1]) if word_spans else None,
        words=len(word_spans),
        own_words=own_words,
        length_ratio=_ratio(len(word_spans), own_words),
    )


def _ratio(count: int, own: int) -> float | None:
    return round(count / own, 4) if own else None


# --- answer in X ---

_SCRIPTS = {"ru": regex.compile(r"\p{Cyrillic}")} | dict.fromkeys(
    ("en", "fr", "pt", "de"), regex.compile(r"\p{Latin}")
)
_LETTER = regex.compile(r"\p{L}")


def answer_in(response: str, target: str, identify: Identify | Unavailable) -> Verdict:
    """Whether ``response`` is in the language ``target``.

    Strict: every passage that is long enough to be identified is in ``target`` (as in line pass rate). Loose:
    passages with at least half of the letters are. Code, tags and addresses are left out. Text that is too short
    to be identified does not pass when it has no letter of the target's script; otherwise the program abstains.

    Args:
        response: the answer.
        target: the ISO 639-1 code of the language asked for.
        identify: identifies the language of a passage, or says why this cannot be done.
    """
    if isinstance(identify, Unavailable):
        return abstain(str(identify))
    score = line_language("", response, target, identify)
    lines = list(score.detail["lines"])
    if score.value is None:
        text = prose(response)
        script = _SCRIPTS.get(target)
        if script is not None and _LETTER.search(text) and not script.search(text):
            return decided(False, False, share=0.0, lines=lines)
        return abstain(score.detail["reason"], lines=lines)
    strict, loose = score.value == 1, score.value >= LEAST_SHARE
    sure = [line for line in lines if line["language"] != UNKNOWN]
    shown = [line["text"] for line in sure if (line["language"] == target) == strict]
    return decided(
        strict, loose, _find(response, shown[0]) if shown else None, share=score.value, lines=lines
    )


def _find(response: str, excerpt: str) -> Span | None:
    """The span of ``excerpt``, a piece of the prose, in the response; None when markup stands inside it."""
    start = response.find(excerpt)
    return (start, start + len(excerpt)) if start >= 0 else None


# --- begin each point with the sign --> ---

_SIGN = r"(?:-{1,3}\\?>|--&gt;|[–—]+>|→|⟶)"
_ARROW = regex.compile(
    rf"(?P<lead>[ \t>]*(?:(?:[-*+•·]|\(?\p{{Nd}}{{1,3}}[.)])[ \t]+)?[*_`]{{0,3}})(?P<sign>{_SIGN})[*_`]{{0,3}}"
    r"[ \t]*(?P<text>.*\S.*)"
)
_INNER_ARROW = regex.compile(rf"(?<=\s){_SIGN}(?=\s*\S)")
_MARKED = regex.compile(r"(?P<indent>[ \t]*)(?:[-*+•·‣▪●–—][ \t]+|\(?\p{Nd}{1,3}[.)][ \t]+|\p{L}\)[ \t]+)\S")
_HEADING = regex.compile(r"[ \t]*(?:#{1,6}[ \t].*|(\*\*|__).*\1:?|.*:[*_]{0,3})[ \t]*")
_COMMENT = regex.compile(r"(?s)<!--.*?(?:-->|\Z)")
_ANY_WORD = regex.compile(r"[\p{L}\p{N}]")
# A line that is at least this long was wrapped, so that the next one continues it.
_WRAPPED = 60


def arrow(response: str) -> Verdict:
    """Whether every point of ``response`` begins with the sign -->.

    Points are the lines that begin with an arrow, a bullet or a number, and the paragraphs between arrows, but
    not headings and wrapped lines. Both grades require two arrows or more, no unindented bullet or number without
    an arrow, and no more other lines than arrows. Strict: each point begins with exactly ``-->``. Loose: the sign
    may be –> -> → or —>, it may follow a bullet or number or be in bold, indented bullets and paragraphs between
    the arrows need no sign, and several points may share one line.
    """
    text = _COMMENT.sub(lambda comment: regex.sub(r"[^\n]", " ", comment.group()), response)
    arrows: list[Span] = []
    bare: list[Span] = []  # bullets and numbers without an arrow
    between: list[Span] = []  # other lines between arrows
    around: list[Span] = []  # other lines before the first and after the last arrow
    exact = True
    for span, line, continues in _lines(text):
        match = _ARROW.fullmatch(line)
        marked = _MARKED.match(line)
        if match is not None:
            if arrows:
                between, around = between + around, []
            else:
                framing, around = around, []
            arrows.append(span)
            exact &= match["sign"] == "-->" and not match["lead"].strip()
        elif _HEADING.fullmatch(line) or (continues and arrows and marked is None):
            continue
        elif marked is not None and not (arrows and marked["indent"]):
            bare.append(span)
        else:
            around.append(span)
    signs = len(arrows)
    if signs == 1:
        signs += len(_INNER_ARROW.findall(text, *arrows[0]))
    others = len(between) + len(around) + (len(framing) if arrows else 0)
    counts = {"arrows": signs, "bare_points": len(bare), "other_lines": others, "exact": exact and signs > 0}
    if signs < 2 or bare or others > signs:
        return decided(False, False, next(iter(bare + between), None), **counts)
    return decided(exact and not between and len(arrows) > 1, True, (arrows[0][0], arrows[-1][1]), **counts)


def _lines(text: str) -> Iterator[tuple[Span, str, bool]]:
    """Each line with a letter or digit: its span, its text, and whether it seems to continue the line before."""
    start, previous = 0, ""
    for line in text.split("\n"):
        stripped = line.rstrip()
        if _ANY_WORD.search(line) and not stripped.lstrip().startswith(("```", "~~~")):
            first = stripped.lstrip()[0]
            wrapped = len(previous) >= _WRAPPED or first.islower() or stripped != stripped.lstrip()
            yield (start, start + len(stripped)), stripped, bool(previous) and wrapped
        previous = stripped
        start += len(line) + 1


# --- capitalize each first letter ---

_TOKEN = regex.compile(rf"[\p{{L}}\p{{M}}\p{{N}}]+(?:[{APOSTROPHES}\-‐‑][\p{{L}}\p{{M}}\p{{N}}]+)*")
# A French elision belongs to the next word: L'homme and l'Homme both have their capital.
_ELISION = regex.compile(rf"(?i)(?:[cdjlmnst]|(?:jus|lors|puis|quoi)?qu)[{APOSTROPHES}](?=\p{{L}})")


def capitalize(response: str, language: str) -> Verdict:
    """Whether the words of ``response`` begin with capital letters; code, tags and addresses do not count.

    Words that begin with a digit or in a script without case do not count either; without any others the program
    abstains. Strict: at least .9 of the words do, and most words are not in capitals throughout. Loose: at least
    .7 do, or .9 without the first or last line where these hold no more than half of the words ("Sure, here it
    is:").

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
    broken = _find_word(response, lower[0].group()) if lower and not strict else None
    whole = (len(response) - len(response.lstrip()), len(response.rstrip()))
    return decided(
        strict, loose, whole if strict else broken, grade=grade, rate=round(rate, 4), words=len(tokens)
    )


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
