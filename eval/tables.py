"""Summaries on the terminal: one row per model and language, in percent, and why scores are missing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xltjax.eval.summary import DETECTABLE_NOTE, INTERVAL_NOTE, detectable_by_metric
from xltjax.eval.table_files import printable

Column = tuple[str, str, bool]  # metric, heading, whether its interval is shown


def print_summary(rows: Sequence[Mapping[str, Any]], tables: Mapping[str, Sequence[Column]]) -> None:
    """Print the rows of a summary, what differences they can show, and the reasons for missing scores.

    Args:
        rows: the rows that ``save_results`` returns.
        tables: the columns of each table, by its title.
    """
    console = Console(width=None if sys.stdout.isatty() else 120)
    groups: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["model"], row["language"]), {})[row["metric"]] = row
    detectable = detectable_by_metric(rows)
    for title, columns in tables.items():
        table = Table(title=f"{title}, % [95 % interval]", title_justify="left", box=box.SIMPLE_HEAD)
        table.add_column("model", overflow="fold")
        table.add_column("lang")
        table.add_column("n", justify="right")
        for _, heading, _ in columns:
            table.add_column(heading, justify="right")
        for (model, language), by_metric in groups.items():
            count = max(row["n"] for row in by_metric.values())
            cells = [_cell(by_metric.get(metric), interval) for metric, _, interval in columns]
            table.add_row(Text(printable(model)), language or "?", str(count), *cells)
        console.print(table)
        shown = [f"{heading} {detectable[metric]}" for metric, heading, _ in columns if metric in detectable]
        print(f"detectable, in points (median of the rows): {', '.join(shown) or 'not known'}")
    print(f"{INTERVAL_NOTE} Detectable: {DETECTABLE_NOTE}.")
    abstained, lost = (sum(row[state] for row in rows) for state in ("abstain", "failed"))
    if abstained or lost:
        scores = sum(row["n"] for row in rows)
        print(f"not scored: {abstained} abstained and {lost} failed of {scores} scores")
        for reason, metrics in _reasons(rows).items():
            print(f"  {printable(reason)}: {', '.join(metrics)}")


def _cell(row: Mapping[str, Any] | None, interval: bool) -> str:
    if row is None or row["mean"] is None:
        return "-"
    text = f"{100 * row['mean']:.1f}"
    if interval and row["low"] is not None:
        # There is no blank inside the brackets, so that a narrow terminal breaks the line before them.
        text += f" \\[{100 * row['low']:.1f}–{100 * row['high']:.1f}]"
    return text


def _reasons(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """For each reason, the metrics that gave no score because of it, with the number of answers."""
    counts: dict[str, dict[str, int]] = {}
    for row in rows:
        for reason, count in row["reasons"].items():
            per_metric = counts.setdefault(reason, {})
            per_metric[row["metric"]] = per_metric.get(row["metric"], 0) + count
    return {
        reason: [f"{metric} {count}" for metric, count in per_metric.items()]
        for reason, per_metric in sorted(counts.items())
    }
