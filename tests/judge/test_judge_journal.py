"""The journal of calls: torn, damaged and grown files."""

from __future__ import annotations

import json
import resource
from pathlib import Path

import pytest

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.judge.calls import NAME, Calls
from xltjax.eval.judge.questions import Call, Question, request_key
from xltjax.eval.judge.rubrics import load_rubric

QUESTION = Question(
    load_rubric("six", preset="xlt", language="en"), Response(id="a", model="m", instruction="x")
)
KEYS = [request_key({"n": n}) for n in range(4)]


def answer(n: int) -> Call:
    return Call(KEYS[n], {"choices": [], "n": n, "text": "é\ud800 \u2028"})


def test_what_was_added_is_found_by_a_second_reader(tmp_path: Path) -> None:
    with Calls(tmp_path) as calls:
        assert not (tmp_path / NAME).exists()
        calls.add("j", QUESTION, answer(0))
        calls.add("j", QUESTION, Call(KEYS[1], problem="HTTP 500"))
        calls.remember("u", "m", {"format": "text"}, "why")
        assert calls.find(KEYS[0]) == answer(0)
    with Calls(tmp_path) as calls:
        assert calls.find(KEYS[0]) == answer(0)
        assert calls.find(KEYS[1]) == Call(KEYS[1], problem="HTTP 500")
        assert calls.find(KEYS[2]) is None
        assert calls.servers("u", "m") == [{"format": "text"}]
        assert calls.servers("u", "n") == []


def test_a_failure_does_not_hide_an_answer_and_the_last_answer_counts(tmp_path: Path) -> None:
    with Calls(tmp_path) as calls:
        for call in (answer(0), Call(KEYS[0], problem="HTTP 500")):
            calls.add("j", QUESTION, call)
        assert calls.find(KEYS[0]) == answer(0)
        newer = Call(KEYS[0], {"n": "newer"})
        calls.add("j", QUESTION, newer)
        assert calls.find(KEYS[0]) == newer


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(OSError, match="File too large") as full, Calls(tmp_path) as calls:
            calls.add("j", QUESTION, answer(0))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert full.value.filename == str(tmp_path / NAME)
    with Calls(tmp_path) as calls:
        assert calls.find(KEYS[0]) is None


@pytest.mark.parametrize("cut", [1, 30, 200])
def test_a_torn_last_line_is_cut_off_and_its_call_made_again(tmp_path: Path, cut: int) -> None:
    with Calls(tmp_path) as calls:
        for n in range(3):
            calls.add("j", QUESTION, answer(n))
    path = tmp_path / NAME
    data = path.read_bytes()
    path.write_bytes(data[:-cut])
    with Calls(tmp_path) as calls:
        assert [calls.find(key) is not None for key in KEYS] == [True, True, False, False]
        calls.add("j", QUESTION, answer(3))
    with Calls(tmp_path) as calls:
        assert [calls.find(key) is not None for key in KEYS] == [True, True, False, True]
    assert all(json.loads(line) for line in path.read_text().splitlines())


def test_a_damaged_line_costs_its_call_alone(tmp_path: Path) -> None:
    with Calls(tmp_path) as calls:
        for n in range(3):
            calls.add("j", QUESTION, answer(n))
    path = tmp_path / NAME
    first, second, third = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(first + b"\0" * (len(second) - 1) + b"\n" + third)
    with Calls(tmp_path) as calls:
        assert [calls.find(key) is not None for key in KEYS[:3]] == [True, False, True]
        assert len(list(calls.answered("j"))) == 2


def test_a_key_that_an_answer_repeats_is_hidden_and_the_line_stays_whole(tmp_path: Path) -> None:
    with Calls(tmp_path, lambda line: line.replace("sk-secret", "[key]")) as calls:
        calls.add("j", QUESTION, Call(KEYS[0], {"text": 'a "sk-secret" b'}))
        assert calls.find(KEYS[0]) == Call(KEYS[0], {"text": 'a "[key]" b'})
    assert "sk-secret" not in (tmp_path / NAME).read_text()


@pytest.mark.parametrize("text", ["notes", '{"id": 1}\n', '{"id": 1}', "[]\n", "\n"])
def test_a_file_that_is_no_journal_is_left_alone(tmp_path: Path, text: str) -> None:
    (tmp_path / NAME).write_text(text)
    with pytest.raises(UserError, match="not a journal"):
        Calls(tmp_path)
    assert (tmp_path / NAME).read_text() == text


def test_the_key_is_the_sha256_of_canonical_json() -> None:
    import hashlib

    canonical = b'{"a":[1,{"b":"\\u00e9"}],"c":null}'
    assert request_key({"c": None, "a": [1, {"b": "é"}]}) == hashlib.sha256(canonical).hexdigest()
