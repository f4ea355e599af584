"""Intervals, tests and power for scores of the same instructions under several models and languages.

The unit of every statement is the *instruction*: models answer the same ones, so comparisons are paired.
"""

from __future__ import annotations

import math

from scipy import stats


def wilson_interval(successes: int, n: int, level: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, inside [0, 1] for every count.

    With p = successes / n and z the normal quantile of (1 + level) / 2, the limits are
    (p + z²/2n ± z √(p(1 - p)/n + z²/4n²)) / (1 + z²/n). No trials (n = 0) say nothing: (0, 1).

    Raises:
        ValueError: unless 0 <= successes <= n and 0 < level < 1.
    """
    if not (0 <= successes <= n and 0 < level < 1):
        raise ValueError(f"no proportion: {successes} successes of {n} at level {level}")
    if n == 0:
        return 0.0, 1.0
    z = float(stats.norm.ppf((1 + level) / 2))
    p = successes / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    # At the ends the limit is the proportion itself; rounding would leave it 1e-17 away.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == n else centre + half
    return low, high
