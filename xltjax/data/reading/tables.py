"""The rows of Parquet files, and of CSV and TSV files with a header."""

from __future__ import annotations

import codecs
import csv
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import open_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}

# What spreadsheets write as the first line, so that they know the delimiter when they read the file again.
_NAMED_DELIMITER = re.compile("sep=(.)\r?\n?")


def parquet_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of every row of a Parquet file.

    Raises:
        UserError: when pyarrow is not installed, or the file is not Parquet.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow") from None
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as problem:
        raise UserError(f"{path} is not a Parquet file ({first_line(problem)})") from None
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def delimited_rows(
    path: Path, delimiter: str, on_bad: Callable[[str, str], None]
) -> Iterator[tuple[str, Any]]:
    """(place, row) of every row of a file whose first line names the columns; a stream.

    The place names the line on which the row begins, as cells may contain line breaks. Columns without a name, such
    as the row numbers of data frames, are passed over.

    Args:
        path: the file, which may be gzipped.
        delimiter: what stands between cells. A ``.csv`` file may have semicolons, as spreadsheets write them where
            the comma stands in decimals, or tabs.
        on_bad: called with the place of a row that cannot be read, and the reason: too many or too few cells, text
            after the last column with a name, or quotes that do not match.

    Raises:
        UserError: when the file cannot be read, or its header names a column twice.
    """
    csv.field_size_limit(2**31 - 1)  # answers may be longer than the usual limit of 128 KiB
    with open_text(path, newline="") as file:
        first = file.readline()
        named = _NAMED_DELIMITER.fullmatch(first)
        if not named:
            file.seek(0)
        skipped = 1 if named else 0
        reader = csv.reader(file, delimiter=named[1] if named else _delimiter(first, delimiter), strict=True)
        header: list[str] | None = None
        while True:
            place = f"{path}, line {reader.line_num + skipped + 1}"
            try:
                cells = next(reader, None)
            except csv.Error as problem:
                if header is None:
                    raise UserError(f"{place}: {_explained(problem)}") from None
                on_bad(place, _explained(problem))
                continue
            if cells is None:
                return
            if header is None:
                header = _header(cells, place)
            elif cells:
                if reason := _unfit(cells, header):
                    on_bad(place, reason)
                else:
                    yield place, {name: cell for name, cell in zip(header, cells, strict=True) if name}


def table_style(path: Path, delimiter: str) -> tuple[str, str, str]:
    """How a table is written: the byte-order mark at its beginning or nothing, what parts its cells, its line end.

    Args:
        path: the file.
        delimiter: see ``delimited_rows``.

    Raises:
        UserError: when the file cannot be read.
    """
    with open_text(path, newline="") as file:
        mark = "\ufeff" if file.buffer.read(3) == codecs.BOM_UTF8 else ""
        file.buffer.seek(0)
        first = file.readline()
    named = _NAMED_DELIMITER.fullmatch(first)
    delimiter = named[1] if named else _delimiter(first, delimiter)
    return mark, delimiter, "\r\n" if first.endswith("\r\n") else "\n"


def _header(cells: Sequence[str], place: str) -> list[str]:
    """The names of the columns, without spaces around them.

    Raises:
        UserError: when one comes twice.
    """
    header = [name.strip() for name in cells]
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise UserError(f"{place}: the header names the column {twice[0]!r:.40} twice")
    return header


def _unfit(cells: Sequence[str], header: Sequence[str]) -> str:
    """Why a row does not fit the header; empty when it does."""
    if len(cells) != len(header):
        return f"{len(cells)} cells, but the header names {len(header)} columns"
    last = max((number for number, name in enumerate(header, start=1) if name), default=0)
    over = next((number for number, cell in enumerate(cells, start=1) if number > last and cell.strip()), 0)
    return f"text in column {over}, which has no name" if over else ""


def _explained(problem: csv.Error) -> str:
    """What the reader of CSV says of quotes, in words."""
    if "unexpected end" in str(problem):
        return "a quote opens a cell that is never closed"
    if "expected after" in str(problem):
        return "a quote within a quoted cell is not doubled"
    return str(problem)


def _delimiter(header: str, given: str) -> str:
    """The delimiter of a CSV file: the one that gives its header the most columns."""
    if given != ",":
        return given
    counts = {sign: len(next(csv.reader([header], delimiter=sign), [])) for sign in ",;\t"}
    return max(counts, key=lambda sign: counts[sign])
