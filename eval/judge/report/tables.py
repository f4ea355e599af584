"""The report about judges as JSON, as Markdown and on the terminal."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.files import atomic_write
from xltjax.eval.judge.report.evidence import Evidence
from xltjax.eval.judge.report.trust import DO_NOT_TRUST, NO_OBJECTION, RULE, Trust
from xltjax.eval.stats.intervals import Interval
from xltjax.eval.table_files import markdown_cell, print_legend, printable, table_console

Table = tuple[str, tuple[str, ...], list[list[str]]]  # title, headings, rows

_AGREEMENT = (
    "judge",
    "with",
    "criterion",
    "lang",
    "n",
    "exact",
    "kappa",
    "alpha",
    "AC2",
    "difference",
    "tau",
)
_TITLES = {
    "repeats": "The judge with itself, over repeats",
    "judges": "Judges with each other (difference: the first judge minus the other)",
    "people": "The judge with people (difference: judge minus people)",
    "language_probe": "The rubric in the language of the response (difference: that minus the rubric of the run)",
}


def evidence_tables(evidence: Sequence[Evidence]) -> list[Table]:
    """A table for each kind of check that was made."""
    tables: list[Table] = []
    for check, title in _TITLES.items():
        rows = [_agreement_row(each) for each in evidence if each.check == check]
        if rows:
            tables.append((title, _AGREEMENT, rows))
    copies = [
        [*_place(each), str(each.n), _number(each.mean), _interval(each.difference)]
        for each in evidence
        if each.check == "copy_probe"
    ]
    if copies:
        title = (
            "Answers in perfect language under another instruction (change: against their own instruction)"
        )
        tables.append((title, ("judge", "criterion", "lang", "n", "mean", "change"), copies))
    against = {_key(each): each for each in evidence if each.check == "length_people"}
    lengths = [
        [
            *_place(each),
            str(each.n),
            _interval(each.correlation),
            _interval(against[_key(each)].correlation) if _key(each) in against else "",
        ]
        for each in evidence
        if each.check == "length"
    ]
    if lengths:
        title = "Spearman's correlation with the length of the answer in characters"
        headings = ("judge", "criterion", "lang", "n", "score", "score minus people")
        tables.append((title, headings, lengths))
    return tables


def trust_table(cells: Sequence[Trust]) -> Table:
    """Every cell with its status and why."""
    rows = [
        [
            each.judge,
            each.criterion,
            each.language or "all",
            each.status,
            "; ".join(each.objections) or ", ".join(check.replace("_", " ") for check in each.checks),
        ]
        for each in cells
    ]
    return (
        "Where the judge should not be trusted",
        ("judge", "criterion", "lang", "status", "why, or checks"),
        rows,
    )


def program_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """How far judges and the program of ``modifiers`` agree."""
    headings = ("judge", "lang", "modifier", "n", "agree", "%", "judge only", "program only")
    cells = [
        [
            str(row["judge"]), row["language"] or "?", row["modifier"], str(row["n"]), str(row["agree"]),
            f"{100 * row['share']:.0f}", str(row["judge_only"]), str(row["program_only"]),
        ]
        for row in rows
    ]  # fmt: skip
    return "Modifiers: judge and program (only one of them says that it is fulfilled)", headings, cells


def save_report(
    out: Path, name: str, evidence: Sequence[Evidence], cells: Sequence[Trust], tables: Sequence[Table]
) -> None:
    """Write ``<name>-report.json`` and ``<name>-report.md`` under ``out``."""
    document = {
        "rule": RULE,
        "cells": [dataclasses.asdict(each) for each in cells],
        "checks": [dataclasses.asdict(each) for each in evidence],
    }
    with atomic_write(out / f"{name}-report.json") as file:
        file.write(json.dumps(document, ensure_ascii=True, indent=1, allow_nan=False) + "\n")
    with atomic_write(out / f"{name}-report.md") as file:
        for title, headings, rows in map(_without_constants, tables):
            file.write(printable(f"## {title}\n\n"))
            file.write(_line(headings) + "|" + " --- |" * len(headings) + "\n")
            file.writelines(_line(row) for row in rows)
            file.write("\n")
        file.write(f"{NOTES}\n\n{RULE}\n")


def print_report(tables: Iterable[Table], cells: Sequence[Trust]) -> None:
    """Print the tables, and how many cells have which status."""
    from rich.table import Table as RichTable

    console = table_console(160, plain=True)
    for title, headings, rows in map(_without_constants, tables):
        console.print(printable(title))
        table = RichTable(box=None, padding=(0, 2, 0, 0))
        for heading in headings:
            table.add_column(heading, overflow="fold")
        for row in rows:
            table.add_row(*map(printable, row))
        console.print(table)
        console.print()
    print_legend(NOTES, RULE)
    refused = sum(each.status == DO_NOT_TRUST for each in cells)
    fine = sum(each.status == NO_OBJECTION for each in cells)
    print_legend(
        f"{len(cells)} cells: {refused} not to be trusted, {fine} without an objection, "
        f"{len(cells) - refused - fine} not known"
    )


NOTES = (
    "kappa: quadratic weights; alpha: Krippendorff, ordinal; AC2: Gwet, ordinal, on the whole scale; tau: Kendall, "
    "ranking of models. 95% intervals: bootstrap over instructions; correlations: Bonett and Wright. With repeats a "
    "score is their lower median."
)


def _without_constants(table: Table) -> Table:
    """The table without empty columns, and with the judge in its title where there is only one."""
    title, headings, rows = table
    judges = {row[0] for row in rows}
    if len(judges) == 1:
        title = f"{judges.pop()}: {title[0].lower()}{title[1:]}"
        headings, rows = headings[1:], [row[1:] for row in rows]
    kept = [place for place in range(len(headings)) if any(row[place] for row in rows)]
    return title, tuple(headings[place] for place in kept), [[row[place] for place in kept] for row in rows]


def _key(each: Evidence) -> tuple[str, str, str]:
    return each.judge, each.criterion, each.language


def _place(each: Evidence) -> tuple[str, str, str]:
    return each.judge, each.criterion, each.language or "all"


def _agreement_row(each: Evidence) -> list[str]:
    found = each.agreement
    assert found is not None
    # The difference between two repeats means nothing, and kappa of two is alpha.
    pair = (found.kappa, found.mean_difference) if each.check != "repeats" else (None, None)
    intervals = (found.exact, pair[0], found.alpha, found.ac2, pair[1], each.tau)
    judge, criterion, language = _place(each)
    return [judge, each.other, criterion, language, str(each.n), *map(_interval, intervals)]


def _number(value: float | None) -> str:
    return "-" if value is None else _fixed(value)


def _fixed(value: float) -> str:
    text = f"{value:.2f}"
    return "0.00" if text == "-0.00" else text


def _interval(interval: Interval | None) -> str:
    if interval is None:
        return ""
    if interval.estimate is None or interval.low is None or interval.high is None:
        return _number(interval.estimate)
    return f"{_fixed(interval.estimate)} [{_fixed(interval.low)}, {_fixed(interval.high)}]"


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(map(markdown_cell, cells)) + " |\n"
