"""The CSV form of an export, and what spreadsheets make of it: other encodings and separators, ids as numbers."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import open_text
from xltjax.eval.people.schema import (
    AGAIN,
    CANNOT_JUDGE,
    CHECK,
    HEAD,
    SCHEMA,
    SCORE,
    SHOWN,
    TAIL,
    Export,
    Record,
    Scales,
    changed,
    check_criteria,
    check_of,
    check_schema,
    read_record,
    unique,
    whole,
)

Key = Mapping[str, Mapping[str, Mapping[str, Any]]]  # rows of the key by sheet and item
LONGEST_CELL = 2**31 - 1  # answers may be longer than the limit of the csv module
_FORMULA = re.compile("'*[=+\\-@\t\r]")
_WHOLE = re.compile(r"([0-9]+)(?:[.,]0+)?")
_NUMBER = re.compile(r"[0-9]+(?:[.,][0-9]+)?(?:e\+?[0-9]+)?", re.IGNORECASE)
_ROUNDED = 0.05  # spreadsheets show two digits or more of a large number, and save what they show


def csv_export(records: Sequence[Record], criteria: Sequence[str]) -> str:
    """The CSV form of the records of one sheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*HEAD, *(SCORE + name for name in criteria), *TAIL, CHECK])
    for record in records:
        spans = json.dumps([vars(span) for span in record.spans], ensure_ascii=False) if record.spans else ""
        scores = [record.scores.get(name, "") for name in criteria]
        head = [SCHEMA, record.sheet, record.language, record.annotator, record.item, record.order]
        writer.writerow(
            [*head, *scores, no_formula(record.comment), spans, record.seconds, check_of(record, criteria)]
        )
    return file.getvalue()


def no_formula(text: str) -> str:
    """The text with an apostrophe before what a spreadsheet would compute, or take for such an apostrophe."""
    return f"'{text}" if _FORMULA.match(text) else text


def read_file(path: Path) -> str:
    """The text of a file in UTF-8, or in UTF-16 with a mark of its byte order, as spreadsheets save it.

    Raises:
        UserError: when it is missing, is not text, or is an Excel file.
    """
    with open_text(path) as file:
        data = file.buffer.read()  # a comment keeps its line ends
        if data.startswith(b"PK"):
            raise UserError(
                f"{path} is a spreadsheet (Excel, LibreOffice) or an archive; save it as CSV (UTF-8), or unpack it"
            )
        if not data.startswith((b"\xff\xfe", b"\xfe\xff")):
            return data.decode("utf-8-sig")
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError:
            raise UserError(
                f"{path} is not complete UTF-16 text; copy it again, or save it as UTF-8"
            ) from None


def table_rows(text: str, path: Path) -> tuple[list[str], Iterator[tuple[int, list[str]]]]:
    """The names of the columns, and the rows with the numbers of their last lines.

    The separator is a comma, a semicolon or a tab, whichever the heading has most of.

    Raises:
        UserError: when it is not CSV; that of a later row comes when the rows are read.
    """
    if re.match("sep=.\r?\n", text):  # by Excel, for Excel
        text = text.split("\n", 1)[1]
    heading = text.split("\n", 1)[0]
    csv.field_size_limit(LONGEST_CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=heading.count), strict=True)

    def read() -> Iterator[tuple[int, list[str]]]:
        try:
            yield from ((rows.line_num, cells) for cells in rows if any(cells))
        except csv.Error as error:
            raise UserError(
                f"{path}, line {rows.line_num}: not CSV ({error}); the file may have been cut, {AGAIN}"
            ) from None

    lines = read()
    _, names = next(lines, (0, []))
    return _without_empty_end([name.strip() for name in names]), lines


def read_csv_export(text: str, path: Path, scales: Scales, key: Key) -> Export:
    """The records of a CSV export, or of a table that was filled in.

    Ids that look like numbers and that a spreadsheet has turned into them are restored by the key, where place and
    value leave one possibility.

    Raises:
        UserError: naming the file and the field that is not as the format says.
    """
    names, lines = table_rows(text, path)
    for name in (*HEAD, *TAIL):
        if name not in names:
            raise UserError(f"{path}: the column {name!r} is missing; export the sheet again")
    scored = [name.removeprefix(SCORE) for name in names if name.startswith(SCORE)]
    criteria = check_criteria(scored, scales, path)
    for name in names:
        if names.count(name) > 1 or not (name in (*HEAD, *SHOWN, *TAIL, CHECK) or name.startswith(SCORE)):
            raise UserError(f"{path}: the column {name!r} is unknown or occurs twice; export the sheet again")
    records, restored = [], 0
    # Excel leaves out empty cells at the ends of lines; a file that was cut ends within one.
    whole_lines = text.endswith(("\n", "\r"))
    for line, cells in lines:
        where = f"line {line}"
        cells = cells[: len(names)] + _without_empty_end(cells[len(names) :])
        if whole_lines:
            cells += [""] * (len(names) - len(cells))
        if len(cells) != len(names):
            raise UserError(
                f"{path}, {where}: {len(cells)} cells for {len(names)} columns; the file may have been cut, {AGAIN}"
            )
        row = dict(zip(names, cells, strict=True))
        check_schema(_number(row["schema"]), path)
        given = row["sheet"], row["item"]
        row |= _restored(row, key)
        restored += given != (row["sheet"], row["item"])
        records.append(_record(row, where, criteria, scales, path))
    note = f"{path}: ids that a spreadsheet had turned into numbers were restored in {restored} rows"
    return Export(path, "sheet", unique(records, path), (note,) if restored else ())


def _record(
    row: Mapping[str, str], where: str, criteria: Sequence[str], scales: Scales, path: Path
) -> Record:
    try:
        spans = json.loads(row["spans"] or "[]")
    except ValueError:
        raise UserError(f"{path}, {where}: spans is not JSON; {AGAIN}") from None
    nested = {
        "item": row["item"],
        "order": _number(row["order"]),
        "scores": {name: _score(row[SCORE + name]) for name in criteria if row[SCORE + name].strip()},
        "comment": row["comment"],
        "spans": spans,
        "seconds": _number(row["seconds"]) if row["seconds"] else None,
    }
    head = {"sheet": row["sheet"], "language": row["language"]}
    annotator = str(whole(_number(row["annotator"]), "annotator", path))
    record = read_record(nested, where, head, annotator, criteria, scales, path)
    plain = record
    if _FORMULA.match(record.comment) and record.comment.startswith("'"):
        plain = replace(record, comment=record.comment[1:])
    if CHECK not in row:
        return plain
    # Columns may have moved, and mail and editors may have changed the line ends of the file, also in a comment.
    orders = (criteria, [name for name in scales if name in criteria])
    for each in (plain, record):
        for found in (each, replace(each, comment=each.comment.replace("\r\n", "\n"))):
            if any(_same(row[CHECK], check_of(found, order)) for order in orders):
                return found
    raise changed(record, where, path)


def _restored(row: Mapping[str, str], key: Key) -> dict[str, str]:
    """Sheet and item, restored where they are numbers and exactly one id of the key can have been meant."""
    sheet, item, order = row["sheet"], row["item"], _number(row["order"])
    if sheet not in key:
        place = (row["language"], _number(row["annotator"]))
        sheets = [
            each
            for each, shown in key.items()
            if place == next(((row["language"], row["annotator"]) for row in shown.values()), None)
        ]
        sheet = _only(sheet, sheets)
    shown = key.get(sheet, {})
    if item not in shown:
        item = _only(item, [each for each, about in shown.items() if about["order"] == order])
    return {"sheet": sheet, "item": item}


def _only(cell: str, ids: Collection[str]) -> str:
    """The one of the ids that became the number in the cell, or the cell when there is none or several."""
    found = [id for id in ids if _same(cell, id)]
    return found[0] if len(found) == 1 else cell


def _same(cell: str, id: str) -> bool:
    """Whether the cell holds the id, or the number that a spreadsheet makes of it."""
    if cell == id:
        return True
    if not (_NUMBER.fullmatch(cell) and _NUMBER.fullmatch(id)):
        return False
    return math.isclose(float(cell.replace(",", ".")), float(id), rel_tol=_ROUNDED)


def _score(cell: str) -> int | str:
    """A rating in a cell; what is none stays as it is and is refused later."""
    text = cell.strip()
    return CANNOT_JUDGE if re.sub("[ -]", "_", text.lower()) == CANNOT_JUDGE else _number(text)


def _number(cell: str) -> int | str:
    """A cell as a whole number where it is one, also when a program has made 2.0 of it."""
    found = _WHOLE.fullmatch(cell.strip())
    return int(found[1]) if found else cell


def _without_empty_end(cells: list[str]) -> list[str]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    return cells
