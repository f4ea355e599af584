"""The best learning rate of each configuration, and how sure that is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xltjax.eval.report.numbers.analysis import BOTH, Analysis, Cell
from xltjax.eval.report.numbers.systems import System
from xltjax.eval.stats.intervals import Interval
from xltjax.eval.stats.selection import Setting, choose


@dataclass(frozen=True)
class Tried:
    """One rate of a configuration: its mean over the languages, its draws, and how often it is the best."""

    system: System
    mean: Interval
    draws: np.ndarray
    spelling: Interval
    wins: float | None


@dataclass(frozen=True)
class OtherRule:
    """What another rule would have chosen."""

    name: str
    maximizes: str
    rate: float
    wins: float | None


@dataclass(frozen=True)
class Choice:
    """The rates of a configuration, the best first.

    Attributes:
        configuration: the configuration.
        metric: by which they are ordered.
        tried: every system of the configuration that has the metric.
        lead: the mean of the best minus that of the next; None for one rate.
        instructions: on how many instructions the choice was made, where ``eval choose`` made it; otherwise 0.
        others: what other rules would have chosen.
        warnings: what ``eval choose`` says about it.
    """

    configuration: str
    metric: str
    tried: tuple[Tried, ...]
    lead: Interval | None
    instructions: int = 0
    others: tuple[OtherRule, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def best(self) -> System:
        """The system that stands for the configuration."""
        return self.tried[0].system

    @property
    def is_sure(self) -> bool:
        """Whether the interval of the lead excludes 0."""
        return self.lead is not None and self.lead.low is not None and self.lead.low > 0


def choices(analysis: Analysis) -> dict[str, Choice]:
    """The choice in each configuration that has scores: that of ``eval choose`` where there is one, or our own."""
    found = _choose_all(analysis)
    for document in analysis.material.choices:
        for family, about in document.get("families", {}).items():
            choice = _recorded(analysis, family, about)
            if choice is None:
                analysis.material.problems.append(
                    f"The rate that choice.json names for {family} is not among these models; its rates are "
                    "compared anew."
                )
            else:
                found[choice.configuration] = choice
    return found


def _recorded(analysis: Analysis, family: str, about: Mapping[str, Any]) -> Choice | None:
    """The choice of a family as ``choice.json`` has it; None when its models are not here."""
    rows = sorted(about["rates"], key=lambda row: (not row["chosen"], -row["value"]))
    systems = _systems_of(analysis, family, rows)
    if systems is None:
        return None
    n = about["answers"]
    tried = [
        Tried(
            system,
            Interval(row["value"], row["low"], row["high"], n, n),
            np.zeros(0),
            Interval(row["spelling"], None, None, n, n),
            row["wins"],
        )
        for system, row in zip(systems, rows, strict=True)
    ]
    lead = None
    if len(rows) > 1:
        behind = rows[1]
        lead = Interval(behind["behind"], behind["behind_low"], behind["behind_high"], n, n)
    return Choice(
        tried[0].system.configuration,
        about["maximizes"],
        tuple(tried),
        lead,
        about["instructions"],
        tuple(
            OtherRule(row["rule"], row["maximizes"], row["learning_rate"], row["wins"])
            for row in about["others"]
        ),
        tuple(about["warnings"]),
    )


def _systems_of(analysis: Analysis, family: str, rows: Sequence[Mapping[str, Any]]) -> list[System] | None:
    """The system of each rate of a family; names of models tell, or the configuration that has the family's name.

    ``eval choose`` leaves out of a family's name what all families have in common.
    """
    known = [{analysis.system_of.get(model) for model in row["models"]} for row in rows]
    if all(len(found) == 1 and None not in found for found in known):
        return [each for found in known for each in found if each is not None]
    rates = {row["learning_rate"] for row in rows}
    found = []
    for configuration in analysis.configurations:
        by_rate = {each.rate: each for each in analysis.of(configuration)}
        named = f"/{configuration}".endswith(f"/{family}") or f"/{family}".endswith(f"/{configuration}")
        if named and rates <= by_rate.keys():
            found.append([by_rate[row["learning_rate"]] for row in rows])
    return found[0] if len(found) == 1 else None


def _choose_all(analysis: Analysis) -> dict[str, Choice]:
    """Our own choices.

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
    cells = analysis.cells.get(metric, {})
    systems = [each for each in analysis.of(configuration) if each.name in cells]
    languages = analysis.others or analysis.languages
    shared = [
        language
        for language in languages
        if all(_has_score(cells[each.name].get(language)) for each in systems)
    ]
    if not systems or not shared:
        return None
    means = analysis.language_mean([[cells[each.name][name] for name in shared] for each in systems])
    spelled = analysis.cells.get("spelling", {})
    has_ties = all(_has_score(spelled.get(each.name, {}).get(name)) for each in systems for name in shared)
    ties = spelled if has_ties else cells
    ranked = choose(
        {
            place: Setting(*([[of[each.name][name] for name in shared]] for of in (cells, ties)))
            for place, each in enumerate(systems)
        },
        analysis.resamples,
        cluster=analysis.clusters,
    )
    nothing = Interval(None, None, None, 0, 0)
    tried = [
        Tried(
            system,
            *means[place],
            Interval(ranked[place].tie, None, None, means[place][0].n, 0) if has_ties else nothing,
            ranked[place].wins if len(systems) > 1 else None,
        )
        for place, system in enumerate(systems)
    ]
    order = sorted(
        range(len(systems)), key=lambda place: (not ranked[place].chosen, -_value(means[place][0]))
    )
    lead = ranked[order[1]].behind if len(order) > 1 else None
    return Choice(configuration, metric, tuple(tried[place] for place in order), lead)


def _has_score(cell: Cell | None) -> bool:
    return cell is not None and any(value is not None for value in cell.values())


def _value(interval: Interval) -> float:
    return -1.0 if interval.estimate is None else interval.estimate
