"""Paired comparisons of models: differences with intervals, exact tests and Holm's correction.

``xltjax.eval.stats.intervals`` explains cells, items and clusters.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xltjax.eval.stats.intervals import (
    Cell,
    Interval,
    Item,
    Key,
    Resamples,
    UnitSums,
    percentile_interval,
    ratio_draws,
)
from xltjax.eval.stats.power import detectable_between_pairs

# The sign-flip distribution is computed exactly up to this many sums.
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
        difference: the mean difference over the items that both have scored (paired; quote this one).
        own_difference: the difference of the means, each over its own items; it also depends on *which* items
            those are.
        instructions: how many instructions have a common item.
        a_higher: how many of them have a higher sum of scores under ``a``.
        b_higher: how many have a higher one under ``b``.
        p_value: two-sided, of the hypothesis that the two models are alike; None without a common item.
        test: ``mcnemar`` or ``sign-flip``, which gave the p-value.
        exact: whether the p-value is exact rather than a Monte Carlo estimate.
        minimal_detectable: the true difference that such a comparison would find with 80% power; None where the
            differences have no spread.
    """

    difference: Interval
    own_difference: float | None
    instructions: int
    a_higher: int
    b_higher: int
    p_value: float | None
    test: str
    exact: bool
    minimal_detectable: float | None


def compare(
    pairs: Mapping[Key, tuple[Cell, Cell]],
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
    zero_one: bool = False,
) -> dict[Key, Comparison]:
    """Paired comparisons on shared resamples. Correct the p-values of a family of them with ``holm``.

    The interval is the percentile bootstrap of the mean difference over instructions. The test is McNemar's
    for scores of 0 and 1 with one item in each instruction, and otherwise the sign-flip test of the instructions'
    sums of differences, which for such scores is McNemar's.

    Args:
        pairs: cells ``a`` and ``b``.
        resamples: resamples of the units of the items.
        cluster: the instruction of each item, when an item is finer than an instruction.
        level: the level of confidence.
        zero_one: whether all scores are 0 or 1 by definition.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    if not pairs:
        return {}
    found = _pairings(pairs, resamples, cluster)
    draws = ratio_draws(list(found.values()), resamples)
    tests = _tests(found, resamples, zero_one)
    return {
        key: Comparison(
            difference=percentile_interval(
                pairing.mean(), drawn, n=pairing.n, total=pairing.total, units=pairing.units, level=level
            ),
            own_difference=_own_difference(*pairs[key]),
            instructions=pairing.units,
            a_higher=int(np.count_nonzero(pairing.sums > 0)),
            b_higher=int(np.count_nonzero(pairing.sums < 0)),
            p_value=p_value if pairing.n else None,
            test=test,
            exact=exact,
            minimal_detectable=detectable_between_pairs(
                pairing.sums[pairing.counts > 0], pairing.counts[pairing.counts > 0], level
            ),
        )
        for (key, pairing), drawn, (p_value, test, exact) in zip(found.items(), draws, tests, strict=True)
    }


def _own_difference(a: Cell, b: Cell) -> float | None:
    scored = [[value for value in cell.values() if value is not None] for cell in (a, b)]
    if not all(scored):
        return None
    first, second = (math.fsum(values) / len(values) for values in scored)
    return first - second


def _pairings(
    pairs: Mapping[Key, tuple[Cell, Cell]], resamples: Resamples, cluster: Mapping[Item, str] | None
) -> dict[Key, UnitSums]:
    """The differences of each pair on the items that both have scored, summed by unit."""
    cells = {id(cell): cell for pair in pairs.values() for cell in pair}
    items: dict[Item, int] = {}
    for cell in cells.values():
        for item in cell:
            items.setdefault(item, len(items))
    position = {unit: row for row, unit in enumerate(resamples.units)}
    unit = np.array([position[item if cluster is None else cluster[item]] for item in items], dtype=np.int64)
    # The items in the order of their units and names, so that the order of the input changes no rounding.
    names = list(map(str, items))
    order = np.array(sorted(range(len(items)), key=lambda k: (unit[k], names[k])), dtype=np.int64)
    values = {}
    for each, cell in cells.items():
        for item, value in cell.items():
            if value is not None and not math.isfinite(value):
                raise ValueError(f"the score of {item!r} is {value}; a missing score is None")
        row = np.full(len(items), np.nan)
        row[[items[item] for item in cell]] = [np.nan if value is None else value for value in cell.values()]
        values[each] = row[order]
    unit = unit[order]
    return {
        key: _pairing(values[id(a)] - values[id(b)], unit, len(resamples.units), len({*a, *b}))
        for key, (a, b) in pairs.items()
    }


def _pairing(differences: np.ndarray, unit: np.ndarray, units: int, total: int) -> UnitSums:
    both = ~np.isnan(differences)
    common, unit = differences[both], unit[both]
    return UnitSums(
        np.bincount(unit, common, minlength=units),
        np.bincount(unit, minlength=units).astype(np.float64),
        float(common.min(initial=math.inf)),
        float(common.max(initial=-math.inf)),
        total,
    )


def _tests(
    pairings: Mapping[Key, UnitSums], resamples: Resamples, zero_one: bool
) -> Iterator[tuple[float, str, bool]]:
    """The p-value of each pairing, the test that gave it, and whether it is exact."""
    flipped = sign_flip_tests(
        [np.zeros(0) if zero_one and each.n == each.units else each.sums for each in pairings.values()],
        draws=resamples.draws,
        seed=resamples.seed,
    )
    for each, (p_value, exact) in zip(pairings.values(), flipped, strict=True):
        if zero_one and each.n == each.units:
            wins, losses = np.count_nonzero(each.sums > 0), np.count_nonzero(each.sums < 0)
            yield _mcnemar_p(int(wins), int(losses)), "mcnemar", True
        else:
            yield p_value, "sign-flip", exact


# --- tests ---


def _differences(a: Cell, b: Cell) -> dict[Item, float]:
    """``a`` minus ``b`` on the items that both have scored."""
    scored = ((item, x, b.get(item)) for item, x in a.items())
    return {item: x - y for item, x, y in scored if x is not None and y is not None}


def sign_flip_test(
    differences: Sequence[float] | np.ndarray, *, draws: int = 10_000, seed: int = 0
) -> tuple[float, bool]:
    """Two-sided paired permutation test that the differences are symmetric around 0.

    Under the null hypothesis each difference could as well have the other sign, and the p-value is the share of
    sign patterns whose absolute sum reaches the observed one. The distribution of the sum is computed exactly,
    one difference at a time, where it has at most 65,536 values by a bound that is known before: for any 16
    differences, and for thousands of differences of stars or of 0 and 1, which are whole multiples of one step.
    Beyond that, ``draws`` random patterns give (1 + hits) / (1 + draws). Zeros change nothing, and all zeros
    give p = 1.

    Returns:
        The p-value, and whether it is exact.
    """
    return sign_flip_tests([differences], draws=draws, seed=seed)[0]


def sign_flip_tests(
    samples: Sequence[Sequence[float] | np.ndarray], *, draws: int = 10_000, seed: int = 0
) -> list[tuple[float, bool]]:
    """``sign_flip_test`` of each sample; random patterns are drawn once for samples of similar lengths."""
    results: list[tuple[float, bool]] = [(1.0, True)] * len(samples)
    waiting: dict[int, list[tuple[int, np.ndarray, float]]] = {}
    for number, differences in enumerate(samples):
        observed = abs(math.fsum(np.asarray(differences, dtype=np.float64).tolist()))
        values = np.sort(np.abs(np.asarray(differences, dtype=np.float64)))
        values = values[values > 0]
        if not values.size:
            continue
        values, observed = values / values[-1], observed / values[-1]
        p_value = _exact_sign_flips(values, observed)
        if p_value is None:
            # Zeros change nothing, so samples of similar lengths share the patterns of the next power of two.
            width = 1 << (len(values) - 1).bit_length()
            padded = np.concatenate([values[::-1], np.zeros(width - len(values))])
            waiting.setdefault(width, []).append((number, padded, observed - _tolerance(len(values))))
        else:
            results[number] = p_value, True
    for alike in waiting.values():
        thresholds = np.array([threshold for *_, threshold in alike])
        columns = np.stack([values for _, values, _ in alike], axis=1)
        for (number, *_), hits in zip(
            alike, _random_sign_flips(columns, thresholds, draws, seed), strict=True
        ):
            results[number] = (1 + int(hits)) / (1 + draws), False
    return results


def _tolerance(n: int) -> float:
    """Sums of ``n`` values of at most 1 count as equal within it."""
    return 1e-12 * n


def _exact_sign_flips(values: np.ndarray, observed: float) -> float | None:
    """The share of sign patterns of ``values`` (ascending, the last is 1) that reach ``observed``, or None."""
    step = _common_step(values)
    if step is not None:
        # Σ ± v = 2 T - Σ v, where T is the sum of the values that keep their sign.
        steps = np.rint(values / step).astype(np.int64)
        kept = np.zeros(int(steps.sum()) + 1)
        kept[0] = 1.0
        for value in steps:
            half = kept / 2
            kept = half.copy()
            kept[value:] += half[:-value]
        reached = np.abs(2 * np.arange(len(kept)) - len(kept) + 1) >= round(observed / step)
        return min(1.0, float(kept[reached].sum()))
    _, repeats = np.unique(np.round(values, 12), return_counts=True)
    if np.sum(np.log2(repeats + 1)) > math.log2(_EXACT_SUMS):
        return None
    sums: np.ndarray = np.zeros(1)
    shares: np.ndarray = np.ones(1)
    for value in values:
        # Sums are rounded to 12 decimals, so that equal ones meet.
        split = np.round(np.concatenate([sums + value, sums - value]), 12)
        sums, inverse = np.unique(split, return_inverse=True)
        shares = np.bincount(inverse, weights=np.concatenate([shares, shares]) / 2)
    return min(1.0, float(shares[np.abs(sums) >= observed - _tolerance(len(values))].sum()))


def _common_step(values: np.ndarray) -> float | None:
    """The largest step of which all ``values`` are whole multiples; None when their sum has over 65,536."""
    smallest = values.sum() / _EXACT_SUMS
    step = 1.0
    for value in np.unique(np.round(values, 12)):
        rest = float(value)
        while rest > 1e-9:
            step, rest = rest, step % rest
        if step < smallest:
            return None
    steps = values / step
    return step if np.max(np.abs(steps - np.rint(steps))) < 1e-6 else None


def _random_sign_flips(columns: np.ndarray, thresholds: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """How many of ``draws`` random sign patterns of each column [values, columns] reach its threshold, [columns]."""
    generator = np.random.default_rng(seed)
    block = max(1, _BLOCK // len(columns))
    hits = np.zeros(columns.shape[1], dtype=np.int64)
    for first in range(0, draws, block):
        flips = generator.integers(0, 2, (min(block, draws - first), len(columns)), dtype=np.int8)
        hits += np.count_nonzero(np.abs((2.0 * flips - 1.0) @ columns) >= thresholds, axis=0)
    return hits


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
    return McNemar(only_a, only_b, len(differences), _mcnemar_p(only_a, only_b))


@functools.cache
def _mcnemar_p(only_a: int, only_b: int) -> float:
    from scipy import stats  # which takes a second to import

    return float(stats.binomtest(only_a, only_a + only_b).pvalue) if only_a + only_b else 1.0


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
