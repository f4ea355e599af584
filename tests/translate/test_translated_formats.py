"""Rows of every format in other languages: their shape, what is translated in them, and files of every kind."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.server import JudgeServer
from helpers.translation import echo, lines, translate, translator

from xltjax.data.formats import read_rows
from xltjax.data.reading.report import RowReport
from xltjax.translate.fields import map_texts, texts

A, B, C = "What is a dog?", "A dog is an animal.", "It barks."
ROWS: dict[str, Any] = {
    "dolly": {"instruction": A, "context": C, "response": B, "category": "open_qa"},
    "alpaca": {"instruction": A, "input": "", "output": B, "system": C, "history": [[A, B]]},
    "lima": {"conversations": [A, B], "source": "stackexchange"},
    "sharegpt": {"conversations": [{"from": "human", "value": A}, {"from": "gpt", "value": B}], "id": 7},
    "messages": {
        "messages": [
            {"role": "system", "content": C},
            {"role": "user", "content": [{"type": "text", "text": A}]},
            {"role": "assistant", "content": B, "weight": 1},
        ],
        "tools": [{"name": "search", "description": "Finds a text."}],
    },
    "chat": [{"role": "user", "content": A}, {"role": "assistant", "content": B}],
    "tools": {
        "messages": [
            {"role": "user", "content": A},
            {"role": "assistant", "content": "I search for it."},
            {"role": "tool", "content": "a result of the tool"},
            {"role": "assistant", "content": B},
        ]
    },
    "trl": {"prompt": A, "completion": B},
    "trl chat": {
        "prompt": [{"role": "user", "content": A}],
        "completion": [{"role": "assistant", "content": B}],
    },
    "text": {"text": f"{A} {B}"},
}
COPIED = {"open_qa", "stackexchange", "a result of the tool", "Finds a text.", "search"}
KEYS = {"role", "from", "type"}


def strings(value: Any) -> Iterator[str]:
    """Every text in a value that is not the value of a key such as ``role``."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    elif isinstance(value, dict):
        for key, each in value.items():
            if key not in KEYS:
                yield from strings(each)


@pytest.fixture(scope="module")
def server() -> Iterator[JudgeServer]:
    with translator(echo) as running:
        yield running


@pytest.mark.parametrize("kind", ROWS)
def test_what_people_wrote_is_translated_and_nothing_else(kind: str) -> None:
    changed = map_texts(ROWS[kind], lambda name, text: text.upper())
    before, after = list(strings(ROWS[kind])), list(strings(changed))
    assert after == [text if text in COPIED else text.upper() for text in before]
    assert map_texts(ROWS[kind], lambda name, text: text) == ROWS[kind]
    names = [name for name, _ in texts(ROWS[kind])]
    assert len(names) == len(set(names))


def test_rows_of_every_format_keep_their_shape_and_train(server: JudgeServer, tmp_path: Path) -> None:
    data = tmp_path / "mixed.en.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS.values()))
    flags = ["--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    assert translate(data, "--to", "fr,pt-BR", *flags) == 0
    for language in ("fr", "pt"):
        written = tmp_path / "out" / f"mixed.{language}.jsonl"
        for number, (before, after) in enumerate(zip(ROWS.values(), lines(written), strict=True), start=1):
            if isinstance(before, list):
                assert after == before  # a chat keeps its shape: the marks are in quality.jsonl alone
                continue
            assert after["id"] == before.get("id", f"mixed-{number}")
            assert after["language"] == language
            assert after["translated_from"] == "en"
            assert after["engine"] == "openai:m"
            assert isinstance(after["quality"], list)
            assert {key: after[key] for key in before} == before
        assert [row.conversation for row in read_rows(str(written), RowReport())] == [
            row.conversation for row in read_rows(str(data), RowReport())
        ]


def test_files_of_every_kind_are_written_as_they_were(server: JudgeServer, tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    rows = [ROWS["dolly"], {**ROWS["dolly"], "response": C}]
    (tmp_path / "list.json").write_text(json.dumps(rows))
    (tmp_path / "data.json").write_text(json.dumps({"version": 2, "data": rows}))
    (tmp_path / "single.json").write_text(json.dumps(ROWS["chat"], indent=2))
    (tmp_path / "zipped.jsonl.gz").write_bytes(
        gzip.compress("".join(json.dumps(r) + "\n" for r in rows).encode())
    )
    table = pyarrow.table(
        {**{key: [row[key] for row in rows] for key in rows[0]}, "number": pyarrow.array([1, 2], "int16")}
    )
    pyarrow.parquet.write_table(table, tmp_path / "table.parquet")
    for name, delimiter in (("commas.csv", ","), ("points.csv", ";"), ("tabs.tsv", "\t")):
        with (tmp_path / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    flags = ["--to", "fr", "--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    assert translate(*sorted(tmp_path.glob("*.*")), *flags) == 0
    out = tmp_path / "out"

    assert [row["response"] for row in json.loads((out / "list.fr.json").read_text())] == [B, C]
    document = json.loads((out / "data.fr.json").read_text())
    assert document["version"] == 2
    assert [row["response"] for row in document["data"]] == [B, C]
    assert json.loads((out / "single.fr.json").read_text()) == ROWS["chat"]
    zipped = [
        json.loads(line) for line in gzip.decompress((out / "zipped.fr.jsonl.gz").read_bytes()).splitlines()
    ]
    assert [row["id"] for row in zipped] == ["zipped-1", "zipped-2"]
    written = pyarrow.parquet.read_table(out / "table.fr.parquet")
    assert written.schema.field("number").type == "int16"
    assert written.column_names[: len(table.column_names)] == table.column_names
    assert written.to_pylist()[1]["quality"] == []
    assert (
        (out / "points.fr.csv")
        .read_text()
        .splitlines()[0]
        .startswith("instruction;context;response;category;id")
    )
    for name in ("commas.fr.csv", "points.fr.csv", "tabs.fr.tsv", "table.fr.parquet", "list.fr.json"):
        read = [row.conversation[-1].content for row in read_rows(str(out / name), RowReport())]
        assert read == [B, C]


def test_translations_inside_the_folder_of_the_data_are_no_data(server: JudgeServer, tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text(json.dumps(ROWS["dolly"]) + "\n")
    flags = ["--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    for _ in range(2):
        assert translate(tmp_path, "--to", "fr,ru", *flags) == 0
        names = sorted(path.name for path in (tmp_path / "out").iterdir())
        assert names == [
            "calls.jsonl", "d.fr.jsonl", "d.ru.jsonl", "quality.jsonl", "summary.json", "translate.json",
        ]  # fmt: skip
    # Training reads the translations in the folder, and not what lies beside them.
    assert {row.path.name for row in read_rows(str(tmp_path / "out"), RowReport())} == {
        "d.fr.jsonl",
        "d.ru.jsonl",
    }


def test_columns_of_the_users_are_kept(server: JudgeServer, tmp_path: Path) -> None:
    data = tmp_path / "d.jsonl"
    row = {**ROWS["dolly"], "id": 5, "quality": "high", "engine": "mine", "language": "de"}
    data.write_text(json.dumps(row) + "\n")
    flags = ["--to", "fr", "--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    assert translate(data, *flags) == 0
    assert lines(tmp_path / "out" / "d.fr.jsonl") == [{**row, "translated_from": "en"}]
    # A translated file may be translated on; then the marks are those of the second engine.
    data.write_text(
        json.dumps({**ROWS["dolly"], "id": 5, "language": "en", "translated_from": "de", "engine": "x"})
    )
    assert translate(data, *flags[:-1], tmp_path / "second") == 0
    (written,) = lines(tmp_path / "second" / "d.fr.jsonl")
    assert (written["translated_from"], written["engine"], written["language"]) == ("en", "openai:m", "fr")


def test_named_columns_are_translated_and_keep_their_names(server: JudgeServer, tmp_path: Path) -> None:
    data = tmp_path / "d.csv"
    table = '\ufeffn;Domanda;Risposta{}\r\n1;What is a dog?;It is an animal.{}\r\n2;42;"It\r\nbarks."{}\r\n'
    data.write_text(table.format("", "", ""), encoding="utf-8", newline="")
    flags = ["--to", "fr", "--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    named = ["--columns", "prompt=Domanda,completion=Risposta"]
    assert translate(data, *flags) == 2
    assert translate(data, *flags, *named) == 0
    # The mark, the semicolons and the line ends are those of the file.
    marks = (";id;language;translated_from;engine;quality", ";d-1;fr;en;openai:m;", ";d-2;fr;en;openai:m;")
    assert (tmp_path / "out" / "d.fr.csv").read_bytes().decode() == table.format(*marks)
    # Other columns than before are another translation.
    assert translate(data, *flags, "--columns", "text=Risposta") == 2


@pytest.mark.parametrize(
    ("columns", "row", "expected"),
    [
        ({"response": "risposta.it"}, {"instruction": A, "risposta": {"it": B, "de": C}, "n": 1},
         {"instruction": A.upper(), "risposta": {"it": B.upper(), "de": C}, "n": 1}),
        ({"messages": "chats.0"}, {"chats": [ROWS["chat"], [A]], "text": C},
         {"chats": [[{**turn, "content": turn["content"].upper()} for turn in ROWS["chat"]], [A]], "text": C}),
        ({"output": "a"}, {"instruction": A, "output": C, "a": B},
         {"instruction": A.upper(), "output": C, "a": B.upper()}),
    ],
)  # fmt: skip
def test_columns_lead_into_objects_and_lists(
    columns: dict[str, str], row: dict[str, Any], expected: dict[str, Any]
) -> None:
    before = json.dumps(row)
    assert map_texts(row, lambda name, text: text.upper(), columns) == expected
    assert json.dumps(row) == before


def test_files_whose_translations_would_have_one_name_are_refused(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    for name in ("d.jsonl", "d.en.jsonl"):
        (tmp_path / name).write_text(json.dumps(ROWS["dolly"]) + "\n")
    flags = ["--to", "fr", "--engine", "openai:m", "--base-url", server.url, "--out", tmp_path / "out"]
    assert translate(tmp_path / "d.jsonl", tmp_path / "d.en.jsonl", *flags) == 2
    assert "would have the same name" in capsys.readouterr().err
    # The same file twice is one.
    assert translate(tmp_path / "d.jsonl", tmp_path / "*d.jsonl", *flags) == 0
    assert len(lines(tmp_path / "out" / "d.fr.jsonl")) == 1
