"""How judges' answers are read: every spelling of the stated table, and no score from a failure."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.eval.judge.rubrics import Criterion, load_rubric
from xltjax.eval.judge.verdicts import OUTCOMES, Verdict, read_level, read_verdict

SIX = load_rubric("six", preset="paper", language="en")
RELEVANCE = load_rubric("relevance", preset="paper", language="en")
NAMES = [each.name for each in SIX.criteria]
GOOD = {"language": 3, "fluency": 2, "helpfulness": 1, "accuracy": 3, "coherence": 2, "harmlessness": 3}
VALUES = {name: level - 1 for name, level in GOOD.items()}
TEXT = json.dumps(GOOD)


def read(text: str | None, finish: str | None = "stop", refusal: str | None = None) -> Verdict:
    return read_verdict(SIX, text, finish_reason=finish, refusal=refusal)


PAPER = {
    "Language": 3,
    "Fluency": 2,
    "Helpfulness": 1,
    "Accuracy": 3,
    "Logical coherence": 2,
    "Harmlessness": 3,
}
RUSSIAN = {
    "Язык": 3,
    "грамотность и естественность": 2,
    "Полезность": 1,
    "Достоверность": 3,
    "Логичность": 2,
    "Безвредность": 3,
}


@pytest.mark.parametrize(
    "text",
    [
        TEXT,
        json.dumps(PAPER),
        json.dumps(RUSSIAN),
        f"```json\n{TEXT}\n```",
        f"```\n{TEXT}",
        f"Here you are:\n{TEXT}\nI hope it helps {{really}}.",
        f"For instance {json.dumps(dict.fromkeys(NAMES, 1))}, but I say {TEXT}",
        f'<think>maybe {{"language": 1}}</think>{TEXT}',
        json.dumps({"scores": PAPER}),
        json.dumps({name: {"score": level, "reason": "so"} for name, level in GOOD.items()}),
        json.dumps([{"criterion": name, "stars": level} for name, level in PAPER.items()]),
        json.dumps([{name: level} for name, level in GOOD.items()]),
        json.dumps({name: f"{level} stars" for name, level in GOOD.items()}),
        json.dumps({name: f"{level}/3" for name, level in GOOD.items()}),
        json.dumps({name: "★" * level for name, level in GOOD.items()}, ensure_ascii=False),
        f"```json\n{json.dumps(dict.fromkeys(NAMES, 1))}\n```\nOn reflection: {TEXT}",
        f"<thinking>at first {json.dumps(dict.fromkeys(NAMES, 1))}</thinking>\n{TEXT}",
        "{"
        + ", ".join(f'"{name}": {level}, "reason": "{level} {name}"' for name, level in GOOD.items())
        + "}",
        json.dumps([GOOD]),
        json.dumps({name: "★" * level + "☆" * (3 - level) for name, level in GOOD.items()}),
        json.dumps({f"{name}_score": float(level) for name, level in GOOD.items()} | {"overall": 9}),
    ],
)
def test_the_spellings_of_the_table_are_read(text: str) -> None:
    assert read(text) == Verdict("ok", VALUES)


@pytest.mark.parametrize(
    ("text", "finish", "refusal", "outcome"),
    [
        (None, "stop", "I cannot help with that", "refusal"),
        (TEXT, "content_filter", None, "refusal"),
        ("I’m sorry, but I can't assist with that.", "stop", None, "refusal"),
        ("К сожалению, я не могу это оценить.", "stop", None, "refusal"),
        ('{"language": 3, "flu', "length", None, "truncated"),
        ("", "length", None, "truncated"),
        (f"{json.dumps(dict.fromkeys(NAMES, 1))} is an example. My scores: {{", "length", None, "truncated"),
        ('{"language": 3}', "length", None, "truncated"),
        (f"<think>maybe {TEXT}, or", "length", None, "truncated"),
        (f"<think>maybe {TEXT}, or", "stop", None, "invalid_json"),
        ("", "stop", None, "invalid_json"),
        (None, "stop", None, "invalid_json"),
        ('{"language": 3, "flu', "stop", None, "invalid_json"),
        ("Language: 3, fluency: 3", "stop", None, "invalid_json"),
        ("[3, 3, 3, 3, 3, 3]", "stop", None, "invalid_json"),
        (TEXT[:-1] + ', "language": 1}', "stop", None, "invalid_json"),
        (TEXT[:-1] + ', "Correct Language": 1}', "stop", None, "invalid_json"),
        ('{"error": "overloaded"}', "stop", None, "invalid_json"),
        ('{"language": 3}', "stop", None, "missing_key"),
        (json.dumps(GOOD | {"fluency": None}), "stop", None, "missing_key"),
    ],
)
def test_what_is_not_a_verdict_has_an_outcome_and_no_score(
    text: str | None, finish: str, refusal: str | None, outcome: str
) -> None:
    verdict = read(text, finish, refusal)
    assert (verdict.outcome, verdict.values) == (outcome, {})
    assert verdict.detail


@pytest.mark.parametrize(
    "value",
    [0, 4, 7, -1, 2.5, "seven", "2-3", "3/5", "1 or 2", True, [3], 1e400, "", "10", "not 3", "★★★★", "★☆"],
)
def test_a_value_outside_the_scale_is_out_of_range(value: Any) -> None:
    verdict = read(json.dumps(GOOD | {"coherence": value}))
    assert (verdict.outcome, verdict.values) == ("out_of_range", {})
    assert "coherence" in verdict.detail


def test_a_complete_answer_counts_although_what_follows_it_was_cut() -> None:
    assert read(f"{TEXT}\nThe response is", "length") == Verdict("ok", VALUES)


@pytest.mark.parametrize(
    ("value", "level"),
    [("Yes", 1), ("нет", 0), ("ja.", 1), (True, 1), (False, 0), (1, 1), ("maybe", None)],
)
def test_a_scale_of_zero_and_one_takes_yes_and_no(value: Any, level: int | None) -> None:
    assert read_level(value, Criterion("fulfilled", (0, 1), 0, False)) == level


@pytest.mark.parametrize(
    ("text", "finish", "expected"),
    [
        ("1 (10/10)", "stop", Verdict("ok", {"relevant": 0})),
        ("0, no: 1", "stop", Verdict("ok", {"relevant": 1})),
        ("Relevant", "stop", Verdict("missing_key", detail="no 0 or 1: Relevant")),
        ("", "length", Verdict("truncated", detail="empty answer")),
        ("I cannot tell", "stop", Verdict("refusal", detail="I cannot tell")),
    ],
)
def test_the_paper_s_relevance_is_the_last_digit(text: str, finish: str, expected: Verdict) -> None:
    assert read_verdict(RELEVANCE, text, finish_reason=finish, refusal=None) == expected


@given(st.text(), st.sampled_from(["stop", "length", None]))
@settings(max_examples=60, deadline=None)
def test_no_text_breaks_the_reader(text: str, finish: str | None) -> None:
    for rubric in (SIX, RELEVANCE):
        verdict = read_verdict(rubric, text, finish_reason=finish, refusal=None)
        assert verdict.outcome in OUTCOMES
        assert bool(verdict.values) == (verdict.outcome == "ok")


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
KEYS = st.sampled_from([*NAMES, "scores", "score", "name"])


@given(st.recursive(SCALARS, lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner)))
@settings(max_examples=60, deadline=None)
def test_no_json_gives_a_score_outside_the_scale(value: Any) -> None:
    verdict = read(json.dumps(value))
    assert set(verdict.values.values()) <= {0, 1, 2}
    assert set(verdict.values) in (set(), set(NAMES))


def test_a_criterion_may_have_the_name_that_is_else_left_out() -> None:
    rubric = dataclasses.replace(SIX, criteria=(Criterion("overall_score", (1, 5), 1, False),))
    verdict = read_verdict(rubric, '{"overall_score": 4}', finish_reason="stop", refusal=None)
    assert verdict == Verdict("ok", {"overall_score": 4})


def test_deep_nesting_is_no_crash() -> None:
    assert read("[" * 30_000).outcome == "invalid_json"
