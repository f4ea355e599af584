"""The mean ratings of two raters on the answers that both have rated, and their difference."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xltjax.eval.stats.comparisons import common_support
from xltjax.eval.stats.intervals import Cell, Item, Resamples, mean_intervals


def mean_ratings(
    first: Cell,
    second: Cell,
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    level: float = 0.95,
) -> dict[str, Any]:
    """What two raters say on average about the same answers, with percentile intervals over instructions.

    Args:
        first: the ratings of one rater, item by item.
        second: those of the other.
        resamples: resamples of the units of the items.
        cluster: the instruction of each item, when an item is finer than an instruction.
        level: the level of confidence.

    Returns:
        ``n`` answers with both ratings, and ``first``, ``second`` and ``difference`` (second minus first), each with
        its limits in ``<name>_low`` and ``<name>_high``; all of them None without a common answer.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
    """
    a, b = common_support(first, second)
    pairs = [(item, x, b[item]) for item, x in a.items()]
    difference = {item: y - x for item, x, y in pairs if x is not None and y is not None}
    cells: dict[str, Cell] = {
        "first": {item: a[item] for item in difference},
        "second": {item: b[item] for item in difference},
        "difference": difference,
    }
    row: dict[str, Any] = {"n": len(difference)}
    if not difference:
        return row | dict.fromkeys(key for name in cells for key in (name, f"{name}_low", f"{name}_high"))
    for name, found in mean_intervals(cells, resamples, cluster=cluster, level=level).items():
        row |= {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}
    return row
