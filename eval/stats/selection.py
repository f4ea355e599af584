"""Choosing among settings by their scores: a split of the instructions, and how often each setting would win."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from xltjax.eval.stats.intervals import (
    Cell,
    Interval,
    Item,
    Resamples,
    UnitSums,
    percentile_interval,
    ratio_draws,
    sums_by_unit,
)

# Values that differ by less are a tie: they are sums of the same scores in another order.
_DECIMALS = 12


def split_instructions(tasks: Mapping[str, str], share: float, seed: int = 0) -> frozenset[str]:
    """The instructions on which to choose; the others are for the final numbers.

    The instructions of each task are ordered by a hash of their names, and of all of them, task after task, those at
    regular distances are taken, so that each task gives its part. The result depends on the names, tasks, share
    and seed alone. All translations of an instruction have its name and are on one side.

    Args:
        tasks: instruction -> task.
        share: the part of the instructions to take, between 0 and 1.
        seed: another seed gives another split.
    """
    ordered = sorted(tasks, key=lambda name: (tasks[name], _hash(f"{seed} {name}"), name))
    steps = [math.floor(round(share * place + 0.5, 9)) for place in range(len(ordered) + 1)]
    return frozenset(name for place, name in enumerate(ordered) if steps[place + 1] > steps[place])


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


@dataclass(frozen=True)
class Setting:
    """The scores of one setting (a learning rate): for each of its seeds, a cell for each language.

    Attributes:
        values: what is compared.
        ties: what decides where the values are equal; cells of the same shape.
    """

    values: Sequence[Sequence[Cell]]
    ties: Sequence[Sequence[Cell]]


@dataclass(frozen=True)
class Ranked:
    """One setting after the comparison.

    Attributes:
        value: its value with an interval; ``n`` counts the scores of all seeds and languages.
        tie: what decides between equal values.
        seeds: the value of each seed.
        wins: the share of the resamples in which this setting would have been chosen.
        behind: how much lower its value is than that of the chosen setting, with an interval from the same resamples.
        chosen: whether it is the one.
    """

    value: Interval
    tie: float | None
    seeds: tuple[float | None, ...]
    wins: float
    behind: Interval
    chosen: bool


def choose(
    settings: Mapping[float, Setting],
    resamples: Resamples,
    *,
    cluster: Mapping[Item, str] | None = None,
    over: Callable[..., np.ndarray] = np.mean,
    level: float = 0.95,
) -> dict[float, Ranked]:
    """Choose the setting with the highest value; of equal ones that with the higher tie, and then the lower setting.

    The value of a seed is the mean over languages (or what ``over`` makes of them) of the mean over the items of a
    language, so that languages count alike. The value of a setting is the mean over its seeds; the instructions are
    resampled and the seeds are not.

    Args:
        settings: by learning rate.
        resamples: draws of the units of the items.
        cluster: the unit of each item, when an item is finer.
        over: reduces the languages to one number: ``np.mean`` or ``np.min``.
        level: the level of the intervals.

    Raises:
        KeyError: for an item whose unit is not in ``resamples``.
        ValueError: for a score that is not finite, or a setting without any.
    """
    values = {key: _estimates(each.values, resamples, cluster, over) for key, each in settings.items()}
    ties = {key: _estimates(each.ties, resamples, cluster, np.mean) for key, each in settings.items()}
    order = sorted(settings)
    score = np.round(np.stack([values[key].draws for key in order]), _DECIMALS)
    tie = np.round(np.stack([ties[key].draws for key in order]), _DECIMALS)
    # The first column is that of the data themselves.
    winner = np.zeros(score.shape[1], dtype=np.int64)
    for place in range(1, len(order)):
        columns = np.arange(len(winner))
        best, best_tie = score[winner, columns], tie[winner, columns]
        winner[(score[place] > best) | ((score[place] == best) & (tie[place] > best_tie))] = place
    chosen = int(winner[0])
    wins = np.bincount(winner[1:], minlength=len(order)) / max(1, len(winner) - 1)
    best_draws = values[order[chosen]].draws
    ranked = {}
    for place, key in enumerate(order):
        found = values[key]
        behind = best_draws - found.draws
        ranked[key] = Ranked(
            found.interval(found.draws, level),
            float(ties[key].draws[0]),
            found.seeds,
            float(wins[place]),
            found.interval(behind, level),
            place == chosen,
        )
    return ranked


@dataclass(frozen=True, eq=False)
class _Estimates:
    """The value of one setting: ``draws`` [1 + draws], first that of the data; ``seeds``, the value of each seed."""

    draws: np.ndarray
    seeds: tuple[float, ...]
    n: int
    units: int

    def interval(self, draws: np.ndarray, level: float) -> Interval:
        estimate = float(draws[0])
        return percentile_interval(estimate, draws[1:], n=self.n, total=self.n, units=self.units, level=level)


def _estimates(
    seeds: Sequence[Sequence[Cell]],
    resamples: Resamples,
    cluster: Mapping[Item, str] | None,
    over: Callable[..., np.ndarray],
) -> _Estimates:
    cells: list[UnitSums] = sums_by_unit([cell for seed in seeds for cell in seed], resamples, cluster)
    if not all(cell.n for cell in cells):
        raise ValueError("a setting has no scores in one of its languages")
    means = np.array([[cell.mean()] for cell in cells], dtype=np.float64)
    drawn = np.hstack([means, ratio_draws(cells, resamples)])
    # A draw may have no item of a language: it then has the mean of the data.
    drawn = np.where(np.isnan(drawn), means, drawn)
    of_seeds = over(drawn.reshape(len(seeds), -1, drawn.shape[1]), axis=1)
    return _Estimates(
        np.mean(of_seeds, axis=0),
        tuple(map(float, of_seeds[:, 0])),
        sum(cell.n for cell in cells),
        int(np.count_nonzero(np.sum([cell.counts for cell in cells], axis=0))),
    )
