"""The choice of learning rates on the terminal and in files."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from xltjax.eval.comparison.report import WIDTH, number
from xltjax.eval.summary import LOW_COVERAGE
from xltjax.eval.table_files import print_legend, printable, write_csv, write_markdown

FORMS = (".csv", ".md")
COLUMNS = (
    "family", "rule", "learning_rate", "chosen", "value", "low", "high", "unscored_as_1", "coverage", "spelling",
    "wins", "behind", "behind_low", "behind_high", "seeds", "models",
)  # fmt: skip
HEADINGS = ("rate", "value [interval]", "spelling", "wins %", "behind [interval]", "seeds", "scored %")

Families = Mapping[str, Mapping[str, Any]]


def _cells(row: Mapping[str, Any]) -> dict[str, str]:
    """The readable cells of a rate."""
    value = number(row["value"])
    if row["low"] is not None:
        value += f" [{number(row['low'])}, {number(row['high'])}]"
    if row["coverage"] < LOW_COVERAGE:
        value += f"\n(unscored as 1: {number(row['unscored_as_1'])})"
    behind = "chosen"
    if not row["chosen"]:
        behind = number(row["behind"])
        if row["behind_low"] is not None:
            behind += f" [{number(row['behind_low'])}, {number(row['behind_high'])}]"
    return {
        "rate": f"{row['learning_rate']:g}" + ("*" if row["chosen"] else ""),
        "value [interval]": value,
        "spelling": number(row["spelling"]),
        "wins %": f"{100 * row['wins']:.1f}",
        "behind [interval]": behind,
        "seeds": str(len(row["seeds"])),
        "scored %": str(math.floor(100 * row["coverage"])),
    }


def _rule(family: str, found: Mapping[str, Any]) -> str:
    """What was chosen by which rule."""
    return (
        f"{family}: rate {found['learning_rate']:g} by rule {found['rule']}: highest {found['maximizes']}, mean over "
        f"{', '.join(found['languages'])}; ties by {found['ties']}; {found['answers']} answers to "
        f"{found['instructions']} instructions for each seed"
    )


def _others(found: Mapping[str, Any]) -> Iterator[dict[str, str]]:
    """What each other rule would have chosen."""
    for other in found["others"]:
        differs = other["learning_rate"] != found["learning_rate"]
        yield {
            "other rule": other["rule"],
            "rate": f"{other['learning_rate']:g}" + (" !" if differs else ""),
            "wins %": f"{100 * other['wins']:.1f}",
            "maximizes": other["maximizes"],
        }


def write_choice(out: Path, families: Families, notes: Sequence[str]) -> None:
    """Write ``choice.csv`` with every number and ``choice.md`` to be read."""
    rows = [
        {
            "family": family,
            "rule": found["rule"],
            **row,
            "seeds": len(row["seeds"]),
            "models": "; ".join(row["models"]),
        }
        for family, found in families.items()
        for row in found["rates"]
    ]
    write_csv(out / "choice.csv", rows, COLUMNS, ".10g")
    shown = [
        {"family": family, **_cells(row)} for family, found in families.items() for row in found["rates"]
    ]
    told = []
    for family, found in families.items():
        told += [_rule(family, found), *(f"Warning: {text}" for text in found["warnings"])]
        told += [
            f"{other['other rule']} ({other['maximizes']}): {other['rate']}, wins {other['wins %']}%"
            for other in _others(found)
        ]
    write_markdown(
        out / "choice.md", shown, ("family", *HEADINGS), "", printable("\n\n".join([*told, *notes]))
    )


def print_choice(families: Families, notes: Sequence[str]) -> None:
    """Print a table for each family, and what other rules would have chosen."""
    console = Console(
        width=None if sys.stdout.isatty() else WIDTH, highlight=False, markup=False, emoji=False
    )

    def say(text: str) -> None:
        print_legend(text)

    for family, found in families.items():
        say(_rule(family, found))
        for text in found["warnings"]:
            say(f"warning: {text}")
        console.print(_table([_cells(row) for row in found["rates"]], HEADINGS))
        if found["others"]:
            console.print(_table(list(_others(found)), ("other rule", "rate", "wins %", "maximizes")))
        print()
    for each in notes:
        say(each)


def _table(rows: Sequence[Mapping[str, str]], headings: Sequence[str]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False)
    for name in headings:
        left = name in ("other rule", "maximizes")
        table.add_column(name, justify="left" if left else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(row[name])) for name in headings))
    return table
