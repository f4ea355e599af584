"""Intervals against closed forms, statsmodels and scipy's own bootstrap."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from xltjax.eval.stats.intervals import (
    Interval,
    conditional_variants,
    mean_draws,
    mean_intervals,
    percentile_interval,
    resample,
    resampled_sums,
    wilson_interval,
)

UNITS = [f"instruction-{number:03d}" for number in range(113)]
TASKS = {unit: f"task-{number % 25}" for number, unit in enumerate(UNITS)}


def stars(seed: int, missing: float = 0.0) -> dict[str, float | None]:
    """Scores 0, 1, 2 of every unit, a share of them missing."""
    generator = np.random.default_rng(seed)
    return {
        unit: None if generator.random() < missing else float(generator.choice([0, 1, 2], p=[0.2, 0.3, 0.5]))
        for unit in UNITS
    }


def present(cell: dict[str, float | None]) -> np.ndarray:
    return np.array([value for value in cell.values() if value is not None])


@pytest.mark.parametrize("n", [1, 14, 113])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_wilson_interval_equals_statsmodels(n: int, level: float) -> None:
    for successes in range(n + 1):
        expected = proportion_confint(successes, n, alpha=1 - level, method="wilson")
        assert wilson_interval(successes, n, level) == pytest.approx(expected, abs=1e-12)


def test_wilson_interval_is_exact_at_the_ends_and_says_nothing_without_trials() -> None:
    assert wilson_interval(0, 14)[0] == 0.0
    assert wilson_interval(14, 14)[1] == 1.0
    assert wilson_interval(0, 0) == (0.0, 1.0)
    for successes, n, level in [(2, 1, 0.95), (-1, 3, 0.95), (1, 3, 1.0)]:
        with pytest.raises(ValueError, match="no proportion"):
            wilson_interval(successes, n, level)


def test_spread_of_the_draws_is_the_standard_error_of_a_mean() -> None:
    # The closed form, not the standard error of the mean of the draws, which is 100 times smaller.
    cell = stars(1)
    (draws,) = mean_draws([cell], resample(UNITS))
    assert draws.shape == (10_000,)
    assert draws.std() == pytest.approx(present(cell).std(ddof=1) / math.sqrt(113), rel=0.03)


def test_spread_of_stratified_draws_is_the_stratified_standard_error() -> None:
    generator = np.random.default_rng(0)
    cell = {unit: int(TASKS[unit][5:]) + generator.normal() for unit in UNITS}
    groups = [[cell[u] for u in UNITS if TASKS[u] == task] for task in sorted(set(TASKS.values()))]
    expected = math.sqrt(sum(len(g) * np.var(g, ddof=1) for g in groups)) / 113
    (draws,) = mean_draws([cell], resample(UNITS, TASKS))
    assert draws.std() == pytest.approx(expected, rel=0.03)
    assert draws.mean() == pytest.approx(np.mean(list(cell.values())), abs=4 * expected / 100)


def test_spread_of_a_conditional_mean_is_that_of_a_ratio() -> None:
    cell = stars(2, missing=0.4)
    scored = np.array([value is not None for value in cell.values()], dtype=float)
    values = np.array([value or 0.0 for value in cell.values()])
    ratio = values.sum() / scored.sum()
    linearized = np.std(values - ratio * scored, ddof=1) / scored.mean() / math.sqrt(113)
    (draws,) = mean_draws([cell], resample(UNITS))
    assert draws.std() == pytest.approx(linearized, rel=0.04)


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_percentile_interval_agrees_with_scipy_bootstrap(missing: float) -> None:
    cell = stars(3, missing)
    scored = np.array([value is not None for value in cell.values()], dtype=float)
    values = np.array([value or 0.0 for value in cell.values()])
    ours = mean_intervals({"cell": cell}, resample(UNITS))["cell"]
    theirs = stats.bootstrap(
        (values, scored),
        lambda x, y, axis: x.sum(axis=axis) / y.sum(axis=axis),
        paired=True,
        method="percentile",
        n_resamples=10_000,
        rng=np.random.default_rng(1),
    ).confidence_interval
    width = theirs.high - theirs.low
    assert ours.estimate == pytest.approx(present(cell).mean())
    assert ours.low == pytest.approx(theirs.low, abs=0.06 * width)
    assert ours.high == pytest.approx(theirs.high, abs=0.06 * width)
    assert (ours.n, ours.total) == (int(scored.sum()), 113)
    assert ours.coverage == pytest.approx(scored.mean())


def test_an_exact_copy_has_the_exact_same_interval_wherever_it_stands() -> None:
    generator = np.random.default_rng(5)
    original = {unit: generator.random() / 3 for unit in UNITS}
    others = {f"other-{k}": {unit: generator.normal() for unit in UNITS} for k in range(37)}
    resamples = resample(UNITS, TASKS)
    alone = mean_intervals({"original": original}, resamples)["original"]
    reordered = dict(reversed(original.items()))
    again = mean_intervals({**others, "copy": reordered}, resample(reversed(UNITS), TASKS))["copy"]
    first = mean_intervals({"original": original, **others, "copy": reordered}, resamples)
    assert alone == again == first["original"] == first["copy"]


def test_translations_of_one_instruction_are_one_cluster() -> None:
    cell = stars(8)
    cluster = {(unit, language): unit for unit in UNITS for language in ("en", "fr", "pt", "ru")}
    translations = {item: cell[unit] for item, unit in cluster.items()}
    resamples = resample(UNITS, TASKS)
    one = mean_intervals({"cell": cell}, resamples)["cell"]
    four = mean_intervals({"cell": translations}, resamples, cluster=cluster)["cell"]
    # Four times the same information is no more information.
    assert (four.low, four.high) == pytest.approx((one.low, one.high), abs=1e-12)
    assert (four.n, four.total) == (452, 452)


def test_the_seed_decides_the_draws_and_nothing_else_does() -> None:
    cell = stars(9)
    base = mean_draws([cell], resample(UNITS, TASKS, seed=1))
    np.testing.assert_array_equal(base, mean_draws([cell], resample(set(UNITS), TASKS, seed=1)))
    assert not np.array_equal(base, mean_draws([cell], resample(UNITS, TASKS, seed=2)))


def test_blocks_of_draws_do_not_change_them(monkeypatch: pytest.MonkeyPatch) -> None:
    resamples = resample(UNITS, TASKS, draws=101)
    columns = np.random.default_rng(0).normal(size=(113, 3))
    whole = resampled_sums(columns, resamples)
    monkeypatch.setattr("xltjax.eval.stats.intervals._BLOCK", 113 * 7)
    np.testing.assert_array_equal(whole, resampled_sums(columns, resamples))


def test_every_draw_keeps_the_size_of_every_stratum() -> None:
    resamples = resample(UNITS, TASKS, draws=200)
    names = sorted(set(TASKS.values()))
    indicator = np.array([[float(TASKS[unit] == name) for name in names] for unit in resamples.units])
    sums = resampled_sums(indicator, resamples)
    np.testing.assert_allclose(sums, np.broadcast_to(indicator.sum(axis=0), sums.shape), rtol=1e-12)


def test_strata_of_one_unit_are_merged() -> None:
    assert resample("abcdef", {"a": "1", "b": "1", "c": "2", "d": "2", "e": "2", "f": "3"}).sizes == (3, 3)
    assert resample("abcd", {"a": "1", "b": "1", "c": "2", "d": "3"}).sizes == (2, 2)
    assert resample("abcd", {unit: unit for unit in "abcd"}).sizes == (4,)
    assert resample("a").sizes == (1,)
    with pytest.raises(ValueError, match="at least one unit"):
        resample([])


@pytest.mark.parametrize("value", [0.0, 0.1, 1 / 3, 2.0, -1e300, 5e-324])
@pytest.mark.parametrize("missing", [0.0, 0.5])
def test_constant_data_give_the_constant(value: float, missing: float) -> None:
    cell = {unit: None if score is None else value for unit, score in stars(10, missing).items()}
    interval = mean_intervals({"cell": cell}, resample(UNITS, TASKS))["cell"]
    assert (interval.estimate, interval.low, interval.high) == (value, value, value)
    assert interval.note is None


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_known_is_none_with_a_reason() -> None:
    nothing = dict.fromkeys(UNITS)
    single = {**nothing, UNITS[3]: 1.5}
    resamples = resample(UNITS, TASKS)
    intervals = mean_intervals({"nothing": nothing, "single": single, "empty": {}}, resamples)
    assert intervals["nothing"] == Interval(None, None, None, 0, 113, "no scored answers")
    assert intervals["single"] == Interval(1.5, None, None, 1, 113, "one instruction: no interval")
    assert intervals["empty"] == Interval(None, None, None, 0, 0, "no scored answers")
    assert intervals["empty"].coverage == 0.0
    assert mean_intervals({}, resamples) == {}


def test_draws_without_a_scored_answer_are_left_out() -> None:
    cell = {**dict.fromkeys(UNITS), UNITS[0]: 0.0, UNITS[1]: 1.0}
    (draws,) = mean_draws([cell], resample(UNITS))
    # Each of 112 picks misses both with probability 111/113.
    assert np.isnan(draws).mean() == pytest.approx((111 / 113) ** 112, abs=0.02)
    interval = mean_intervals({"cell": cell}, resample(UNITS))["cell"]
    assert (interval.estimate, interval.low, interval.high) == (0.5, 0.0, 1.0)
    undefined = percentile_interval(0.5, np.full(10, np.nan), n=2, total=2, units=2)
    assert undefined.low is None
    assert undefined.note == "undefined in every resample"


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a missing score is None"):
        mean_intervals({"cell": {UNITS[0]: value}}, resample(UNITS))


def test_conditional_variants_by_hand() -> None:
    correct = {"right": 1.0, "right too": True, "wrong": 0.0, "unjudged": 1, "undecided": None}
    score = {"right": 2.0, "right too": 0.0, "wrong": 2.0, "unjudged": None, "undecided": 1.0}
    variants = conditional_variants(score, correct, lowest=0.0, highest=2.0)
    assert variants == {
        "correct_only": {"right": 2.0, "right too": 0.0, "wrong": None, "unjudged": None, "undecided": None},
        "wrong_is_lowest": {
            "right": 2.0,
            "right too": 0.0,
            "wrong": 0.0,
            "unjudged": None,
            "undecided": None,
        },
        "worst": {"right": 2.0, "right too": 0.0, "wrong": 0.0, "unjudged": 0.0, "undecided": 0.0},
        "best": {"right": 2.0, "right too": 0.0, "wrong": 2.0, "unjudged": 2.0, "undecided": 2.0},
    }
    means = mean_intervals(variants, resample(correct, draws=10))
    assert [means[name].estimate for name in variants] == [1.0, 2 / 3, 0.4, 1.6]


def test_worst_and_best_hold_whatever_the_missing_scores_are() -> None:
    cell = stars(11, missing=0.3)
    bounds = mean_intervals(conditional_variants(cell, dict.fromkeys(cell, 1), 0.0, 2.0), resample(UNITS))
    for value in (0.0, 1.0, 2.0):
        filled = np.mean([value if score is None else score for score in cell.values()])
        assert bounds["worst"].estimate <= filled <= bounds["best"].estimate
