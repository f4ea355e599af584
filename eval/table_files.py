"""Tables as CSV and Markdown files."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.files import atomic_write


def printable(text: str) -> str:
    """``text`` with "?" for each lone surrogate, which no file and no terminal takes."""
    return text.encode("utf-8", "replace").decode()


def write_table(
    stem: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], number: str, notes: str
) -> None:
    """Write ``rows`` to ``<stem>.csv`` and ``<stem>.md``.

    Args:
        stem: the path of both files without their suffix.
        rows: one mapping for each row; other keys than ``columns`` are left out, and None is an empty cell.
        columns: the keys to write, which are also the headings.
        number: how a float is formatted, for example ".4f".
        notes: what stands under the Markdown table.
    """
    cells = [[_cell(row.get(column), number) for column in columns] for row in rows]
    with atomic_write(stem.with_suffix(".csv")) as file:
        csv.writer(file, lineterminator="\n").writerows([columns, *cells])
    with atomic_write(stem.with_suffix(".md")) as file:
        file.write(_line(columns) + "|" + " --- |" * len(columns) + "\n")
        for row in cells:
            file.write(_line(" ".join(cell.replace("|", "\\|").split()) for cell in row))
        file.write(f"\n{notes}\n")


def _cell(value: Any, number: str) -> str:
    if value is None:
        return ""
    return format(value, number) if isinstance(value, float) else printable(str(value))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
