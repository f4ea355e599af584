"""The rows of Parquet files, and of CSV and TSV files with a header."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import open_text

DELIMITERS = {".csv": ",", ".tsv": "\t"}


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

    The place names the line on which the row ends, as cells may contain line breaks.

    Args:
        path: the file, which may be gzipped.
        delimiter: what stands between cells; a header without a comma may have semicolons, as spreadsheets write
            them where the comma stands in decimals.
        on_bad: called with the place of a row with too many or too few cells, and the reason.

    Raises:
        UserError: when the file cannot be read, or its header names a column twice.
    """
    csv.field_size_limit(2**31 - 1)  # answers may be longer than the usual limit of 128 KiB
    with open_text(path, newline="") as file:
        reader = csv.reader(file, delimiter=_delimiter(file.readline(), delimiter))
        file.seek(0)
        try:
            header = next(reader, [])
            twice = sorted({name for name in header if header.count(name) > 1})
            if twice:
                raise UserError(f"{path}, line 1: the header names the column {twice[0]!r:.40} twice")
            for cells in filter(None, reader):
                place = f"{path}, line {reader.line_num}"
                if len(cells) == len(header):
                    yield place, dict(zip(header, cells, strict=True))
                else:
                    on_bad(place, f"{len(cells)} cells, but the header names {len(header)} columns")
        except csv.Error as problem:
            raise UserError(f"{path}, line {reader.line_num}: {problem}") from None


def _delimiter(header: str, given: str) -> str:
    return ";" if given == "," and "," not in header and ";" in header else given
