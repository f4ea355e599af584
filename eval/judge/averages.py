"""Averages of judges' scores per model, language and criterion, under three conventions for the wrong language.

``correct_only`` averages over the responses in the right language, as the paper does (appendix B); which they are
is said by the judge (its criterion ``language`` is above its lowest value) and, where the scores of ``surface`` are
given, by fastText too. ``wrong_is_lowest`` counts a response in the wrong language with the lowest value, and
``everything`` counts whatever the judge said. Criteria that do not need the language have ``everything`` alone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.data.responses import Response
from xltjax.eval.judge.judgments import Group, Judgments, present
from xltjax.eval.judge.rubrics import LANGUAGE, Criterion
from xltjax.eval.judge.verdicts import OUTCOMES
from xltjax.eval.scores import Score
from xltjax.eval.stats.intervals import Cell, conditional_variants, mean_intervals, wilson_interval
from xltjax.eval.table_files import print_legend, printable, table_console, write_table

CONVENTIONS = ("correct_only", "wrong_is_lowest", "everything")
COLUMNS = (
    "judge", "model", "language", "criterion", "convention", "language_by", "answers", "instructions", "counted",
    "failed", "coverage", "mean", "low", "high", "interval", "worst", "best",
)  # fmt: skip
NOTE = (
    "correct_only: responses in the right language (the paper's rule); wrong_is_lowest: the wrong language counts as "
    "the lowest value; everything: in whatever language. language_by: who says which language it is. counted: "
    "answers in the mean; failed: answers without a score; worst, best: the mean if every answer without a score had "
    "the lowest value, or the highest. Intervals: 95%; Wilson's for scales from 0 to 1, bootstrap over instructions "
    "for others."
)


def average_rows(
    responses: Sequence[Response],
    scores: Iterable[Score],
    criteria: Sequence[Criterion],
    *,
    draws: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """One row per judge, model, language, criterion and convention; see ``rows_of``."""
    return rows_of(Judgments(responses, scores, criteria), draws=draws, level=level, seed=seed)


def rows_of(
    judgments: Judgments, *, draws: int = 10_000, level: float = 0.95, seed: int = 0
) -> list[dict[str, Any]]:
    """One row per judge, model, language, criterion and convention, with the keys ``COLUMNS``.

    ``coverage`` is counted / answers. The values are reported ones (0 to 2 for stars from 1 to 3). The interval is
    None for one instruction, and where nothing was counted ``mean`` is None.
    """
    return [
        row
        for group in judgments.groups()
        for row in _group_rows(judgments, group, draws=draws, level=level, seed=seed)
    ]


def _group_rows(
    judgments: Judgments, group: Group, *, draws: int, level: float, seed: int
) -> Iterator[dict[str, Any]]:
    resamples, cluster = judgments.resamples(group.items, draws, seed)
    cells: dict[tuple[str, str, str], Cell] = {}
    bounds: dict[tuple[str, str, str], tuple[float, float]] = {}
    for name, criterion in judgments.criteria.items():
        if not judgments.asks(group.judge, name):
            continue
        score = judgments.cell(group.judge, name, group.items)
        for convention, by, cell, limits in _conventions(judgments, group, criterion, score):
            cells[name, convention, by] = cell
            bounds[name, convention, by] = limits
    intervals = mean_intervals(cells, resamples, cluster=cluster, level=level)
    for (name, convention, by), found in intervals.items():
        cell = present(cells[name, convention, by])
        instructions = len({cluster[item] for item in cell})
        low, high, method = found.low, found.high, "bootstrap" if found.low is not None else None
        lowest = judgments.criteria[name].lowest
        if judgments.criteria[name].scale == (0, 1) and found.estimate is not None:
            successes = min(max((found.estimate - lowest) * instructions, 0.0), float(instructions))
            low, high = (lowest + limit for limit in wilson_interval(successes, instructions, level))
            method = "wilson"
        score = judgments.cell(group.judge, name, group.items)
        yield {
            "judge": group.judge,
            "model": group.model,
            "language": group.language,
            "criterion": name,
            "convention": convention,
            "language_by": by,
            "answers": len(group.items),
            "instructions": instructions,
            "counted": len(cell),
            "failed": len(score) - len(present(score)),
            "coverage": len(cell) / len(group.items),
            "mean": found.estimate,
            "low": low,
            "high": high,
            "interval": method,
            "worst": bounds[name, convention, by][0],
            "best": bounds[name, convention, by][1],
        }


def _conventions(
    judgments: Judgments, group: Group, criterion: Criterion, score: Cell
) -> Iterator[tuple[str, str, Cell, tuple[float, float]]]:
    """Each convention, who says the language, the cell of the values that count, and the bounds of their mean."""
    lowest, highest = criterion.lowest, criterion.highest
    if criterion.needs_language:
        said: dict[str, Mapping[int, bool | None]] = {}
        if LANGUAGE in judgments.criteria:
            said["judge"] = judgments.correct(group.judge, group.items)
        if judgments.has_fasttext:
            said["fasttext"] = judgments.correct_by_fasttext(group.items)
        for convention in CONVENTIONS[:2]:
            for by, correct in said.items():
                right: Cell = {
                    item: None if is_right is None else float(is_right) for item, is_right in correct.items()
                }
                cell = conditional_variants(score, right, lowest, highest)[convention]
                limits = tuple(_bound(convention, score, correct, lowest, highest, sign) for sign in (1, -1))
                yield convention, by, cell, (limits[0], limits[1])
    values = list(score.values())
    worst, best = (
        math.fsum(fill if value is None else value for value in values) / len(values)
        for fill in (lowest, highest)
    )
    yield "everything", "", score, (worst, best)


def _bound(
    convention: str,
    score: Cell,
    correct: Mapping[int, bool | None],
    lowest: float,
    highest: float,
    sign: int,
) -> float:
    """The least mean (``sign`` 1) or the greatest (-1) that the answers without a score or a language allow.

    Where it is not known whether an answer is in the right language, it may count or not, whichever is more
    extreme; an answer without a score that may count has the lowest value, or the highest.
    """
    fill = lowest if sign == 1 else highest
    sure, unsure = [], []
    for item, value in score.items():
        is_right = correct[item]
        if is_right is False:
            if convention == "wrong_is_lowest":
                sure.append(float(lowest))
            continue
        filled = fill if value is None else value
        if is_right is None and convention == "wrong_is_lowest":
            sure.append(float(lowest) if sign == 1 else float(filled))
        elif is_right is None:
            unsure.append(float(filled))
        else:
            sure.append(float(filled))
    for value in sorted(unsure, key=lambda value: sign * value):
        if not sure or sign * value < sign * math.fsum(sure) / len(sure):
            sure.append(value)
    return math.fsum(sure) / len(sure) if sure else float(fill)


def outcome_rows(judgments: Judgments) -> list[dict[str, Any]]:
    """One row per judge, model and language: the number of calls and of each outcome.

    Responses that were not sent to the judge, since there is no answer or no instruction, count as ``not_asked``.
    """
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    for place, outcomes in judgments.outcomes.items():
        counts[place] = Counter()
        for outcome, count in outcomes.items():
            counts[place][outcome if outcome in OUTCOMES else "not_asked"] += count
    return [
        {
            "judge": judge,
            "model": model,
            "language": language,
            "calls": sum(found[name] for name in OUTCOMES),
            **{name: found[name] for name in (*OUTCOMES, "not_asked")},
        }
        for (judge, model, language), found in counts.items()
    ]


OUTCOME_COLUMNS = ("judge", "model", "language", "calls", *OUTCOMES, "not_asked")


def save_averages(
    out: Path, rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]], rubric: str
) -> None:
    """Write ``<rubric>-averages.{csv,md}`` and ``<rubric>-outcomes.{csv,md}`` under ``out``."""
    write_table(out / f"{rubric}-averages", rows, COLUMNS, ".4f", NOTE)
    write_table(
        out / f"{rubric}-outcomes",
        outcomes,
        OUTCOME_COLUMNS,
        ".4f",
        "Calls by how they ended; only ok gives scores.",
    )


def print_averages(rows: Sequence[Mapping[str, Any]], outcomes: Sequence[Mapping[str, Any]]) -> None:
    """Print for each judge the means, by the paper's rule first, and how calls without scores ended.

    Of the other conventions only those stand below that give other means.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    console = table_console(160)
    for judge in dict.fromkeys(row["judge"] for row in rows):
        mine = [row for row in rows if row["judge"] == judge]
        names = list(dict.fromkeys(row["criterion"] for row in mine))
        console.print(Text(printable(f"{judge}: mean [95% interval], coverage (bounds)")))
        table = Table(box=box.SIMPLE_HEAD)
        table.add_column("model", overflow="fold")
        for heading in ("lang", "averaged over"):
            table.add_column(heading)
        for name in names:
            table.add_column(name.replace("_", " "), justify="right")
        for (model, language), lines in _by_group(mine).items():
            for number, (over, cells) in enumerate(_different(lines)):
                place = (Text(printable(model)), language or "?") if not number else (Text(), "")
                texts = [_cell(cells.get(name), short=number > 0) for name in names]
                table.add_row(*place, over, *texts)
        console.print(table)
    print_legend(f"{NOTE} Conventions that give the same means are left out here.")
    for row in outcomes:
        lost = [f"{name} {row[name]}" for name in (*OUTCOMES[1:], "not_asked") if row[name]]
        if lost:
            group = f"{row['judge']}, {row['model']}, {row['language'] or '?'}"
            print(
                printable(f"without a score: {group}: {', '.join(lost)} of {row['calls'] + row['not_asked']}")
            )


Line = dict[str, Mapping[str, Any]]  # rows by criterion


def _by_group(
    rows: Iterable[Mapping[str, Any]],
) -> dict[tuple[str, str], dict[tuple[str, str], Line]]:
    """Rows by model and language, then by convention and who says the language, then by criterion."""
    groups: dict[tuple[str, str], dict[tuple[str, str], Line]] = {}
    for row in rows:
        lines = groups.setdefault((row["model"], row["language"]), {})
        lines.setdefault((row["convention"], row["language_by"]), {})[row["criterion"]] = row
    return dict(sorted(groups.items()))


def _different(lines: Mapping[tuple[str, str], Line]) -> Iterator[tuple[str, Line]]:
    """The first convention, with the criteria that only ``everything`` has, and those with other means."""
    everything = lines["everything", ""]
    order = sorted(lines, key=lambda key: (CONVENTIONS.index(key[0]), key[1] != "judge"))
    first = everything | lines[order[0]]
    for number, (convention, by) in enumerate(order):
        line = lines[convention, by]
        means = {name: row["mean"] for name, row in line.items()}
        if number == 0 or any(mean != first[name]["mean"] for name, mean in means.items()):
            over = convention.replace("_", " ") + (f" ({by})" if by else "")
            yield over, line if number else first


def _cell(row: Mapping[str, Any] | None, *, short: bool) -> str:
    if row is None:
        return ""
    share = f"{math.floor(100 * row['coverage'])}%"
    if row["mean"] is None:
        return f"- {share}"
    text = f"{row['mean']:.2f}"
    if row["low"] is not None and not short:
        text += f" \\[{row['low']:.2f}–{row['high']:.2f}]"
    text += f" {share}"
    return text + (f" ({row['worst']:.2f}–{row['best']:.2f})" if row["failed"] else "")
