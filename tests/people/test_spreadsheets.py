"""Tables that went through Excel, LibreOffice or pandas: read as they were meant, or refused by name."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from helpers.pages.rated_sheets import CRITERIA, SCALES, key_rows, records

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.people.exports import csv_table
from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE, check_of
from xltjax.eval.people.spreadsheet import csv_export
from xltjax.eval.people.tools import read_export

FOUND = tuple(records(key_rows(), "sheetfr1"))
TEXT = csv_export(FOUND, CRITERIA)


def as_rows(text: str) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline="")))


def as_text(rows: list[list[str]], delimiter: str = ",", end: str = "\n") -> str:
    file = io.StringIO()
    csv.writer(file, delimiter=delimiter, lineterminator=end).writerows(rows)
    return file.getvalue()


SAVED: dict[str, Callable[[str], bytes]] = {
    "Excel, CSV UTF-8, where the comma is for decimals": lambda text: as_text(as_rows(text), ";", "\r\n").encode(
        "utf-8-sig"
    ),
    "Excel, Unicode text": lambda text: as_text(as_rows(text), "\t", "\r\n").encode("utf-16"),
    "UTF-16, the other byte order": lambda text: b"\xfe\xff" + text.encode("utf-16-be"),
    "with Excel's line for the separator": lambda text: b"sep=;\r\n" + as_text(as_rows(text), ";", "\r\n").encode(),
    "with empty columns and rows at the end": lambda text: as_text(
        [[*row, "", ""] for row in as_rows(text)] + [[""] * 20]
    ).encode(),
    "with the line ends of Windows, also in cells": lambda text: text.replace("\n", "\r\n").encode(),
    "with the columns in another order": lambda text: as_text([row[::-1] for row in as_rows(text)]).encode(),
    "all cells in quotes": lambda text: "\n".join(
        ",".join('"' + cell.replace('"', '""') + '"' for cell in row) for row in as_rows(text)
    ).encode(),
}  # fmt: skip


@pytest.mark.parametrize("how", SAVED)
def test_a_table_is_read_however_it_was_saved(tmp_path: Path, how: str) -> None:
    path = tmp_path / "saved.csv"
    path.write_bytes(SAVED[how](TEXT))
    assert read_export(path, SCALES).records == FOUND


def test_numbers_that_pandas_makes_of_a_column_with_gaps_are_read(tmp_path: Path) -> None:
    open_ = replace(FOUND[1], scores={"language": CANNOT_JUDGE}, seconds=None)
    found = (FOUND[0], open_, *FOUND[2:])
    path = tmp_path / "saved.csv"
    path.write_text(csv_export(found, CRITERIA), encoding="utf-8")
    pd.read_csv(path).to_csv(path, index=False)
    assert ",2.0," in path.read_text(encoding="utf-8")
    assert read_export(path, SCALES).records == found


def mangled(text: str, *ids: str) -> str:
    """The table as Excel saves it when it takes these ids for numbers."""
    for id in ids:
        text = text.replace(id, f"{float(id):.2E}" if float(id) >= 1e11 else f"{float(id):g}")
    return text


def test_ids_that_a_spreadsheet_took_for_numbers_are_restored_by_the_key(tmp_path: Path) -> None:
    ids = ("123456789012", "000000000042", "12e3", "4a4b4c4d4e4f")
    found = tuple(
        replace(each, sheet="1234567890123456", item=id) for each, id in zip(FOUND, ids, strict=False)
    )
    numbers = [check_of(each, CRITERIA) for each in found]
    key = {
        "1234567890123456": {
            each.item: {"order": each.order, "language": "fr", "annotator": 1} for each in found
        }
    }
    path = tmp_path / "excel.csv"
    text = mangled(csv_export(found, CRITERIA), "1234567890123456", *ids[:3])
    assert "1.23E+15" in text
    assert ids[0] not in text
    path.write_text(text, encoding="utf-8")
    export = read_export(path, SCALES, key)
    assert export.records == found
    assert [check_of(each, CRITERIA) for each in export.records] == numbers
    assert "restored in 4 rows" in export.notes[0]
    # Another item stands at this place in the key: the number cannot have been its id.
    wrong = {sheet: {"777777777777": {**next(iter(rows.values()))}} for sheet, rows in key.items()}
    with pytest.raises(UserError, match="was changed after the export"):
        read_export(path, SCALES, wrong)


def test_checks_that_a_spreadsheet_took_for_numbers_still_fit(tmp_path: Path) -> None:
    first = next(
        each
        for seconds in range(100_000)
        if check_of(each := replace(FOUND[0], seconds=seconds), CRITERIA).isdigit()
    )
    check = check_of(first, CRITERIA)
    path = tmp_path / "excel.csv"
    path.write_text(csv_export([first], CRITERIA).replace(check, str(int(check))), encoding="utf-8")
    assert read_export(path, SCALES).records == (first,)


@pytest.mark.parametrize(
    "comment", ["=1+1", "'=1+1", "''@x", "-", "+49 30", "\tx", "'quoted'", "it's = fine"]
)
def test_a_comment_comes_back_and_no_spreadsheet_computes_it(tmp_path: Path, comment: str) -> None:
    record = replace(FOUND[0], comment=comment)
    text = csv_export([record], CRITERIA)
    assert as_rows(text)[1][-4][:1] not in ("=", "+", "-", "@", "\t", "\r")
    path = tmp_path / "a.csv"
    path.write_text(text, encoding="utf-8", newline="")
    assert read_export(path, SCALES).records == (record,)
    # A page that writes the comment as it is.
    raw = as_rows(text)
    raw[1][-4] = comment
    path.write_text(as_text(raw), encoding="utf-8", newline="")
    assert read_export(path, SCALES).records == (record,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"PK\x03\x04rest", "a spreadsheet .Excel, LibreOffice. or an archive; save it as CSV"),
        (TEXT.replace("à", "é").encode("cp1252"), "not UTF-8 text.*save it as UTF-8"),
        (TEXT.encode("utf-16")[:-1], "not complete UTF-16 text"),
        (
            TEXT[: TEXT.index(" »")].encode(),
            r"not CSV \(unexpected end of data\); the file may have been cut",
        ),
        (
            TEXT[: TEXT.rindex(",sheetfr1,") + 20].encode(),
            "line .*cells for 16 columns; the file may have been cut",
        ),
        (TEXT.replace("sheetfr1x3", "sheetfr1x2").encode(), "sheetfr1x2.*was changed after the export"),
        (b"<!DOCTYPE html><html>", "is the sheet itself"),
        (b'{"campaign_id": "people-fr", "data": []}', "is a campaign of Pearmut; download its annotations"),
    ],
)
def test_a_file_that_was_cut_or_is_another_is_refused_by_name(
    tmp_path: Path, content: bytes, message: str
) -> None:
    path = tmp_path / "odd.csv"
    path.write_bytes(content)
    with pytest.raises(UserError, match=f"^{path}.*{message}"):
        read_export(path, SCALES)


ODD = {
    "formula": "=cmd|' /C calc'!A0",
    "formula after a separator": "one;=1+1\n@SUM(A1)\n- a list\n-2+3",
    "markup": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "right to left": "\u0645\u0631\u062d\u0628\u0627 \u202eabc\u202c \u05e2",
    "long": '"x",' * 50_000,
    "empty": "",
}


def test_a_table_to_fill_in_holds_any_answer_and_starts_no_formula(tmp_path: Path) -> None:
    items = [
        Item(f"i{n}", Response(f"q{n}", "secret", "fr", instruction=f"-{name}", response=text))
        for n, (name, text) in enumerate(ODD.items())
    ]
    text = csv_table(items, sheet="s", language="fr", annotator=1, criteria=CRITERIA)
    assert "secret" not in text
    for row in as_rows_of_any_length(text)[1:]:
        for cell in (row for shown in row[6:8] for row in shown.replace("\n", ";").split(";")):
            assert not cell.startswith(("=", "+", "@"))
            assert not cell.startswith("-") or cell == "- a list"
    rows = as_rows_of_any_length(text)
    assert [row[7].replace("'", "") for row in rows[1:]] == [each.replace("'", "") for each in ODD.values()]
    for row in rows[1:]:
        row[8:14] = ["2", " 1", "Cannot judge", "0.0", "", "2"]
    # As Excel does, without the empty cells at the ends of lines.
    rows = [rows[0], *(row[:14] for row in rows[1:])]
    path = tmp_path / "filled.csv"
    path.write_text(as_text(rows, ";", "\r\n"), encoding="utf-8-sig", newline="")
    expected = {"language": 2, "fluency": 1, "helpfulness": CANNOT_JUDGE, "accuracy": 0, "harmlessness": 2}
    assert [each.scores for each in read_export(path, SCALES).records] == [expected] * len(ODD)


def as_rows_of_any_length(text: str) -> list[list[str]]:
    csv.field_size_limit(10**9)
    return as_rows(text)


def test_a_table_with_a_check_refuses_every_changed_cell(tmp_path: Path) -> None:
    rows = as_rows(TEXT)
    names = rows[0]
    for name, value in {
        "order": "7",
        "score_fluency": "1",
        "comment": "x",
        "seconds": "1",
        "check": "",
    }.items():
        changed = [list(row) for row in rows]
        changed[2][names.index(name)] = value
        path = tmp_path / f"{name}.csv"
        path.write_text(as_text(changed), encoding="utf-8")
        with pytest.raises(UserError, match=r"sheetfr1x2.*was changed after the export"):
            read_export(path, SCALES)
