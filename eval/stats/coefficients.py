"""Coefficients of agreement between raters of the same answers, on an ordinal scale, with intervals.

Every coefficient is a function of sums over items, so the bootstrap of ``xltjax.eval.stats.intervals`` draws the
sums, and the coefficient is computed for all draws at once. Read several coefficients together: with 92% exact
agreement on a scale of which one rating is nearly always given, kappa can be below 0 while AC2 is above 0.9.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xltjax.eval.stats.comparisons import common_support
from xltjax.eval.stats.intervals import (
    Cell,
    Interval,
    Item,
    Resamples,
    mean_draws,
    percentile_interval,
    resampled_sums,
)

# Scores with more levels than this are measurements, of which a confusion matrix says nothing.
LARGEST_SCALE = 20


def cohen_kappa(confusion: np.ndarray, scale: Sequence[float], *, power: int) -> np.ndarray:
    """Cohen's kappa: unweighted (Cohen 1960), or with linear or quadratic weights (Cohen 1968).

    κ = 1 - Σ d_ij o_ij / Σ d_ij e_ij with d_ij = |scale_i - scale_j|^power, shares o_ij and e_ij = o_i. o_.j. When
    both raters give one and the same rating to all items, this is 0/0; it is then 1, since they never disagree.

    Args:
        confusion: [..., K, K] counts, the first rater in rows.
        scale: the K ratings, ascending.
        power: 0 counts every disagreement alike, 1 weights it with the distance, 2 with its square.

    Returns:
        [...] kappa, NaN without a count.
    """
    values = np.asarray(scale, dtype=np.float64)
    distance = np.where(np.eye(len(values), dtype=bool), 0.0, np.abs(values[:, None] - values) ** power)
    n = confusion.sum((-2, -1))
    expected = confusion.sum(-1)[..., :, None] * confusion.sum(-2)[..., None, :]
    return _one_minus(n * (distance * confusion).sum((-2, -1)), (distance * expected).sum((-2, -1)), n)


def krippendorff_alpha(coincidences: np.ndarray) -> np.ndarray:
    """Krippendorff's alpha for ordinal ratings, any number of raters, ratings missing or not.

    α = 1 - (n - 1) Σ δ²_ck o_ck / Σ δ²_ck n_c n_k, where o_ck are coincidences (each item gives its ordered
    pairs of ratings, divided by its ratings less one), n_c their row sums, n their sum, and δ_ck the distance
    of mid-ranks, Σ_{g=c..k} n_g - (n_c + n_k)/2. When all ratings are the same, this is 0/0, here 1.

    Args:
        coincidences: [..., K, K], categories in ascending order.

    Returns:
        [...] alpha, NaN without a coincidence.
    """
    marginals = coincidences.sum(-1)
    n = marginals.sum(-1)
    mid_ranks = np.cumsum(marginals, -1) - marginals / 2
    distance = (mid_ranks[..., :, None] - mid_ranks[..., None, :]) ** 2
    observed = (n - 1) * (distance * coincidences).sum((-2, -1))
    expected = (distance * marginals[..., :, None] * marginals[..., None, :]).sum((-2, -1))
    return _one_minus(observed, expected, n)


def _one_minus(observed: np.ndarray, expected: np.ndarray, n: np.ndarray) -> np.ndarray:
    """1 - observed/expected disagreement; 1 where none was possible, NaN where nothing was rated."""
    ratio = np.zeros_like(np.asarray(expected, dtype=np.float64))
    np.divide(observed, expected, out=ratio, where=np.asarray(expected) > 0)
    return np.where(np.asarray(n) > 0, 1 - ratio, np.nan)


def ordinal_weights(categories: int) -> np.ndarray:
    """Gwet's ordinal weights [K, K], 1 - C(|i - j| + 1, 2) / C(K, 2), or 1 for a single category."""
    gap = np.abs(np.subtract.outer(np.arange(categories), np.arange(categories)))
    return 1 - gap * (gap + 1) / max(categories * (categories - 1), 1)


def gwet_ac2(observed: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Gwet's AC2 with ordinal weights w (Gwet 2014), robust where nearly all ratings are the same.

    AC2 = (p_a - p_e) / (1 - p_e) with p_e = Σw / (K(K - 1)) Σ_k π_k (1 - π_k). It depends on the number of
    categories that could be given, so state the scale. With one category p_e is 0, so that it is never 0/0.

    Args:
        observed: [...] p_a, the weighted agreement of pairs of ratings, averaged over items.
        shares: [..., K] π_k, the share of ratings that are k, averaged over items.

    Returns:
        [...] AC2.
    """
    categories = shares.shape[-1]
    factor = ordinal_weights(categories).sum() / (categories * (categories - 1)) if categories > 1 else 0.0
    chance = factor * (shares * (1 - shares)).sum(-1)
    return (observed - chance) / (1 - chance)


def kendall_tau(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of [..., M] and [..., M], NaN where all of x or all of y are equal.

    τ = Σ s_x s_y / √(Σ s_x² Σ s_y²) over pairs, where s are the signs of the pair's differences.
    """
    first, second = np.triu_indices(x.shape[-1], k=1)
    sign_x = np.sign(x[..., first] - x[..., second])
    sign_y = np.sign(y[..., first] - y[..., second])
    untied = (sign_x**2).sum(-1) * (sign_y**2).sum(-1)
    tau = np.full(untied.shape, np.nan)
    return np.divide((sign_x * sign_y).sum(-1), np.sqrt(untied), out=tau, where=untied > 0)


# --- the same with intervals, from cells ---


@dataclass(frozen=True)
class Agreement:
    """How far raters of the same items agree.

    Attributes:
        n: how many items have two ratings or more; all intervals are about these.
        total: how many items have any rating.
        scale: the ratings that could be given, or () when there are more than 20.
        exact: the share of items whose ratings are all equal.
        alpha: Krippendorff's alpha, ordinal.
        ac2: Gwet's AC2 with ordinal weights.
        kappa: Cohen's kappa with quadratic weights; None unless there are two raters.
        kappa_linear: the same with linear weights.
        kappa_unweighted: the same without weights.
        mean_difference: the mean of second rater minus first; None unless there are two raters.
        confusion: counts with the first rater in rows, in the order of ``scale``; None unless two raters have
            common items.
    """

    n: int
    total: int
    scale: tuple[float, ...]
    exact: Interval
    alpha: Interval
    ac2: Interval
    kappa: Interval | None
    kappa_linear: Interval | None
    kappa_unweighted: Interval | None
    mean_difference: Interval | None
    confusion: tuple[tuple[int, ...], ...] | None


def infer_scale(values: Sequence[float]) -> tuple[float, ...]:
    """The ratings that could have been given: all whole numbers between the extremes, or else the ratings seen.

    Returns:
        At most 20 ratings, ascending; () when there are more, that is, when the scores are measurements.
    """
    seen = sorted(set(map(float, values)))
    if all(value.is_integer() for value in seen) and seen and seen[-1] - seen[0] < LARGEST_SCALE:
        return tuple(float(value) for value in range(int(seen[0]), int(seen[-1]) + 1))
    return tuple(seen) if len(seen) <= LARGEST_SCALE else ()


def agreement(
    raters: Sequence[Cell],
    resamples: Resamples,
    *,
    scale: Sequence[float] | None = None,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
) -> Agreement:
    """Agreement of two or more raters, with percentile intervals over instructions.

    With two raters only the items that both have rated count. With more, an item counts as soon as two have
    rated it, and for AC2's shares as soon as one has (Gwet 2014).

    Args:
        raters: the ratings of each rater, item by item.
        resamples: resamples of the units of the items.
        scale: the ratings that could be given, ascending; by default ``infer_scale`` of those given.
        cluster: the instruction of each item, when an item is finer than an instruction.
        level: the level of confidence.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for fewer than two raters, or a rating that is not finite or outside ``scale``.
    """
    if len(raters) < 2:
        raise ValueError("agreement needs two raters")
    total = len(_rated(raters))
    pair = len(raters) == 2
    if pair:
        raters = common_support(*raters)
    items = sorted(_rated(raters), key=str)
    ratings = np.array([[cell.get(item) for item in items] for cell in raters], dtype=np.float64)
    given = ratings[~np.isnan(ratings)]
    if scale is None:
        scale = infer_scale(given.tolist())
    elif not np.isin(given, scale).all():
        raise ValueError(f"a rating is not one of {', '.join(f'{value:g}' for value in scale)}")

    rated_twice = np.count_nonzero(~np.isnan(ratings), axis=0) >= 2
    n = int(np.count_nonzero(rated_twice))
    if not n:
        nothing = Interval(None, None, None, 0, total, "no item has two ratings")
        of_pair = nothing if pair else None
        return Agreement(
            0, total, tuple(scale), nothing, nothing, nothing, of_pair, of_pair, of_pair, of_pair, None
        )
    position = {unit: row for row, unit in enumerate(resamples.units)}
    rows = [position[item if cluster is None else cluster[item]] for item in items]
    units = len({row for row, counts in zip(rows, rated_twice, strict=True) if counts})
    constant = len(set(ratings[:, rated_twice][~np.isnan(ratings[:, rated_twice])])) == 1
    sums = _sum_features(ratings, rows, scale, resamples)

    def interval(values: np.ndarray, *, ordinal: bool = True, convention: bool = False) -> Interval:
        if ordinal and not scale:
            reason = f"more than {LARGEST_SCALE} distinct scores: not an ordinal scale"
            return Interval(None, None, None, n, total, reason)
        found = percentile_interval(float(values[0]), values[1:], n=n, total=total, units=units, level=level)
        note = "all ratings are equal: 1 by convention" if convention and constant else None
        return dataclasses.replace(found, note=found.note or note)

    def kappa(power: int) -> Interval | None:
        return interval(cohen_kappa(sums.confusion, scale, power=power), convention=True) if pair else None

    return Agreement(
        n=n,
        total=total,
        scale=tuple(float(value) for value in scale),
        exact=interval(sums.mean(sums.equal), ordinal=False),
        alpha=interval(krippendorff_alpha(sums.coincidences), convention=True),
        ac2=interval(gwet_ac2(sums.mean(sums.weighted), sums.shares)),
        kappa=kappa(2),
        kappa_linear=kappa(1),
        kappa_unweighted=kappa(0),
        mean_difference=interval(sums.mean(sums.difference), ordinal=False) if pair else None,
        confusion=tuple(tuple(map(int, row)) for row in sums.confusion[0]) if pair else None,
    )


def _rated(raters: Sequence[Cell]) -> set[Item]:
    rated = [(item, value) for cell in raters for item, value in cell.items() if value is not None]
    if not all(math.isfinite(value) for _, value in rated):
        raise ValueError("a rating is not finite; a missing one is None")
    return {item for item, _ in rated}


@dataclass(frozen=True, eq=False)
class _Sums:
    """Sums over items; the first row of each is of the data and the others of the draws.

    ``twice`` counts the items with two ratings, and ``equal``, ``weighted`` and ``difference`` are sums over
    these. ``shares`` [., K] are means over the items with any rating; ``coincidences`` and ``confusion`` are
    [., K, K].
    """

    twice: np.ndarray
    equal: np.ndarray
    weighted: np.ndarray
    difference: np.ndarray
    shares: np.ndarray
    coincidences: np.ndarray
    confusion: np.ndarray

    def mean(self, values: np.ndarray) -> np.ndarray:
        return _ratio(values, self.twice)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, NaN where the denominator is 0."""
    quotient = np.full(np.broadcast_shapes(numerator.shape, denominator.shape), np.nan)
    return np.divide(numerator, denominator, out=quotient, where=denominator > 0)


def _sum_features(
    ratings: np.ndarray, rows: Sequence[int], scale: Sequence[float], resamples: Resamples
) -> _Sums:
    """``ratings`` [raters, items] reduced to sums; ``rows`` gives the unit of each item.

    ``difference`` and ``confusion`` are those of the first two raters.
    """
    rated = ~np.isnan(ratings)
    marks = (ratings[:, :, None] == np.asarray(scale)).astype(np.float64)  # [raters, items, K]
    counts = marks.sum(0)
    number = rated.sum(0).astype(np.float64)
    twice = number >= 2
    pairs = np.where(twice, number * (number - 1), 1.0)
    spread = np.nanmax(ratings, 0, initial=-np.inf) - np.nanmin(ratings, 0, initial=np.inf)
    near = counts @ ordinal_weights(len(scale))
    # An item with ratings r gives r_c r_k ordered pairs of c and k, or r_c (r_c - 1) of c with itself.
    ordered = counts[:, :, None] * counts[:, None, :] - counts[:, :, None] * np.eye(len(scale))
    features = [
        twice,
        twice & (spread == 0),
        np.where(twice, (counts * (near - 1)).sum(1) / pairs, 0.0),
        np.where(rated[0] & rated[1], ratings[1] - ratings[0], 0.0),
        rated.any(0),
        counts / np.maximum(number, 1)[:, None],
        ordered / np.maximum(number - 1, 1)[:, None, None],
        marks[0][:, :, None] * marks[1][:, None, :],
    ]
    flat = [np.asarray(feature, dtype=np.float64).reshape(len(rows), -1) for feature in features]
    columns = np.zeros((len(resamples.units), sum(feature.shape[1] for feature in flat)))
    np.add.at(columns, list(rows), np.concatenate(flat, axis=1))
    sums = np.vstack([columns.sum(0), resampled_sums(columns, resamples)])
    split = np.split(sums, np.cumsum([feature.shape[1] for feature in flat])[:-1], axis=1)
    two, equal, weighted, difference, any_, shares, coincidences, confusion = split
    square = (len(sums), len(scale), len(scale))
    return _Sums(
        two[:, 0],
        equal[:, 0],
        weighted[:, 0],
        difference[:, 0],
        _ratio(shares, any_),
        coincidences.reshape(square),
        confusion.reshape(square),
    )


def system_tau(
    a: Cell,
    b: Cell,
    system_of: Mapping[Item, str],
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
) -> Interval:
    """Kendall's tau-b between two raters' rankings of the systems (models), by mean score on common items.

    The models are fixed and the instructions are resampled. ``n`` and ``total`` count models. A ranking in which
    all models are equal has no tau.

    Raises:
        KeyError: for an item without a system, or whose unit is not in ``resamples``.
        ValueError: for a score that is not finite.
    """
    first, second = common_support(a, b)
    total = len({system_of[item] for item in first})
    systems = sorted({system_of[item] for item, value in first.items() if value is not None})
    if len(systems) < 2:
        return Interval(None, None, None, len(systems), total, "fewer than two models")
    cells = [
        {item: value for item, value in cell.items() if value is not None and system_of[item] == system}
        for cell in (first, second)
        for system in systems
    ]
    means = np.array([math.fsum(cell.values()) / len(cell) for cell in cells]).reshape(2, -1)
    estimate = float(kendall_tau(means[0], means[1]))
    if math.isnan(estimate):
        return Interval(None, None, None, len(systems), total, "all models tie")
    draws = mean_draws(cells, resamples, cluster=cluster).T
    taus = kendall_tau(draws[:, : len(systems)], draws[:, len(systems) :])
    units = len({item if cluster is None else cluster[item] for cell in cells for item in cell})
    return percentile_interval(estimate, taus, n=len(systems), total=total, units=units, level=level)
