"""The modifier checks and the cutting of texts on text of any kind, odd, long and random."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.eval.language import LanguageIdentifier
from xltjax.eval.modifiers.catalog import MODIFIERS, Answer, check, placebo
from xltjax.eval.text.scripts import unspaced
from xltjax.eval.text.segmentation import count_words, is_empty, sentences, words

LANGUAGES = ("en", "fr", "pt", "ru", "de")
CHECKED = ("briefly", "list_n", "answer_in", "markdown", "html_page", "arrow", "capitalise")


@functools.cache
def identifier() -> LanguageIdentifier:
    return LanguageIdentifier()


ODD = {
    "digits": "12345 67890",
    "emoji": "🎉🎉 👍🏽",
    "nul": "a\0b",
    "lone surrogate": "abc \ud800 def",
    "right to left": "הרכבת יוצאת מהתחנה המרכזית בכל שעה",
    "all code": "```python\nprint(1)\n```",
    "other line ends": "One\u2028Two\x85Three\x0bFour",
}
# (strict, loose), or None where the program abstains
ODD_VERDICTS = {
    "briefly": {"emoji": (False, False)} | dict.fromkeys(ODD.keys() - {"emoji"}, (True, True)),
    "list_n": dict.fromkeys(ODD),
    "markdown": {"all code": (True, True)} | dict.fromkeys(ODD.keys() - {"all code"}, (False, False)),
    "html_page": dict.fromkeys(ODD, (False, False)),
    "arrow": dict.fromkeys(ODD, (False, False)),
    "capitalise": {
        "digits": None,
        "emoji": None,
        "nul": (False, False),
        "lone surrogate": (False, False),
        "right to left": None,
        "all code": None,
        "other line ends": (True, True),
    },
    "answer_in": {
        "digits": None,
        "emoji": None,
        "nul": None,
        "lone surrogate": None,
        "right to left": (False, False),
        "all code": None,
        "other line ends": None,
    },
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("name", CHECKED)
def test_odd_text_has_a_defined_verdict(name: str, kind: str) -> None:
    verdict = check(name, Answer(ODD[kind], "en", {"n": 2, "language": "fr"}, identify=identifier()))
    expected = ODD_VERDICTS[name][kind]
    assert verdict.state == ("ok" if expected else "abstain"), verdict
    assert (verdict.strict, verdict.loose) == (expected or (None, None))


# Pieces that fill a line; most are what some pattern begins with.
LONG_LINES = (
    "слово |a|.|! |<a |--> |1/ |<li>|**«a|~|(abc def |\U0001f44d\u200d|A, |Option |«|— Да, — он |\n|1.\n"
)


@pytest.mark.parametrize("name", CHECKED)
@pytest.mark.parametrize(
    "text",
    [text * (100_000 // len(text) + 1) for text in LONG_LINES.split("|")],
)
def test_a_line_of_100000_characters_has_a_verdict(name: str, text: str) -> None:
    # How long each takes is measured by benchmarks/evaluation/evaluators.py.
    verdict = check(name, Answer(text, "ru", {"n": 2, "language": "ru"}, identify=identifier()))
    assert verdict.state in ("ok", "abstain")


PIECES = st.sampled_from([
    "# ", "- ", "1. ", "2) ", "--> ", "**", "`", "```", "<html>", "<body>", "</p>", "<!--", "\n", "\n\n", "\r\n",
    " ", "1- ", "2/ ", "1ª ", "II. ", "① ", "[1] ", "— ", "🍎 ", "~~", "<li>", "<title>", "-5", "«", "(", "=> ",
    "Dr. ", "Don't", "слово", "L'été", "3.5", "…", "?!", "•", "|", "\0", "\ud800", "هذا", "🎉", "\u0301", "B", "b",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


@settings(max_examples=300, deadline=None)
@given(
    TEXTS, TEXTS, st.sampled_from(sorted(MODIFIERS)), st.sampled_from([*LANGUAGES, "ja", ""]), st.booleans()
)
def test_every_text_gets_a_sound_verdict_and_the_same_one_twice(
    text: str, own: str, name: str, language: str, truncated: bool
) -> None:
    answer = Answer(
        text, language, {"n": 2, "language": "fr"}, truncated, Answer(own, language), identifier()
    )
    verdict = check(name, answer)
    assert check(name, answer) == verdict
    assert verdict.state in ("ok", "abstain")
    if verdict.state == "ok":
        assert isinstance(verdict.strict, bool)
        assert isinstance(verdict.loose, bool)
        assert verdict.loose or not verdict.strict
    else:
        assert verdict.strict is verdict.loose is None
        assert verdict.detail["reason"]
    if verdict.span is not None:
        start, stop = verdict.span
        assert 0 <= start < stop <= len(text)
    json.dumps(verdict.detail)
    # The placebo of an answer that is its own is its verdict.
    itself = placebo(name, dataclasses.replace(answer, own=dataclasses.replace(answer, own=None)))
    if name != "detailed" and verdict.state == "ok" and not is_empty(text):
        assert (itself.strict, itself.loose) == (verdict.strict, verdict.loose)


@settings(max_examples=200, deadline=None)
@given(TEXTS, st.sampled_from(LANGUAGES))
def test_words_and_sentences_are_ordered_spans_of_the_text(text: str, language: str) -> None:
    for spans in (words(text), sentences(text, language)):
        assert all(0 <= start < stop <= len(text) for start, stop in spans)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert count_words(text) == len(words(text)) or unspaced(text)


@pytest.mark.parametrize(
    ("language", "text", "expected"),
    [
        (
            "en",
            "Dr. Smith met J. K. Rowling. He said no. Why?",
            ["Dr. Smith met J. K. Rowling.", "He said no.", "Why?"],
        ),
        ("de", "Am 3. Oktober, z. B. in Köln. Schön.", ["Am 3. Oktober, z. B. in Köln.", "Schön."]),
        ("fr", "« Ah ? » dit-il. C'est p. ex. vrai !", ["« Ah ? » dit-il.", "C'est p. ex. vrai !"]),
        ("ru", "А. С. Пушкин, т. е. поэт. И т. д. Всё.", ["А. С. Пушкин, т. е. поэт.", "И т. д.", "Всё."]),
        ("pt", "O Sr. Silva, nº 5. Sim!", ["O Sr. Silva, nº 5.", "Sim!"]),
        ("ja", "Dr. Smith", ["Dr.", "Smith"]),
        ("zh", "「好吗？」她说。好。", ["「好吗？」", "她说。", "好。"]),
        ("hi", "हाँ। क्या? ठीक।", ["हाँ।", "क्या?", "ठीक।"]),
        (
            "en",
            "1. First.\n2. Second, in lines\nthat go on.",
            ["1. First.", "2. Second, in lines\nthat go on."],
        ),
    ],
)
def test_sentences_end_where_a_reader_ends_them(language: str, text: str, expected: list[str]) -> None:
    assert [text[start:stop] for start, stop in sentences(text, language)] == expected
