"""The check of detailed answers against hand-written pairs, and where it abstains."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from xltjax.eval.modifiers.catalog import Answer, check

CASES = yaml.safe_load(
    (Path(__file__).parent / "modifier_cases" / "detailed.yaml").read_text(encoding="utf-8")
)
LANGUAGES = tuple(CASES["phrases"])
EXPECTED = {"pass": (True, True), "fail": (False, False), "loose": (False, True)}
WORD = "word "
CODE = "```python\n" + "total = first + second  # the sum of all\n" * 30 + "```"


def pairs(language: str, outcome: str) -> Iterator[tuple[str, str]]:
    for own, text in CASES["templates"][outcome]:
        for key, phrase in CASES["phrases"][language].items():
            own, text = own.replace(f"%{key}%", phrase), text.replace(f"%{key}%", phrase)
        yield own, text


def all_pairs() -> list[Any]:
    return [
        pytest.param(language, own, text, outcome, id=f"{language}-{outcome}-{number}")
        for language in LANGUAGES
        for outcome in EXPECTED
        for number, (own, text) in enumerate(pairs(language, outcome))
    ]


@pytest.mark.parametrize(("language", "own", "text", "outcome"), all_pairs())
def test_a_hand_written_pair_gets_its_verdict(language: str, own: str, text: str, outcome: str) -> None:
    verdict = check("detailed", Answer(text, language, own=Answer(own, language)))
    assert (verdict.state, (verdict.strict, verdict.loose)) == ("ok", EXPECTED[outcome]), (text, verdict)


@pytest.mark.parametrize(
    ("words", "own_words", "strict", "loose"),
    [
        (125, 100, True, True),
        (124, 100, False, True),
        (101, 100, False, True),
        (100, 100, False, False),
        (60, 48, True, True),
        (59, 10, False, False),
        (60, 10, True, True),
    ],
)
def test_detailed_is_a_quarter_longer_than_the_own_answer_and_sixty_words(
    words: int, own_words: int, strict: bool, loose: bool
) -> None:
    verdict = check("detailed", Answer(WORD * words, own=Answer(WORD * own_words)))
    assert (verdict.strict, verdict.loose) == (strict, loose)


def test_detailed_abstains_where_lengths_cannot_be_compared() -> None:
    long = WORD * 300
    assert check("detailed", Answer(long)).state == "abstain"
    assert check("detailed", Answer(long, own=Answer(""))).state == "abstain"
    cut = Answer(WORD * 290, truncated=True)
    assert check("detailed", Answer(long, truncated=True, own=cut)).state == "abstain"
    assert check("detailed", Answer(long, truncated=True, own=Answer(WORD))).strict


def test_code_is_no_words_of_a_detailed_answer() -> None:
    own = Answer("A short answer in prose.")
    assert check("detailed", Answer(f"Here it is:\n{CODE}", own=own)).strict is False
    # An own answer with much code is no longer than its words.
    assert check("detailed", Answer(WORD * 80, own=Answer(f"Look:\n{CODE}"))).strict
    verdict = check("detailed", Answer(WORD * 80, own=Answer(CODE)))
    assert (verdict.state, verdict.detail["reason"]) == ("abstain", "the unmodified answer has no words")
