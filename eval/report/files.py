"""Tables as CSV, Markdown and LaTeX files for a paper."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from xltjax.common.files import atomic_write
from xltjax.eval.report.content import Column, Report, Table
from xltjax.eval.report.figures.drawing import columns_of
from xltjax.eval.table_files import latex_text, write_csv, write_markdown

LONG = 40  # rows; a longer table breaks over pages in LaTeX


def all_tables(report: Report) -> Iterator[Table]:
    """The tables of the sections, and the data of all figures."""
    if report.lead is not None:
        yield report.lead.data
    for section in report.sections:
        yield from section.tables
        yield from (figure.data for figure in section.figures)


def write_tables(folder: Path, tables: Iterator[Table]) -> list[Path]:
    """Write each table as ``<name>.{csv,md,tex}``; the CSV holds the unrounded numbers.

    Args:
        folder: an existing directory.
        tables: with different names.
    """
    written = []
    for table in tables:
        stem = folder / table.name
        csv, markdown, latex = (stem.with_suffix(suffix) for suffix in (".csv", ".md", ".tex"))
        write_csv(csv, table.rows, list(columns_of(table)), ".10g")
        shown = [{column.heading: cell(column, row) for column in table.columns} for row in table.rows]
        write_markdown(markdown, shown, [column.heading for column in table.columns], "", table.caption)
        with atomic_write(latex) as file:
            file.writelines(latex_lines(table))
        written += [csv, markdown, latex]
    return written


def cell(column: Column, row: Mapping[str, Any]) -> str:
    """A value as a reader sees it, with its interval behind it."""
    interval = column.interval(row)
    return f"{column.text(row)} {interval}" if interval else column.text(row)


# --- LaTeX ---


def latex_lines(table: Table) -> Iterator[str]:
    """A table with the rules of ``booktabs``, numbers aligned by ``siunitx``, and n and intervals in the caption.

    A long one is a ``longtable``. Percentages are written as numbers under a heading with a percent sign.
    """
    long = len(table.rows) > LONG
    parts = [part for column in table.columns for part in _parts(column, table)]
    packages = "booktabs,siunitx" + (",longtable" if long else "")
    yield f"% \\usepackage{{{packages}}}\n"
    caption = (
        f"\\caption{{{latex_text(table.title)}. {latex_text(table.caption)}}}\\label{{tab:{table.name}}}"
    )
    alignment = " ".join(alignment for _, alignment, _ in parts)
    heading = " & ".join(name for name, _, _ in parts) + " \\\\\n"
    if long:
        yield f"\\begin{{longtable}}{{{alignment}}}\n{caption} \\\\\n"
        yield f"\\toprule\n{heading}\\midrule\n\\endfirsthead\n"
        yield f"\\toprule\n{heading}\\midrule\n\\endhead\n\\bottomrule\n\\endfoot\n"
    else:
        yield f"\\begin{{table}}\n\\centering\n{caption}\n"
        yield f"\\begin{{tabular}}{{{alignment}}}\n\\toprule\n{heading}\\midrule\n"
    for row in table.rows:
        yield " & ".join(write(row) for _, _, write in parts) + " \\\\\n"
    yield "\\end{longtable}\n" if long else "\\bottomrule\n\\end{tabular}\n\\end{table}\n"


def _parts(column: Column, table: Table) -> Iterator[tuple[str, str, Any]]:
    """The columns of LaTeX for one of ours, values and intervals: heading, alignment, and what writes a row."""
    heading = latex_text(column.heading)
    if not column.numeric:
        yield heading, "l", lambda row: latex_text(column.text(row))
        return
    percent = column.format.endswith("%")
    if percent:
        heading += " (\\%)"
    texts = [_number(column, row.get(column.key)) for row in table.rows]
    yield f"{{{heading}}}", _alignment(texts), lambda row: _number(column, row.get(column.key)) or "{--}"
    if column.low and any(_number(column, row.get(column.low)) for row in table.rows):
        yield "{95\\,\\%}", "l", lambda row: _interval(column, row)


def _number(column: Column, value: Any) -> str:
    """A number as siunitx reads it; empty when there is none."""
    if value is None or isinstance(value, str) or (isinstance(value, float) and not math.isfinite(value)):
        return ""
    format = column.format.replace(",", "")
    if format.endswith("%"):
        return f"{100 * value:{format[:-1]}f}"
    return f"{value:{format}}" if format else str(value)


def _interval(column: Column, row: Mapping[str, Any]) -> str:
    ends = [_number(column, row.get(key)) for key in (column.low, column.high)]
    return f"{{[}}{', '.join('$' + end + '$' for end in ends)}{{]}}" if all(ends) else ""


def _alignment(texts: list[str]) -> str:
    """The ``S`` column that has room for all numbers, or ``r`` for those with exponents."""
    present = [text for text in texts if text]
    if not present or any("e" in text for text in present):
        return "r"
    signed = "-" if any(text[0] in "+-" for text in present) else ""
    whole = max(len(text.lstrip("+-").partition(".")[0]) for text in present)
    decimals = max(len(text.partition(".")[2]) for text in present)
    return f"S[table-format={signed}{whole}.{decimals}]"
