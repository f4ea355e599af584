"""How often each modifier is fulfilled, as in the paper's Table 1, beside its placebo rate as a baseline."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from xltjax.data.responses import Response
from xltjax.eval.scores import Score
from xltjax.eval.stats.comparisons import holm, mcnemar
from xltjax.eval.stats.intervals import wilson_interval
from xltjax.eval.stats.power import detectable_between_models, minimal_detectable_difference, within_scale
from xltjax.eval.summary import BOUNDS_NOTE, LOW_COVERAGE, detectable_text, left_out_note
from xltjax.eval.table_files import print_legend, printable, table_console, write_table

GRADES = ("strict", "loose")
COLUMNS = (
    "model", "language", "modifier", "grade", "n", "decided", "abstain", "failed",
    "coverage", "rate", "unscored_as_0", "unscored_as_1", "low", "high",
    "placebo_n", "placebo_coverage", "placebo", "placebo_unscored_as_0", "placebo_unscored_as_1", "placebo_low",
    "placebo_high", "pairs", "lift", "p", "p_holm", "detectable", "detectable_models",
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

    ``rate`` and ``placebo`` are shares of the decided answers, with 95% Wilson intervals, ``coverage`` is the share
    of decided answers, and the bounds are the rates if all other answers had 0, or 1. ``lift`` is their
    difference over the ``pairs`` in which both are decided, ``p`` its exact McNemar test, and ``p_holm`` the
    same corrected for the modifiers of that model, language and grade. ``detectable`` is the lift that so
    many pairs show with 80% power, ``detectable_models`` the difference between two models with so many
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
    own, placebo = _share(asked), _share(unasked)
    test = mcnemar(asked, unasked)
    lift = (test.only_a - test.only_b) / test.n if test.n else None
    found, beyond = within_scale(_detectable(test.only_a, test.only_b, test.n))
    decided = Counter(value for value in asked.values() if value is not None)
    between, between_beyond = within_scale(detectable_between_models(decided))
    return {
        "model": model,
        "language": language,
        "modifier": modifier,
        "grade": grade,
        "n": len(asked),
        "decided": own["n"],
        "abstain": cell.abstained,
        "failed": len(asked) - own["n"] - cell.abstained,
        **{key: own[key] for key in _SHARE if key != "n"},
        **{"placebo" if key == "rate" else f"placebo_{key}": placebo[key] for key in _SHARE},
        "pairs": test.n,
        "lift": lift,
        "p": test.p_value if test.n else None,
        "p_holm": None,
        "detectable": found,
        "detectable_beyond": beyond,
        "detectable_models": between,
        "detectable_models_beyond": between_beyond,
    }


_SHARE = ("n", "coverage", "rate", "unscored_as_0", "unscored_as_1", "low", "high")


def _share(values: Mapping[str, float | None]) -> dict[str, Any]:
    """How many of ``values`` are decided, and the rate among these with its bounds and its interval."""
    decided = [value for value in values.values() if value is not None]
    total, ones = len(values), int(sum(decided))
    low, high = wilson_interval(ones, len(decided)) if decided else (None, None)
    return {
        "n": len(decided),
        "coverage": len(decided) / total if total else None,
        "rate": ones / len(decided) if decided else None,
        "unscored_as_0": ones / total if total else None,
        "unscored_as_1": (ones + total - len(decided)) / total if total else None,
        "low": low,
        "high": high,
    }


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
        f"{name} {detectable_text([(row[key] or math.inf, row[count]) for row in those], 0, count)}"
        for name, key, count in (
            ("lift", "detectable", "pairs"),
            ("difference between two models", "detectable_models", "decided"),
        )
        if (those := [row for row in rows if row[key] or row[f"{key}_beyond"]])
    ]
    return text + (
        " Found with 80% power by a two-sided test at the 5% level, in points, median of the rows: "
        f"{'; '.join(found) or 'not known'}; models taken as independent; rows without any spread left out."
    )


P_NOTE = (
    "Lift: fulfilled minus placebo. p (Holm): its exact McNemar test, corrected by Holm over the modifiers of a "
    "model and language."
)


def print_table(rows: Sequence[Mapping[str, Any]], summary: Sequence[Mapping[str, Any]]) -> None:
    """Print the strict rates with the loose ones beside them, in percent, and which answers they leave out and why.

    Args:
        rows: from ``table_rows``.
        summary: the rows that ``save_results`` returns, which count the reasons.
    """
    heading = "Modifiers fulfilled: % [95% interval], coverage (bounds)"
    table = Table(title=heading, title_justify="left", box=box.SIMPLE_HEAD)
    table.add_column("model", overflow="fold")
    for name in ("lang", "modifier"):
        table.add_column(name)
    for name in ("n", "strict", "loose", "placebo", "lift", "p (Holm)"):
        table.add_column(name, justify="right")
    for strict, loose in zip(rows[::2], rows[1::2], strict=True):
        table.add_row(
            Text(printable(strict["model"])),
            strict["language"] or "?",
            Text(printable(strict["modifier"])),
            str(strict["n"]),
            _rate(strict, "rate", ""),
            _per_cent(loose["rate"]),
            _rate(strict, "placebo", "placebo_"),
            "-" if strict["lift"] is None else f"{100 * strict['lift']:+.0f}",
            "-" if strict["p_holm"] is None else f"{strict['p_holm']:.3f}",
        )
    console = table_console(160)
    console.print(table)
    bounds = f"Bounds, where under {100 * LOW_COVERAGE:g}% are scored: {BOUNDS_NOTE}."
    # Both grades of a verdict have the same state.
    strict_only = [row for row in summary if row["metric"].endswith("_strict")]
    print_legend(footnote(rows), P_NOTE, bounds, left_out_note(strict_only))


def _per_cent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.0f}"


def _rate(row: Mapping[str, Any], rate: str, prefix: str) -> Text:
    """A rate with its interval, its coverage, and its bounds where many answers are left out."""
    coverage = row[f"{prefix}coverage"]
    text = _per_cent(row[rate])
    if row[rate] is not None:
        text += f" [{_per_cent(row[f'{prefix}low'])}–{_per_cent(row[f'{prefix}high'])}]"
    if coverage is not None:
        text += f" {math.floor(100 * coverage)}%"
    if row[rate] is not None and coverage < LOW_COVERAGE:
        text += f" ({_per_cent(row[f'{prefix}unscored_as_0'])}–{_per_cent(row[f'{prefix}unscored_as_1'])})"
    return Text(text)
