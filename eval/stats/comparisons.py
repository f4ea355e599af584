"""Paired comparisons of models: differences with intervals, exact tests, Holm's correction and power.

``xltjax.eval.stats.intervals`` explains cells, items and clusters.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import optimize, stats

from xltjax.eval.stats.intervals import Cell, Interval, Item, Key, Resamples, mean_differences

# The sign-flip distribution is computed exactly up to this many distinct sums.
_EXACT_SUMS = 2**16
# Random sign patterns are drawn in blocks of this many signs.
_BLOCK = 2**22


def common_support(a: Cell, b: Cell) -> tuple[Cell, Cell]:
    """Both cells with None on every item that either of them has not scored."""
    items = dict.fromkeys((*a, *b))
    both = {item for item in items if a.get(item) is not None and b.get(item) is not None}
    return (
        {item: a[item] if item in both else None for item in items},
        {item: b[item] if item in both else None for item in items},
    )


@dataclass(frozen=True)
class Comparison:
    """Two cells compared, ``a`` minus ``b``.

    Attributes:
        difference: the difference of the means over the items that both have scored (paired; quote this one).
        own_support: the difference of the means, each over its own items; it also depends on *which* items
            those are.
        p_value: of the two-sided sign-flip test of ``difference``; None without a common item.
        exact: whether the p-value is exact rather than a Monte Carlo estimate.
        minimal_detectable: the true difference that such a comparison would find with 80 % power; None where the
            differences have no spread.
    """

    difference: Interval
    own_support: Interval
    p_value: float | None
    exact: bool
    minimal_detectable: float | None


def compare(
    pairs: Mapping[Key, tuple[Cell, Cell]],
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
) -> dict[Key, Comparison]:
    """Paired comparisons on shared resamples. Correct the p-values of a family of them with ``holm``.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    common = {key: common_support(a, b) for key, (a, b) in pairs.items()}
    differences = mean_differences(common, resamples, cluster=cluster, level=level)
    own_supports = mean_differences(pairs, resamples, cluster=cluster, level=level)
    results = {}
    for key, (a, b) in pairs.items():
        sums, counts = _differences_by_unit(a, b, cluster)
        p_value, exact = sign_flip_test(sums, draws=resamples.draws, seed=resamples.seed)
        results[key] = Comparison(
            difference=differences[key],
            own_support=own_supports[key],
            p_value=p_value if len(sums) else None,
            exact=exact,
            minimal_detectable=_detectable(sums, counts, level, power=0.8),
        )
    return results


def typical_detectable_difference(
    cells: Sequence[Cell],
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
    power: float = 0.8,
) -> float | None:
    """The footnote of a table: the median minimal detectable difference over the pairs of its cells.

    None when no pair of cells shares two instructions.
    """
    detectable = [
        _detectable(*_differences_by_unit(a, b, cluster), level, power)
        for a, b in itertools.combinations(cells, 2)
    ]
    present = [value for value in detectable if value is not None]
    return float(np.median(present)) if present else None


def _differences(a: Cell, b: Cell) -> dict[Item, float]:
    """``a`` minus ``b`` on the items that both have scored."""
    scored = ((item, x, b.get(item)) for item, x in a.items())
    return {item: x - y for item, x, y in scored if x is not None and y is not None}


def _differences_by_unit(
    a: Cell, b: Cell, cluster: Mapping[Item, str] | None
) -> tuple[np.ndarray, np.ndarray]:
    """The summed differences on common items and the number of these items, both [units]."""
    by_unit: dict[Item, list[float]] = {}
    for item, difference in _differences(a, b).items():
        by_unit.setdefault(item if cluster is None else cluster[item], []).append(difference)
    sums = [math.fsum(values) for values in by_unit.values()]
    return np.array(sums), np.array([float(len(values)) for values in by_unit.values()])


def _detectable(sums: np.ndarray, counts: np.ndarray, level: float, power: float) -> float | None:
    """The minimal detectable mean difference of clustered pairs, None for fewer than two units or without spread.

    The standard deviation is that of the linearized mean, √units times its standard error. With one item
    in each unit it is the sample standard deviation of the differences.
    """
    if len(sums) < 2:
        return None
    sd = _linearized_sd(sums, counts)
    # Differences that are all the same say nothing about the spread of further ones.
    return minimal_detectable_difference(sd, len(sums), level=level, power=power) if sd > 0 else None


def _linearized_sd(sums: np.ndarray, counts: np.ndarray) -> float:
    """√units times the standard error of the ratio Σ sums / Σ counts; 0 when rounding is all that varies."""
    residuals = (sums - math.fsum(sums) / counts.sum() * counts) / counts.mean()
    largest = np.max(np.abs(sums), initial=0.0) / counts.mean()
    if np.max(np.abs(residuals), initial=0.0) <= 1e-12 * largest:
        return 0.0
    return math.sqrt(math.fsum(residuals**2) / (len(sums) - 1))


# --- tests ---


def sign_flip_test(
    differences: Sequence[float] | np.ndarray, *, draws: int = 10_000, seed: int = 0
) -> tuple[float, bool]:
    """Two-sided paired permutation test that the differences are symmetric around 0.

    Under the null hypothesis each difference could as well have the other sign, and the p-value is the share of
    sign patterns whose absolute sum reaches the observed one. The distribution of the sum is computed exactly,
    one difference at a time, as long as it has at most 65,536 values: for any 16 differences, and for thousands
    of differences of stars or of 0 and 1, which have few distinct sums. Beyond that, ``draws`` random patterns
    give (1 + hits) / (1 + draws). Zeros change nothing, and all zeros give p = 1.

    Returns:
        The p-value, and whether it is exact.
    """
    observed = abs(math.fsum(differences))
    values = np.sort(np.abs(np.asarray(differences, dtype=np.float64)))
    values = values[values > 0]
    if not values.size:
        return 1.0, True
    values, observed = values / values[-1], observed / values[-1]
    tolerance = 1e-12 * len(values)  # sums are rounded to 12 decimals, so that equal ones meet
    sums: np.ndarray = np.zeros(1)
    shares: np.ndarray = np.ones(1)
    for value in values:
        reached = np.round(np.concatenate([sums + value, sums - value]), 12)
        sums, inverse = np.unique(reached, return_inverse=True)
        if len(sums) > _EXACT_SUMS:
            return _random_sign_flips(values, observed - tolerance, draws, seed), False
        shares = np.bincount(inverse, weights=np.concatenate([shares, shares]) / 2)
    return min(1.0, float(shares[np.abs(sums) >= observed - tolerance].sum())), True


def _random_sign_flips(values: np.ndarray, threshold: float, draws: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(values))
    hits = 0
    for first in range(0, draws, block):
        flips = generator.integers(0, 2, (min(block, draws - first), len(values)), dtype=np.int8)
        hits += int(np.count_nonzero(np.abs((2.0 * flips - 1.0) @ values) >= threshold))
    return (1 + hits) / (1 + draws)


@dataclass(frozen=True)
class McNemar:
    """Two 0/1 cells compared on their ``n`` common items; ``p_value`` is exact and two-sided."""

    only_a: int
    only_b: int
    n: int
    p_value: float


def mcnemar(a: Cell, b: Cell) -> McNemar:
    """Exact McNemar test of two paired proportions.

    Under the null hypothesis each side has half of the items where exactly one of the two succeeds:
    p = min(1, 2 P(Binomial(only_a + only_b, 1/2) <= min(only_a, only_b))). Without such an item p = 1.

    Raises:
        ValueError: for a score other than 0 and 1.
    """
    if not {*a.values(), *b.values()} <= {0, 1, None}:
        raise ValueError("McNemar's test compares scores of 0 and 1")
    differences = list(_differences(a, b).values())
    only_a, only_b = differences.count(1), differences.count(-1)
    p_value = min(1.0, 2 * float(stats.binom.cdf(min(only_a, only_b), only_a + only_b, 0.5)))
    return McNemar(only_a, only_b, len(differences), p_value)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's step-down adjustment of a family of p-values.

    The i-th smallest of m p-values becomes the maximum over j <= i of min(1, (m - j + 1) p_j). None (no test)
    stays None and does not count in m.
    """
    order = sorted((p, position) for position, p in enumerate(p_values) if p is not None)
    adjusted: list[float | None] = [None] * len(p_values)
    running = 0.0
    for rank, (p, position) in enumerate(order):
        running = max(running, min(1.0, (len(order) - rank) * p))
        adjusted[position] = running
    return adjusted


# --- power ---


def minimal_detectable_difference(
    sd: float, n: int, *, level: float = 0.95, power: float = 0.8
) -> float | None:
    """The smallest true mean difference that a two-sided paired t test finds with the given power.

    It is δ sd / √n, where δ solves P(t'(n - 1, δ) > t((1 + level)/2, n - 1)) = power for the noncentral t'
    (a significant difference of the wrong sign does not count). For large n, δ is
    z((1 + level)/2) + z(power) = 2.80 at the defaults. Fewer than two items give None.

    Args:
        sd: the standard deviation of the paired differences.
        n: the number of pairs.
        level: the level of confidence of the test.
        power: the probability of finding the difference, above 1 - level.

    Raises:
        ValueError: for a negative or non-finite ``sd``, or a level or power outside (0, 1).
    """
    if not (0 <= sd < math.inf and 0 < level < 1 and 1 - level < power < 1):
        raise ValueError(f"no such design: sd {sd}, level {level}, power {power}")
    return sd * _noncentrality(n, level, power) / math.sqrt(n) if n >= 2 else None


def detectable_between_models(values: Mapping[float, int], *, zero_one: bool = True) -> float | None:
    """The difference between the means of two models of such scores that a test would find.

    It is what a table of one model's scores can say about comparisons with another model that answered as
    many instructions, at level .95 and power .8. The variances of the two models add up when their
    answers are taken as independent: the standard deviation of the differences is √(2 p (1 - p)) for scores
    of 0 and 1 with mean p, and √2 s for others with sample standard deviation s. Answers to the same
    instructions are mostly positively correlated, so that ``compare``, which knows the pairs, finds smaller
    differences. Scores that are all the same say nothing about the spread and give None, as fewer than two do.

    Args:
        values: score -> how many answers have it.
        zero_one: whether the scores are 0 and 1 by definition; shares may happen to be.
    """
    n = sum(values.values())
    if len(values) < 2:
        return None
    mean = math.fsum(value * count for value, count in values.items()) / n
    squares = math.fsum(count * (value - mean) ** 2 for value, count in values.items())
    return minimal_detectable_difference(math.sqrt(2 * squares / (n if zero_one else n - 1)), n)


def detectable_between_clustered(sums: np.ndarray, counts: np.ndarray) -> float | None:
    """``detectable_between_models`` for models with several answers to an instruction.

    The standard deviation is √2 times that of the linearized mean over instructions.

    Args:
        sums: the sum of the scores of each instruction, [units].
        counts: how many scores that is, [units], each at least 1.
    """
    if len(sums) < 2:
        return None
    sd = math.sqrt(2) * _linearized_sd(sums, counts)
    return minimal_detectable_difference(sd, len(sums)) if sd > 0 else None


@functools.cache
def _noncentrality(n: int, level: float, power: float) -> float:
    critical = float(stats.t.ppf((1 + level) / 2, n - 1))

    def excess(delta: float) -> float:
        return float(stats.nct.sf(critical, n - 1, delta)) - power

    return float(optimize.brentq(excess, 0.0, 3 * critical + 10))
