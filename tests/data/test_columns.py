"""Columns by the user's names, and files as spreadsheets and data frames write them: read, or refused by line."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pandas
import pytest
from helpers.odd_data import read_conversations

import xltjax
from xltjax.common.errors import UserError
from xltjax.common.settings import build
from xltjax.data.conversations import Message
from xltjax.data.formats import read_rows, training_columns
from xltjax.data.reading.answers import RowKeys, with_columns
from xltjax.data.reading.report import RowReport
from xltjax.data.responses import NO_KEYS, read_responses
from xltjax.training.config import TrainConfig

ROWS = [("Che ora\nè, ora?", 'Sono le "tre"; credo.'), ("¿Qué hora es?", "Las tres, señor.")]


def read(path: Path, *pairs: str) -> list[list[tuple[str, str]]]:
    rows = read_rows(str(path), RowReport(), columns=training_columns(pairs))
    return [[(turn.role, turn.content) for turn in row.conversation] for row in rows]


def expected(rows: list[tuple[str, str]] = ROWS) -> list[list[tuple[str, str]]]:
    return [[("user", question), ("assistant", answer)] for question, answer in rows]


@pytest.fixture
def frame() -> pandas.DataFrame:
    return pandas.DataFrame(ROWS, columns=["Domanda, in italiano", "Risposta"]).assign(output="no", n=[1, 2])


NAMED = ("prompt=Domanda, in italiano", "completion=Risposta")


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet", "a.jsonl", "a.json"])
def test_named_columns_are_all_that_is_read_of_what_pandas_writes(
    frame: pandas.DataFrame, tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    if name.endswith(".parquet"):
        frame.to_parquet(path)
    elif ".json" in name:
        frame.to_json(path, orient="records", lines=name.endswith("l"))
    else:
        frame.to_csv(path, sep="\t" if ".tsv" in name else ",")  # with a nameless column of row numbers
    assert read(path, *NAMED) == expected()


@pytest.mark.parametrize("begin", ["", "sep=;\r\n"])
def test_a_csv_of_a_spreadsheet_is_read(tmp_path: Path, begin: str) -> None:
    lines = [("Domanda, in italiano ", "Risposta", "", ""), *((*row, "", "") for row in ROWS)]
    with (tmp_path / "a.csv").open("w", encoding="utf-8" if begin else "utf-8-sig", newline="") as file:
        file.write(begin)
        csv.writer(file, delimiter=";").writerows(lines)
    assert read(tmp_path / "a.csv", *NAMED) == expected()


def test_columns_come_from_the_command_line_yaml_and_python_alike() -> None:
    given: list[Any] = ["prompt=Domanda, in italiano,completion=Risposta", ["prompt=Domanda, in italiano", NAMED[1]],
                        {"prompt": "Domanda, in italiano", "completion": "Risposta"}]  # fmt: skip
    assert {build(TrainConfig, {"columns": value}).columns for value in given} == {NAMED}


def test_named_columns_join_the_others_where_they_are_no_format_by_themselves(tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "i", "risposta": {"it": ["a"]}, "sistema": "s"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row))
    assert read(tmp_path / "a.jsonl", "response=risposta.it.0", "system=sistema") == [
        [("system", "s"), ("user", "q\ni"), ("assistant", "a")]
    ]
    # The issue's own example: of an Alpaca row only the instruction and the output.
    row = {"instruction": "q", "input": "i", "output": "a"}
    (tmp_path / "b.jsonl").write_text(json.dumps(row))
    assert read(tmp_path / "b.jsonl", "prompt=instruction", "completion=output") == expected([("q", "a")])


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        (("prompt",), "'prompt' is not NAME=COLUMN"),
        (("promt=a",), "'promt' is not one of our names, which come first; did you mean 'prompt'"),
        (("prompt=a", "prompt=b"), "prompt is given twice"),
    ],
)
def test_columns_that_say_nothing_are_refused_at_once(pairs: tuple[str, ...], said: str) -> None:
    with pytest.raises(UserError, match=f"^columns: {said}"):
        TrainConfig(columns=pairs)


HEADER = "instruction,response\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (
            (HEADER + "Perché?,Così.\n").encode("cp1252"),
            r"perhaps windows-1252 \(line 2: 'Perché\?,Così.'\); .*iconv -f",
        ),
        ((HEADER + "Почему?,Так.\n").encode("cp1251"), r"perhaps windows-1251 \(line 2: 'Почему"),
        ((HEADER + "a,b\n").encode("utf-16"), "but UTF-16; save it as UTF-8"),
        (b"q,q\n1,2\n", "line 1: the header names the column 'q' twice"),
        (b"instruction,instruction \n1,2\n", "line 1: the header names the column 'instruction' twice"),
        ((HEADER + 'a,b\n"c\nc",d,e\n').encode(), "line 3: 3 cells, but the header names 2 columns"),
        ((HEADER + "a,b\nc\n").encode(), "line 3: 1 cells, but the header names 2 columns"),
        (b"instruction,response,\na,b, with a comma\n", "line 2: text in column 3, which has no name"),
        ((HEADER + 'a,b\nc,"d\n').encode(), "line 3: a quote opens a cell that is never closed"),
        ((HEADER + 'a,b\n"Ciao" disse,d\n').encode(), "line 3: a quote within a quoted cell is not doubled"),
        ((HEADER + "a,b\n,d\n").encode(), "line 3: an empty question"),
        (
            b"Domanda,Risposta\na,b\n",
            "line 2: the row has the keys Domanda, Risposta; .*--columns prompt=question",
        ),
    ],
)
def test_an_odd_table_is_refused_by_file_and_line(tmp_path: Path, data: bytes, said: str) -> None:
    for name in ("a.csv", "a.csv.gz"):
        path = tmp_path / name
        path.write_bytes(gzip.compress(data) if name.endswith("gz") else data)
        with pytest.raises(UserError, match=rf"^{path},? .*{said}") as refused:
            read_conversations(str(path))
        assert "\n" not in str(refused.value)


def test_rows_after_a_bad_quote_are_read_and_empty_answers_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(HEADER + 'q,a\n"no" end,b\nr,\ns,c\n')
    report = RowReport("skip")
    rows = [row.conversation for row in read_rows(str(tmp_path / "a.csv"), report)]
    assert rows == [
        (Message("user", q), Message("assistant", a)) for q, a in (("q", "a"), ("s", "c"))
    ]  # fmt: skip
    assert [(place.rpartition(" ")[2], reason) for _, place, reason in report.skipped] == [
        ("3", "a quote within a quoted cell is not doubled"), ("4", "an empty answer"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a.xlsx", "is a spreadsheet; save it as CSV"),
        ("a.zip", "is packed; unpack it"),
        ("a.pkl", "is a pickle"),
    ],
)
def test_files_of_other_programs_are_named_with_what_to_do(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / name).write_bytes(b"PK")
    with pytest.raises(UserError, match=f"^{tmp_path / name} {said}"):
        read_conversations(str(tmp_path / name))


def test_a_named_column_that_a_row_lacks_is_an_error_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("Domanda,Risposta\na,b\n")
    with pytest.raises(
        UserError,
        match=r"a\.csv, line 2: there is no key 'Frage', which --columns names; keys: Domanda, Risposta",
    ):
        read(tmp_path / "a.csv", "prompt=Frage", "completion=Risposta")


# Responses


def test_responses_are_read_by_the_same_names(frame: pandas.DataFrame, tmp_path: Path) -> None:
    frame.to_csv(tmp_path / "m.csv", index=False)
    pairs = (*NAMED, "id=n")
    found = read_responses([tmp_path / "m.csv"], "it", with_columns(NO_KEYS, pairs))
    assert [(each.id, each.instruction, each.response) for each in found] == [
        ("1", *ROWS[0]), ("2", *ROWS[1]),
    ]  # fmt: skip
    by_keys = RowKeys(id=("n",), response="Risposta", instruction="Domanda, in italiano")
    assert read_responses([tmp_path / "m.csv"], "it", by_keys) == found
    scores = xltjax.evaluate(
        tmp_path / "m.csv", ["language_correct"], language="it",
        columns={"id": "n", "response": "Risposta", "instruction": "Domanda, in italiano"},
    )  # fmt: skip
    assert [(score.id, score.value) for score in scores] == [("1", 1.0), ("2", 0.0)]
    with pytest.raises(UserError, match="the column of the response is named twice"):
        with_columns(RowKeys(response="Risposta"), pairs)
    with pytest.raises(UserError, match="columns is not a mapping"):
        xltjax.evaluate(tmp_path / "m.csv", columns="response=Risposta")  # type: ignore[arg-type]
