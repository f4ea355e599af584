"""Instruction data on disk: every accepted form, and one-line errors for the rest."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
from helpers.odd_data import read_conversations
from hypothesis import example, given, settings
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.reading.files import find_files

DOLLY = {"instruction": "Add.", "context": "1 1", "response": "2", "category": "closed_qa"}
ADDED = (Message("user", "Add.\n1 1"), Message("assistant", "2"))
ASKED = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
ANSWERED = (Message("user", "q"), Message("assistant", "a"))


def write(path: Path, *rows: Any) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def mistake(source: str) -> str:
    with pytest.raises(UserError) as raised:
        read_conversations(source)
    assert len(str(raised.value).splitlines()) == 1
    return str(raised.value)


def read_or_refuse(path: Path) -> list[Conversation]:
    """What the file holds; nothing when it is refused in one line that names it."""
    try:
        return read_conversations(str(path))
    except UserError as problem:
        refused = str(problem)
    assert len(refused.splitlines()) == 1
    assert path.name in refused
    return []


# Rows


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (DOLLY, ADDED),
        ({**DOLLY, "context": ""}, (Message("user", "Add."), ADDED[1])),
        ({**DOLLY, "context": None}, (Message("user", "Add."), ADDED[1])),
        ({"instruction": "Add.", "response": "2"}, (Message("user", "Add."), ADDED[1])),
        ({"instruction": "Add.", "input": "1 1", "output": "2"}, ADDED),
        ({"instruction": "q", "output": "a", "generator": "m", "dataset": "d"}, ANSWERED),
        ({"conversations": ["q", "a"], "source": "multi_turn"}, ANSWERED),
        ({"conversations": ["q", "a", "q", "a"]}, ANSWERED * 2),
        ({"conversations": ["q", "a", "and then?"]}, ANSWERED),
        ({"conversations": ["q"]}, None),
        ({"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, ANSWERED),
        (
            {"conversations": [{"from": r, "value": r} for r in ("system", "human", "gpt")]},
            (Message("system", "system"), Message("user", "human"), Message("assistant", "gpt")),
        ),
        ({"messages": ASKED, "id": 7}, ANSWERED),
        ({"messages": [*ASKED, ASKED[0]]}, ANSWERED),
        ({"messages": ASKED[:1]}, None),
        ({"messages": [{"role": "system", "content": "s"}]}, None),
        (ASKED, ANSWERED),
        ({"text": " as it stands\n"}, (Message("text", " as it stands\n"),)),
        ({"instruction": "", "response": "a"}, (Message("user", ""), Message("assistant", "a"))),
        ({"instruction": "q", "response": " \n"}, None),
        ({"text": " \n"}, None),
    ],
)
def test_rows_are_recognized_by_their_keys(row: Any, expected: Conversation | None, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", row)
    assert read_conversations(source) == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"question": "q", "answer": "a"}, r"has the keys answer, question; accepted: Dolly \(instruction"),
        ({}, r"has the keys \(none\)"),
        ({"instruction": "q"}, "has the keys instruction"),
        ({"instruction": None, "response": "a"}, "expected text, found null"),
        ({"instruction": "q", "response": None}, "expected text, found null"),
        ({"instruction": "q", "response": 2}, "expected text, found int"),
        ({"instruction": "q", "context": 0, "response": "a"}, "expected text, found int"),
        ({"text": ["a"]}, "expected text, found list"),
        ({"messages": None}, "messages must be a list of {role, content}"),
        ({"messages": []}, "messages is an empty list"),
        ({"messages": [{"role": "user"}]}, "turn 1: expected text, found null"),
        ({"messages": [*ASKED, "a"]}, "turn 1: expected text, found dict"),
        ({"conversations": []}, "conversations is an empty list"),
        ({"messages": [{"role": "user", "content": None}]}, "expected text, found null"),
        (
            {"messages": [ASKED[0], {"role": "tool", "content": ""}, ASKED[1]]},
            "a tool turn follows a question",
        ),
        ({"messages": [{"role": ["x"], "content": ""}]}, "role .* is not system, user, assistant or tool"),
        ({"messages": [*ASKED, {"role": "system", "content": "s"}]}, "a system prompt after the first turn"),
        ({"conversations": "q"}, "conversations must be a list of"),
        ({"conversations": ["q", {"from": "gpt"}]}, "expected text, found dict"),
        ({"conversations": [{"from": "human", "value": None}]}, "expected text, found null"),
        ({"conversations": [{"from": "bing", "value": "q"}]}, "role 'bing' is not"),
        (["q", "a"], "is not a JSON object; accepted: Dolly"),
        ("q", "is not a JSON object"),
        (None, "is not a JSON object"),
    ],
)
def test_other_rows_are_refused_by_file_and_line(row: Any, reason: str, tmp_path: Path) -> None:
    source = write(tmp_path / "d.jsonl", DOLLY, row)
    with pytest.raises(UserError, match=rf"^{tmp_path}/d\.jsonl, line 2(:| ).*{reason}"):
        read_conversations(source)


KEYS = ["instruction", "response", "output", "context", "input", "text", "messages", "conversations"]
KEYS += ["role", "content", "from", "value", "other"]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["user", "assistant", "system", "human"]),
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(st.lists(JSON, min_size=1, max_size=3), st.sampled_from([".jsonl", ".json"]), st.booleans())
def test_any_json_is_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, rows: list[Any], suffix: str, as_list: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / f"any{suffix}"
    path.write_text(json.dumps(rows) if as_list else "\n".join(map(json.dumps, rows)))
    for conversation in read_or_refuse(path):
        roles = [message.role for message in conversation if message.role != "system"]
        assert roles in (["user", "assistant"] * (len(roles) // 2), ["text"])
        assert all(isinstance(message.content, str) for message in conversation)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.sampled_from(["d.jsonl", "d.json", "d.json.gz", "d.parquet", "d.txt"]))
@example(b"[" * 100_000, "d.json")
@example(b'{"a": ' * 100_000, "d.jsonl")
@example(b'{"instruction": ' + b"9" * 5000 + b"}", "d.jsonl")
@example(b'{"text": "\xff"}', "d.jsonl")
@example(gzip.compress(b'{"text": "a"}', mtime=0)[:-6], "d.json.gz")
@example(gzip.compress(b'{"text": "a"}', mtime=0)[:12] + b"xxxxxxxxxxxx", "d.json.gz")
def test_any_bytes_are_read_or_refused_in_one_line(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, name: str
) -> None:
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(data)
    read_or_refuse(path)


# Files


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (json.dumps(DOLLY) + "\n\n" + json.dumps(DOLLY), [ADDED, ADDED]),
        (json.dumps([DOLLY, DOLLY]), [ADDED, ADDED]),
        (json.dumps([DOLLY, DOLLY], indent=2), [ADDED, ADDED]),
        (json.dumps(DOLLY, indent=2), [ADDED]),
        (json.dumps(ASKED), [ANSWERED]),
        (json.dumps(ASKED, indent=1), [ANSWERED]),
        (json.dumps([ASKED, ASKED], indent=1), [ANSWERED, ANSWERED]),
        (json.dumps(ASKED) + "\n" + json.dumps(ASKED), [ANSWERED, ANSWERED]),
        ("\ufeff" + json.dumps(DOLLY) + "\r\n", [ADDED]),
        ('{"instruction": "q\u2028", "response": "a"}', [(Message("user", "q\u2028"), ANSWERED[1])]),
    ],
)
def test_json_holds_lines_a_list_a_row_or_a_chat(
    text: str, expected: list[Conversation], tmp_path: Path
) -> None:
    for name, data in (("d.json", text.encode()), ("d.json.gz", gzip.compress(text.encode(), mtime=0))):
        (tmp_path / name).write_bytes(data)
        assert read_conversations(str(tmp_path / name)) == expected


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("d.jsonl", b'{"text": "a"}\n\noops\n', r"d.jsonl, line 3: not JSON \(Expecting value\)"),
        ("d.json", b'[{"text": "a"},\n {"text"}]', r"d.json, line 2: not JSON \(Expecting ':' delimiter\)"),
        ("d.json", b"instruction,response\n", r"d.json, line 1: not JSON"),
        ("d.csv", b"instruction,response\n", "d.csv holds no rows"),
        ("d.csv", b"text,text\na,b\n", "line 1: the header names the column 'text' twice"),
        ("d.csv", b"instruction,response\nq\n", "line 2: 1 cells, but the header names 2 columns"),
        ("d.tsv", b"instruction\tresponse\nq\ta\tb\n", "line 2: 3 cells, but the header names 2 columns"),
        ("d.json", b"[" * 100_000, r"nested too deeply"),
        ("d.jsonl", b'{"text": ' + b"9" * 5000 + b"}", r"a number is too long"),
        ("d.jsonl", b"", "holds no rows"),
        ("d.jsonl", b" \n\n", "holds no rows"),
        ("d.json", b"[]", "holds no rows"),
        ("d.json", "Où".encode("latin-1"), "is not UTF-8 text"),
        ("d.jsonl.gz", b'{"text": "a"}', "is not a complete gzip file"),
        ("d.jsonl.gz", gzip.compress(b'{"text": "a"}', mtime=0)[:-9], "is not a complete gzip file"),
        ("d.parquet", b'{"text": "a"}', "is not a Parquet file"),
    ],
)
def test_files_that_cannot_be_read_are_named(name: str, data: bytes, reason: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UserError, match=reason):
        read_conversations(str(tmp_path / name))


def test_parquet_gives_the_rows_of_its_columns(tmp_path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    path = tmp_path / "d.parquet"
    plain = {"instruction": "Add.", "response": "2", "context": None}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([DOLLY, plain]), path)
    assert read_conversations(str(path)) == [ADDED, (Message("user", "Add."), ADDED[1])]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"messages": ASKED}]), path)
    assert read_conversations(str(path)) == [ANSWERED]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([{"text": "a"}, {"text": None}]), path)
    assert mistake(str(path)).startswith(f"{path}, row 2: text: expected text, found null;")


# Sources


def test_a_directory_is_read_in_the_order_of_its_names(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/z.json", "a.jsonl.gz"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        data = json.dumps({"text": name}).encode()
        (tmp_path / name).write_bytes(gzip.compress(data, mtime=0) if name.endswith("gz") else data)
    (tmp_path / "README.md").write_text("not data")
    (tmp_path / ".cache").mkdir()
    write(tmp_path / ".cache" / "hidden.json", {"text": "hidden"})
    write(tmp_path / "._b.jsonl", {"text": "hidden"})
    texts = [message.content for (message,) in read_conversations(str(tmp_path))]
    assert sorted(texts) == ["a.jsonl.gz", "a/z.json", "b.jsonl"]
    assert texts == [str(path.relative_to(tmp_path)) for path in find_files(str(tmp_path))]
    assert find_files(str(tmp_path)) == find_files(str(tmp_path))


def test_a_pattern_names_every_file_it_matches(tmp_path: Path) -> None:
    write(tmp_path / "en.jsonl", DOLLY)
    write(tmp_path / "fr.jsonl", DOLLY)
    write(tmp_path / "notes.txt", "no")
    assert [path.name for path in find_files(f"{tmp_path}/*.jsonl")] == ["en.jsonl", "fr.jsonl"]
    assert mistake(f"{tmp_path}/*.json").startswith(f"{tmp_path}/*.json holds no data files (.json,")
    literal = tmp_path / "odd[1].jsonl"
    assert read_conversations(write(literal, DOLLY)) == [ADDED]


def test_sources_that_are_not_there_are_named(tmp_path: Path) -> None:
    assert mistake(f"{tmp_path}/none.jsonl") == f"data file {tmp_path}/none.jsonl does not exist"
    assert mistake("./folder/data") == "data file ./folder/data does not exist"
    assert mistake("folder/data.jsonl") == "data file folder/data.jsonl does not exist"
    assert mistake("dolly") == "data file dolly does not exist"
    assert "holds no data files" in mistake(str(tmp_path))


def test_a_dataset_id_without_a_network_is_one_line() -> None:
    # conftest takes the hub offline
    for dataset in ("GAIR/lima", "org/data-v1.1"):
        assert mistake(dataset).startswith(
            f"{dataset} is neither a file nor a Hugging Face dataset that can be downloaded: Cannot find"
        )
    assert "can be downloaded: Repo id must" in mistake("no spaces/please")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train.jsonl", "test.jsonl"], ["train.jsonl"]),
        (["data/train-00000-of-00001.parquet", "data/test-0.parquet"], ["data/train-00000-of-00001.parquet"]),
        (["databricks-dolly-15k.jsonl", "README.md"], ["databricks-dolly-15k.jsonl"]),
        (["constraints.json", "b.json"], ["b.json", "constraints.json"]),
    ],
)
def test_a_dataset_gives_its_training_split(
    names: list[str], expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / ".cache" / "trained" / "snapshot"  # the hub's cache is hidden; the folder is no split
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    asked: dict[str, Any] = {}

    def snapshot_download(name: str, **options: Any) -> str:
        asked.update(options, name=name)
        return str(root)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert [str(path.relative_to(root)) for path in find_files("GAIR/lima")] == expected
    assert (asked["name"], asked["repo_type"]) == ("GAIR/lima", "dataset")
