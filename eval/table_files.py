"""Tables as CSV, Markdown and LaTeX files, and the console on which they are printed."""

from __future__ import annotations

import csv
import itertools
import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xltjax.common.files import atomic_write

if TYPE_CHECKING:
    from rich.console import Console

LEGEND_WIDTH = 80  # columns of the texts under tables
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")  # but for tabs and line ends
_TAG = re.compile(r"<(?=[A-Za-z/!?])")  # what Markdown would take for the beginning of HTML


def table_console(width: int, *, plain: bool = False) -> Console:
    """Where tables are printed: as wide as the terminal, or ``width`` columns where the output is a file or a pipe.

    Args:
        width: in columns.
        plain: take square brackets and the like in texts as they are.
    """
    from rich.console import Console

    rich = not plain
    console = Console(highlight=rich, markup=rich, emoji=rich)
    return console if console.is_terminal else Console(width=width, highlight=rich, markup=rich, emoji=rich)


def print_legend(*texts: str) -> None:
    """Print what stands under a table, wrapped at 80 columns; each line begins a new one."""
    for line in itertools.chain.from_iterable(text.splitlines() for text in texts):
        indent = line[: len(line) - len(line.lstrip())]
        wrapped = textwrap.wrap(
            printable(line), LEGEND_WIDTH, subsequent_indent=f"{indent}  ",
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
        print("\n".join(wrapped))


def encodable(text: str) -> str:
    """``text`` with "?" for each lone surrogate, which no file and no request takes."""
    return text.encode("utf-8", "replace").decode()


def printable(text: str) -> str:
    """``encodable`` text with a space for each control character, which a terminal would take for a command."""
    return _CONTROL.sub(" ", encodable(text))


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
    rows = list(rows)
    write_csv(stem.with_suffix(".csv"), rows, columns, number)
    write_markdown(stem.with_suffix(".md"), rows, columns, number, notes)


def write_csv(path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], number: str) -> None:
    """Write ``rows`` as CSV; the arguments are those of ``write_table``."""
    with atomic_write(path) as file:
        lines = ([_cell(row.get(column), number) for column in columns] for row in rows)
        csv.writer(file, lineterminator="\n").writerows([columns, *lines])


def write_markdown(
    path: Path, rows: Iterable[Mapping[str, Any]], columns: Sequence[str], number: str, notes: str
) -> None:
    """Write ``rows`` as a Markdown table; the arguments are those of ``write_table``."""
    with atomic_write(path) as file:
        file.write(_line(columns) + "|" + " --- |" * len(columns) + "\n")
        for row in rows:
            cells = (_cell(row.get(column), number) for column in columns)
            file.write(_line(markdown_cell(cell) for cell in cells))
        file.write(f"\n{notes}\n")


def markdown_cell(text: str) -> str:
    """``text`` as a cell of a Markdown table, in which it is no markup of HTML."""
    return " ".join(_TAG.sub(r"\\<", printable(text)).replace("|", "\\|").split())


def write_latex(
    path: Path,
    parts: Mapping[str, Sequence[Mapping[str, str]]],
    columns: Sequence[str],
    alignment: str,
    notes: str,
) -> None:
    """Write a LaTeX ``tabular`` with the rules of ``booktabs``, which a table can input.

    Args:
        path: the file.
        parts: rows of texts, by the line that stands above them.
        columns: the keys to write, which are also the headings.
        alignment: the column types, for example "llr".
        notes: comments above the table.
    """
    with atomic_write(path) as file:
        file.write("% \\usepackage{booktabs}\n")
        file.writelines(f"% {line}\n" for line in printable(notes).splitlines())
        file.write(f"\\begin{{tabular}}{{{alignment}}}\n\\toprule\n")
        file.write(_latex_line(columns))
        for heading, rows in parts.items():
            file.write("\\midrule\n")
            file.write(f"\\multicolumn{{{len(columns)}}}{{l}}{{{latex_text(heading)}}} \\\\\n")
            for row in rows:
                file.write(_latex_line(row.get(column, "") for column in columns))
        file.write("\\bottomrule\n\\end{tabular}\n")


_LATEX = str.maketrans(
    {
        "\\": "\\textbackslash{}", "{": "\\{", "}": "\\}", "$": "\\$", "&": "\\&", "#": "\\#", "%": "\\%",
        "_": "\\_", "~": "\\textasciitilde{}", "^": "\\textasciicircum{}", "<": "$<$", ">": "$>$", "−": "$-$",
        "–": "--", "…": "\\ldots{}", "[": "{[}", "]": "{]}",
    }
)  # fmt: skip


def latex_text(text: str) -> str:
    """``text`` so that LaTeX prints it as it is, on one line."""
    return " ".join(printable(text).split()).translate(_LATEX)


def _latex_line(cells: Iterable[str]) -> str:
    return " & ".join(map(latex_text, cells)) + " \\\\\n"


def _cell(value: Any, number: str) -> str:
    if value is None:
        return ""
    return format(value, number) if isinstance(value, float) else printable(str(value))


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |\n"
