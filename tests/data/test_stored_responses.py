"""Responses in a temporary file: the same sequence as in memory."""

from __future__ import annotations

import datetime
import json
import tempfile
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.data.responses import Response, iterate_responses
from xltjax.data.stored_responses import StoredResponses

TEXT = st.text(st.characters(categories=("Cs", "Cc", "L", "So", "Zl")), max_size=8)
RESPONSES = st.builds(
    Response,
    id=TEXT,
    model=TEXT,
    language=st.sampled_from(["", "fr", "ru"]),
    response=TEXT,
    modifier=st.none()
    | st.fixed_dictionaries({"name": TEXT, "params": st.dictionaries(TEXT, st.integers())}),
    prompt_tokens=st.none() | st.integers(0, 9),
    extra=st.dictionaries(TEXT, st.none() | st.booleans() | st.lists(TEXT) | st.floats(allow_nan=False)),
)


@settings(max_examples=30)
@given(st.lists(RESPONSES, max_size=4))
def test_what_is_stored_is_what_was_given(responses: list[Response]) -> None:
    stored = StoredResponses(responses)
    assert list(stored) == responses
    assert [stored[number] for number in range(len(stored))] == responses
    assert stored[1:3] == responses[1:3]
    assert stored[::-1] == responses[::-1]


def test_responses_are_found_by_model_and_id_and_selected() -> None:
    responses = [
        Response(f"{number % 50}", f"m{number // 50}", task=f"{number % 3}") for number in range(100)
    ]
    stored = StoredResponses(responses)
    assert [stored.place(each.key) for each in responses] == list(range(100))
    assert stored.place(("m2", "1")) is None
    third = stored.where(lambda each: each.task == "2")
    assert list(third) == [each for each in responses if each.task == "2"]
    assert [third.place(each.key) for each in third] == list(range(len(third)))
    assert third.place(("m0", "0")) is None
    assert StoredResponses.of(stored) is stored
    assert stored[-1] == responses[-1]
    with pytest.raises(IndexError):
        stored[100]


def test_values_that_json_does_not_know_become_text(tmp_path: Path) -> None:
    path = tmp_path / "answers.parquet"
    row = {"id": "1", "response": "yes", "asked": datetime.datetime(2024, 5, 1, 12), "raw": b"\xff"}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), path)
    [stored] = StoredResponses(iterate_responses([path]))
    assert stored.extra["asked"] == "2024-05-01 12:00:00"
    json.dumps(stored.row())


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, line: bytes) -> None:
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(tempfile, "TemporaryFile", Full)
    with pytest.raises(OSError, match="No space left") as caught:
        StoredResponses([Response("a")])
    assert caught.value.filename == tempfile.gettempdir()
