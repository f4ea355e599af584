"""How often each modifier is fulfilled, as in the paper's Table 1, beside its placebo rate as a baseline."""

from __future__ import annotations

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from xltjax.data.responses import Response
from xltjax.eval.scores import Score
from xltjax.eval.stats.comparisons import (
    detectable_between_models,
    holm,
    mcnemar,
    minimal_detectable_difference,
)
from xltjax.eval.stats.intervals import wilson_interval
from xltjax.eval.summary import count_range, median_points
from xltjax.eval.table_files import write_table

GRADES = ("strict", "loose")
COLUMNS = (
    "model", "language", "modifier", "grade", "n", "decided", "abstain", "failed",
    "rate", "low", "high", "placebo_n", "placebo", "placebo_low", "placebo_high",
    "pairs", "lift", "p", "p_holm", "detectable", "detectable_models",
)  # fmt: skip


@dataclass
class _Cell:
    """The scores of one modifier for one model and language of the instruction."""

    # Metric -> id of the response -> value, None where the metric does not decide.
    values: defaultdict[str, dict[str, float | None]] = field(default_factory=lambda: defaultdict(dict))
    abstained: int = 0


def table_rows(
    scored: Iterable[tuple[Response, Iterable[Score]]], order: Iterable[str]
) -> list[dict[str, Any]]:
    """One row per model, language, modifier and grade.

    ``rate`` and ``placebo`` are shares of the decided answers, with 95 % Wilson intervals. ``lift`` is their
    difference over the ``pairs`` in which both are decided, ``p`` its exact McNemar test, and ``p_holm`` the
    same corrected for the modifiers of that model, language and grade. ``detectable`` is the lift that so
    many pairs show with 80 % power, ``detectable_models`` the difference between two models with so many
    decided answers.

    Args:
        scored: responses with a modifier and their scores; the language is that of the instruction.
        order: the names of the modifiers in the order of the rows; others follow.
    """
    cells: defaultdict[tuple[str, str, str], _Cell] = defaultdict(_Cell)
    for response, scores in scored:
        assert response.modifier is not None
        cell = cells[response.model, response.language, response.modifier["name"]]
        for score in scores:
            cell.values[score.metric][response.id] = score.value
            # Both grades of a verdict have the same state.
            cell.abstained += score.metric == "modifier_strict" and score.state == "abstain"
    positions = {name: position for position, name in enumerate(order)}
    keys = sorted(cells, key=lambda key: (*key[:2], positions.get(key[2], len(positions)), key[2]))
    rows = [_row(*key, grade, cells[key]) for key in keys for grade in GRADES]
    families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
    for row in rows:
        families.setdefault((row["model"], row["language"], row["grade"]), []).append(row)
    for family in families.values():
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            row["p_holm"] = p
    return rows


def _row(model: str, language: str, modifier: str, grade: str, cell: _Cell) -> dict[str, Any]:
    asked, unasked = cell.values[f"modifier_{grade}"], cell.values[f"placebo_{grade}"]
    decided, rate, low, high = _share(asked)
    placebo_n, placebo, placebo_low, placebo_high = _share(unasked)
    test = mcnemar(asked, unasked)
    lift = (test.only_a - test.only_b) / test.n if test.n else None
    return {
        "model": model,
        "language": language,
        "modifier": modifier,
        "grade": grade,
        "n": len(asked),
        "decided": decided,
        "abstain": cell.abstained,
        "failed": len(asked) - decided - cell.abstained,
        "rate": rate,
        "low": low,
        "high": high,
        "placebo_n": placebo_n,
        "placebo": placebo,
        "placebo_low": placebo_low,
        "placebo_high": placebo_high,
        "pairs": test.n,
        "lift": lift,
        "p": test.p_value if test.n else None,
        "p_holm": None,
        "detectable": None if lift is None else _detectable(test.only_a, test.only_b, test.n),
        "detectable_models": detectable_between_models(
            Counter(value for value in asked.values() if value is not None)
        ),
    }


def _share(values: Mapping[str, float | None]) -> tuple[int, float | None, float | None, float | None]:
    decided = [value for value in values.values() if value is not None]
    if not decided:
        return 0, None, None, None
    return len(decided), sum(decided) / len(decided), *wilson_interval(int(sum(decided)), len(decided))


def _detectable(only_asked: int, only_unasked: int, pairs: int) -> float | None:
    # The differences are 1, -1 and 0; where they are all the same, they say nothing about the spread of further ones.
    if pairs < 2 or pairs in (only_asked, only_unasked) or not only_asked + only_unasked:
        return None
    mean = (only_asked - only_unasked) / pairs
    variance = (only_asked + only_unasked - pairs * mean**2) / (pairs - 1)
    return minimal_detectable_difference(math.sqrt(variance), pairs)


def save_table(out: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write ``modifiers.csv`` and ``modifiers.md`` under ``out``."""
    write_table(out / "modifiers", rows, COLUMNS, ".6g", footnote(rows))


def footnote(rows: Sequence[Mapping[str, Any]]) -> str:
    """The note under the table, which says what differences it can show."""
    text = "Placebo: the same check on the model's answer to the same instruction without the modifier."
    found = [
        f"{name} {median_points([row[key] for row in those], 0)} "
        f"({count} {count_range([row[count] for row in those])})"
        for name, key, count in (
            ("lift", "detectable", "pairs"),
            ("difference between two models", "detectable_models", "decided"),
        )
        if (those := [row for row in rows if row[key]])
    ]
    return text + (
        " Found with 80 % power by a two-sided test at the 5 % level, in points, median of the rows: "
        f"{'; '.join(found) or 'not known'}; models taken as independent; rows without any spread left out."
    )


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the strict rates with the loose ones beside them, in percent."""
    table = Table(title="Modifiers fulfilled, % [95 % interval]", title_justify="left")
    table.add_column("model", overflow="fold")
    for heading in ("lang", "modifier"):
        table.add_column(heading)
    for heading in ("n", "strict", "loose", "placebo", "lift", "p (Holm)", "abstain", "failed"):
        table.add_column(heading, justify="right")
    for strict, loose in zip(rows[::2], rows[1::2], strict=True):
        table.add_row(
            strict["model"],
            strict["language"] or "?",
            strict["modifier"],
            str(strict["n"]),
            _interval(strict["rate"], strict["low"], strict["high"]),
            _per_cent(loose["rate"]),
            _interval(strict["placebo"], strict["placebo_low"], strict["placebo_high"]),
            "-" if strict["lift"] is None else f"{100 * strict['lift']:+.0f}",
            "-" if strict["p_holm"] is None else f"{strict['p_holm']:.3f}",
            str(strict["abstain"]),
            str(strict["failed"]),
        )
    console = Console(width=None if sys.stdout.isatty() else 160)
    console.print(table)
    console.print(footnote(rows), markup=False, highlight=False)


def _per_cent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _interval(share: float | None, low: float | None, high: float | None) -> str:
    return "-" if share is None else f"{_per_cent(share)} [{_per_cent(low)}–{_per_cent(high)}]"
