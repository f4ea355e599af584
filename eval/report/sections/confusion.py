"""Language confusion: which languages answers are in, whole, by line and by word."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.plots import matrices
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.sections.context import Context, count, estimate, share

HEADING = "Language confusion"
NONE = "(none)"  # the guess for answers in no language
OTHER = "other"
BY_LINE = ("line_language", "line_accuracy", "lpr", "wpr")
MOST_FOUND = 8  # languages across in the figure


def confusion_section(context: Context) -> Section:
    """Expected against found languages of whole answers, and the metrics by line and word."""
    counts = _counts(context)
    if not counts:
        missing = (
            "The language of the answers was not identified: run python -m xltjax.eval surface RESPONSES."
        )
        return Section("confusion", HEADING, (missing,))
    best = [each.name for each in context.best() if each.name in counts]
    rows = [
        {
            "system": system,
            "expected": expected,
            "found": found,
            "count": number,
            "n": total,
            "share": number / total,
        }
        for system in counts
        for expected, guesses in sorted(counts[system].items())
        for total in [sum(guesses.values())]
        for found, number in sorted(guesses.items(), key=lambda item: (-item[1], item[0]))
    ]
    columns = (
        Column("system", "system"),
        Column("expected", "expected language"),
        Column("found", "found language"),
        count("count", "answers"),
        count("n", "n answers"),
        share("share", "share"),
    )
    caption = (
        f"fastText's first guess for each whole answer whose language could be judged; {NONE}: an answer "
        f"without letters is in no language."
    )
    table = Table("language-confusion", "Expected and found languages", columns, rows, caption)
    tables = [table]
    lines = _line_table(context)
    if lines is not None:
        tables.append(lines)
    shown = [row for row in rows if row["system"] in best[:8]]
    figure = _figure(
        context,
        best[:8],
        counts,
        Table("language-confusion-matrix", "Expected and found languages", columns, shown, caption),
        len(best),
    )
    told = () if lines is not None else ("There are no scores of lines or words.",)
    return Section("confusion", HEADING, told, (figure,), tuple(tables))


def _counts(context: Context) -> dict[str, dict[str, Counter[str]]]:
    """By system and expected language, how many answers are in each language."""
    analysis = context.analysis
    counts: dict[str, dict[str, Counter[str]]] = {}
    for score, _, language in analysis.plain_scores():
        if score.metric == "language_correct" and score.value is not None:
            evidence = analysis.material.evidence.get((score.model, score.id))
            found = evidence.found_language if evidence else ""
            system = analysis.system_of[score.model].name
            guesses = counts.setdefault(system, {}).setdefault(language or "?", Counter())
            guesses[found or (language if score.value == 1 else NONE)] += 1
    return {each.name: counts[each.name] for each in analysis.systems if each.name in counts}


def _figure(
    context: Context,
    systems: Sequence[str],
    counts: Mapping[str, Mapping[str, Counter[str]]],
    data: Table,
    of: int,
) -> Figure:
    expected = [
        language for language in context.analysis.languages if any(language in counts[s] for s in systems)
    ]
    expected = expected or sorted({language for name in systems for language in counts[name]})
    totals: Counter[str] = Counter()
    for name in systems:
        for guesses in counts[name].values():
            totals.update(guesses)
    wrong = [
        language for language, _ in totals.most_common() if language not in expected and language != NONE
    ]
    across = [*expected, *wrong[: MOST_FOUND - len(expected)]]
    rest = [OTHER] if set(wrong) - set(across) else []
    across += [*rest, *([NONE] if totals[NONE] else [])]
    panels = {}
    for name in systems:
        shares = np.full((len(expected), len(across)), np.nan)
        for line, language in enumerate(expected):
            guesses = counts[name].get(language, Counter())
            if guesses:
                shares[line] = [_of(guesses, found, across) / guesses.total() for found in across]
        panels[name] = shares
    numbers = [guesses.total() for name in systems for guesses in counts[name].values()]
    n = (
        f"n = {min(numbers)} to {max(numbers)} answers"
        if min(numbers) != max(numbers)
        else f"n = {numbers[0]} answers"
    )
    first = f" (the first {len(systems)} of {of})" if len(systems) < of else ""
    caption = (
        "Percentages of the answers by expected (lines) and found language (columns), for the best rate of "
        f"each configuration{first}; {n} in each line. {OTHER}: all languages that have no column."
    )

    def plot(figure: Any) -> None:
        matrices(
            figure,
            panels,
            down=expected,
            across=across,
            down_label="expected language",
            across_label="found language",
            note=f"percentages of the answers in each line; {n} in each line",
        )

    lines = -(-len(panels) // 4)
    size = (
        1.2 + (0.9 + 0.33 * len(across)) * min(4, len(panels)),
        1.1 + (0.5 + 0.33 * len(expected)) * lines,
    )
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)


def _of(guesses: Counter[str], found: str, across: Sequence[str]) -> int:
    if found == OTHER:
        return sum(number for language, number in guesses.items() if language not in across)
    return guesses[found]


def _line_table(context: Context) -> Table | None:
    analysis = context.analysis
    metrics = [metric for metric in BY_LINE if metric in analysis.cells]
    if not metrics:
        return None
    rows: list[dict[str, Any]] = []
    for system in analysis.systems:
        for language in analysis.languages:
            found = {metric: analysis.by_place.get((system.name, language, metric)) for metric in metrics}
            if any(found.values()):
                row: dict[str, Any] = {"system": system.name, "language": language or "?"}
                row["n"] = max(each["n"] for each in found.values() if each)
                for metric, each in found.items():
                    if each:
                        row |= {
                            metric: each["mean"],
                            f"{metric}_low": each["low"],
                            f"{metric}_high": each["high"],
                        }
                        row[f"{metric}_coverage"] = each["coverage"]
                rows.append(row)
    columns = [Column("system", "system"), Column("language", "language"), count()]
    for metric in metrics:
        columns += [
            estimate(metric, title(metric).lower()),
            share(f"{metric}_coverage", "scored"),
        ]
    return Table(
        "lines-and-words",
        "Language by line and by word",
        tuple(columns),
        rows,
        "Means of the answers that are scored, whose share is beside each. Word-level pass rate: "
        "Arabic, Chinese, Hindi, Japanese, Korean and Russian alone. 95% intervals: Wilson's for "
        "pass rates, bootstrap over instructions for shares; n is the number of instructions.",
    )
