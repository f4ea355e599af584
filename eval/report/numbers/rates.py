"""The best learning rate of each configuration, and how sure that is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from xltjax.eval.report.numbers.analysis import BOTH, Analysis
from xltjax.eval.report.numbers.systems import System
from xltjax.eval.stats.intervals import Interval

Estimate = tuple[Interval, np.ndarray]


@dataclass(frozen=True)
class Tried:
    """One rate of a configuration: its mean over the languages besides English, its draws, and how often it is best."""

    system: System
    mean: Interval
    draws: np.ndarray
    spelling: Interval
    wins: float | None


@dataclass(frozen=True)
class Choice:
    """The rates of a configuration, the best first.

    Attributes:
        configuration: the configuration.
        metric: by which they are ordered.
        tried: every system of the configuration that has the metric.
        lead: the mean of the best minus that of the next; None for one rate.
    """

    configuration: str
    metric: str
    tried: tuple[Tried, ...]
    lead: Interval | None

    @property
    def best(self) -> System:
        """The system that stands for the configuration."""
        return self.tried[0].system

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the lead excludes 0."""
        return self.lead is not None and self.lead.low is not None and self.lead.low > 0


def choose(analysis: Analysis) -> dict[str, Choice]:
    """The choice in each configuration that has scores.

    The best rate has the highest mean over the languages besides English of P(correct language and relevant), or of
    P(correct language) where relevance was not scored; spelling decides between equal ones. Where there is no other
    language, English counts.
    """
    metric = BOTH if BOTH in analysis.cells else "language_correct"
    if metric not in analysis.cells:
        metric = next(iter(analysis.cells), metric)
    found = {}
    for configuration in analysis.configurations:
        choice = _choose(analysis, configuration, metric)
        if choice is not None:
            found[configuration] = choice
    return found


def _choose(analysis: Analysis, configuration: str, metric: str) -> Choice | None:
    systems = [each for each in analysis.of(configuration) if each.name in analysis.cells.get(metric, {})]
    languages = analysis.others or analysis.languages
    shared = [
        language
        for language in languages
        if all(language in analysis.cells[metric][each.name] for each in systems)
    ]
    if not systems or not shared:
        return None
    means, spellings = (_means(analysis, systems, name, shared) for name in (metric, "spelling"))
    wins = _wins([draws for _, draws in means])
    tried = [
        Tried(system, mean[0], mean[1], spelling[0], None if wins is None else float(wins[number]))
        for number, (system, mean, spelling) in enumerate(zip(systems, means, spellings, strict=True))
    ]
    tried.sort(key=lambda each: (-_value(each.mean), -_value(each.spelling)))
    lead = None
    if len(tried) > 1:
        lead = analysis.difference((tried[0].mean, tried[0].draws), (tried[1].mean, tried[1].draws))
    return Choice(configuration, metric, tuple(tried), lead)


def _means(analysis: Analysis, systems: list[System], metric: str, languages: list[str]) -> list[Estimate]:
    cells = analysis.cells.get(metric, {})
    return analysis.language_mean(
        [
            [cells[each.name][language] for language in languages if language in cells.get(each.name, {})]
            for each in systems
        ]
    )


def _value(interval: Interval) -> float:
    return -1.0 if interval.estimate is None else interval.estimate


def _wins(draws: list[np.ndarray]) -> np.ndarray | None:
    """The share of draws in which each mean is the highest; equal ones share a draw."""
    if len(draws) < 2 or not all(each.size for each in draws):
        return None
    stacked = np.stack(draws)
    defined = ~np.isnan(stacked).any(axis=0)
    best = stacked[:, defined] == stacked[:, defined].max(axis=0)
    return (best / best.sum(axis=0)).mean(axis=1)
