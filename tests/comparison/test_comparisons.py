"""Paired tests and power against statsmodels, scipy, enumeration and closed forms."""

from __future__ import annotations

import itertools
import math
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.contingency_tables import mcnemar as statsmodels_mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

from xltjax.eval.stats.comparisons import (
    McNemar,
    common_support,
    compare,
    holm,
    mcnemar,
    sign_flip_test,
    sign_flip_tests,
)
from xltjax.eval.stats.intervals import Interval, resample
from xltjax.eval.stats.power import minimal_detectable_difference

UNITS = [f"instruction-{number:03d}" for number in range(113)]
TASKS = {unit: f"task-{number % 25}" for number, unit in enumerate(UNITS)}


def enumerated(differences: list[float]) -> float:
    """The sign-flip p-value over all sign patterns."""
    sums = [
        abs(math.fsum(sign * d for sign, d in zip(signs, differences, strict=True)))
        for signs in itertools.product((1, -1), repeat=len(differences))
    ]
    observed = abs(math.fsum(differences))
    return sum(value >= observed - 1e-9 for value in sums) / len(sums)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.one_of(st.integers(-2, 2), st.sampled_from([0.1, 0.2, 0.3, -1 / 3, 0.7])), max_size=9))
def test_sign_flip_test_equals_enumeration(differences: list[float]) -> None:
    p_value, exact = sign_flip_test(differences)
    assert exact
    assert p_value == pytest.approx(enumerated(differences), abs=1e-12)


def test_sign_flip_test_equals_scipy_permutation_test() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, size=12)
    theirs = stats.permutation_test(
        (differences, np.zeros(12)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        vectorized=False,
        n_resamples=math.inf,
    )
    assert sign_flip_test(differences) == (pytest.approx(theirs.pvalue, abs=1e-12), True)


def test_sign_flip_test_of_one_hundred_wins_and_losses_is_the_exact_sign_test() -> None:
    p_value, exact = sign_flip_test([1] * 61 + [-1] * 39 + [0] * 13)
    assert exact
    assert p_value == pytest.approx(stats.binomtest(61, 100).pvalue, rel=1e-9)


def test_random_sign_flips_estimate_the_exact_p_value() -> None:
    differences = np.random.default_rng(3).normal(0.3, 1, size=17)
    signs = 1.0 - 2.0 * ((np.arange(2**17)[:, None] >> np.arange(17)) & 1)
    expected = float(np.mean(np.abs(signs @ differences) >= abs(differences.sum()) - 1e-9))
    p_value, exact = sign_flip_test(differences, draws=10_000, seed=1)
    assert not exact
    assert p_value == pytest.approx(expected, abs=4 * math.sqrt(expected * (1 - expected) / 10_000))
    assert sign_flip_test(differences[::-1], draws=10_000, seed=1) == (p_value, False)


def test_a_random_p_value_is_never_zero() -> None:
    assert sign_flip_test(np.linspace(1, 2, 40) ** 3, draws=99) == (0.01, False)


def test_no_difference_gives_p_one() -> None:
    assert sign_flip_test([]) == sign_flip_test([0.0] * 113) == (1.0, True)


@pytest.mark.parametrize(("only_a", "only_b"), [(0, 0), (1, 0), (5, 5), (3, 12), (12, 3), (40, 21)])
def test_mcnemar_equals_statsmodels(only_a: int, only_b: int) -> None:
    a = [1.0] * only_a + [0.0] * only_b + [1.0] * 6 + [0.0] * 2
    b = [0.0] * only_a + [1.0] * only_b + [1.0] * 6 + [0.0] * 2
    cell_a, cell_b = dict(enumerate(a)), dict(enumerate(b))
    cell_a["unscored by b"], cell_b["unscored by a"] = 1.0, 0.0
    theirs = statsmodels_mcnemar([[6, only_a], [only_b, 2]], exact=True).pvalue
    assert mcnemar(cell_a, cell_b) == McNemar(only_a, only_b, len(a), pytest.approx(theirs, abs=1e-12))


def test_mcnemar_refuses_graded_scores() -> None:
    with pytest.raises(ValueError, match="0 and 1"):
        mcnemar({"a": 0.5}, {"a": 1.0})


@settings(deadline=None, max_examples=30)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_equals_statsmodels(p_values: list[float]) -> None:
    # statsmodels collects garbage in every call, which takes half a second beside a large heap.
    with patch("gc.collect"):
        theirs = multipletests(p_values, method="holm")[1]
    np.testing.assert_allclose(holm(p_values), theirs, atol=1e-12)


def test_holm_leaves_out_what_was_not_tested() -> None:
    assert holm([0.01, None, 0.04]) == [0.02, None, 0.04]
    assert holm([]) == []
    assert holm([None]) == [None]


@pytest.mark.parametrize("n", [3, 14, 30, 113, 1000])
@pytest.mark.parametrize("power", [0.8, 0.9])
def test_minimal_detectable_difference_equals_statsmodels(n: int, power: float) -> None:
    theirs = 0.7 * TTestPower().solve_power(nobs=n, alpha=0.05, power=power)
    assert minimal_detectable_difference(0.7, n, power=power) == pytest.approx(theirs, rel=1e-4)


def test_minimal_detectable_difference_tends_to_the_normal_formula() -> None:
    z = stats.norm.ppf(0.975) + stats.norm.ppf(0.8)
    assert minimal_detectable_difference(0.7, 10**6) == pytest.approx(z * 0.7 / 1000, rel=1e-4)


def test_minimal_detectable_difference_at_its_edges() -> None:
    assert minimal_detectable_difference(0.7, 1) is None
    assert minimal_detectable_difference(0.0, 113) == 0.0
    assert math.isfinite(minimal_detectable_difference(0.7, 2, level=0.9997, power=0.99))
    for sd, power in [(-1.0, 0.8), (math.nan, 0.8), (1.0, 0.01), (1.0, 1.0)]:
        with pytest.raises(ValueError, match="no such design"):
            minimal_detectable_difference(sd, 113, power=power)


def test_common_support_keeps_what_both_have() -> None:
    a, b = common_support({"x": 1.0, "y": None, "z": 2.0}, {"x": 0.0, "y": 1.0, "w": 1.0})
    assert a == {"x": 1.0, "y": None, "z": None, "w": None}
    assert b == {"x": 0.0, "y": None, "z": None, "w": None}


def test_comparison_by_hand() -> None:
    a = {"1": 2.0, "2": 1.0, "3": 2.0, "4": 2.0, "5": None}
    b = {"1": 1.0, "2": 1.0, "3": 0.0, "4": None, "5": 0.0}
    result = compare({"ab": (a, b)}, resample(a))["ab"]
    # Together on 1, 2, 3: differences 1, 0, 2; alone 7/4 against 2/4.
    assert (result.difference.estimate, result.difference.n, result.difference.total) == (1.0, 3, 5)
    assert result.own_difference == 1.25
    assert (result.instructions, result.a_higher, result.b_higher, result.test) == (3, 2, 0, "sign-flip")
    assert (result.p_value, result.exact) == (0.5, True)
    assert result.minimal_detectable == minimal_detectable_difference(1.0, 3)


def test_selection_shows_as_a_gap_between_own_and_common_support() -> None:
    # The same scores, but b answers only the easy half in the right language.
    a = {str(k): 0.0 if k % 2 else 2.0 for k in range(40)}
    b = {item: score or None for item, score in a.items()}
    result = compare({"ab": (a, b)}, resample(a))["ab"]
    assert result.own_difference == -1.0
    assert (result.difference.estimate, result.p_value) == (0.0, 1.0)


@pytest.mark.filterwarnings("error")
def test_comparisons_without_common_items_or_variance_are_finite_or_none() -> None:
    units = [str(k) for k in range(20)]
    ones, nothing = dict.fromkeys(units, 1.0), dict.fromkeys(units)
    single = {**nothing, "3": 0.0}
    pairs = {"copy": (ones, dict(ones)), "nothing": (ones, nothing), "single": (ones, single)}
    results = compare(pairs, resample(units))
    assert (results["copy"].p_value, results["copy"].minimal_detectable) == (1.0, None)
    assert (results["copy"].difference.low, results["copy"].difference.high) == (0.0, 0.0)
    assert results["nothing"].difference.estimate is results["nothing"].p_value is None
    assert results["nothing"].minimal_detectable is None
    assert (results["single"].difference.estimate, results["single"].difference.low) == (1.0, None)
    assert results["single"].minimal_detectable is None
    assert compare({}, resample(units)) == {}


@pytest.mark.parametrize("gap", [0.0, 0.1, 1 / 3])
def test_differences_without_spread_have_no_minimal_detectable_difference(gap: float) -> None:
    a = {str(k): k / 7 for k in range(40)}
    b = {item: value - gap for item, value in a.items()}
    assert compare({"ab": (a, b)}, resample(a))["ab"].minimal_detectable is None


def test_translations_of_one_instruction_flip_together() -> None:
    cluster = {(unit, language): unit for unit in "abcde" for language in ("en", "fr")}
    a, b = dict.fromkeys(cluster, 1.0), dict.fromkeys(cluster, 0.0)
    result = compare({"ab": (a, b)}, resample("abcde"), cluster=cluster)["ab"]
    assert result.p_value == 2 / 2**5  # not 2 / 2**10
    assert (result.difference.estimate, result.difference.n) == (1.0, 10)


def test_translations_do_not_lower_the_detectable_difference() -> None:
    generator = np.random.default_rng(1)
    a, b = ({str(k): float(generator.normal()) for k in range(30)} for _ in range(2))
    cluster = {(unit, language): unit for unit in a for language in ("en", "fr", "ru")}
    repeated = [{item: cell[unit] for item, unit in cluster.items()} for cell in (a, b)]
    once = compare({"ab": (a, b)}, resample(a))["ab"]
    thrice = compare({"ab": tuple(repeated)}, resample(a), cluster=cluster)["ab"]
    assert thrice.minimal_detectable == pytest.approx(once.minimal_detectable)


def test_pairing_narrows_the_interval_of_a_difference_to_its_closed_form() -> None:
    generator = np.random.default_rng(7)
    hardness = generator.normal(size=113)
    a = dict(zip(UNITS, hardness + 0.3 * generator.normal(size=113), strict=True))
    b = dict(zip(UNITS, hardness + 0.3 * generator.normal(size=113), strict=True))
    difference = compare({"ab": (a, b)}, resample(UNITS))["ab"].difference
    paired = np.array([a[unit] - b[unit] for unit in UNITS])
    assert difference.estimate == pytest.approx(paired.mean())
    half = 1.96 * paired.std(ddof=1) / math.sqrt(113)
    assert (difference.high - difference.low) / 2 == pytest.approx(half, rel=0.05)


def test_a_copy_of_a_model_differs_by_exactly_zero_and_has_its_intervals_wherever_it_stands() -> None:
    generator = np.random.default_rng(6)
    models = [{unit: generator.random() / 3 for unit in UNITS} for _ in range(6)]
    copy = dict(reversed(models[0].items()))
    resamples = resample(UNITS, TASKS)
    found = compare(
        {
            **{(0, k): (models[0], models[k]) for k in range(1, 6)},
            **{("copy", k): (copy, models[k]) for k in range(6)},
        },
        resamples,
    )
    assert found["copy", 0].difference == Interval(0.0, 0.0, 0.0, 113, 113)
    assert all(found[0, k] == found["copy", k] for k in range(1, 6))
    assert compare({"alone": (copy, models[3])}, resamples)["alone"] == found[0, 3]


# Scores whose sums are exact, so that every order of adding gives the same digits.
FIXED_A = [1.0, 0.75, 0.5, 1.0, 0.0, 0.25, 1.0, 1.0, 0.5, 0.75, 1.0, 0.25]
FIXED_B = [0.5, 0.75, 0.0, 0.25, 0.25, 0.0, 1.0, 0.5, 0.75, 0.5, 0.0, 0.25]


def test_the_sign_flip_test_equals_that_of_scipy_to_the_last_digit() -> None:
    shares = dict(enumerate(FIXED_A)), dict(enumerate(FIXED_B))
    resamples = resample(map(str, range(12)))
    cluster = {k: str(k) for k in range(12)}
    flipped = compare({"ab": shares}, resamples, cluster=cluster)["ab"]
    theirs = stats.permutation_test(
        (np.array(FIXED_A), np.array(FIXED_B)),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        vectorized=False,
        n_resamples=math.inf,
    )
    assert (flipped.p_value, flipped.test, flipped.exact) == (theirs.pvalue, "sign-flip", True)


@pytest.mark.parametrize(("wins", "losses"), [(1, 0), (3, 1), (5, 5), (17, 18), (40, 21)])
def test_mcnemar_equals_the_exact_binomial_test_of_scipy_to_the_last_digit(wins: int, losses: int) -> None:
    a = dict(zip(UNITS, [1.0] * wins + [0.0] * losses + [1.0] * 20, strict=False))
    b = dict(zip(UNITS, [0.0] * wins + [1.0] * losses + [1.0] * 20, strict=False))
    found = compare({"ab": (a, b)}, resample(UNITS, draws=10), zero_one=True)["ab"]
    assert (found.a_higher, found.b_higher, found.test, found.exact) == (wins, losses, "mcnemar", True)
    assert found.p_value == stats.binomtest(wins, wins + losses).pvalue


@pytest.mark.parametrize("missing", [(), (2, 7)])
def test_the_interval_is_that_of_a_bootstrap_by_hand_to_the_last_digit(missing: tuple[int, ...]) -> None:
    names = [f"q{k:02d}" for k in range(12)]
    task = {name: "ab"[k % 2] for k, name in enumerate(names)}
    a, b = dict(zip(names, FIXED_A, strict=True)), dict(zip(names, FIXED_B, strict=True))
    for k in missing:
        b[names[k]] = None
    found = compare({"ab": (a, b)}, resample(names, task, draws=500, seed=3))["ab"].difference

    # Six instructions of each task, of which every draw takes five: one matrix of indices.
    strata = [[name for name in names if task[name] == t] for t in "ab"]
    uniform = np.random.default_rng(3).random((500, 10))
    means = []
    for row in uniform:
        drawn = [strata[k // 5][int(6 * u)] for k, u in enumerate(row)]
        pairs = [(a[name], b[name]) for name in drawn if b[name] is not None]
        means.append(sum(x - y for x, y in pairs) / len(pairs))
    low, high = np.quantile(means, [0.025, 0.975])
    differences = [a[name] - b[name] for name in names if b[name] is not None]
    assert found == Interval(sum(differences) / len(differences), low, high, 12 - len(missing), 12)


def test_zero_one_scores_in_several_languages_are_flipped_by_instruction() -> None:
    cluster = {(unit, language): unit for unit in "abcdefgh" for language in ("en", "fr")}
    a, b = dict.fromkeys(cluster, 1.0), dict.fromkeys(cluster, 0.0)
    found = compare({"ab": (a, b)}, resample("abcdefgh"), cluster=cluster, zero_one=True)["ab"]
    assert (found.test, found.p_value, found.instructions, found.difference.n) == (
        "sign-flip",
        2 / 2**8,
        8,
        16,
    )


@pytest.mark.parametrize("step", [1.0, 0.25, 1 / 3, 0.1])
def test_many_differences_on_a_grid_have_an_exact_p_value(step: float) -> None:
    steps = np.random.default_rng(2).integers(-3, 5, 200)
    p_value, exact = sign_flip_test(step * steps)
    # The variance of the sum under random signs, and the exact distribution by convolution of whole numbers.
    sums = np.ones(1)
    for value in np.abs(steps):
        grown = np.zeros(len(sums) + 2 * value)
        grown[: len(sums)] += sums / 2
        grown[2 * value :] += sums / 2
        sums = grown
    middle = len(sums) // 2
    expected = sums[np.abs(np.arange(len(sums)) - middle) >= abs(int(steps.sum()))].sum()
    assert exact
    assert p_value == pytest.approx(expected, rel=1e-9)


def test_p_values_of_a_table_are_those_of_each_row_alone() -> None:
    generator = np.random.default_rng(4)
    samples = [generator.normal(0.1, 1, size=n) for n in (40, 33, 64, 65, 200, 12)]
    assert sign_flip_tests(samples) == [sign_flip_test(sample) for sample in samples]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="a missing score is None"):
        compare({"ab": ({"a": value}, {"a": 1.0})}, resample("a"))
