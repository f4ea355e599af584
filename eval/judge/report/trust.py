"""The rule by which a criterion x language cell of a judge is not to be trusted.

Every limit is stated here and in docs/judging.md. Differences are measured in parts of the scale: R is the highest
value minus the lowest (2 for values from 0 to 2).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xltjax.eval.judge.report.evidence import FORM, Evidence
from xltjax.eval.judge.rubrics import Criterion
from xltjax.eval.stats.intervals import Interval

FEWEST = 30  # answers; a check on fewer neither accuses nor acquits
LEAST_SCORED = 0.95  # of the answers that the judge was asked about
REPEATS_AC2 = 0.8  # of the judge with itself
OTHERS_AC2 = 0.6  # with another judge, with people, and with the rubric in another language
SHIFT = 1 / 8  # of R: a mean difference that matters, where its interval does not contain 0
LENGTH = 0.4  # Spearman's correlation with the length, where its interval does not contain 0
COPIES = 1 / 4  # of R above the lowest value: what a copied answer may get at most on the criteria of CONTENT
# Criteria on which an answer to another question deserves the lowest value.
CONTENT = ("helpfulness", "modified_helpfulness", "relevant")
# Checks that can acquit: the others say only that something is wrong.
ACQUITTING = ("repeats", "judges", "people", "language_probe", "copy_probe")

RULE = (
    f"Rule: a cell is not to be trusted when, on {FEWEST} answers or more, under {100 * LEAST_SCORED:.0f}% have a "
    f"score; AC2 over repeats is under {REPEATS_AC2}, or with another judge, people or the rubric in the response's "
    f"language under {OTHERS_AC2}; the mean "
    f"differs from people's, or between both languages of the rubric, by more than {SHIFT:g} of the scale (and the "
    f"interval excludes 0); copied answers get more than {COPIES:g} of the scale above the lowest value for "
    f"{', '.join(CONTENT)}, or another instruction moves {' or '.join(FORM)} by more than {SHIFT:g} of the scale; or "
    f"the score minus people's, or {' or '.join(FORM)}, correlates with the length by {LENGTH} or more. Without an "
    "objection it must have passed a check other than length; otherwise it is not known."
)

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


def objections(evidence: Evidence, criterion: Criterion) -> Iterator[str]:
    """Why this check speaks against trusting the cell; nothing when it does not."""
    if evidence.n < FEWEST:
        return
    check, found = evidence.check, evidence.agreement
    span = criterion.highest - criterion.lowest
    ac2 = found.ac2.estimate if found else None
    if check == "scored" and evidence.mean is not None and evidence.mean < LEAST_SCORED:
        yield f"only {100 * evidence.mean:.0f}% of the answers have a score"
    if check == "repeats" and ac2 is not None and ac2 < REPEATS_AC2:
        yield f"does not repeat itself (AC2 {ac2:.2f})"
    if check in ("judges", "people") and ac2 is not None and ac2 < OTHERS_AC2:
        yield f"disagrees with {evidence.other} (AC2 {ac2:.2f})"
    if check == "language_probe" and ac2 is not None and ac2 < OTHERS_AC2:
        yield f"the rubric's language changes it (AC2 {ac2:.2f})"
    if found and (shift := _shift(found.mean_difference, span)):
        if check == "people":
            yield f"scores {shift:+.2f} against people"
        if check == "language_probe":
            yield f"the rubric's language moves it by {shift:+.2f}"
    if check == "copy_probe" and criterion.name in CONTENT and evidence.mean is not None:
        if evidence.mean - criterion.lowest > COPIES * span:
            yield f"gives answers to another question {evidence.mean:.2f}"
    elif check == "copy_probe" and criterion.name in FORM and (shift := _shift(evidence.difference, span)):
        yield f"another instruction moves it by {shift:+.2f} for the same text"
    if rho := _correlation(evidence.correlation):
        if check == "length_people":
            yield f"against people it follows the length (ρ {rho:+.2f})"
        if check == "length" and criterion.name in FORM:
            yield f"follows the length (ρ {rho:+.2f})"


def _shift(difference: Interval | None, span: int) -> float | None:
    """The mean difference, where it matters and its interval does not contain 0."""
    estimate = _certain(difference)
    return estimate if estimate is not None and abs(estimate) > SHIFT * span else None


def _correlation(correlation: Interval | None) -> float | None:
    """The correlation, where it matters and its interval does not contain 0."""
    estimate = _certain(correlation)
    return estimate if estimate is not None and abs(estimate) >= LENGTH else None


def _certain(interval: Interval | None) -> float | None:
    if interval is None or interval.low is None or interval.high is None:
        return None
    return interval.estimate if interval.low > 0 or interval.high < 0 else None


def judge_cells(evidence: Iterable[Evidence], criteria: Iterable[Criterion]) -> list[Trust]:
    """The verdict on every judge, criterion and language of ``evidence``, in its order."""
    by_name = {each.name: each for each in criteria}
    cells: dict[tuple[str, str, str], list[Evidence]] = {}
    for each in evidence:
        cells.setdefault((each.judge, each.criterion, each.language), []).append(each)
    return [_cell(key, found, by_name[key[1]]) for key, found in cells.items()]


def _cell(key: tuple[str, str, str], found: list[Evidence], criterion: Criterion) -> Trust:
    reasons = tuple(dict.fromkeys(text for each in found for text in objections(each, criterion)))
    checks = tuple(
        dict.fromkeys(each.check for each in found if each.n >= FEWEST and each.check in ACQUITTING)
    )
    status = DO_NOT_TRUST if reasons else NO_OBJECTION if checks else NOT_KNOWN
    return Trust(*key, status, reasons, checks)
