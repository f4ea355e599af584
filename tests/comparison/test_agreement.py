"""Agreement against scikit-learn, krippendorff, scipy, published values and the definitions."""

from __future__ import annotations

import itertools
import math

import krippendorff
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import cohen_kappa_score

from xltjax.eval.stats.coefficients import (
    Agreement,
    agreement,
    cohen_kappa,
    gwet_ac2,
    infer_scale,
    kendall_tau,
    krippendorff_alpha,
    ordinal_weights,
    system_tau,
)
from xltjax.eval.stats.intervals import Interval, resample

# Four raters, twelve items, five categories: Krippendorff's example ("Computing Krippendorff's
# Alpha-Reliability", 2011), also used for AC1 and AC2 in Gwet's "Handbook of Inter-Rater Reliability".
FOUR_RATERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def cell(values: list[float | None] | np.ndarray) -> dict[str, float | None]:
    return {f"{number:04d}": value for number, value in enumerate(values)}


def agree(*raters: list[float | None] | np.ndarray, draws: int = 10, **options: object) -> Agreement:
    cells = [cell(rater) for rater in raters]
    return agreement(cells, resample(cells[0], draws=draws), **options)


def from_table(table: list[list[int]]) -> tuple[list[float], list[float]]:
    """The two raters' ratings with these counts, the first rater in rows."""
    pairs = [(i, j) for i, row in enumerate(table) for j, count in enumerate(row) for _ in range(count)]
    return [float(i) for i, _ in pairs], [float(j) for _, j in pairs]


def noisy_pair(n: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 3, n)
    return truth, np.clip(truth + generator.choice([-1, 0, 0, 0, 1], n), 0, 2)


def ac2_by_definition(ratings: list[list[float | None]], categories: list[float]) -> float:
    """Gwet's AC2 with ordinal weights, in loops, from the definition."""
    q = len(categories)
    weight = {
        (k, m): 1 - math.comb(abs(i - j) + 1, 2) / math.comb(q, 2)
        for (i, k), (j, m) in itertools.product(enumerate(categories), repeat=2)
    }
    items = [[value for value in item if value is not None] for item in zip(*ratings, strict=True)]
    agreements = [
        sum(weight[a, b] for a, b in itertools.permutations(item, 2)) / (len(item) * (len(item) - 1))
        for item in items
        if len(item) >= 2
    ]
    rated = [item for item in items if item]
    shares = [sum(item.count(k) / len(item) for item in rated) / len(rated) for k in categories]
    chance = sum(weight.values()) / (q * (q - 1)) * sum(p * (1 - p) for p in shares)
    return (sum(agreements) / len(agreements) - chance) / (1 - chance)


def test_published_example_of_four_raters_with_missing_ratings() -> None:
    found = agree(*FOUR_RATERS)
    assert found.alpha.estimate == pytest.approx(0.815, abs=5e-4)
    assert found.ac2.estimate == pytest.approx(0.899, abs=5e-4)  # p_a .968, p_e .685
    assert (found.n, found.total, found.scale) == (11, 12, (1, 2, 3, 4, 5))
    assert found.exact.estimate == pytest.approx(8 / 11)
    assert found.kappa is found.mean_difference is found.confusion is None


def test_published_example_of_two_raters() -> None:
    table = [[13, 0, 0], [0, 20, 7], [0, 4, 56]]
    found = agree(*from_table(table))
    assert found.ac2.estimate == pytest.approx(0.925, abs=5e-4)
    assert found.exact.estimate == pytest.approx(0.89)
    assert found.confusion == tuple(map(tuple, table))
    assert found.mean_difference.estimate == pytest.approx(0.03)


def test_ac1_of_gwets_paradox_where_kappa_is_negative() -> None:
    # 118, 5, 2, 0 of 125: by hand p_e = 2 π (1 - π) with π = 243/250.
    found = agree(*from_table([[118, 5], [2, 0]]))
    chance = 2 * (243 / 250) * (7 / 250)
    assert found.ac2.estimate == pytest.approx((118 / 125 - chance) / (1 - chance))
    assert found.ac2.estimate == pytest.approx(0.941, abs=5e-4)
    assert found.kappa.estimate == pytest.approx(-0.0234, abs=5e-5)


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=30))
def test_kappa_equals_scikit_learn(pairs: list[tuple[int, int]]) -> None:
    a, b = zip(*pairs, strict=True)
    found = agree(list(a), list(b), scale=range(4))
    kappas = (found.kappa_unweighted, found.kappa_linear, found.kappa)
    for power, (weights, kappa) in enumerate(zip((None, "linear", "quadratic"), kappas, strict=True)):
        ours = float(cohen_kappa(np.histogram2d(a, b, bins=(range(5), range(5)))[0], range(4), power=power))
        if len({*a, *b}) == 1:
            assert ours == 1.0  # where scikit-learn has NaN
        else:
            theirs = cohen_kappa_score(a, b, labels=range(4), weights=weights)
            assert (ours, kappa.estimate) == (pytest.approx(theirs, abs=1e-9),) * 2


@settings(deadline=None, max_examples=100)
@given(
    st.integers(2, 4).flatmap(
        lambda raters: st.lists(
            st.lists(st.sampled_from([None, 0, 1, 2]), min_size=raters, max_size=raters),
            min_size=1,
            max_size=15,
        )
    )
)
def test_alpha_and_ac2_equal_independent_implementations(items: list[list[float | None]]) -> None:
    raters = [list(rater) for rater in zip(*items, strict=True)]
    found = agree(*raters, scale=[0, 1, 2])
    usable = [[value for value in item if value is not None] for item in items]
    usable = [item for item in usable if len(item) >= 2]
    if not usable:
        assert found.alpha == Interval(None, None, None, 0, found.total, "no item has two ratings")
        return
    if len({value for item in usable for value in item}) == 1:
        assert found.alpha.estimate == 1.0  # where krippendorff raises
        assert found.alpha.note
    else:
        matrix = np.array(raters, dtype=float)
        theirs = krippendorff.alpha(matrix, level_of_measurement="ordinal", value_domain=[0, 1, 2])
        assert found.alpha.estimate == pytest.approx(theirs, abs=1e-9)
    if len(raters) == 2:  # only what both have rated
        raters = [list(rater) for rater in zip(*usable, strict=True)]
    assert found.ac2.estimate == pytest.approx(ac2_by_definition(raters, [0, 1, 2]), abs=1e-9)


def test_ordinal_weights_are_those_of_the_published_table() -> None:
    np.testing.assert_allclose(ordinal_weights(3), [[1, 2 / 3, 0], [2 / 3, 1, 2 / 3], [0, 2 / 3, 1]])
    np.testing.assert_array_equal(ordinal_weights(1), [[1]])


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), min_size=2, max_size=12))
def test_kendall_tau_equals_scipy(pairs: list[tuple[int, int]]) -> None:
    x, y = np.array(pairs, dtype=float).T
    theirs = stats.kendalltau(x, y).statistic
    np.testing.assert_allclose(kendall_tau(x, y), theirs, atol=1e-12)  # NaN for NaN


@pytest.mark.parametrize("raters", [2, 3])
def test_intervals_agree_with_scipy_bootstrap(raters: int) -> None:
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 3, 60)
    columns = [np.clip(truth + generator.choice([-1, 0, 0, 0, 1], 60), 0, 2) for _ in range(raters)]
    found = agree(*columns, draws=4000, scale=[0, 1, 2])

    def check(ours: Interval, statistic: object) -> None:
        theirs = stats.bootstrap(
            columns, statistic, paired=True, vectorized=False, method="percentile", n_resamples=1500,
            rng=np.random.default_rng(2),
        ).confidence_interval  # fmt: skip
        width = theirs.high - theirs.low
        assert ours.low == pytest.approx(theirs.low, abs=0.15 * width)
        assert ours.high == pytest.approx(theirs.high, abs=0.15 * width)

    check(found.alpha, lambda *c: krippendorff.alpha(np.array(c), level_of_measurement="ordinal"))
    if raters == 2:
        check(found.kappa, lambda a, b: cohen_kappa_score(a, b, weights="quadratic"))
        check(found.mean_difference, lambda a, b: np.mean(b - a))


def test_spread_of_exact_agreement_is_that_of_a_share() -> None:
    a, b = noisy_pair(200)
    interval = agree(a, b, draws=10_000).exact
    share = np.mean(a == b)
    half = 1.96 * math.sqrt(share * (1 - share) / 199)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=0.07)


@pytest.mark.filterwarnings("error")
def test_constant_ratings_have_finite_answers_and_say_so() -> None:
    ones = [1.0] * 20
    found = agree(ones, ones)
    convention = "all ratings are equal: 1 by convention"
    assert found.kappa == found.alpha == Interval(1.0, 1.0, 1.0, 20, 20, convention)
    assert found.exact == found.ac2 == Interval(1.0, 1.0, 1.0, 20, 20)
    assert found.mean_difference == Interval(0.0, 0.0, 0.0, 20, 20)
    # One rater constant: no better than chance, which is a number and no convention.
    half = agree(ones, [1.0, 2.0] * 10)
    assert (half.kappa.estimate, half.kappa.note) == (0.0, None)
    # Both constant, but different: as bad as can be, and kappa's chance is as bad.
    apart = agree(ones, [2.0] * 20)
    assert (apart.exact.estimate, apart.kappa.estimate, apart.mean_difference.low) == (0.0, 0.0, 1.0)
    assert math.isfinite(apart.alpha.estimate)
    assert math.isfinite(apart.ac2.estimate)


@pytest.mark.filterwarnings("error")
def test_what_cannot_be_known_is_none_with_a_reason() -> None:
    for raters in (([1.0, None], [None, 2.0]), ([None], [None]), ([1.0, None, None], [None] * 3, [None] * 3)):
        found = agree(*raters)
        assert found.n == 0
        assert found.alpha.estimate is found.exact.estimate is None
        assert found.ac2.note == "no item has two ratings"
    single = agree([1.0], [2.0])
    assert (single.exact.estimate, single.exact.low) == (0.0, None)
    assert single.exact.note == "one instruction: no interval"


def test_measurements_have_a_difference_but_no_ordinal_coefficient() -> None:
    values = np.random.default_rng(0).random(30)
    found = agree(values, values + 0.25)
    assert found.mean_difference.estimate == pytest.approx(0.25)
    assert found.exact.estimate == 0.0
    assert found.scale == ()
    assert found.alpha.estimate is found.kappa.estimate is found.ac2.estimate is None
    assert "not an ordinal scale" in found.alpha.note


def test_scale_is_inferred_from_whole_numbers_or_taken_as_seen() -> None:
    assert infer_scale([2, 0]) == (0, 1, 2)
    assert infer_scale([0.5, 2, 0.5]) == (0.5, 2)
    assert infer_scale([0, 1000]) == (0, 1000)
    assert infer_scale(range(21)) == ()
    assert infer_scale([]) == ()


def test_ac2_depends_on_the_ratings_that_could_be_given() -> None:
    a, b = [1.0, 1.0, 2.0, 2.0], [1.0, 2.0, 2.0, 2.0]
    for scale in ([1, 2], [0, 1, 2]):
        assert agree(a, b, scale=scale).ac2.estimate == pytest.approx(ac2_by_definition([a, b], scale))
    with pytest.raises(ValueError, match="not one of 0, 1"):
        agree(a, b, scale=[0, 1])


def test_bad_ratings_are_refused() -> None:
    with pytest.raises(ValueError, match="not finite"):
        agree([1.0, math.nan], [1.0, 1.0])
    with pytest.raises(ValueError, match="two raters"):
        agree([1.0])


def test_agreement_does_not_depend_on_the_order_of_items() -> None:
    generator = np.random.default_rng(0)
    cells = [cell(generator.choice([0, 1, 2, np.nan], 300).tolist()) for _ in range(4)]
    cells = [{item: None if value != value else value for item, value in c.items()} for c in cells]
    cluster = {item: item[-1] for item in cells[0]}
    shuffled = [dict(sorted(c.items(), key=lambda pair: pair[0][::-1])) for c in cells]
    resamples = resample(cluster.values(), draws=100)
    assert agreement(cells, resamples, cluster=cluster) == agreement(shuffled, resamples, cluster=cluster)


def test_answers_of_one_instruction_are_one_cluster() -> None:
    a, b = (cell(column.tolist()) for column in noisy_pair(40))
    cluster = {(item, model): item for item in a for model in "ABC"}
    threefold = [{item: c[unit] for item, unit in cluster.items()} for c in (a, b)]
    one = agreement([a, b], resample(a)).kappa
    three = agreement(threefold, resample(a), cluster=cluster).kappa
    assert (three.low, three.high) == pytest.approx((one.low, one.high))


def test_tau_of_models_by_hand() -> None:
    models = {f"{model}{i}": model for model in "ABC" for i in range(4)}
    means = {"A": (0.0, 0.0), "B": (1.0, 2.0), "C": (2.0, 1.0)}
    a = {item: means[model][0] for item, model in models.items()}
    b = {item: means[model][1] for item, model in models.items()}
    cluster = {item: item[1] for item in models}
    tau = system_tau(a, b, models, resample(cluster.values()), cluster=cluster)
    assert tau == Interval(1 / 3, 1 / 3, 1 / 3, 3, 3)  # pairs AB and AC agree, BC does not
    a["C3"] = None  # one rating less: C is ranked by its other items
    assert system_tau(a, b, models, resample(cluster.values()), cluster=cluster).estimate == 1 / 3
    same = dict.fromkeys(models, 1.0)
    assert system_tau(a, same, models, resample(models)).note == "all models tie"
    assert system_tau(a, same, dict.fromkeys(models, "A"), resample(models)).note == "fewer than two models"


def test_coefficients_take_stacks_of_tables() -> None:
    tables = np.random.default_rng(0).integers(0, 9, (5, 2, 3, 3)).astype(float)
    for index in np.ndindex(5, 2):
        table = tables[index]
        assert cohen_kappa(tables, [0, 1, 2], power=2)[index] == cohen_kappa(table, [0, 1, 2], power=2)
        symmetric = tables + tables.swapaxes(-1, -2)
        assert krippendorff_alpha(symmetric)[index] == krippendorff_alpha(symmetric[index])
    assert gwet_ac2(np.ones((5, 2)), np.full((5, 2, 3), 1 / 3)).shape == (5, 2)
