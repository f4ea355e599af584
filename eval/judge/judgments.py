"""The scores of judges in memory: by judge and criterion one array over the responses, repeats averaged."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from xltjax.data.responses import Response
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.judge.rubrics import LANGUAGE, Criterion
from xltjax.eval.scores import Score
from xltjax.eval.stats.intervals import Cell, Resamples, resample

PREFIX = "judge/"  # of the metrics of judges in scores.jsonl


@dataclass(eq=False)
class _Column:
    """[responses] sums over repeats: of scores, of calls with a score, and of all calls."""

    sums: np.ndarray
    scored: np.ndarray
    calls: np.ndarray


@dataclass(frozen=True)
class Group:
    """The responses of one model in one language that a judge was asked about, by their numbers."""

    judge: str
    model: str
    language: str
    items: tuple[int, ...]


class Judgments:
    """What judges said about ``responses``, from a stream of scores; of probes' scores nothing is kept.

    With repeats the value of a criterion is the mean over the calls that gave a score.

    Args:
        responses: all responses that were judged, and perhaps more.
        scores: scores of any metrics; those of judges are ``judge/<criterion>``, and ``language_correct`` is what
            fastText says.
        criteria: of the rubric; scores of other criteria are not kept.
        rubrics: the names of criteria that one call scores, where ``criteria`` are of several rubrics.

    Attributes:
        has_fasttext: whether there is a score of ``language_correct``.
    """

    def __init__(
        self,
        responses: Iterable[Response],
        scores: Iterable[Score],
        criteria: Sequence[Criterion],
        rubrics: Sequence[Sequence[str]] = (),
    ) -> None:
        self.responses = StoredResponses.of(responses)
        self.criteria = {each.name: each for each in criteria}
        self._rubrics = rubrics
        self._ended: dict[
            tuple[str, str, str], dict[str, Counter[str]]
        ] = {}  # by judge, model, language: criterion
        self._columns: dict[tuple[str, str], _Column] = {}
        self._fasttext = np.full(len(self.responses), np.nan)
        self.has_fasttext = False
        self._right: dict[str, np.ndarray] = {}  # by judge, [responses] repeats that call the language right
        for score in scores:
            self._add(score)

    def _add(self, score: Score) -> None:
        place = self.responses.place((score.model, score.id))
        if place is None:
            return
        if score.metric == "language_correct":
            self.has_fasttext = True
            self._fasttext[place] = np.nan if score.value is None else score.value
        name = score.metric.removeprefix(PREFIX)
        if name == score.metric or name not in self.criteria or score.detail.get("probe"):
            return
        judge = str(score.detail.get("judge", ""))
        column = self._column(judge, name)
        column.calls[place] += 1
        if score.value is not None:
            column.sums[place] += score.value
            column.scored[place] += 1
            if name == LANGUAGE:
                right = self._right.setdefault(judge, np.zeros(len(self.responses), np.int32))
                right[place] += score.value > self.criteria[name].lowest
        response = self.responses[place]
        ended = self._ended.setdefault((judge, response.model, response.language), {})
        ended.setdefault(name, Counter())[score.state.removeprefix("failed:")] += 1

    @property
    def outcomes(self) -> dict[tuple[str, str, str], Counter[str]]:
        """By judge, model and language, how the calls ended: all criteria of a call have one outcome."""
        found = {}
        for place, by_name in sorted(self._ended.items()):
            found[place] = Counter[str]()
            left = dict(by_name)
            for names in (*self._rubrics, tuple(left)):
                own = [left.pop(name) for name in names if name in left]
                if own:
                    most = max(own, key=lambda counts: counts.total())
                    found[place].update(most)
        return found

    def asks(self, judge: str, criterion: str) -> bool:
        """Whether there is any score of a judge on a criterion, failures included."""
        return (judge, criterion) in self._columns

    def _column(self, judge: str, name: str) -> _Column:
        if (judge, name) not in self._columns:
            size = len(self.responses)
            self._columns[judge, name] = _Column(np.zeros(size), np.zeros(size, int), np.zeros(size, int))
        return self._columns[judge, name]

    @property
    def judges(self) -> list[str]:
        """The names of the judges, in the order in which they came."""
        return list(dict.fromkeys(judge for judge, _ in self._columns))

    def groups(self) -> Iterator[Group]:
        """Every judge, model and language, sorted by model and language."""
        for judge in self.judges:
            found: dict[tuple[str, str], list[int]] = {}
            for number in self.asked(judge):
                response = self.responses[number]
                found.setdefault((response.model, response.language), []).append(number)
            for (model, language), items in sorted(found.items()):
                yield Group(judge, model, language, tuple(items))

    def asked(self, judge: str) -> list[int]:
        """The numbers of the responses that have any score of ``judge``, failures included."""
        calls = sum(column.calls for (name, _), column in self._columns.items() if name == judge)
        return [int(number) for number in np.flatnonzero(calls)]

    def cell(self, judge: str, criterion: str, items: Iterable[int]) -> dict[int, float | None]:
        """The value of each response, None where every call failed."""
        column = self._columns.get((judge, criterion))
        if column is None:
            return dict.fromkeys(items)
        return {
            item: float(column.sums[item] / column.scored[item]) if column.scored[item] else None
            for item in items
        }

    def correct(self, judge: str, items: Iterable[int]) -> dict[int, bool | None]:
        """Whether the judge finds the language right, in at least half of its repeats; None where it did not say."""
        column = self._columns.get((judge, LANGUAGE))
        right = self._right.get(judge)
        if column is None or right is None:
            return dict.fromkeys(items)
        return {
            item: bool(2 * right[item] >= column.scored[item]) if column.scored[item] else None
            for item in items
        }

    def correct_by_fasttext(self, items: Iterable[int]) -> dict[int, bool | None]:
        """The same by ``language_correct``; None where it abstains or is not given."""
        values = {item: self._fasttext[item] for item in items}
        return {item: None if np.isnan(value) else bool(value > 0) for item, value in values.items()}

    def unit(self, item: int) -> str:
        """The instruction of a response, whose translations count as one."""
        return self.responses[item].instruction_id or self.responses[item].id

    def resamples(self, items: Iterable[int], draws: int, seed: int) -> tuple[Resamples, dict[Any, str]]:
        """A bootstrap over the instructions of ``items``, stratified by task, and the instruction of each item."""
        cluster = {item: self.unit(item) for item in items}
        tasks = {unit: self.responses[item].task for item, unit in cluster.items()}
        return resample(tasks, tasks, draws=draws, seed=seed), cluster


def present(cell: Cell) -> dict[Any, float]:
    """The items of a cell that have a value."""
    return {item: value for item, value in cell.items() if value is not None}
