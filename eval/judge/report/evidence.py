"""What the scores of a judge say about the judge: repeats, other judges, people, length and probes."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import iterate_jsonl
from xltjax.data.responses import Response
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.judge.rubrics import Criterion
from xltjax.eval.scores import Score
from xltjax.eval.stats.coefficients import Agreement, agreement, system_tau
from xltjax.eval.stats.correlation import spearman
from xltjax.eval.stats.intervals import Interval, Resamples, mean_intervals, resample
from xltjax.eval.text.segmentation import is_empty

FORM = ("language", "fluency")  # criteria of the text alone, which the task cannot change
Cell = dict[int, float | None]  # by the number of the response


@dataclass(frozen=True)
class Evidence:
    """One check of one judge on one criterion and language (empty for all languages).

    Attributes:
        check: ``repeats``, ``judges``, ``people``, ``length``, ``length_people``, ``language_probe``, ``copy_probe``
            or ``scored``.
        other: with whom the judge is compared: another judge, or ``people``.
        n: the answers that the check is about.
        agreement: of repeats, with the other judge, with people, or of both rubrics; its mean difference is this
            judge minus the other, or the rubric in the response's language minus the rubric of the run.
        tau: how far both rank the models in the same way.
        correlation: Spearman's with the length of the answers.
        mean: of the copies (``copy_probe``), or the share of answers with a score (``scored``).
        difference: the copies minus the same answers under their own instructions.
    """

    check: str
    judge: str
    criterion: str
    language: str
    n: int
    other: str = ""
    agreement: Agreement | None = None
    tau: Interval | None = None
    correlation: Interval | None = None
    mean: float | None = None
    difference: Interval | None = None


@dataclass
class _Values:
    """The calls of one judge about one criterion: every value by repeat, None for a call that failed."""

    by_repeat: dict[int, Cell] = field(default_factory=dict)

    def add(self, repeat: int, item: int, value: float | None) -> None:
        self.by_repeat.setdefault(repeat, {})[item] = value

    @cached_property
    def middle(self) -> Cell:
        """The lower median over the repeats, which is a value of the scale; None where every call failed.

        Read it when all calls are there.
        """
        found: dict[int, list[float]] = {}
        for cell in self.by_repeat.values():
            for item, value in cell.items():
                found.setdefault(item, []).extend([] if value is None else [value])
        return {item: statistics.median_low(values) if values else None for item, values in found.items()}


class Witness:
    """All checks that the given scores allow.

    Args:
        responses: those that were judged.
        scores: of judges, with their probes, in any order; other metrics are left out.
        criteria: of the rubric.
        people: ratings of people, by criterion.
        draws: of the bootstrap over instructions.
        level: of the intervals.
        seed: of the draws.
    """

    def __init__(
        self,
        responses: Sequence[Response],
        scores: Iterable[Score],
        criteria: Sequence[Criterion],
        people: Mapping[str, Mapping[tuple[str, str], float]],
        *,
        draws: int = 10_000,
        level: float = 0.95,
        seed: int = 0,
    ) -> None:
        self.responses, self.criteria = responses, {each.name: each for each in criteria}
        self._options: dict[str, Any] = {"draws": draws, "seed": seed}
        self._level = level
        self._places = {response.key: number for number, response in enumerate(responses)}
        self._values: dict[tuple[str, str, str], _Values] = {}  # probe or "", judge, criterion
        for score in scores:
            self._add(score)
        self._people = {
            name: {self._places[key]: value for key, value in found.items() if key in self._places}
            for name, found in people.items()
        }
        self._units = [response.instruction_id or response.id for response in responses]

    def _add(self, score: Score) -> None:
        name = score.metric.removeprefix(PREFIX)
        place = self._places.get((score.model, score.id))
        if place is None or name == score.metric or name not in self.criteria:
            return
        detail = score.detail
        key = (str(detail.get("probe") or ""), str(detail.get("judge", "")), name)
        self._values.setdefault(key, _Values()).add(int(detail.get("repeat") or 0), place, score.value)

    @property
    def judges(self) -> list[str]:
        """The judges, in the order of their first scores."""
        return list(dict.fromkeys(judge for probe, judge, _ in self._values if not probe))

    def languages(self) -> list[str]:
        """Empty for all languages together, then each, when they are more than one."""
        found = sorted({response.language for response in self.responses} - {""})
        return ["", *found] if len(found) > 1 else found or [""]

    def all(self) -> Iterator[Evidence]:
        """Every check, by judge, criterion and language."""
        for judge in self.judges:
            for name in self.criteria:
                for language in self.languages():
                    yield from self._checks(judge, name, language)

    def _checks(self, judge: str, name: str, language: str) -> Iterator[Evidence]:
        values = self._values.get(("", judge, name))
        if values is None:
            return
        place = (judge, name, language)
        mine = self._within(values.middle, language)
        if not mine:
            return
        scored = sum(value is not None for value in mine.values())
        yield Evidence("scored", *place, len(mine), mean=scored / len(mine))
        repeats = [self._within(cell, language) for _, cell in sorted(values.by_repeat.items())]
        if len(repeats) > 1:
            yield self._agreement("repeats", place, repeats)
        for other in self.judges:
            theirs = self._values.get(("", other, name))
            if other != judge and theirs is not None:
                yield self._compared("judges", place, self._within(theirs.middle, language), mine, other)
        people: Cell = {item: value for item, value in self._people.get(name, {}).items() if item in mine}
        if people:
            yield self._compared("people", place, people, mine, "people")
        yield from self._length(place, mine, people)
        yield from self._probes(place, mine)

    def _within(self, cell: Cell, language: str) -> Cell:
        return {
            item: value for item, value in cell.items() if language in ("", self.responses[item].language)
        }

    def _resamples(self, items: Iterable[int]) -> tuple[Resamples, dict[Any, str]]:
        cluster = {item: self._units[item] for item in items}
        tasks = {unit: self.responses[item].task for item, unit in cluster.items()}
        return resample(tasks, tasks, **self._options), cluster

    def _agreement(
        self,
        check: str,
        place: tuple[str, str, str],
        cells: Sequence[Cell],
        other: str = "",
        tau: bool = False,
    ) -> Evidence:
        items = {item for cell in cells for item in cell}
        resamples, cluster = self._resamples(items)
        criterion = self.criteria[place[1]]
        scale = [float(value) for value in range(criterion.lowest, criterion.highest + 1)]
        found = agreement(cells, resamples, scale=scale, cluster=cluster, level=self._level)
        models = {item: self.responses[item].model for item in items}
        rank = None
        if tau and len(set(models.values())) > 1:
            rank = system_tau(cells[0], cells[1], models, resamples, cluster=cluster, level=self._level)
        return Evidence(check, *place, found.n, other, found, rank)

    def _compared(
        self, check: str, place: tuple[str, str, str], first: Cell, second: Cell, other: str
    ) -> Evidence:
        return self._agreement(check, place, [first, second], other, tau=True)

    def _length(self, place: tuple[str, str, str], mine: Cell, people: Cell) -> Iterator[Evidence]:
        def correlation(values: Mapping[int, float]) -> Interval:
            lengths = [len(self.responses[item].response.strip()) for item in values]
            return spearman(lengths, list(values.values()), level=self._level)

        given = {item: value for item, value in mine.items() if value is not None}
        yield Evidence("length", *place, len(given), correlation=correlation(given))
        if people:
            gaps = {
                item: given[item] - value
                for item, value in people.items()
                if item in given and value is not None
            }
            yield Evidence("length_people", *place, len(gaps), correlation=correlation(gaps))

    def _probes(self, place: tuple[str, str, str], mine: Cell) -> Iterator[Evidence]:
        judge, name, language = place
        swapped = self._values.get(("language", judge, name))
        if swapped is not None:
            asked = self._within(swapped.middle, language)
            if asked:
                yield self._agreement("language_probe", place, [mine, asked])
        copied = self._values.get(("copy", judge, name))
        if copied is None:
            return
        copies = {
            item: value
            for item, value in self._within(copied.middle, language).items()
            if value is not None and mine.get(item) is not None and self._is_perfect(judge, item)
        }
        if copies:
            gaps: dict[str, Cell] = {
                "": {item: value - (mine[item] or 0.0) for item, value in copies.items()}
            }
            resamples, cluster = self._resamples(copies)
            difference = mean_intervals(gaps, resamples, cluster=cluster, level=self._level)[""]
            mean = sum(copies.values()) / len(copies)
            yield Evidence("copy_probe", *place, len(copies), mean=mean, difference=difference)

    def _is_perfect(self, judge: str, item: int) -> bool:
        """Whether the judge gives the answer, under its own instruction, the highest values for its language."""
        if is_empty(self.responses[item].response):
            return False
        given = [(name, self._values.get(("", judge, name))) for name in FORM]
        return all(
            values.middle.get(item) == self.criteria[name].highest
            for name, values in given
            if values is not None
        )


def read_ratings(
    paths: Iterable[Path], responses: Sequence[Response], criteria: Sequence[Criterion]
) -> dict[str, dict[tuple[str, str], float]]:
    """Ratings of people by criterion and response; several raters of one answer count as their lower median.

    A line is that of a ``scores.jsonl``: ``id``, ``metric`` (the criterion, also after a prefix such as
    ``people/``), ``value``, and ``model`` where several models have the id. A line without a value is no rating.

    Raises:
        UserError: naming the line whose value is not on the scale or whose model is not known.
    """
    scales = {each.name: (each.lowest, each.highest) for each in criteria}
    models: dict[str, list[str]] = {}
    for response in responses:
        models.setdefault(response.id, []).append(response.model)
    found: dict[str, dict[tuple[str, str], list[float]]] = {}
    for path in paths:
        for number, row in iterate_jsonl(path):
            place = f"{path}, line {number}"
            if not isinstance(row, dict) or not {"id", "metric", "value"} <= row.keys():
                raise UserError(f"{place}: not a rating (id, metric, value)")
            name, value = str(row["metric"]).rpartition("/")[2], row["value"]
            if name not in scales or value is None or row["id"] not in models:
                continue
            low, high = scales[name]
            if isinstance(value, bool) or value not in range(low, high + 1):
                raise UserError(f"{place}: {value!r} is not on the scale of {name}, {low} to {high}")
            known = [row["model"]] if row.get("model") else models[row["id"]]
            if len(known) > 1:
                raise UserError(
                    f'{place}: several models have the id {row["id"]!r} ({", ".join(known)}); give the line a "model"'
                )
            found.setdefault(name, {}).setdefault((known[0], row["id"]), []).append(float(value))
    return {
        name: {key: statistics.median_low(values) for key, values in ratings.items()}
        for name, ratings in found.items()
    }
