"""Intervals for the scores of the same instructions under several models and languages.

The unit of every statement is the *instruction* (Miller 2024, arXiv 2411.00640): models answer the same
instructions, so comparisons are paired, and the translations of one instruction are one cluster. A *cell* holds
the scores of one model on one criterion: it maps each item to a number, or to None where there is no score. An
item is an instruction, or something finer (an answer in one language) that ``cluster`` maps to its instruction.

A number that does not exist is None, never NaN, and ``Interval.note`` gives the reason.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

Item = Any  # anything hashable; a Mapping[str, float | None] is not a Mapping[Hashable, float | None]
Cell = Mapping[Item, float | None]
Key = TypeVar("Key", bound=Hashable)

# Blocks of the bootstrap hold this many weights (64 MB), so that memory does not grow with the answers.
_BLOCK = 2**23


@dataclass(frozen=True)
class Interval:
    """An estimate with its limits.

    Attributes:
        estimate: the estimate, None when nothing was scored.
        low: the lower limit, None when there is none (``note`` says why).
        high: the upper limit.
        n: how many items entered the estimate.
        total: how many items could have entered it.
        note: why a number is missing, or which convention gave it.
    """

    estimate: float | None
    low: float | None
    high: float | None
    n: int
    total: int
    note: str | None = None

    @property
    def coverage(self) -> float:
        """The share of items that entered the estimate; it is 0 when there are no items."""
        return self.n / self.total if self.total else 0.0


def wilson_interval(successes: float, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, inside [0, 1] for every count.

    With p = successes / n and z the normal quantile of (1 + level) / 2, the limits are
    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). Without trials (n = 0) they are (0, 1). For several answers
    to each of n instructions, ``successes`` is n times the mean, and need not be a whole number.

    Raises:
        ValueError: unless 0 <= successes <= n and 0 < level < 1.
    """
    if not (0 <= successes <= n and 0 < level < 1):
        raise ValueError(f"no proportion: {successes} successes of {n} at level {level}")
    if n == 0:
        return 0.0, 1.0
    from scipy import stats  # which takes a second to import

    z = float(stats.norm.ppf((1 + level) / 2))
    p = successes / n
    center = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At 0 and n the limit is the proportion itself, from which rounding would leave it 1e-17 away.
    low = 0.0 if successes == 0 else center - half
    high = 1.0 if successes == n else center + half
    return low, high


# --- the bootstrap over instructions ---


@dataclass(frozen=True)
class Resamples:
    """The recipe for one matrix of bootstrap weights, which every number of a report shares (see ``resample``).

    Attributes:
        units: the instructions, ordered by stratum and then by name, so that the order of the input has no effect.
        sizes: the number of units in each stratum, in that order.
        draws: the number of rows of the matrix.
        seed: the seed of the generator, from which the matrix is made again, in blocks, whenever it is needed.
    """

    units: tuple[str, ...]
    sizes: tuple[int, ...]
    draws: int
    seed: int


def resample(
    units: Iterable[str], strata: Mapping[str, str] | None = None, *, draws: int = 10_000, seed: int = 0
) -> Resamples:
    """Plan a bootstrap over ``units``, stratified by ``strata`` (unit -> task; other units have the task "").

    From a stratum of k units each draw takes k - 1 with replacement and weights them by k / (k - 1) (Rao and
    Wu, JASA 1988). Taking k would make the variance too small by the factor (k - 1) / k, and with four or five
    instructions per task the intervals 10% too narrow. A stratum of one unit cannot show any variance, so all
    such strata are merged into one, and if there is only one of them, its unit joins the smallest stratum.

    Raises:
        ValueError: without a unit or a draw.
    """
    groups: dict[str, list[str]] = {}
    for unit in sorted(set(units)):
        groups.setdefault((strata or {}).get(unit, ""), []).append(unit)
    if not groups or draws < 1:
        raise ValueError("a bootstrap needs at least one unit and one draw")
    large = [groups[name] for name in sorted(groups) if len(groups[name]) > 1]
    lone = [groups[name][0] for name in sorted(groups) if len(groups[name]) == 1]
    if len(lone) == 1 and large:
        min(large, key=len).extend(lone)
    elif lone:
        large.append(lone)
    ordered = tuple(unit for group in large for unit in group)
    return Resamples(ordered, tuple(len(group) for group in large), draws, seed)


def resampled_sums(columns: np.ndarray, resamples: Resamples, *, for_ratios: bool = False) -> np.ndarray:
    """Bootstrap draws of the column sums.

    Every estimate here is a function of sums over units, so this is the only place that draws. Values are
    first rounded to a grid (relative step about n 2^-53) on which all sums are exact. The same column then
    has the same draws in any position, in whatever order the linear algebra library adds, so that an exact copy
    of a model gets exactly the same interval.

    Args:
        columns: [units, columns], rows in the order of ``resamples.units``.
        resamples: from ``resample``.
        for_ratios: divide all sums by the largest weight of a stratum. A ratio of two sums does not change by it,
            but where all strata are of one size it is a ratio of plain sums, to the last digit.

    Returns:
        [draws, columns] float64.
    """
    sizes = np.array(resamples.sizes)
    taken = np.maximum(sizes - 1, 1)
    weights = sizes / taken
    if for_ratios:
        weights /= weights.max()
    scaled = columns * np.repeat(weights, sizes)[:, None]
    largest = np.max(np.abs(scaled), axis=0, initial=0.0)
    exponents = np.frexp(largest)[1] + math.ceil(math.log2(len(scaled))) - 53
    grid = np.ldexp(1.0, np.maximum(exponents, -1000))
    exact = np.rint(scaled / grid) * grid
    sums = np.empty((resamples.draws, columns.shape[1]))
    row = 0
    for counts in _count_blocks(sizes, taken, resamples):
        sums[row : row + len(counts)] = counts @ exact
        row += len(counts)
    return sums


def _count_blocks(sizes: np.ndarray, taken: np.ndarray, resamples: Resamples) -> Iterator[np.ndarray]:
    """[rows, units] blocks of how often each draw takes each unit; the last matrix that is one block is kept."""
    if resamples.draws * len(resamples.units) <= _BLOCK:
        yield _count_matrix(resamples)
    else:
        yield from _make_count_blocks(sizes, taken, resamples)


@functools.lru_cache(maxsize=1)
def _count_matrix(resamples: Resamples) -> np.ndarray:
    sizes = np.array(resamples.sizes)
    (counts,) = _make_count_blocks(sizes, np.maximum(sizes - 1, 1), resamples)
    return counts


def _make_count_blocks(sizes: np.ndarray, taken: np.ndarray, resamples: Resamples) -> Iterator[np.ndarray]:
    units = int(sizes.sum())
    width = np.repeat(sizes, taken)
    start = np.repeat(np.cumsum(sizes) - sizes, taken)
    generator = np.random.default_rng(resamples.seed)
    block = max(1, _BLOCK // units)
    for first in range(0, resamples.draws, block):
        rows = min(block, resamples.draws - first)
        index = start + (generator.random((rows, len(width))) * width).astype(np.int64)
        index += units * np.arange(rows)[:, None]
        counts = np.bincount(index.ravel(), minlength=rows * units)
        yield counts.reshape(rows, units).astype(np.float64)


def percentile_interval(
    estimate: float | None, draws: np.ndarray, *, n: int, total: int, units: int, level: float = 0.95
) -> Interval:
    """The interval between the (1 - level)/2 and (1 + level)/2 quantiles of ``draws``.

    Draws that are NaN (a resample without a scored answer) are left out. Constant data has equal limits, where
    BCa limits would be 0/0. For a proportion near 0 or 1 prefer ``wilson_interval``, which keeps some width.

    Args:
        estimate: the estimate from the data themselves.
        draws: [draws] the same quantity from the resamples.
        n: how many items entered the estimate.
        total: how many items could have entered it.
        units: how many instructions have at least one such item; fewer than two give no interval.
        level: the level of confidence.
    """
    if estimate is None:
        return Interval(None, None, None, n, total, "no scored answers" if n == 0 else "undefined")
    if units < 2:
        return Interval(estimate, None, None, n, total, "one instruction: no interval")
    defined = draws[~np.isnan(draws)]
    if not defined.size:
        return Interval(estimate, None, None, n, total, "undefined in every resample")
    tail = round((1 - level) / 2, 12)  # (1 - .95) / 2 is not .025
    low, high = np.quantile(defined, [tail, 1 - tail])
    return Interval(estimate, float(low), float(high), n, total)


@dataclass(frozen=True, eq=False)
class UnitSums:
    """A cell summed by unit: ``sums`` and ``counts`` are [units]; ``low`` and ``high`` are its extreme scores.

    ``total`` is the number of items, scored or not.
    """

    sums: np.ndarray
    counts: np.ndarray
    low: float
    high: float
    total: int

    @property
    def n(self) -> int:
        """The number of scored items."""
        return int(self.counts.sum())

    @property
    def units(self) -> int:
        """The number of units with a scored item."""
        return int(np.count_nonzero(self.counts))

    def mean(self) -> float | None:
        """The mean over scored items; None without any."""
        # Clipping undoes the rounding of the division, so that the mean of constant data is the constant.
        return min(max(math.fsum(self.sums.tolist()) / self.n, self.low), self.high) if self.n else None


def _sum_by_unit(cell: Cell, index: Mapping[str, int], cluster: Mapping[Item, str] | None) -> UnitSums:
    scores: list[list[float]] = [[] for _ in index]
    for item, value in cell.items():
        if value is None:
            continue
        if not math.isfinite(value):
            raise ValueError(f"the score of {item!r} is {value}; a missing score is None")
        unit = item if cluster is None else cluster[item]
        scores[index[unit]].append(float(value))
    present = [value for unit_scores in scores for value in unit_scores]
    return UnitSums(
        np.array([math.fsum(unit_scores) for unit_scores in scores]),
        np.array([float(len(unit_scores)) for unit_scores in scores]),
        min(present, default=0.0),
        max(present, default=0.0),
        len(cell),
    )


def ratio_draws(cells: Sequence[UnitSums], resamples: Resamples) -> np.ndarray:
    """[cells, draws] bootstrap draws of each cell's mean, as a ratio of sums; NaN where a draw is empty."""
    columns = np.stack([c.sums for c in cells] + [c.counts for c in cells], axis=1)
    sums, counts = np.split(resampled_sums(columns, resamples, for_ratios=True).T, 2)
    means = np.full_like(sums, np.nan)
    np.divide(sums, counts, out=means, where=counts > 0)
    low, high = np.array([[c.low, c.high] for c in cells]).T
    return np.clip(means, low[:, None], high[:, None], out=means)


def sums_by_unit(
    cells: Iterable[Cell], resamples: Resamples, cluster: Mapping[Item, str] | None
) -> list[UnitSums]:
    """Each cell summed by the units of ``resamples``.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    index = {unit: position for position, unit in enumerate(resamples.units)}
    return [_sum_by_unit(cell, index, cluster) for cell in cells]


def mean_draws(
    cells: Sequence[Cell], resamples: Resamples, *, cluster: Mapping[Item, str] | None = None
) -> np.ndarray:
    """[cells, draws] bootstrap draws of each cell's mean over its scored items; NaN where a draw has none.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    return ratio_draws(sums_by_unit(cells, resamples, cluster), resamples)


def mean_intervals(
    cells: Mapping[Key, Cell],
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
) -> dict[Key, Interval]:
    """The mean of each cell over its scored items, with a percentile bootstrap interval.

    The mean is a ratio, the sum of the scores / the number of scores, and each draw resamples both. Where only
    some answers count (the paper scores all criteria but language only on answers in the correct language), the
    denominator is random too. ``n`` and ``coverage`` say how many answers counted.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    if not cells:
        return {}
    summed = sums_by_unit(cells.values(), resamples, cluster)
    return {
        key: percentile_interval(c.mean(), draws, n=c.n, total=c.total, units=c.units, level=level)
        for key, c, draws in zip(cells, summed, ratio_draws(summed, resamples), strict=True)
    }


# --- criteria that only answers in the correct language can have ---


def conditional_variants(score: Cell, correct: Cell, lowest: float, highest: float) -> dict[str, Cell]:
    """Four readings of a criterion that is scored only on answers in the correct language.

    Args:
        score: the criterion, None where the judge gave no score.
        correct: 1 or True where the answer is in the correct language, 0 where it is not, None where unknown.
        lowest: the lowest score of the scale.
        highest: the highest score of the scale.

    Returns:
        Cells over the items of ``correct``, for ``mean_intervals``. In ``correct_only``, answers in a wrong
        language are left out, as in the paper (which flatters a model that fails on hard instructions). In
        ``wrong_is_lowest``, they have the lowest score, since they are of no use. In ``worst`` and ``best``,
        everything that ``correct_only`` leaves out has the lowest or the highest score, so that the mean over
        all instructions lies between these two.
    """
    correct_only = {item: score.get(item) if right else None for item, right in correct.items()}
    wrong = {item for item, right in correct.items() if right is not None and not right}
    return {
        "correct_only": correct_only,
        "wrong_is_lowest": {k: lowest if k in wrong else v for k, v in correct_only.items()},
        "worst": {k: lowest if v is None else v for k, v in correct_only.items()},
        "best": {k: highest if v is None else v for k, v in correct_only.items()},
    }
