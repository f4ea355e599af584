"""What judges and people say, by system: the cells of each criterion, over the answers in the right language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property

from xltjax.data.responses import Response
from xltjax.eval.judge.judgments import PREFIX, Judgments
from xltjax.eval.judge.rubrics import Criterion, load_rubric
from xltjax.eval.report.numbers.analysis import Analysis
from xltjax.eval.report.numbers.sources import PEOPLE, Key
from xltjax.eval.scores import Score
from xltjax.eval.stats.intervals import Cell, conditional_variants

HELPFULNESS = "helpfulness"


class Judged:
    """The judgments of all systems, people among the judges; answers to modified instructions apart.

    Args:
        analysis: the systems and answers.
    """

    def __init__(self, analysis: Analysis) -> None:
        self._analysis = analysis
        self.criteria = list(self._criteria())

    @cached_property
    def plain(self) -> Judgments:
        """Judgments of answers to instructions without a modifier."""
        return self._judgments(modified=False)

    @cached_property
    def modified(self) -> Judgments:
        """Judgments of answers to instructions with a modifier."""
        return self._judgments(modified=True)

    @property
    def judges(self) -> list[str]:
        """The judges of ``plain``, people first."""
        return sorted(self.plain.judges, key=lambda judge: (judge != PEOPLE, judge))

    def _criteria(self) -> Iterator[Criterion]:
        """Those of the rubrics, and of ratings those that are in no rubric, on the scale that was seen."""
        known = dict(self._analysis.material.criteria)
        for name in ("six", "modifier"):
            rubric = load_rubric(name, preset="xlt", language="en")
            for each in rubric.criteria:
                known.setdefault(each.name, each)
        highest: dict[str, float] = {}
        for score in self._analysis.material.judged:
            name = score.metric.removeprefix(PREFIX)
            if name not in known:
                highest[name] = max(highest.get(name, 1.0), score.value or 0.0)
        yield from known.values()
        yield from (Criterion(name, (0, int(value)), 0, True) for name, value in highest.items())

    def _judgments(self, *, modified: bool) -> Judgments:
        analysis = self._analysis

        def wanted(key: Key) -> bool:
            return key in analysis.modified if modified else analysis.is_plain(key)

        responses: list[Response] = []
        for key, response in analysis.material.responses.items():
            if wanted(key):
                responses.append(analysis.pooled(response))
        return Judgments(responses, self._scores(wanted), self.criteria, analysis.material.rubrics)

    def _scores(self, wanted: Callable[[Key], bool]) -> Iterator[Score]:
        analysis = self._analysis
        material = analysis.material
        correct = (score for score in material.scores if score.metric == "language_correct")
        for score in (*material.judged, *correct):
            if wanted((score.model, score.id)):
                yield analysis.pooled_score(score)

    def groups(self, judge: str, judgments: Judgments) -> dict[tuple[str, str], Sequence[int]]:
        """By system and language, the numbers of the answers that a judge was asked about."""
        return {(each.model, each.language): each.items for each in judgments.groups() if each.judge == judge}


def scale_text(criteria: Mapping[str, Criterion], names: Iterable[str]) -> str:
    """The reported scales of some criteria, as a caption tells them."""
    scales: dict[tuple[int, int], list[str]] = {}
    for name in names:
        scales.setdefault((criteria[name].lowest, criteria[name].highest), []).append(name)
    told = [f"from {low} (worst) to {high} (best)" for low, high in scales]
    if len(scales) > 1:
        told = [f"{text}: {', '.join(of)}" for text, of in zip(told, scales.values(), strict=True)]
    return f"Scores {'; '.join(told)}."


def correct_only(judgments: Judgments, judge: str, criterion: Criterion, items: Iterable[int]) -> Cell:
    """A criterion over the answers in the right language, as in the paper; over all where it needs no language.

    The judge says which these are, or fastText where it did not.
    """
    items = list(items)
    score = judgments.cell(judge, criterion.name, items)
    if not criterion.needs_language:
        return score
    correct = judgments.correct(judge, items)
    if not any(value is not None for value in correct.values()):
        correct = judgments.correct_by_fasttext(items)
        if not any(value is not None for value in correct.values()):
            return score
    right: Cell = {item: None if value is None else float(value) for item, value in correct.items()}
    return conditional_variants(score, right, criterion.lowest, criterion.highest)["correct_only"]


def present_criteria(judgments: Judgments, judge: str) -> list[Criterion]:
    """The criteria of which a judge gave a score, in the order of the rubrics."""
    asked = judgments.asked(judge)
    return [
        each
        for each in judgments.criteria.values()
        if any(value is not None for value in judgments.cell(judge, each.name, asked).values())
    ]
