"""Averages of judges' scores on a fixed set: every number here was computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from xltjax.data.responses import Response
from xltjax.eval.judge.averages import average_rows, outcome_rows, print_averages, save_averages
from xltjax.eval.judge.judgments import Judgments
from xltjax.eval.judge.rubrics import Criterion
from xltjax.eval.scores import Score

CRITERIA = (Criterion("language", (1, 3), 0, False), Criterion("helpfulness", (1, 3), 0, True))
# id: language and helpfulness by the judge (None: the call failed), whether fastText finds the language right.
FIXED: dict[str, tuple[int | None, int | None, int | None]] = {
    "a": (2, 2, 1),
    "b": (2, 1, 1),
    "c": (1, 2, 0),  # code-switching is the right language for the judge; fastText guesses another one
    "d": (0, 2, 0),  # helpful, in the wrong language
    "e": (None, None, 1),
    "f": (None, None, 0),
    "g": (2, 0, None),  # fastText abstains
}
RESPONSES = [Response(id=key, model="m", language="fr", instruction="x", response="y") for key in FIXED]


def scores(judge: str = "j", repeat: int = 0, **changed: tuple[int, int]) -> Iterator[Score]:
    for key, (language, helpfulness, _) in FIXED.items():
        given = changed.get(key, (language, helpfulness))
        for name, value in zip(("language", "helpfulness"), given, strict=True):
            state = "ok" if value is not None else "failed:refusal" if key == "e" else "failed:truncated"
            number = None if value is None else float(value)
            yield Score(key, f"judge/{name}", number, state, {"judge": judge, "repeat": repeat}, "m")


def surface() -> Iterator[Score]:
    for key, (_, _, right) in FIXED.items():
        if right is None:
            yield Score(key, "language_correct", None, "abstain", {"reason": "no letters"}, "m")
        else:
            yield Score(key, "language_correct", float(right), model="m")


def table(*given: Score, draws: int = 200) -> dict[tuple[str, str, str], dict[str, Any]]:
    rows = average_rows(RESPONSES, given, CRITERIA, draws=draws)
    return {(row["criterion"], row["convention"], row["language_by"]): row for row in rows}


@pytest.mark.parametrize(
    ("convention", "by", "counted", "mean", "worst", "best"),
    [
        # a, b, c, g are right; e and f may be right too, with 0 or with 2.
        ("correct_only", "judge", 4, 5 / 4, 5 / 6, 9 / 6),
        # a and b are right, e is right without a score, g (0) may be right or not.
        ("correct_only", "fasttext", 2, 3 / 2, 3 / 4, 5 / 3),
        # and d counts as 0.
        ("wrong_is_lowest", "judge", 5, 5 / 5, 5 / 7, 9 / 7),
        # c, d and f count as 0; g is 0 or 0.
        ("wrong_is_lowest", "fasttext", 5, 3 / 5, 3 / 7, 5 / 7),
        # c and d count as they are.
        ("everything", "", 5, 7 / 5, 7 / 7, 11 / 7),
    ],
)
def test_each_convention_by_hand(
    convention: str, by: str, counted: int, mean: float, worst: float, best: float
) -> None:
    row = table(*scores(), *surface())["helpfulness", convention, by]
    assert (row["answers"], row["counted"], row["failed"]) == (7, counted, 2)
    assert row["coverage"] == counted / 7
    assert (row["mean"], row["worst"], row["best"]) == pytest.approx((mean, worst, best))
    assert row["low"] <= row["mean"] <= row["high"]


def test_the_language_itself_has_one_average() -> None:
    found = table(*scores(), *surface())
    assert [key for key in found if key[0] == "language"] == [("language", "everything", "")]
    row = found["language", "everything", ""]
    assert (row["mean"], row["worst"], row["best"]) == pytest.approx((7 / 5, 7 / 7, 11 / 7))


def test_without_surface_scores_fasttext_has_no_rows() -> None:
    assert {by for _, _, by in table(*scores())} == {"judge", ""}


def test_a_failed_call_is_never_a_score() -> None:
    """All calls fail: no mean, and bounds as wide as the scale."""
    lost = [
        Score(r.id, "judge/helpfulness", None, "failed:invalid_json", {"judge": "j"}, "m") for r in RESPONSES
    ]
    row = table(*lost)["helpfulness", "everything", ""]
    assert (row["mean"], row["low"], row["coverage"]) == (None, None, 0.0)
    assert (row["worst"], row["best"]) == (0.0, 2.0)


def test_repeats_are_averaged_and_the_majority_says_the_language() -> None:
    # d is right in two of three repeats, with helpfulness 2, 2 and 1.
    given = [*scores(), *scores(repeat=1, d=(2, 2)), *scores(repeat=2, d=(1, 1))]
    row = table(*given)["helpfulness", "correct_only", "judge"]
    assert row["counted"] == 5
    assert row["mean"] == pytest.approx((2 + 1 + 2 + 0 + 5 / 3) / 5)
    outcomes = outcome_rows(Judgments(RESPONSES, given, CRITERIA))
    assert outcomes[0]["calls"] == 21


def test_judges_do_not_mix_and_probes_do_not_count() -> None:
    probe = Score("a", "judge/helpfulness", 0.0, "ok", {"judge": "j", "probe": "copy"}, "m")
    rows = average_rows(RESPONSES, [*scores("j"), *scores("k", a=(0, 0)), probe], CRITERIA, draws=10)
    means = {
        row["judge"]: row["mean"]
        for row in rows
        if row["convention"] == "everything" and row["criterion"] == "helpfulness"
    }
    assert means == pytest.approx({"j": 7 / 5, "k": 5 / 5})


def test_outcomes_are_counted_once_per_call() -> None:
    (row,) = outcome_rows(Judgments(RESPONSES, scores(), CRITERIA))
    assert {name: row[name] for name in ("calls", "ok", "refusal", "truncated", "invalid_json")} == {
        "calls": 7, "ok": 5, "refusal": 1, "truncated": 1, "invalid_json": 0,
    }  # fmt: skip
    silent = Score("a", "judge/language", None, "failed:no answer (too long)", {"judge": "j"}, "m")
    (row,) = outcome_rows(Judgments(RESPONSES, [silent], CRITERIA))
    assert (row["calls"], row["not_asked"]) == (0, 1)
    # Another rubric of the same judge has calls of its own, and a criterion that it was not asked for has no row.
    relevant, unasked = Criterion("relevant", (0, 1), 0, False), Criterion("tone", (0, 1), 0, False)
    criteria = (unasked, *CRITERIA, relevant)
    other = [Score(key, "judge/relevant", 1.0, "ok", {"judge": "j"}, "m") for key in "abc"]
    rubrics = (("language", "helpfulness"), ("relevant",))
    (row,) = outcome_rows(Judgments(RESPONSES, [*scores(), *other], criteria, rubrics))
    assert (row["calls"], row["ok"]) == (10, 8)
    assert {row["criterion"] for row in average_rows(RESPONSES, other, criteria, draws=10)} == {"relevant"}


def test_answers_that_were_not_sampled_do_not_count() -> None:
    given = [score for score in scores() if score.id in "abc"]
    assert table(*given)["helpfulness", "everything", ""]["answers"] == 3


def test_a_yes_or_no_has_wilson_s_interval() -> None:
    from statsmodels.stats.proportion import proportion_confint

    given = [
        Score(r.id, "judge/fulfilled", float(r.id in "abc"), "ok", {"judge": "j"}, "m") for r in RESPONSES
    ]
    (row,) = average_rows(RESPONSES, given, [Criterion("fulfilled", (0, 1), 0, False)], draws=10)
    assert (row["low"], row["high"]) == pytest.approx(proportion_confint(3, 7, method="wilson"))


def test_translations_of_one_instruction_are_one_unit() -> None:
    import numpy as np

    responses = [
        Response(id=f"{n}{c}", model="m", language="fr", instruction_id=str(n))
        for n in range(40)
        for c in "xy"
    ]
    given = [
        Score(r.id, "judge/helpfulness", float(int(r.instruction_id) % 3), "ok", {"judge": "j"}, "m")
        for r in responses
    ]
    (row,) = average_rows(responses, given, CRITERIA[1:], draws=20_000)
    assert (row["answers"], row["instructions"]) == (80, 40)
    values = np.arange(40) % 3
    error = values.std(ddof=1) / np.sqrt(40)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_tables_are_written_and_printed(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    judgments = Judgments(RESPONSES, [*scores(), *surface()], CRITERIA)
    rows = average_rows(RESPONSES, [*scores(), *surface()], CRITERIA, draws=10)
    save_averages(tmp_path, rows, outcome_rows(judgments), "six")
    print_averages(rows, outcome_rows(judgments))
    out = capsys.readouterr().out
    assert "wrong is lowest (fasttext)" in out
    assert "j, m, fr: refusal 1, truncated 1 of 7" in out
    assert (tmp_path / "six-averages.csv").read_text().count("\n") == 1 + len(rows)
    assert (tmp_path / "six-outcomes.md").read_text().startswith("| judge | model")
