"""The report on a terminal of 80 columns, which is also its ``summary.txt``."""

from __future__ import annotations

import io
import textwrap

from rich import box
from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from xltjax.eval.report.content import Report, Table
from xltjax.eval.report.figures.drawing import label
from xltjax.eval.table_files import printable

WIDTH = 80
SHOWN = ("changed", "rates", "transfer", "criteria", "differences")  # tables, when they are not too long
COLUMNS = {
    "changed": ("metric", "language", "a", "n", "difference", "p_holm"),
    "rates": ("configuration", "rate", "n", "mean", "wins"),
    "transfer": ("configuration", "rate", "metric", "english", "others", "difference"),
    "criteria": ("judge", "system", "criterion", "group", "n", "mean"),
    "differences": ("metric", "language", "a", "b", "n", "difference", "p_holm"),
}
MOST_ROWS = 12


def summary_text(report: Report) -> str:
    """The headline, the first lines of the main tables, and what is missing."""
    parts = [printable(report.title), ""]
    question, *sentences = report.headline
    parts += [_wrapped(question), ""]
    parts += [_wrapped(f"- {sentence}", "  ") for sentence in sentences]
    for section in report.sections:
        for table in section.tables:
            if table.name in SHOWN and table.rows:
                parts += ["", _table(table)]
    alone = [
        section
        for section in report.sections
        if section.paragraphs and not section.tables and not section.figures
    ]
    if alone:
        parts.append("")
        parts += [_wrapped(f"{section.title}: {section.paragraphs[0]}", "  ") for section in alone]
    return "\n".join(parts) + "\n"


def _wrapped(text: str, indent: str = "") -> str:
    return "\n".join(textwrap.wrap(printable(text), WIDTH, subsequent_indent=indent))


def _table(table: Table) -> str:
    columns = [column for column in table.columns if column.key in COLUMNS[table.name]]
    printed = Printed(
        box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), title=table.title, title_justify="left"
    )
    for column in columns:
        printed.add_column(
            column.heading,
            justify="right" if column.numeric else "left",
            overflow="fold",
            no_wrap=column.numeric and not column.low,
        )
    for row in table.rows[:MOST_ROWS]:
        cells = []
        for column in columns:
            text = column.text(row)
            if not column.numeric:
                text = label(text.replace("_", " "), 60)  # so that lines break between words
            interval = column.interval(row).replace("%", "")
            cells.append(Text(printable(f"{text} {interval}".rstrip())))
        printed.add_row(*cells)
    output = io.StringIO()
    Console(file=output, width=WIDTH, color_system=None, markup=False, highlight=False, emoji=False).print(
        printed
    )
    lines = [line.rstrip() for line in output.getvalue().rstrip().splitlines()]
    more = len(table.rows) - MOST_ROWS
    return "\n".join(lines + ([f"... {more} more rows in tables/{table.name}.csv"] if more > 0 else []))
