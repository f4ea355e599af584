"""Summaries on the terminal: one row per model and language, in percent, and which answers they leave out."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from xltjax.eval.summary import (
    BOUNDS_NOTE,
    DETECTABLE_NOTE,
    INTERVAL_NOTE,
    LOW_COVERAGE,
    abbreviations,
    detectable_by_metric,
    left_out_note,
)
from xltjax.eval.table_files import print_legend, printable, table_console

Column = tuple[str, str, bool]  # metric, heading, whether its interval is shown


def print_summary(rows: Sequence[Mapping[str, Any]], tables: Mapping[str, Sequence[Column]]) -> None:
    """Print the rows of a summary, what differences they can show, and which answers they leave out and why.

    Beside each mean stands its coverage, and under 98% of coverage the bounds: the mean if all answers that were not
    scored had 0, or 1.

    Args:
        rows: the rows that ``save_results`` returns.
        tables: the columns of each table, by its title.
    """
    console = table_console(120)
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["language"]), {})[row["metric"]] = row
    detectable = detectable_by_metric(rows)
    for title, columns in tables.items():
        heading = f"{title}: mean in % [95% interval], coverage (bounds)"
        table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("model", overflow="fold")
        table.add_column("lang")
        table.add_column("n", justify="right")
        for _, name, _ in columns:
            table.add_column(name, justify="right")
        for (model, language), by_metric in groups.items():
            count = max(row["n"] for row in by_metric.values())
            cells = [_cell(by_metric.get(metric), interval) for metric, _, interval in columns]
            table.add_row(Text(printable(model)), language or "?", str(count), *cells)
        console.print(table)
        shown = [f"{name} {detectable[metric]}" for metric, name, _ in columns if metric in detectable]
        print_legend(f"detectable, in points (median of the rows): {', '.join(shown) or 'not known'}")
    named = {metric for columns in tables.values() for metric, *_ in columns}
    bounds = f"Bounds, where under {100 * LOW_COVERAGE:g}% are scored: {BOUNDS_NOTE}."
    print_legend(
        *abbreviations(named), INTERVAL_NOTE, bounds, f"Detectable: {DETECTABLE_NOTE}.", left_out_note(rows)
    )


def _cell(row: Mapping[str, Any] | None, interval: bool) -> str:
    if row is None:
        return "-"
    # There are no spaces inside the brackets, so that a narrow terminal breaks the line before them.
    scored = f"{math.floor(100 * row['coverage'])}%"
    if row["mean"] is None:
        return f"- {scored}"
    text = f"{100 * row['mean']:.1f}"
    if interval and row["low"] is not None:
        text += f" \\[{100 * row['low']:.1f}–{100 * row['high']:.1f}]"
    text += f" {scored}"
    if row["coverage"] < LOW_COVERAGE:
        text += f" ({100 * row['unscored_as_0']:.1f}–{100 * row['unscored_as_1']:.1f})"
    return text
