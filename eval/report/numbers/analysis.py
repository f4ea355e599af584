"""The scores of all systems as cells, their summaries, and means over several languages."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np

from xltjax.data.responses import Response
from xltjax.eval.comparison.joined import Joined as Comparable
from xltjax.eval.comparison.rows import comparison_rows
from xltjax.eval.report.numbers.facts import Facts
from xltjax.eval.report.numbers.sources import Key, Material
from xltjax.eval.report.numbers.systems import Joined, System, find_systems
from xltjax.eval.scores import Score
from xltjax.eval.stats.intervals import Cell as StatisticsCell
from xltjax.eval.stats.intervals import Interval, Resamples, mean_draws, percentile_interval, resample
from xltjax.eval.summary import Summary

REFERENCE = "en"  # the language that transfer is measured against
BOTH = "correct_and_relevant"
LEVEL = 0.95
Cell = dict[str, float | None]  # by item, see ``Analysis.item``


class Analysis:
    """Everything that sections compute with.

    An *item* is a prompt together with the number of the seed: the same in all systems, so that differences are
    paired. Its instruction is the unit of the bootstrap. Answers to instructions with a task modifier have tables of
    their own, and are in no other.

    Args:
        joined: what was found.
        rates: learning rates by model, from run directories.
        draws: of the bootstrap.
    """

    def __init__(self, joined: Joined, rates: Mapping[str, float], draws: int = 10_000) -> None:
        self.material: Material = joined.material
        self.facts = Facts()
        self.draws = draws
        models = dict.fromkeys(model for model, _ in self.material.responses)
        self.systems: list[System] = find_systems(models, rates, joined.sides)
        self.sides = tuple(dict.fromkeys(joined.sides.values()))
        self.system_of = {model: system for system in self.systems for model in system.models}
        self._seeds = {model: n for system in self.systems for n, model in enumerate(system.models)}
        self.modified = {key for key, r in self.material.responses.items() if r.modifier is not None}
        if len(self.modified) == len(self.material.responses):
            self.modified = set()  # there is nothing else to show
        # The instructions on which ``eval choose`` chose the rates, which final numbers do not use.
        self.selection = frozenset(
            unit
            for document in self.material.choices
            if document.get("select_on") == "split"
            for unit in document.get("selection", ())
        )

    # --- names ---

    @cached_property
    def languages(self) -> list[str]:
        """The languages that have a score, the reference first."""
        found = {language for _, by in self.cells.items() for of in by.values() for language in of}
        found |= {r.language for key, r in self.material.responses.items() if key not in self.modified}
        return sorted(found, key=lambda language: (language != REFERENCE, language))

    @property
    def others(self) -> list[str]:
        """The languages besides the reference."""
        return [language for language in self.languages if language not in (REFERENCE, "")]

    @property
    def configurations(self) -> list[str]:
        """The configurations, in the order of the systems."""
        return list(dict.fromkeys(each.configuration for each in self.systems))

    def of(self, configuration: str) -> list[System]:
        """The systems of a configuration, by rate."""
        return [each for each in self.systems if each.configuration == configuration]

    def unit(self, response: Response) -> str:
        """The instruction of a response: the unit of all statistics."""
        return response.instruction_id or response.id

    def item(self, response: Response, language: str) -> str:
        """The name that a prompt has in all systems, with the number of the seed."""
        if response.instruction_id:
            modifier = json.dumps(response.modifier, sort_keys=True) if response.modifier else ""
            prompt = f"{response.instruction_id} {language} {modifier}"
        elif response.instruction:
            text = response.instruction.encode("utf-8", "surrogatepass")
            prompt = f"{hashlib.blake2b(text, digest_size=8).hexdigest()} {language}"
        else:
            prompt = response.id
        return f"{prompt} #{self._seeds[response.model]}"

    def pooled(self, response: Response) -> Response:
        """The response under the name of its system, with an id that the seeds of the system do not share."""
        system = self.system_of[response.model]
        return replace(
            response,
            id=f"{response.model} {response.id}",
            model=system.name,
            instruction_id=self.unit(response),
        )

    def pooled_score(self, score: Score) -> Score:
        """The score of the same."""
        return replace(score, id=f"{score.model} {score.id}", model=self.system_of[score.model].name)

    def judge_number(self, judge: str) -> int:
        """The number of a judge from 1, in the order of the judgments; names of files hold it."""
        judges = dict.fromkeys(str(score.detail.get("judge", "")) for score in self.material.judged)
        return list(judges).index(judge) + 1

    # --- cells ---

    @cached_property
    def cells(self) -> dict[str, dict[str, dict[str, Cell]]]:
        """By metric, system and language: the score of each item, None where there is none."""
        found: dict[str, dict[str, dict[str, Cell]]] = {}
        for score, response, language in self.plain_scores():
            system = self.system_of[score.model].name
            cell = found.setdefault(score.metric, {}).setdefault(system, {}).setdefault(language, {})
            cell[self.item(response, language)] = score.value
        if "language_correct" in found and "relevance" in found:
            found[BOTH] = _products(found["language_correct"], found["relevance"])
        return found

    def is_plain(self, key: Key) -> bool:
        """Whether an answer is to an instruction without a modifier on which no rate was chosen."""
        return key not in self.modified and self.unit(self.material.responses[key]) not in self.selection

    def plain_scores(self) -> Iterator[tuple[Score, Response, str]]:
        """Each score of a program of an answer that ``is_plain``, and its language."""
        for score in self.material.scores:
            key = (score.model, score.id)
            if self.is_plain(key):
                response = self.material.responses[key]
                yield score, response, response.language or score.language

    @cached_property
    def clusters(self) -> dict[str, str]:
        """Item -> instruction, for all answers."""
        return {
            self.item(r, r.language or language): self.unit(r)
            for key, r in self.material.responses.items()
            for language in self._score_languages.get(key, {""})
        }

    @cached_property
    def _score_languages(self) -> dict[Key, set[str]]:
        found: dict[Key, set[str]] = {}
        for score in (*self.material.scores, *self.material.judged):
            found.setdefault((score.model, score.id), set()).add(score.language)
        return found

    @cached_property
    def tasks(self) -> dict[str, str]:
        """Instruction -> task; of translations with different tasks, the last in alphabetical order."""
        found: dict[str, str] = {}
        for response in self.material.responses.values():
            unit = self.unit(response)
            found[unit] = max(found.get(unit, ""), response.task)
        return found

    @cached_property
    def resamples(self) -> Resamples:
        """The draws of the instructions, stratified by task, which all means and differences share."""
        return resample(self.tasks, self.tasks, draws=self.draws)

    @cached_property
    def summary(self) -> list[dict[str, Any]]:
        """The rows of ``eval.summary`` by system, language and metric, over answers without modifiers."""
        summary = Summary()
        for score, response, language in self.plain_scores():
            summary.add(replace(self.pooled(response), language=language), self.pooled_score(score))
        return summary.rows()

    @cached_property
    def by_place(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """The rows of ``summary`` by system, language and metric."""
        return {(row["model"], row["language"], row["metric"]): row for row in self.summary}

    # --- estimates ---

    def language_mean(
        self,
        groups: Sequence[Sequence[StatisticsCell]],
        clusters: Mapping[Any, str] | None = None,
        resamples: Resamples | None = None,
    ) -> list[tuple[Interval, np.ndarray]]:
        """For each group of cells (one of each language), the mean of their means, and its draws.

        Every language counts alike, as in the paper's averages. Both are empty for a group without a score.

        Args:
            groups: the cells.
            clusters: the instruction of each item, where these are not the items of this analysis.
            resamples: draws of some of the instructions alone.
        """
        clusters = self.clusters if clusters is None else clusters
        flat = [cell for cells in groups for cell in cells]
        if not flat:
            return [(Interval(None, None, None, 0, 0, "no scored answers"), np.zeros(0)) for _ in groups]
        drawn = mean_draws(flat, resamples or self.resamples, cluster=clusters)
        found, first = [], 0
        for cells in groups:
            draws = drawn[first : first + len(cells)]
            first += len(cells)
            found.append(self._language_mean(cells, draws, clusters))
        return found

    def _language_mean(
        self, cells: Sequence[StatisticsCell], drawn: np.ndarray, clusters: Mapping[Any, str]
    ) -> tuple[Interval, np.ndarray]:
        present = [[value for value in cell.values() if value is not None] for cell in cells]
        total = sum(map(len, cells))
        n = sum(map(len, present))
        if not cells or not all(present):
            return Interval(None, None, None, n, total, "no scored answers"), np.zeros(0)
        estimate = math.fsum(math.fsum(values) / len(values) for values in present) / len(cells)
        draws = drawn.mean(axis=0)
        units = len({clusters[item] for cell in cells for item, value in cell.items() if value is not None})
        return percentile_interval(estimate, draws, n=n, total=total, units=units, level=LEVEL), draws

    def difference(self, first: tuple[Interval, np.ndarray], second: tuple[Interval, np.ndarray]) -> Interval:
        """The first mean minus the second, from the same draws."""
        (a, drawn_a), (b, drawn_b) = first, second
        if a.estimate is None or b.estimate is None:
            return Interval(None, None, None, 0, 0, "no scored answers")
        n, units = min(a.n, b.n), min(a.n, b.n, len(self.resamples.units))
        return percentile_interval(
            a.estimate - b.estimate,
            drawn_a - drawn_b,
            n=n,
            total=max(a.total, b.total),
            units=units,
            level=LEVEL,
        )

    def compared(
        self, pairs: Sequence[tuple[str, str]], metrics: Sequence[str], languages: Sequence[str] = ()
    ) -> list[dict[str, Any]]:
        """Paired comparisons of systems, as ``eval compare`` makes them; see ``comparison_rows``."""
        cells: dict[tuple[str, str], dict[str, Cell]] = {}
        for metric in metrics:
            for system, by_language in self.cells.get(metric, {}).items():
                for language, cell in by_language.items():
                    if not languages or language in languages:
                        cells.setdefault((metric, language), {})[system] = cell
        names = list(dict.fromkeys(itertools.chain(*pairs)))
        clusters = self.clusters
        joined = Comparable(tuple(names), tuple(metrics), cells, {}, "id", clusters, len(clusters), {}, ())
        return comparison_rows(joined, list(metrics), list(pairs), (), self.resamples, LEVEL)


def _products(
    correct: Mapping[str, Mapping[str, Cell]], relevant: Mapping[str, Mapping[str, Cell]]
) -> dict[str, dict[str, Cell]]:
    """1 where an answer is in the right language and relevant; 0 where one of both is known to be 0."""
    found: dict[str, dict[str, Cell]] = {}
    for system, by_language in correct.items():
        for language, cell in by_language.items():
            other = relevant.get(system, {}).get(language)
            if other is not None:
                found.setdefault(system, {})[language] = {
                    item: _both(cell.get(item), other.get(item)) for item in dict.fromkeys((*cell, *other))
                }
    return found


def _both(a: float | None, b: float | None) -> float | None:
    if a == 0 or b == 0:
        return 0.0
    return None if a is None or b is None else a * b
