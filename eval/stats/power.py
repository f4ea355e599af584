"""What differences a comparison can find: minimal detectable differences of paired tests."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping

import numpy as np


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


def detectable_between_pairs(
    sums: np.ndarray, counts: np.ndarray, level: float = 0.95, power: float = 0.8
) -> float | None:
    """The minimal detectable mean difference of clustered pairs, None for fewer than two units or without spread.

    The standard deviation is that of the linearized mean, √units times its standard error. With one item
    in each unit it is the sample standard deviation of the differences.
    """
    if len(sums) < 2:
        return None
    sd = _linearized_sd(sums, counts)
    # Differences that are all the same say nothing about the spread of further ones.
    return minimal_detectable_difference(sd, len(sums), level=level, power=power) if sd > 0 else None


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


def within_scale(difference: float | None, largest: float = 1.0) -> tuple[float | None, bool]:
    """A detectable difference that two means can have, and whether there is none because it would be larger.

    Args:
        difference: what a test would find; None where it is not known.
        largest: the largest difference on the scale of the metric.

    >>> within_scale(0.3), within_scale(1.4), within_scale(None)
    ((0.3, False), (None, True), (None, False))
    """
    beyond = difference is not None and difference > largest
    return (None if beyond else difference), beyond


def _linearized_sd(sums: np.ndarray, counts: np.ndarray) -> float:
    """√units times the standard error of the ratio Σ sums / Σ counts; 0 when rounding is all that varies."""
    residuals = (sums - math.fsum(sums.tolist()) / counts.sum() * counts) / counts.mean()
    largest = np.max(np.abs(sums), initial=0.0) / counts.mean()
    if np.max(np.abs(residuals), initial=0.0) <= 1e-12 * largest:
        return 0.0
    return math.sqrt(math.fsum((residuals**2).tolist()) / (len(sums) - 1))


@functools.cache
def _noncentrality(n: int, level: float, power: float) -> float:
    from scipy import optimize, stats  # which takes a second to import

    critical = float(stats.t.ppf((1 + level) / 2, n - 1))

    def excess(delta: float) -> float:
        return float(stats.nct.sf(critical, n - 1, delta)) - power

    return float(optimize.brentq(excess, 0.0, 3 * critical + 10))
