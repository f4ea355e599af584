"""Helpfulness by task: Figure 2, right, of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.palette import EMPHASIS, Look
from xltjax.eval.report.figures.plots import count_note, dot_panels
from xltjax.eval.report.numbers.analysis import BOTH, REFERENCE
from xltjax.eval.report.numbers.judged import HELPFULNESS, Judged, correct_only, present_criteria
from xltjax.eval.report.numbers.metrics import title
from xltjax.eval.report.sections.context import Context, count, estimate
from xltjax.eval.stats.intervals import Cell, resample

OTHERS = "other languages"
HEADING = "Tasks"


@dataclass(frozen=True)
class _Source:
    """What is averaged by task: cells by system and language, the instruction of each item, and its axis."""

    name: str
    cells: Mapping[str, Mapping[str, Cell]]
    clusters: Mapping[Any, str]
    scale: tuple[int, int] | None  # of a criterion; None for a share

    @property
    def is_share(self) -> bool:
        """Whether the values are shares, from 0 to 1."""
        return self.scale is None


def tasks_section(context: Context, judged: Judged) -> Section:
    """Helpfulness by people or a judge; without both, the share of answers in the right language (and relevant)."""
    tasks = sorted({task for task in context.analysis.tasks.values() if task})
    if not tasks:
        return Section(
            "tasks", HEADING, ("The responses name no tasks, so there is nothing to break down by task.",)
        )
    source = _source(context, judged)
    if source is None:
        return Section("tasks", HEADING, ("There are no scores to break down by task.",))
    rows = _rows(context, source, tasks)
    told = []
    if source.is_share:
        told.append(
            f"There are no scores of helpfulness, by a judge or by people; the tasks show "
            f"{title(source.name).lower()} instead."
        )
    counts = [row["n"] for row in rows]
    if counts:
        told.append(
            f"A task has {context.facts.count('fewest answers of a task', min(counts))} to "
            f"{context.facts.count('most answers of a task', max(counts))} scored answers of a system and "
            "group of languages: too few for a conclusion about one task alone."
        )
    table = _table(source, rows)
    main = _main(context, rows)
    shown = [row for row in rows if row["system"] == main and row["mean"] is not None]
    figures = (_figure(context, source, replace(table, rows=shown), main),) if shown else ()
    return Section("tasks", HEADING, tuple(told), figures, (table,))


def _table(source: _Source, rows: Sequence[Mapping[str, Any]]) -> Table:
    return Table(
        "tasks",
        f"{title(source.name)} by task",
        (
            Column("system", "system"),
            Column("task", "task"),
            Column("group", "languages"),
            count("n", "n answers"),
            estimate("mean", title(source.name).lower(), ".1%" if source.is_share else ".2f", prefix=""),
        ),
        rows,
        "The mean of the answers to the task's instructions, in English and in all other languages "
        "together. 95% intervals: percentile bootstrap over the instructions of the task.",
    )


def _figure(context: Context, source: _Source, table: Table, main: str) -> Figure:
    """The means of one system, which are the rows of ``table``, in English and in the other languages."""
    rows = table.rows
    english = context.languages.get(REFERENCE, Look(EMPHASIS, "o", "-"))
    looks = {REFERENCE: english, OTHERS: Look(EMPHASIS, "s", "-")}
    series = {name: look for name, look in looks.items() if any(row["group"] == name for row in rows)}
    places = list(dict.fromkeys(row["task"] for row in rows))
    n = count_note(rows, what="answers")
    scale = 100 if source.is_share else 1
    low, high = source.scale or (0, 100)
    unit = "%" if source.is_share else f"score from {low} to {high}"

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            [{**row, "panel": ""} for row in rows],
            panels={"": f"{title(source.name).lower()}, {unit}"},
            panel_key="panel",
            places=places,
            place_key="task",
            series=series,
            series_key="group",
            note=f"{main}; {n} at each point; bars: 95% intervals",
            scale=scale,
            limits=(low, high),
        )

    caption = (
        f"{title(source.name)} by task of {main}, in English and in the other languages (Figure 2, right, of the "
        f"paper). {n} at each point. Bars are 95% bootstrap intervals over instructions."
    )
    data = replace(table, name="tasks-of-the-main-model")
    size = (5.6, 1.2 + 0.22 * len(places))
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)


def _source(context: Context, judged: Judged) -> _Source | None:
    judgments = judged.plain
    for judge in judged.judges:
        for criterion in present_criteria(judgments, judge):
            if criterion.name == HELPFULNESS:
                cells: dict[str, dict[str, Cell]] = {}
                for (system, language), items in judged.groups(judge, judgments).items():
                    cells.setdefault(system, {})[language] = correct_only(judgments, judge, criterion, items)
                clusters = {item: judgments.unit(item) for item in range(len(judgments.responses))}
                return _Source(HELPFULNESS, cells, clusters, (criterion.lowest, criterion.highest))
    for metric in (BOTH, "language_correct"):
        if metric in context.analysis.cells:
            return _Source(metric, context.analysis.cells[metric], context.analysis.clusters, None)
    return None


def _rows(context: Context, source: _Source, tasks: Sequence[str]) -> list[dict[str, Any]]:
    analysis = context.analysis
    units: dict[str, list[str]] = {}
    for unit, task in analysis.tasks.items():
        units.setdefault(task, []).append(unit)
    systems = [each.name for each in context.best() if each.name in source.cells]
    rows = []
    for task in tasks:
        own = set(units[task])
        resamples = resample(own, draws=analysis.draws)
        places, groups = [], []
        for system in systems:
            for group, languages in ((REFERENCE, [REFERENCE]), (OTHERS, analysis.others)):
                merged = {
                    item: value
                    for language in languages
                    for item, value in source.cells[system].get(language, {}).items()
                    if source.clusters[item] in own
                }
                if merged:
                    places.append({"system": system, "task": task, "group": group})
                    groups.append([merged])
        if groups:
            means = analysis.language_mean(groups, source.clusters, resamples)
            rows += [
                {**place, "n": mean.n, "mean": mean.estimate, "low": mean.low, "high": mean.high}
                for place, (mean, _) in zip(places, means, strict=True)
            ]
    return rows


def _main(context: Context, rows: Sequence[Mapping[str, Any]]) -> str:
    """The system with the most answers; of equal ones, that with the highest mean of its choice."""
    totals: dict[str, int] = {}
    for row in rows:
        totals[row["system"]] = totals.get(row["system"], 0) + row["n"]
    means = {each.best.name: each.tried[0].mean.estimate or 0.0 for each in context.choices.values()}
    return max(totals, key=lambda name: (totals[name], means.get(name, 0.0)), default="")
