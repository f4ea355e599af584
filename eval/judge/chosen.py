"""One score of a judge for each answer and criterion, where there are several judges, repeats or probes."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from xltjax.common.errors import UserError, did_you_mean
from xltjax.eval.judge.judgments import PREFIX
from xltjax.eval.scores import Score


class JudgeChoice:
    """Which scores of judges count. Those of probes never do: they are not about the answers.

    Args:
        judge: the name of the judge, or empty for all.
        repeat: the repeat that counts, or None for all, which become one score.
        typical: makes one value of those of the repeats.
    """

    def __init__(self, judge: str, repeat: int | None, typical: Callable[[Sequence[float]], float]) -> None:
        self._judge, self._repeat, self._typical = judge, repeat, typical
        self._judges: dict[str, None] = {}
        self._repeats: set[int] = set()

    def scores(self, scores: Iterable[Score]) -> Iterator[Score]:
        """The scores of a file: those of no judge as they are, and then one for each judge, answer and criterion.

        The judge's name is all that stays of their ``detail``, and the reason where there is no value. Two scores of
        one repeat stay two.
        """
        found: dict[tuple[str, str, str, str], list[tuple[int, Score]]] = {}
        for score in scores:
            if not score.metric.startswith(PREFIX):
                yield score
                continue
            if score.detail.get("probe"):
                continue
            judge, repeat = judge_of(score), int(score.detail.get("repeat") or 0)
            self._judges.setdefault(judge)
            if self._judge not in ("", judge):
                continue
            self._repeats.add(repeat)
            if self._repeat in (None, repeat):
                kept = {"judge": judge} | ({"reason": score.reason} if score.value is None else {})
                place = (judge, score.metric, score.model, score.id)
                found.setdefault(place, []).append((repeat, replace(score, detail=kept)))
        for repeats in found.values():
            if len({number for number, _ in repeats}) < len(repeats):
                yield from (score for _, score in repeats)
            else:
                yield self._one([score for _, score in sorted(repeats, key=lambda pair: pair[0])])

    def _one(self, repeats: Sequence[Score]) -> Score:
        values = [score.value for score in repeats if score.value is not None]
        if len(repeats) == 1 or not values:
            return repeats[-1]
        scored = next(score for score in repeats if score.value is not None)
        return replace(scored, value=float(self._typical(values)))

    def check(self) -> None:
        """Once all files are read: whether the judge and the repeat were there.

        Raises:
            UserError: which lists those that are.
        """
        if self._judge and self._judge not in self._judges:
            there = (
                did_you_mean(self._judge, self._judges) if self._judges else "no scores of judges are given"
            )
            raise UserError(f"--judge {self._judge!r} has no scores here; {there}")
        if self._repeat is not None and self._repeat not in self._repeats:
            there = ", ".join(map(str, sorted(self._repeats))) or "no scores of judges are given"
            raise UserError(f"--repeat {self._repeat} is not there; there are {there}")


def judge_of(score: Score) -> str:
    """The name of the judge that gave a score, empty where the score does not say it."""
    return str(score.detail.get("judge") or "")


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return math.fsum(values) / len(values)
