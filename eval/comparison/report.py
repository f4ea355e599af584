"""Comparisons on the terminal and in files."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xltjax.eval.comparison.joined import Joined
from xltjax.eval.comparison.rows import COLUMNS, TOGETHER
from xltjax.eval.summary import LISTED_ANSWERS, LOW_COVERAGE, abbreviations, left_out_note
from xltjax.eval.table_files import print_legend, printable, write_csv, write_latex, write_markdown

Row = Mapping[str, Any]

WIDTH = 80  # of the terminal, where it is not known
MOST_PRINTED = 150  # rows on the terminal; more are in the files

# Headings of the readable tables; ``notes`` explains them.
HEADINGS = ("metric", "lang", "group", "n", "a", "b", "a − b [interval]", "p", "det.", "scored")


def notes(joined: Joined, rows: Sequence[Row], metrics: Sequence[str], level: float, draws: int) -> list[str]:
    """What a reader must know beside the tables, one sentence or more in each text."""
    percent = f"{100 * level:g}%"
    told = [
        "a − b: the mean difference over the n prompts that both models have a score for, in the unit of the metric, "
        f"with the {percent} percentile bootstrap interval over instructions ({draws:,} draws, the same for all "
        "rows, stratified by task); a and b are the means over these prompts.",
        "p: exact McNemar test for metrics of 0 and 1; for others, and where an instruction has several prompts, "
        "sign-flip permutation test of the mean difference, which tests the difference that is shown and needs no "
        "ranks, whatever ties and zeros there are. Corrected by Holm within a family: all pairs of models and all "
        "languages (and groups) of one metric; rows over all languages are a family of their own. "
        f"* marks p < {1 - level:.3g}, and ? that the answers without a score could turn the sign.",
        "det.: the true difference that a test at this level, uncorrected, finds with 80% power; none where so few "
        "prompts cannot show any difference on the scale; empty where all differences are equal, whose interval has "
        "no width either.",
        "scored: the percentage of the common prompts that have a score, of a and of b. An answer without one enters "
        f"no mean; where either share is under {100 * LOW_COVERAGE:g}%, the second line gives the difference if all "
        "answers of a without a score had the lowest score and those of b the highest, and the reverse.",
    ]
    told += abbreviations(metrics)
    sizes = {row["family"]: row["family_size"] for row in rows}
    told.append(_families(rows))
    floor, largest = 1 / (1 + draws), max(sizes.values())
    if any(row["exact"] is False for row in rows) and floor * largest > 1 - level:
        told.append(
            f"{draws:,} random sign flips cannot give p below {floor:.2g}, too much for a family of {largest}: "
            "raise --draws, or compare fewer models with --baseline or --metrics."
        )
    if joined.pairing != "id":
        told.append(f"The models have other ids; their answers were matched by {joined.pairing}.")
    others = [
        item
        for item, models in joined.about.items()
        if len({keys["instruction_hash"] for keys in models.values() if "instruction_hash" in keys}) > 1
    ]
    if others:
        told.append(
            f"Warning: under one id the models were asked different instructions, for {len(others)} prompts (such as "
            f"{', '.join(sorted(others)[:LISTED_ANSWERS])}); they are compared all the same."
        )
    unknown = len(joined.instructions) - joined.known_instructions
    if unknown and joined.known_instructions:
        told.append(f"{unknown} prompts name no instruction_id; each counts as an instruction of its own.")
    elif unknown:
        told.append(
            "No prompt names an instruction_id, so each counts as an instruction of its own, also translations."
        )
    told += _unmatched(joined, metrics)
    told.append(left_out_note(_unscored_rows(joined, metrics)))
    return [printable(each) for each in told]


def _families(rows: Sequence[Row]) -> str:
    """The sizes of the families, with the metrics that have the same."""
    sizes: dict[str, dict[str, int]] = {}
    for row in rows:
        sizes.setdefault(row["metric"], {})[row["scope"]] = row["family_size"]
    alike: dict[str, list[str]] = {}
    for metric, of in sizes.items():
        alike.setdefault(", ".join(f"{scope} {size}" for scope, size in of.items()), []).append(metric)
    listed = "; ".join(f"{text} ({', '.join(metrics)})" for text, metrics in alike.items())
    return f"Tests in a family: {listed}."


def _unmatched(joined: Joined, metrics: Sequence[str]) -> list[str]:
    """The answers that only one model has, and the metrics that not all models have."""
    told = []
    items = {
        metric: {
            model: {
                item
                for (name, _), cells in joined.cells.items()
                if name == metric
                for item in cells.get(model, ())
            }
            for model in joined.models
        }
        for metric in metrics
    }
    missing: dict[tuple[str, int, str], list[str]] = {}
    for metric, by_model in items.items():
        all_items = set().union(*by_model.values())
        for model, own in by_model.items():
            lacking = sorted(all_items - own)
            if lacking:
                such = "" if not own else f" (such as {', '.join(lacking[:LISTED_ANSWERS])})"
                missing.setdefault((model, len(lacking) if own else -1, such), []).append(metric)
    for (model, count, such), names in missing.items():
        what = "nothing" if count < 0 else f"no line for {count} prompts of other models{such}"
        told.append(f"The scores of {model} have {what} on {', '.join(names)}; these are not compared.")
    return told


def _unscored_rows(joined: Joined, metrics: Sequence[str]) -> list[dict[str, Any]]:
    return [found.row(metric) for (metric, _), found in joined.unscored.items() if metric in metrics]


# --- cells ---


def number(value: float | None, *, sign: bool = False) -> str:
    """A number with three decimals, without the zero before the point.

    >>> number(-0.1234), number(0.5, sign=True), number(1.25), number(None)
    ('−.123', '+.500', '1.250', '')
    """
    if value is None:
        return ""
    text = f"{abs(value):.3f}".removeprefix("0") if abs(value) < 0.9995 else f"{abs(value):.3f}"
    zero = not any(digit in "123456789" for digit in text)
    mark = "" if zero else "−" if value < 0 else "+" if sign else ""
    return mark + text


def p_value(value: float | None) -> str:
    """A p-value with three decimals.

    >>> p_value(0.0312), p_value(0.0001), p_value(1.0), p_value(None)
    ('.031', '<.001', '1.000', '')
    """
    if value is None:
        return ""
    return "<.001" if value < 0.001 else number(value)


def cells(row: Row, level: float) -> dict[str, str]:
    """The readable cells of a row, by ``HEADINGS``; the bounds stand in a second line."""
    difference = number(row["difference"], sign=True) or "-"
    if row["low"] is not None:
        difference += f" [{number(row['low'], sign=True)}, {number(row['high'], sign=True)}]"
    covered = min(row["coverage_a"], row["coverage_b"])
    open_sign = row["bound_low"] <= 0 <= row["bound_high"]
    if covered < LOW_COVERAGE:
        difference += f"\n({number(row['bound_low'], sign=True)} to {number(row['bound_high'], sign=True)})"
    marks = ""
    if row["p_holm"] is not None and row["p_holm"] < 1 - level:
        marks = "*" + ("?" if covered < 1 and open_sign else "")
    scored = [f"{math.floor(100 * row[key])}" for key in ("coverage_a", "coverage_b")]
    return {
        "metric": row["metric"],
        "lang": row["language"] or "?",
        "group": row["group"],
        "n": str(row["n"]),
        "a": number(row["mean_a"]),
        "b": number(row["mean_b"]),
        "a − b [interval]": difference,
        "p": p_value(row["p_holm"]) + marks,
        "det.": "none" if row["not_detectable"] else number(row["detectable"]),
        "scored": "/".join(scored),
    }


def _parts(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each pair of models, and of each key and metric, under a heading."""
    parts: dict[str, list[Row]] = {}
    for row in sorted(rows, key=lambda row: bool(row["by"])):
        by = f", {row['metric']} by {row['by']}" if row["by"] else ""
        parts.setdefault(f"{row['a']} − {row['b']}{by}", []).append(row)
    return parts


def _headings(rows: Sequence[Row]) -> list[str]:
    return [name for name in HEADINGS if name != "group" or any(row["by"] for row in rows)]


def _printed_headings(part: Sequence[Row]) -> list[str]:
    # The heading of a part names its metric where its rows are those of groups.
    return [name for name in HEADINGS if name != ("metric" if part[0]["by"] else "group")]


# --- files and terminal ---


def write_comparison(out: Path, rows: Sequence[Row], told: Sequence[str], level: float) -> None:
    """Write ``compare.csv`` with every number, and ``compare.md`` and ``compare.tex`` to be read."""
    write_csv(out / "compare.csv", rows, COLUMNS, ".10g")
    parts = _parts(rows)
    shown = [
        {"a − b": f"{row['a']} − {row['b']}", **cells(row, level)} for part in parts.values() for row in part
    ]
    columns = ["a − b", *_headings(rows)]
    write_markdown(out / "compare.md", shown, columns, "", "\n\n".join(told))
    write_latex(
        out / "compare.tex",
        {heading: [cells(row, level) for row in part] for heading, part in parts.items()},
        _headings(rows),
        "".join("l" if name in ("metric", "lang", "group") else "r" for name in _headings(rows)),
        "\n".join(told),
    )


def print_comparison(rows: Sequence[Row], told: Sequence[str], level: float) -> None:
    """Print one table for each pair of models; of many rows only those over all languages."""
    shown = [row for row in rows if row["n"]]
    if len(shown) > MOST_PRINTED:
        together = [row for row in shown if row["language"] == TOGETHER and not row["by"]]
        if together:
            print(f"{len(shown)} rows: only those over all languages are printed; compare.md has all of them")
            shown = together
    console = Console(
        width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, emoji=False
    )
    for heading, part in _parts(shown).items():
        table = Table(
            title=Text(printable(heading)),
            title_justify="left",
            box=None,
            padding=(0, 1, 0, 0),
            pad_edge=False,
        )
        names = _printed_headings(part)
        for name in names:
            left = name in ("metric", "lang", "group")
            table.add_column(
                name,
                justify="left" if left else "right",
                overflow="fold",
                no_wrap=name not in ("metric", "group"),
            )
        for row in part:
            values = cells(row, level)
            table.add_row(*(Text(printable(values[name])) for name in names))
        console.print(table)
        console.print()
    print_legend(*told)
