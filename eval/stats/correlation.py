"""Spearman's rank correlation with an interval."""

from __future__ import annotations

import math
from collections.abc import Sequence

from xltjax.eval.stats.intervals import Interval

SMALLEST = 10  # pairs; with fewer there is no interval


def spearman(x: Sequence[float], y: Sequence[float], *, level: float = 0.95) -> Interval:
    """Spearman's ρ, ties at their mean rank, with the interval of Bonett and Wright (Psychometrika 2000).

    The interval is tanh(artanh ρ ± z √((1 + ρ²/2) / (n - 3))); it takes the pairs as independent. Where all of x or
    all of y are equal there is no correlation.

    Raises:
        ValueError: when the lengths differ.
    """
    if len(x) != len(y):
        raise ValueError(f"{len(x)} values with {len(y)}")
    n = len(x)
    if len(set(x)) < 2 or len(set(y)) < 2:
        return Interval(None, None, None, n, n, "all values are equal" if n else "no scored answers")
    from scipy import stats  # which takes a second to import

    rho = float(stats.spearmanr(x, y).statistic)
    if n < SMALLEST:
        return Interval(rho, None, None, n, n, f"fewer than {SMALLEST} answers: no interval")
    z = float(stats.norm.ppf((1 + level) / 2))
    center = math.atanh(min(max(rho, -1 + 1e-12), 1 - 1e-12))
    half = z * math.sqrt((1 + rho**2 / 2) / (n - 3))
    return Interval(rho, math.tanh(center - half), math.tanh(center + half), n, n)
