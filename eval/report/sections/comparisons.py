"""Paired differences: between the best systems of the configurations, and between two reports."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from xltjax.eval.comparison.rows import TOGETHER
from xltjax.eval.report.content import Column, Figure, Section, Table
from xltjax.eval.report.figures.drawing import label
from xltjax.eval.report.figures.palette import EMPHASIS, MUTED, Look
from xltjax.eval.report.figures.plots import count_note, dot_panels
from xltjax.eval.report.numbers.facts import MINUS
from xltjax.eval.report.numbers.metrics import SURFACE, title
from xltjax.eval.report.numbers.systems import System
from xltjax.eval.report.sections.context import BOOTSTRAP, Context, count, estimate, share

ALPHA = 0.05
MOST_PAIRS = 210  # 21 systems with each other
METRICS = (*SURFACE, "correct_and_relevant", "line_language")
COLUMNS = (
    Column("metric", "metric"),
    Column("language", "language"),
    Column("a", "a"),
    Column("b", "b"),
    count("n", "n"),
    share("mean_a", "a"),
    share("mean_b", "b"),
    estimate("difference", "a minus b", "+.1%", prefix=""),
    Column("p", "p", ".3f", numeric=True),
    Column("p_holm", "p (Holm)", ".3f", numeric=True),
    share("detectable", "detectable"),
    share("coverage_a", "scored of a"),
    share("coverage_b", "scored of b"),
    share("bound_low", "lower bound"),
    share("bound_high", "upper bound"),
)
NOTE = (
    "Differences are paired over the n prompts (and seeds) that both systems have a score for. p: exact "
    "McNemar test for metrics of 0 and 1, otherwise a sign-flip permutation test; corrected by Holm within "
    "a metric, over all pairs and languages. Detectable: the true difference that such a test finds with 80 "
    "% power. Bounds: the difference if the answers without a "
    "score had the lowest or the highest. " + BOOTSTRAP
)


def comparison_section(context: Context) -> Section:
    """Every pair of the configurations' best systems."""
    heading = "Differences between the systems"
    systems = context.best()
    metrics = [metric for metric in METRICS if metric in context.analysis.cells]
    if len(systems) < 2 or not metrics:
        what = "one configuration" if len(systems) < 2 else "no metric"
        return Section("differences", heading, (f"There is {what}, so there is nothing to compare.",))
    pairs = list(itertools.combinations([each.name for each in systems], 2))
    rows = context.analysis.compared(pairs[:MOST_PAIRS], metrics)
    return _section(context, rows, "differences", heading, "each configuration with its best rate")


def sides_section(context: Context) -> Section | None:
    """Of a report of two sources: what changed between systems of the same name, the first minus the second."""
    pairs, lone = matched(context.analysis.systems, context.analysis.sides)
    if not context.analysis.sides:
        return None
    metrics = [metric for metric in METRICS if metric in context.analysis.cells]
    first, second = context.analysis.sides
    heading = f"What changed: {first} against {second}"
    if not pairs or not metrics:
        return Section(
            "changed", heading, ("The two have no system and metric in common, so nothing can be compared.",)
        )
    rows = context.analysis.compared([(a.name, b.name) for a, b in pairs], metrics)
    section = _section(context, rows, "changed", heading, "systems of the same name")
    told = [*section.paragraphs]
    if lone:
        told.append(f"Only in one of the two: {', '.join(each.name for each in lone)}.")
    return Section(section.id, section.title, tuple(told), section.figures, section.tables)


def matched(
    systems: Sequence[System], sides: Sequence[str]
) -> tuple[list[tuple[System, System]], list[System]]:
    """The systems of two sides in pairs, by configuration and rate, and those without a partner."""
    if len(sides) != 2:
        return [], []
    by_twin = [{each.twin: each for each in systems if each.side == side} for side in sides]
    common = [twin for twin in by_twin[0] if twin in by_twin[1]]
    lone = [each for side in by_twin for twin, each in side.items() if twin not in common]
    return [(by_twin[0][twin], by_twin[1][twin]) for twin in common], lone


def _section(context: Context, rows: list[dict[str, Any]], id: str, heading: str, what: str) -> Section:
    tested = [row for row in rows if row["p_holm"] is not None]
    found = [row for row in tested if row["p_holm"] < ALPHA]
    told = [
        f"{context.facts.count(f'{id}: differences with corrected p below .05', len(found))} of "
        f"{context.facts.count(f'{id}: tested differences', len(tested))} differences ({what}) are "
        "significant after Holm's correction. One that is not may still be there: the column detectable "
        "says how large it would have to be."
    ]
    for row in sorted(found, key=lambda row: -abs(row["difference"]))[:5]:
        points = context.facts.points(
            f"{row['metric']}, {row['language']}, {row['a']} minus {row['b']}",
            row["difference"],
            row["low"],
            row["high"],
            row["n"],
        )
        told.append(
            f"{title(row['metric'])}, "
            f"{'all languages' if row['language'] == TOGETHER else row['language']}: {row['a']} against "
            f"{row['b']} {points}."
        )
    unknown = [row for row in rows if row["p_holm"] is None]
    if unknown:
        told.append(
            f"{context.facts.count(f'{id}: pairs without a common score', len(unknown))} pairs have no "
            "common score."
        )
    table = Table(id, heading, COLUMNS, sorted(rows, key=_order), NOTE)
    figure = _figure(context, rows, id, heading)
    return Section(id, heading, tuple(told), (figure,) if figure else (), (table,))


def _order(row: Mapping[str, Any]) -> tuple[bool, float]:
    """Significant differences first, then the larger ones."""
    return (not (row["p_holm"] is not None and row["p_holm"] < ALPHA), -abs(row["difference"] or 0.0))


def _figure(context: Context, rows: Sequence[dict[str, Any]], id: str, heading: str) -> Figure | None:
    """The differences over all languages together, the uncertain ones in gray."""
    languages = {row["language"] for row in rows}
    shown = [
        {
            **row,
            "pair": f"{label(row['a'])}\n{MINUS} {label(row['b'])}",
            "mean": row["difference"],
            "series": "significant"
            if row["p_holm"] is not None and row["p_holm"] < ALPHA
            else "not significant",
        }
        for row in rows
        if row["difference"] is not None and (row["language"] == TOGETHER or len(languages) == 1)
    ]
    pairs = list(dict.fromkeys(row["pair"] for row in shown))
    if not shown or len(pairs) > 30:
        return None
    metrics = list(dict.fromkeys(row["metric"] for row in shown))
    looks = {"significant": Look(EMPHASIS, "o", "-"), "not significant": Look(MUTED, "D", "-")}
    caption = (
        f"{heading}: paired differences over all languages, in percentage points. "
        f"{count_note(shown, what='prompts')}. Significant: corrected p below .05. {BOOTSTRAP}"
    )
    data = Table(f"{id}-all-languages", heading, COLUMNS, shown, NOTE)

    def plot(figure: Any) -> None:
        dot_panels(
            figure,
            shown,
            panels={metric: f"{title(metric)}: difference, points" for metric in metrics},
            panel_key="metric",
            places=pairs,
            place_key="pair",
            series=looks,
            series_key="series",
            zero=True,
            limits=None,
            note=f"{count_note(shown, what='prompts')}; bars: 95% intervals",
        )

    size = (max(6.0, 3.2 + 1.6 * len(metrics)), 1.6 + 0.4 * len(pairs))
    return context.figures.draw(data, plot, size=size, caption=caption, description=caption)
