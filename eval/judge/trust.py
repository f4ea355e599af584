"""The rule by which a criterion x language cell of a judge is not to be trusted.

Every limit is stated here and in docs/judging.md. Differences are measured in parts of the scale: R is the highest
value minus the lowest (2 for values from 0 to 2).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from xltjax.eval.judge.evidence import FORM, Evidence
from xltjax.eval.judge.rubrics import Criterion
from xltjax.eval.stats.intervals import Interval

FEWEST = 30  # answers; a check on fewer neither accuses nor acquits
LEAST_SCORED = 0.95  # of the answers that the judge was asked about
REPEATS_AC2 = 0.8  # of the judge with itself
OTHERS_AC2 = 0.6  # with another judge, and with people
SHIFT = 1 / 8  # of R: a mean difference that matters, where its interval does not contain 0
LENGTH = 0.4  # Spearman's correlation with the length, where its interval does not contain 0
COPIES = 1 / 4  # of R above the lowest value: what a copied answer may get at most on the criteria of CONTENT
# Criteria on which an answer to another question deserves the lowest value.
CONTENT = ("helpfulness", "modified_helpfulness", "relevant")
# Checks that can acquit: the others say only that something is wrong.
ACQUITTING = ("repeats", "judges", "people", "language_probe", "copy_probe")

DO_NOT_TRUST, NOT_KNOWN, NO_OBJECTION = "do not trust", "not known", "no objection"


@dataclass(frozen=True)
class Trust:
    """The verdict on one cell: the status, the objections, and the checks that were made on enough answers."""

    judge: str
    criterion: str
    language: str
    status: str
    objections: tuple[str, ...]
    checks: tuple[str, ...]


def objection(evidence: Evidence, criterion: Criterion) -> str:
    """Why this check speaks against trusting the cell; empty when it does not."""
    if evidence.n < FEWEST:
        return ""
    span = criterion.highest - criterion.lowest
    found = evidence.agreement
    ac2 = found.ac2.estimate if found else None
    if evidence.check == "scored" and evidence.mean is not None and evidence.mean < LEAST_SCORED:
        return f"only {100 * evidence.mean:.0f} % of the answers have a score"
    if evidence.check == "repeats" and ac2 is not None and ac2 < REPEATS_AC2:
        return f"does not repeat itself (AC2 {ac2:.2f})"
    if evidence.check in ("judges", "people") and ac2 is not None and ac2 < OTHERS_AC2:
        return f"disagrees with {evidence.other} (AC2 {ac2:.2f})"
    if evidence.check == "people" and found and _shifts(found.mean_difference, span):
        assert found.mean_difference is not None
        return f"scores {found.mean_difference.estimate:+.2f} against people"
    if evidence.check == "language_probe" and found and _shifts(found.mean_difference, span):
        assert found.mean_difference is not None
        return f"the rubric's language moves it by {found.mean_difference.estimate:+.2f}"
    if evidence.check == "copy_probe":
        return _copy_objection(evidence, criterion, span)
    if evidence.check == "length_people" and _follows(evidence.correlation):
        assert evidence.correlation is not None
        return f"against people it follows the length (ρ {evidence.correlation.estimate:+.2f})"
    if evidence.check == "length" and criterion.name in FORM and _follows(evidence.correlation):
        assert evidence.correlation is not None
        return f"follows the length (ρ {evidence.correlation.estimate:+.2f})"
    return ""


def _copy_objection(evidence: Evidence, criterion: Criterion, span: int) -> str:
    if criterion.name in CONTENT and evidence.mean is not None:
        if evidence.mean - criterion.lowest > COPIES * span:
            return f"gives answers to another question {evidence.mean:.2f}"
    elif criterion.name in FORM and _shifts(evidence.difference, span):
        assert evidence.difference is not None
        return f"another instruction moves it by {evidence.difference.estimate:+.2f} for the same text"
    return ""


def _shifts(difference: Interval | None, span: int) -> bool:
    return (
        _excludes_zero(difference) and abs(difference.estimate or 0.0) > SHIFT * span if difference else False
    )


def _follows(correlation: Interval | None) -> bool:
    return (
        _excludes_zero(correlation) and abs(correlation.estimate or 0.0) >= LENGTH if correlation else False
    )


def _excludes_zero(interval: Interval | None) -> bool:
    return (
        interval is not None
        and interval.low is not None
        and interval.high is not None
        and (interval.low > 0 or interval.high < 0)
    )


def judge_cells(evidence: Iterable[Evidence], criteria: Iterable[Criterion]) -> list[Trust]:
    """The verdict on every judge, criterion and language of ``evidence``, in its order."""
    by_name = {each.name: each for each in criteria}
    cells: dict[tuple[str, str, str], list[Evidence]] = {}
    for each in evidence:
        cells.setdefault((each.judge, each.criterion, each.language), []).append(each)
    return [_cell(key, found, by_name[key[1]]) for key, found in cells.items()]


def _cell(key: tuple[str, str, str], found: list[Evidence], criterion: Criterion) -> Trust:
    objections = tuple(dict.fromkeys(text for each in found if (text := objection(each, criterion))))
    checks = tuple(
        dict.fromkeys(each.check for each in found if each.n >= FEWEST and each.check in ACQUITTING)
    )
    status = DO_NOT_TRUST if objections else NO_OBJECTION if checks else NOT_KNOWN
    return Trust(*key, status, objections, checks)
