"""Odd and hostile files and folders: what is data is read, the rest is refused by name in one line."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.odd_data import ANSWER, USER, read_conversations, refusal, write

from xltjax import miniature
from xltjax.common.errors import UserError
from xltjax.data.conversations import Message
from xltjax.data.corpora import load_corpora
from xltjax.data.formats import read_rows
from xltjax.data.reading.files import find_files
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.miniature import build
from xltjax.training.config import TrainConfig

# Files and folders


def test_documents_with_data_and_tables_with_a_header_are_read(tmp_path: Path) -> None:
    expected = [(USER, ANSWER), (Message("user", 'say "x",\nplease'), Message("assistant", "x" * 200_000))]
    rows = [{"instruction": q.content, "response": a.content} for q, a in expected]
    for name, text in {
        "a.json": json.dumps({"version": 1, "data": rows}),
        "b.json": json.dumps({"data": rows}, indent=1),
        "c.jsonl": json.dumps({"data": rows}),
    }.items():
        (tmp_path / name).write_text(text)
        assert read_conversations(str(tmp_path / name)) == expected
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row.values()) for row in rows]
    text = "\ufeffinstruction,response\r\n" + "\r\n".join(quoted) + "\r\n"
    (tmp_path / "d.csv").write_text(text, encoding="utf-8", newline="")
    (tmp_path / "d.tsv.gz").write_bytes(
        gzip.compress(text.replace('","', '"\t"').replace("n,r", "n\tr").encode())
    )
    for name in ("d.csv", "d.tsv.gz"):
        assert read_conversations(str(tmp_path / name)) == expected


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (
        "data/train-00000.jsonl",
        "data/train-00001.jsonl",
        "data/test-00000.jsonl",
        "validation.jsonl",
    ):
        write(tmp_path / name, {"text": name})
    return tmp_path


def texts(source: Path, *options: str) -> list[str]:
    rows = read_rows(str(source), RowReport(), *options)
    return [row.conversation[0].content for row in rows]


def test_a_folder_gives_its_training_split_and_says_what_it_leaves(
    folder: Path, messages: Callable[[], list[str]]
) -> None:
    report = RowReport()
    read = [row.conversation[0].content for row in read_rows(str(folder), report)]
    report.log()
    assert read == ["data/train-00000.jsonl", "data/train-00001.jsonl"]
    assert messages() == [
        f"notice: {folder}: files of other splits are not read: test-00000.jsonl, validation.jsonl"
    ]
    assert texts(folder, "test") == ["data/test-00000.jsonl"]
    assert texts(folder, "val") == texts(folder, "validation") == texts(folder, "", "validation")
    assert texts(folder / "data/test-00000.jsonl") == ["data/test-00000.jsonl"]  # it is named itself
    with pytest.raises(UserError, match=r"has no split 'holdout', but test, train, validation; choose"):
        texts(folder, "holdout")


def test_validation_data_is_the_validation_split_where_there_is_one(tmp_path: Path) -> None:
    for names, expected in (
        (("train", "valid", "test"), "valid"), (("train", "test"), "test"), (("train", "more"), "more"),
        (("train",), "train"),
    ):  # fmt: skip
        folder = tmp_path / "-".join(names[::-1])
        for name in names:
            write(folder / f"{name}.jsonl", {"text": name})
        assert texts(folder, "", "validation") == [expected]


def test_a_folder_without_a_training_split_gives_no_other_one(tmp_path: Path) -> None:
    write(tmp_path / "a" / "alpaca.jsonl", {"text": "alpaca"})
    write(tmp_path / "a" / "dev.jsonl", {"text": "dev"})
    assert texts(tmp_path / "a") == ["alpaca"]
    write(tmp_path / "b" / "test.jsonl", {"text": "test"})
    with pytest.raises(UserError, match="has no split 'train', but test; choose one with --split"):
        texts(tmp_path / "b")
    assert texts(tmp_path / "b", "test") == ["test"]


@pytest.mark.parametrize(
    "name",
    ["dataset_infos.json", "dataset_info.json", "state.json", "config.json", "tokenizer.json",
     "tokenizer_config.json", "model.safetensors.index.json", "answers.provenance.json", "sub/dataset_infos.json"],
)  # fmt: skip
def test_bookkeeping_beside_data_is_not_read(name: str, tmp_path: Path) -> None:
    data = Path(write(tmp_path / "data.jsonl", {"text": "a"}))
    write(tmp_path / name, {"anything": 1})
    assert find_files(str(tmp_path)) == [data]


def test_the_files_of_a_run_are_never_read_as_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data.jsonl", {"text": "a"})
    run = tmp_path / "runs" / "first"
    for name in (
        "metrics.jsonl",
        "responses.jsonl",
        "provenance.json",
        "base/config.json",
        "scores/scores.jsonl",
    ):
        write(run / name, {"step": 1})
    (run / "config.yaml").write_text("model: m\n")
    write(tmp_path / "answers.jsonl", {"instruction": "q", "response": "a"})  # of `generate`
    write(tmp_path / "answers.provenance.json", {"settings": {}})
    monkeypatch.chdir(tmp_path)
    assert find_files(".") == find_files("**/*.json*") == [Path("data.jsonl")]
    assert find_files("answers.jsonl") == [Path("answers.jsonl")]  # it is named itself
    with pytest.raises(UserError, match="holds no data files"):
        find_files("runs/first")


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "a.jsonl", {"text": "a"})
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "data" / "again").symlink_to(tmp_path / "data")
    assert texts(tmp_path / "data") == ["a"]


# Thirty files


ODD: dict[str, bytes] = {
    "empty.jsonl": b"",
    "blank.jsonl": b"\n \n\n",
    "null.json": b"null",
    "number.json": b"17",
    "string.jsonl": b'"only text"\n',
    "emptylist.json": b"[]",
    "emptyobject.json": b"{}",
    "emptydata.json": b'{"data": []}',
    "nulls.jsonl": b'{"instruction": null, "response": null}\n',
    "torn.jsonl": b'{"text": "a"}\n{"text": "b',
    "torn.json": b'[{"text": "a"},\n',
    "binary.jsonl": bytes(range(256)),
    "latin.jsonl": '{"text": "Où"}'.encode("latin-1"),
    "utf16.jsonl": '{"text": "a"}'.encode("utf-16"),
    "nul.jsonl": b'{"text": "a\x00b"}\n',
    "escapednul.jsonl": b'{"text": "a\\u0000b"}\n',
    "surrogate.jsonl": b'{"text": "\\ud83d"}\n',
    "surrogatekey.jsonl": b'{"\\ud83d\\n": "a"}\n',
    "deep.json": b"[" * 50_000,
    "deepvalue.jsonl": b'{"text": ' + b"[" * 900 + b"]" * 900 + b"}",
    "longnumber.jsonl": b'{"text": ' + b"7" * 6000 + b"}",
    "huge.jsonl": json.dumps({"text": "word " * 40_000}).encode(),
    "hugeword.jsonl": json.dumps({"instruction": "x" * 100_000, "response": "y"}).encode(),
    "nan.jsonl": b'{"messages": [{"role": "user", "content": NaN}]}',
    "system.jsonl": b'{"messages": [{"role": "system", "content": "s"}]}',
    "pairs.jsonl": b'{"prompt": "q", "chosen": "a", "rejected": "b"}',
    "toolcall.jsonl": b'{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, '
    b'"tool_calls": [{"id": "1"}]}]}',
    "header.csv": b"instruction,response\n",
    "cells.csv": b"instruction,response\nq,a,b\n",
    "semicolon.csv": b"instruction;response\nq;a\n",
    "quote.csv": b'instruction,response\n"q,a\n',
    "bytes.csv": b"\xff\xfe\x00a,b\n",
    "notparquet.parquet": b"PAR1 no",
    "notgzip.jsonl.gz": b'{"text": "a"}',
    "halfgzip.jsonl.gz": gzip.compress(b'{"text": "a"}' * 99, mtime=0)[:-9],
    "listoflists.json": b"[[[]], [[]]]",
    "unknown.txt": b"Once upon a time\n",
    "marks.jsonl": '{"text": "\U000f0000\ufdd0\u2028"}'.encode(),
}
READABLE = {"semicolon.csv", "escapednul.jsonl", "huge.jsonl", "hugeword.jsonl", "marks.jsonl"}


@pytest.mark.parametrize("name", ODD)
def test_odd_files_are_read_or_refused_by_name_in_one_line(
    name: str, tmp_path: Path, tokenizer: ChatTokenizer
) -> None:
    path = tmp_path / name
    path.write_bytes(ODD[name])
    if name in READABLE:
        load_corpora([str(path)], (), tokenizer, 10**6)
        return
    for report in (RowReport(), RowReport("skip")):
        said = refusal(path, tokenizer, 2048, report)
        assert said or report.skipped  # where bad rows are skipped, some files have good ones besides
        assert len(said) < 900


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torn.jsonl", "torn.jsonl, line 2: not JSON (Unterminated string starting at)"),
        ("surrogatekey.jsonl", "surrogatekey.jsonl, line 1: the row has the keys"),
        ("emptydata.json", "emptydata.json holds no rows"),
    ],
)
def test_the_command_ends_with_one_line(name: str, reason: str, tmp_path: Path, chat_model: Path) -> None:
    (tmp_path / name).write_bytes(ODD[name])
    command = [
        sys.executable,
        "-m",
        "xltjax.train",
        "--model",
        str(chat_model),
        "--data",
        name,
        "--out",
        "run",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert reason in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "run").exists()


# The miniature's data


def test_the_data_of_the_miniature_has_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(build, "ensure", lambda: tmp_path / "built")
    config = TrainConfig(
        data=("miniature", "miniature/small", "miniature/ru", "mine/small"), validation_data=("miniature/fr",)
    )
    config = miniature.located(config)
    folder = tmp_path / "built" / "instructions"
    assert config.data == (*(str(folder / f"{name}.jsonl") for name in ("en", "small", "ru")), "mine/small")
    assert config.validation_data == (str(folder / "fr.jsonl"),)
    with pytest.raises(UserError, match="the miniature has no data 'smal'; did you mean 'small'"):
        miniature.data_path("miniature/smal")
    write(tmp_path / "miniature" / "own.jsonl", {"text": "a"})
    assert miniature.data_path("miniature/own.jsonl") == "miniature/own.jsonl"
