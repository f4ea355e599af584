"""Odd and hostile rows: every one is learned as it says, or named."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.odd_data import ANSWER, ASKED, USER, read_conversations, refusal, turn, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.corpora import load_corpora
from xltjax.data.formats import read_rows
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer

# Columns that change the meaning of a row


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"instruction": "q", "output": "a", "system": "s"}, (Message("system", "s"), USER, ANSWER)),
        ({"instruction": "q", "output": "a", "system": "", "history": []}, (USER, ANSWER)),
        ({"instruction": "q", "output": "a", "system": None, "history": None}, (USER, ANSWER)),
        (
            {"instruction": "q", "input": "", "output": "a", "history": [["q1", "a1"], ["q2", "a2"]]},
            (Message("user", "q1"), Message("assistant", "a1"), Message("user", "q2"), Message("assistant", "a2"),
             USER, ANSWER),
        ),
        ({"instruction": "q", "response": "a", "system_prompt": "s"}, (Message("system", "s"), USER, ANSWER)),
        ({"instruction": "q", "input": "i", "response": "a"}, (Message("user", "q\ni"), ANSWER)),
        ({"instruction": "q", "context": "i", "output": "a"}, (Message("user", "q\ni"), ANSWER)),
        ({"conversations": ["q", "a"], "system": "s"}, (Message("system", "s"), USER, ANSWER)),
        (
            {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], "system": "s"},
            (Message("system", "s"), USER, ANSWER),
        ),
        ({"messages": [turn("system", "s"), *ASKED], "system": "s"}, (Message("system", "s"), USER, ANSWER)),
        ({"messages": [turn("system", "t"), *ASKED], "system": "s"}, (Message("system", "s\n\nt"), USER, ANSWER)),
        ({"conversations": ASKED}, (USER, ANSWER)),
        ({"messages": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]}, (USER, ANSWER)),
        ({"prompt": "q", "completion": "a"}, (USER, ANSWER)),
        ({"prompt": ASKED[:1], "completion": ASKED[1:]}, (USER, ANSWER)),
        ({"prompt": "q", "completion": ASKED[1:]}, (USER, ANSWER)),
        (
            {"prompt": [*ASKED, turn("user", "r")], "completion": [turn("assistant", "b")]},
            (USER, Message("assistant", "a", learned=False), Message("user", "r", learned=False),
             Message("assistant", "b")),
        ),
        ({"prompt": "the first words", "prompt_id": "x", "messages": ASKED}, (USER, ANSWER)),
        ({"instruction": None, "response": None, "messages": ASKED}, (USER, ANSWER)),
        ({"instruction": "q", "response": "a", "messages": None}, (USER, ANSWER)),
        ({"messages": json.dumps(ASKED)}, (USER, ANSWER)),
        (
            {"messages": [turn("user", [{"type": "text", "text": "q"}]), ASKED[1]]},
            (USER, ANSWER),
        ),
        (
            {"messages": [turn("user", [{"type": "text", "text": "q"}, {"type": "text", "text": "!"}]), ASKED[1]]},
            (Message("user", "q!"), ANSWER),
        ),
        ({"messages": [turn("developer", "s"), *ASKED]}, (Message("system", "s"), USER, ANSWER)),
    ],
)  # fmt: skip
def test_columns_that_change_the_meaning_are_honored(
    row: Any, expected: Conversation, tmp_path: Path
) -> None:
    (conversation,) = read_conversations(write(tmp_path / "d.jsonl", row))
    assert [(m.role, m.content) for m in conversation] == [(m.role, m.content) for m in expected]
    answers = [m.learned for m in conversation if m.role == "assistant"]
    assert answers == [m.learned for m in expected if m.role == "assistant"]


@pytest.mark.parametrize("flag", [{"weight": 0}, {"weight": 0.0}, {"train": False}, {"training": False}])
def test_a_turn_of_weight_0_is_read_and_not_learned(
    flag: dict[str, Any], tmp_path: Path, tokenizer: ChatTokenizer
) -> None:
    chat = [*ASKED, turn("user", "r"), turn("assistant", "b")]
    (plain,) = load_corpora([write(tmp_path / "a.jsonl", {"messages": chat})], (), tokenizer, 100)[0]
    (kept,) = load_corpora(
        [write(tmp_path / "b.jsonl", {"messages": [chat[0], {**chat[1], **flag}, *chat[2:]]})],
        (),
        tokenizer,
        100,
    )[0]
    whole, part = plain.examples[0], kept.examples[0]
    np.testing.assert_array_equal(part.ids, whole.ids)
    second = len(tokenizer.prompt((USER, ANSWER, Message("user", "r"))))
    np.testing.assert_array_equal(part.loss_mask[second:], whole.loss_mask[second:])
    assert whole.loss_mask[:second].any()
    assert not part.loss_mask[:second].any()


def test_what_is_not_honored_is_named_once_per_file_with_a_count(
    tmp_path: Path, tokenizer: ChatTokenizer, messages: Callable[[], list[str]]
) -> None:
    tools = [{"type": "function", "function": {"name": "add"}}]
    row = {"messages": ASKED, "tools": tools}
    source = write(
        tmp_path / "d.jsonl", row, {**row, "tools": json.dumps(tools)}, {"messages": ASKED, "tools": "[]"},
        {"messages": ASKED, "images": ["a.png"]}, {"messages": [ASKED[0], {**ASKED[1], "reasoning_content": "hm"}]},
        {"messages": [turn("user", "one"), *ASKED]}, {"messages": [turn("assistant", "Hello!"), *ASKED]},
        {"messages": [*ASKED, turn("user", "q"), turn("assistant", ""), *ASKED]},
    )  # fmt: skip
    report = RowReport()
    (corpus,), _ = load_corpora([source], (), tokenizer, 100, report=report)
    report.log()
    assert len(corpus.examples) == 8
    for example in corpus.examples[:5]:
        np.testing.assert_array_equal(example.ids, corpus.examples[0].ids)
    notes = [message.removeprefix(f"warning: {source}: ") for message in messages()]
    assert sorted(notes) == [
        "1 row: empty answers among others are not learned",
        "1 row: images are not read",
        "1 row: reasoning beside the content of turns is not read",
        "1 row: turns before the first question are dropped",
        "1 row: turns of one role in a row are joined",
        "2 rows: tools are not read, as the chat template 'llama-2' has none",
    ]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"instruction": "q", "response": ""}, "an empty answer"),
        ({"instruction": "q", "output": " \n\t"}, "an empty answer"),
        ({"text": ""}, "an empty text"),
        ({"prompt": "q", "completion": ""}, "an empty answer"),
        ({"prompt": "q", "completion": "no", "label": False}, "an answer labeled as bad"),
        ({"messages": [ASKED[0], turn("assistant", [{"type": "text", "text": ""}])]}, "an empty answer"),
        ({"messages": ASKED[:1]}, "no answer"),
        ({"messages": [turn("assistant", "Hello!")]}, "no answer"),
        (
            {"messages": [ASKED[0], {**ASKED[1], "weight": 0}]},
            "no answer is learned, since all have weight 0 or train false",
        ),
    ],
)
def test_rows_without_anything_to_learn_are_left_out_and_counted(
    row: Any, reason: str, tmp_path: Path, tokenizer: ChatTokenizer, messages: Callable[[], list[str]]
) -> None:
    source = write(tmp_path / "d.jsonl", {"messages": ASKED}, row, row)
    report = RowReport()
    (corpus,), _ = load_corpora([source], (), tokenizer, 100, report=report)
    assert (len(corpus.examples), corpus.names) == (1, [f"{source}, line 1"])
    report.log()
    assert [message.replace("...", "0") for message in messages()] == [
        f"warning: {source}: skipped 2 rows: {reason}"
    ]
    report.write(tmp_path / "skipped.jsonl")
    listed = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert listed == [{"row": f"{source}, line {line}", "reason": reason} for line in (2, 3)]


# The rule for the order of turns


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ("uua", ["user 0\n\n1", "assistant 2"]),
        ("uaaua", ["user 0", "assistant 1\n\n2", "user 3", "assistant 4"]),
        ("aua", ["user 1", "assistant 2"]),
        ("saua", ["system 0", "user 2", "assistant 3"]),
        ("ssua", ["system 0\n\n1", "user 2", "assistant 3"]),
        ("atua", ["user 2", "assistant 3"]),
        ("uau", ["user 0", "assistant 1"]),
        ("uatta", ["user 0", "assistant 1", "tool 2", "tool 3", "assistant 4"]),
        ("uatua", ["user 0", "assistant 1", "tool 2", "user 3", "assistant 4"]),
        ("uat", ["user 0", "assistant 1"]),
        ("uta", "a tool turn follows a question"),
        ("uasua", "a system prompt after the first turn"),
    ],
)
def test_turns_are_joined_and_dropped_by_the_documented_rule(
    roles: str, expected: list[str] | str, tmp_path: Path
) -> None:
    names = {"u": "user", "a": "assistant", "s": "system", "t": "tool"}
    chat = [turn(names[role], str(number)) for number, role in enumerate(roles)]
    source = write(tmp_path / "d.jsonl", {"messages": chat})
    if isinstance(expected, str):
        with pytest.raises(UserError, match=expected):
            read_conversations(source)
    else:
        (conversation,) = read_conversations(source)
        assert [f"{message.role} {message.content}" for message in conversation] == expected


# Bad rows


BAD = [
    ({"instruction": "q", "response": None}, "response: expected text, found null"),
    ({"messages": []}, "messages is an empty list"),
    ({"messages": [ASKED[0], turn("tool", "4"), ASKED[1]]}, "a tool turn follows a question"),
    ({"messages": [*ASKED, turn("tool", "4"), ASKED[1]]}, "no form for a turn of the role tool"),
    ({"instruction": "smile \ud83d", "response": "a"}, r"half of a surrogate pair, at 'smile \\ud83d'"),
    ({"messages": [ASKED[0], turn("assistant", None, tool_calls=[{"id": 1}])]}, "turn 2 calls tools in tool_calls"),
    ({"messages": [ASKED[0], {**ASKED[1], "weight": 0.5}]}, "turn 2: weight is 0.5; only 0 and 1"),
    ({"messages": [ASKED[0], {**ASKED[1], "train": "no"}]}, "turn 2: train is 'no'"),
    ({"messages": [ASKED[0], {**ASKED[1], "weight": 0}, ASKED[1]]}, "two answers in a row, of which only one"),
    ({"messages": [turn("user", [{"type": "image_url"}]), ASKED[1]]}, "turn 1 has a part of type 'image_url'"),
    ({"messages": [turn("user", [{"type": "text"}]), ASKED[1]]}, "turn 1 has a part of type 'text'"),
    ({"messages": ASKED * 1500}, "messages has 3000 turns"),
    ({"instruction": "q", "output": "a", "history": ["q"]}, "history must be a list of"),
    ({"instruction": "q", "output": "a", "history": [["q", None]]}, "history: expected text, found null"),
    ({"instruction": "q", "output": "a", "system": 7}, "system: expected text, found int"),
    ({"instruction": "q", "output": "a", "response": "b"}, "both a response and an output"),
    ({"messages": ASKED, "tools": {"a": 1}}, "tools must be a list"),
    ({"prompt": "q", "completion": None}, "completion: expected text, found null"),
    ({"prompt": "q", "chosen": "a", "rejected": "b"}, "has the keys chosen, prompt, rejected"),
    ({"\ud83d\n": 1}, "has the keys '.ud83d.n'; accepted"),
    ({"k" * 100_000: 1}, "has the keys 'kkkkk"),
    ({str(i): 1 for i in range(1000)}, r"has the keys 0, .*, \.\.\.; accepted"),
    (3.5, "the row is not a JSON object"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_a_bad_row_stops_by_name_or_is_skipped_and_listed(
    row: Any, reason: str, tmp_path: Path, tokenizer: ChatTokenizer
) -> None:
    source = write(tmp_path / "d.jsonl", {"messages": ASKED}, row, {"messages": ASKED})
    with pytest.raises(UserError, match=reason) as stopped:
        load_corpora([source], (), tokenizer, 100)
    assert str(stopped.value).startswith(f"{source}, line 2: ")
    assert str(stopped.value).endswith("or give --bad-rows skip")
    assert len(str(stopped.value).splitlines()) == 1
    assert len(str(stopped.value)) < 900
    report = RowReport("skip")
    (corpus,), _ = load_corpora([source], (), tokenizer, 100, report=report)
    assert corpus.names == [f"{source}, line 1", f"{source}, line 3"]
    report.write(tmp_path / "skipped.jsonl")
    (listed,) = [json.loads(line) for line in (tmp_path / "skipped.jsonl").read_text().splitlines()]
    assert listed["row"] == f"{source}, line 2"


def test_lines_that_are_not_json_and_rows_of_a_wrong_width_are_bad_rows_too(
    tmp_path: Path, tokenizer: ChatTokenizer, messages: Callable[[], list[str]]
) -> None:
    lines = tmp_path / "d.jsonl"
    lines.write_text(json.dumps({"text": "a"}) + '\n{"text": "b\n' + json.dumps({"text": "c"}) + '\n{"te')
    table = tmp_path / "d.csv"
    table.write_text("text,n\na,1\nb\nc,3\nd,4,5\n")
    for path, kept in ((lines, [1, 3]), (table, [2, 4])):
        with pytest.raises(UserError, match=rf"{path}, line \d: "):
            load_corpora([str(path)], (), tokenizer, 100)
        report = RowReport("skip")
        (corpus,), _ = load_corpora([str(path)], (), tokenizer, 100, report=report)
        assert corpus.names == [f"{path}, line {number}" for number in kept]
        assert len(report.skipped) == 2
        report.log()
    assert sum("skipped" in message for message in messages()) == 3


def test_reasons_are_counted_by_kind_and_few_are_logged(
    tmp_path: Path, messages: Callable[[], list[str]]
) -> None:
    rows = [{"messages": [turn(f"role{n}", "q")]} for n in range(4)] + [{f"k{'x' * n}": 1} for n in range(9)]
    report = RowReport("skip")
    assert list(read_rows(write(tmp_path / "d.jsonl", *rows), report)) == []
    report.log()
    first, *rest = (message.split(": ", 2)[2] for message in messages())
    assert first == "skipped 4 rows: turn ...: role ... is not system, user, assistant or tool"
    assert len(rest) == 5
    assert rest[-1] == "skipped 5 rows for other reasons"


# Any row


def any_rows() -> st.SearchStrategy[list[Any]]:
    """Rows of every format with anything in them, and anything else."""
    text = st.one_of(
        st.text(max_size=8),
        st.sampled_from(
            ["", " ", "\ud83d", "\x00", "</s>", "\U000f0000", "\n", "[]", '[{"a": 1}]', "w" * 20_000]
        ),
    )
    leaf = st.none() | st.booleans() | st.integers() | st.floats() | text
    keys = st.sampled_from(
        [
            "instruction",
            "response",
            "output",
            "context",
            "input",
            "text",
            "messages",
            "conversations",
            "prompt",
            "completion",
            "system",
            "history",
            "tools",
            "data",
            "role",
            "content",
            "from",
            "value",
            "weight",
            "train",
            "tool_calls",
            "type",
            "images",
            "label",
        ]
    )
    role = st.sampled_from(["user", "assistant", "system", "tool", "human", "gpt", "function_call"])
    anything = st.recursive(
        leaf,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | text, inner, max_size=3),
        max_leaves=6,
    )
    content = st.one_of(
        text,
        st.lists(st.fixed_dictionaries({"type": st.just("text") | text, "text": text | leaf}), max_size=2),
    )
    flags = {"weight": leaf, "train": leaf, "tool_calls": anything, "reasoning": anything}
    one_turn = st.fixed_dictionaries({"role": role, "content": content}, optional=flags) | anything
    turns = st.lists(one_turn, max_size=5)
    more = {
        "system": text | leaf,
        "tools": turns | text,
        "history": st.lists(st.lists(text, max_size=2)) | anything,
    }
    row = st.one_of(
        anything,
        turns,
        st.fixed_dictionaries({"messages": turns}, optional=more),
        st.fixed_dictionaries({"conversations": turns | st.lists(text, max_size=4)}, optional=more),
        st.fixed_dictionaries({"instruction": text | leaf, "output": text | leaf}, optional=more),
        st.fixed_dictionaries({"prompt": text | turns, "completion": text | turns}, optional=more),
        st.fixed_dictionaries({"data": st.lists(anything, max_size=3)}),
    )
    return st.lists(row, min_size=1, max_size=3)


def check_rows(rows: list[Any], path: Path, tokenizer: ChatTokenizer) -> None:
    """Rows are learned, or refused in one line that names the file; skipped rows and the others are all rows."""
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    report = RowReport("skip")
    for policy in (RowReport(), report):
        refusal(path, tokenizer, 300, policy)
    report.log()
    report.write(path.with_name("skipped.jsonl"))


@pytest.fixture(scope="module")
def any_path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    log = logging.getLogger("xltjax")
    log.setLevel(logging.CRITICAL)
    yield tmp_path_factory.mktemp("any") / "any.jsonl"
    log.setLevel(logging.NOTSET)


OPTIONS: dict[str, Any] = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow, HealthCheck.data_too_large],
}


@settings(max_examples=500, **OPTIONS)
@given(any_rows())
def test_any_row_is_learned_or_refused_in_one_line(
    any_path: Path, tokenizer: ChatTokenizer, rows: list[Any]
) -> None:
    check_rows(rows, any_path, tokenizer)


@pytest.mark.slow
@settings(max_examples=10_000, **OPTIONS)
@given(any_rows())
def test_ten_thousand_rows_are_learned_or_refused_in_one_line(
    any_path: Path, tokenizer: ChatTokenizer, rows: list[Any]
) -> None:
    check_rows(rows, any_path, tokenizer)
