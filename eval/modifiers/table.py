"""Fulfilment of each modifier beside its placebo rate, as in the paper's Table 1 but with a baseline."""

from __future__ import annotations

import csv
import math
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from xltjax.common.files import atomic_write
from xltjax.eval.modifiers.verdict import Verdict
from xltjax.eval.stats.bootstrap import wilson_interval
from xltjax.eval.stats.comparisons import (
    detectable_between_models,
    holm,
    mcnemar,
    minimal_detectable_difference,
)

Grade = Literal["strict", "loose"]
GRADES: tuple[Grade, ...] = ("strict", "loose")
COLUMNS = (
    "model", "language", "modifier", "grade", "n", "decided", "abstain", "failed",
    "rate", "low", "high", "placebo_n", "placebo", "placebo_low", "placebo_high",
    "pairs", "lift", "p", "p_holm", "detectable", "detectable_models",
)  # fmt: skip


@dataclass
class _Cell:
    """The verdicts of one modifier for one model and language of the instruction, by response id."""

    asked: dict[str, Verdict] = field(default_factory=dict)
    unasked: dict[str, Verdict] = field(default_factory=dict)


class ModifierTable:
    """Counts fulfilment with and without being asked, per model, language and modifier."""

    def __init__(self, order: Iterable[str]) -> None:
        self._order = {name: position for position, name in enumerate(order)}
        self._cells: dict[tuple[str, str, str], _Cell] = {}

    def add(
        self, id: str, model: str, language: str, modifier: str, verdict: Verdict, placebo: Verdict
    ) -> None:
        """Take in the verdicts on one modified answer and on the unmodified one to the same instruction."""
        cell = self._cells.setdefault((model, language, modifier), _Cell())
        cell.asked[id], cell.unasked[id] = _bare(verdict), _bare(placebo)

    def rows(self) -> list[dict[str, Any]]:
        """One row per model, language, modifier and grade.

        ``rate`` and ``placebo`` are shares of the decided answers, with 95 % Wilson intervals. ``lift`` is their
        difference over the ``pairs`` in which both are decided, ``p`` its exact McNemar test, ``p_holm`` the
        same corrected for the modifiers of that model, language and grade. ``detectable`` is the lift that so
        many pairs show with 80 % power, ``detectable_models`` the difference between two models with so many
        decided answers.
        """
        rows = [
            _row(model, language, modifier, grade, cell)
            for (model, language, modifier), cell in sorted(self._cells.items(), key=self._position)
            for grade in GRADES
        ]
        families: dict[tuple[str, str, str], list[dict[str, Any]]] = {}
        for row in rows:
            families.setdefault((row["model"], row["language"], row["grade"]), []).append(row)
        for family in families.values():
            for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
                row["p_holm"] = p
        return rows

    def _position(self, item: tuple[tuple[str, str, str], _Cell]) -> tuple[str, str, int, str]:
        model, language, modifier = item[0]
        return model, language, self._order.get(modifier, len(self._order)), modifier


def _bare(verdict: Verdict) -> Verdict:
    """Without evidence, which would keep every answer's detail in memory."""
    return Verdict(verdict.state, verdict.strict, verdict.loose, None, {})


def _row(model: str, language: str, modifier: str, grade: Grade, cell: _Cell) -> dict[str, Any]:
    asked = {id: _value(verdict, grade) for id, verdict in cell.asked.items()}
    unasked = {id: _value(verdict, grade) for id, verdict in cell.unasked.items()}
    states = [verdict.state for verdict in cell.asked.values()]
    decided, rate, low, high = _share(asked)
    placebo_n, placebo, placebo_low, placebo_high = _share(unasked)
    test = mcnemar(asked, unasked)
    lift = (test.only_a - test.only_b) / test.n if test.n else None
    return {
        "model": model,
        "language": language,
        "modifier": modifier,
        "grade": grade,
        "n": len(states),
        "decided": decided,
        "abstain": states.count("abstain"),
        "failed": len(states) - decided - states.count("abstain"),
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


def _value(verdict: Verdict, grade: Grade) -> float | None:
    value = verdict.strict if grade == "strict" else verdict.loose
    return None if value is None else float(value)


def _share(values: Mapping[str, float | None]) -> tuple[int, float | None, float | None, float | None]:
    decided = [value for value in values.values() if value is not None]
    if not decided:
        return 0, None, None, None
    return len(decided), sum(decided) / len(decided), *wilson_interval(int(sum(decided)), len(decided))


def _detectable(only_asked: int, only_unasked: int, pairs: int) -> float | None:
    if pairs < 2:
        return None
    # The differences are 1, -1 and 0.
    mean = (only_asked - only_unasked) / pairs
    variance = (only_asked + only_unasked - pairs * mean**2) / (pairs - 1)
    return minimal_detectable_difference(math.sqrt(max(0.0, variance)), pairs)


def save_table(out: Path, rows: list[dict[str, Any]]) -> None:
    """Write ``modifiers.csv`` and ``modifiers.md`` under ``out``."""
    with atomic_write(out / "modifiers.csv") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows({key: _plain(row[key]) for key in COLUMNS} for row in rows)
    with atomic_write(out / "modifiers.md") as file:
        file.write("| " + " | ".join(COLUMNS) + " |\n|" + " --- |" * len(COLUMNS) + "\n")
        for row in rows:
            cells = (_plain(row[key]).replace("|", "\\|") for key in COLUMNS)
            file.write("| " + " | ".join(" ".join(cell.split()) for cell in cells) + " |\n")
        file.write(f"\n{footnote(rows)}\n")


def footnote(rows: Iterable[Mapping[str, Any]]) -> str:
    """What the table can show."""
    text = "Placebo: the same check on the model's answer to the same instruction without the modifier."
    rows = list(rows)
    found = [
        f"{name} {_points(those, key)} ({count} {_range(those, count)})"
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


def _points(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    points = 100 * statistics.median(row[key] for row in rows)
    return f"{points:.0f}" if points <= 100 else ">100"


def _range(rows: Sequence[Mapping[str, Any]], key: str) -> str:
    least, most = min(row[key] for row in rows), max(row[key] for row in rows)
    return str(least) if least == most else f"{least}–{most}"


def print_table(rows: Iterable[Mapping[str, Any]]) -> None:
    """Print the strict rates with the loose ones beside them, in per cent."""
    rows = list(rows)
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


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.6g}"
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else str(value)
