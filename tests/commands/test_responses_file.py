"""A file of responses is resumed only when it is ours and its answers are still those to the prompts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from xltjax.common.errors import UserError
from xltjax.generate.responses_file import check_ours, resume, write_settings

SETTINGS: dict[str, Any] = {
    "model": "m",
    "weights": "a" * 64,
    "step": 2,
    "tokenizer": {"tokenizer.json": "b"},
}
ASKED = {
    key: {"model": "m", "instruction": text, "language": "en", "task": ""}
    for key, text in (("p1", "One?"), ("p2", "Two?"))
}


def other(**changes: Any) -> dict[str, Any]:
    """What is asked, with changes of the first prompt."""
    return {**ASKED, "p1": {**ASKED["p1"], **changes}}


def row(key: str = "p1", **changes: Any) -> str:
    values = {
        "id": key,
        "model": "m",
        "instruction": ASKED[key]["instruction"],
        "language": "en",
        "response": "Yes",
        "finish_reason": "stop",
    }
    return json.dumps({**values, **changes}) + "\n"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A file of ours with one answer, and a line that a kill has cut."""
    path = tmp_path / "responses.jsonl"
    write_settings(path, SETTINGS, {})
    path.write_text(row() + '{"id": "p2", "ins')
    return path


@pytest.mark.parametrize(
    "content",
    [
        '{"id": "p1", "language": "en", "instruction": "One?"}\n{"id": "p2"',  # prompts, without a last line break
        "# Notes\nnot JSON",
        row() + row("p2"),  # even answers, when nothing says how they were made
        "[1, 2]\n",
        "",
        b"\xff\xfe\x00",
    ],
)
def test_a_file_that_is_not_ours_is_refused_as_it_is(content: str | bytes, tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(data)
    with pytest.raises(UserError, match="exists and was not written by generate; choose another --out"):
        resume(path, SETTINGS, ASKED)
    assert path.read_bytes() == data
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "line",
    [
        '{"id": "p1", "language": "en", "instruction": "One?"}\n',
        "[1]\n",
        row(id=7),
        row(response=None),
        "x\n",
        b"\xff\n",
    ],
)
@pytest.mark.parametrize("name", ["responses.jsonl.provenance.json", "responses.provenance.json"])
def test_settings_beside_a_file_do_not_make_its_lines_answers(
    line: str | bytes, name: str, tmp_path: Path
) -> None:
    path = tmp_path / "responses.jsonl"
    (tmp_path / name).write_text(json.dumps({"settings": SETTINGS}))
    data = (line if isinstance(line, bytes) else line.encode()) + b"half a line"
    path.write_bytes(data)
    with pytest.raises(UserError, match=r"responses\.jsonl, line 1: not"):
        resume(path, SETTINGS, ASKED)
    assert path.read_bytes() == data


@pytest.mark.parametrize("record", ['{"command": []}', '{"settings": []}', '{"settings": {}}'])
def test_a_record_of_something_else_is_no_settings(record: str, tmp_path: Path) -> None:
    (tmp_path / "r.jsonl.provenance.json").write_text(record)
    (tmp_path / "r.jsonl").write_text(row())
    with pytest.raises(UserError, match="does not say how it was made"):
        check_ours(tmp_path / "r.jsonl")


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a directory; --out names a file"):
        check_ours(tmp_path)
    with pytest.raises(UserError, match="/dev/null exists and was not written by generate"):
        check_ours(Path("/dev/null"))
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(UserError, match="link exists and was not written by generate"):
        check_ours(tmp_path / "link")
    assert check_ours(tmp_path / "new" / "r.jsonl") == {}


def test_a_line_that_a_kill_has_cut_is_dropped(out: Path) -> None:
    assert list(resume(out, SETTINGS, ASKED)) == ["p1"]
    assert out.read_text() == row()


def test_answers_to_another_history_are_refused(tmp_path: Path) -> None:
    out = tmp_path / "responses.jsonl"
    chat = [{"role": "user", "content": "One?"}, {"role": "assistant", "content": "Two."}]
    out.write_text(row(messages=chat))
    write_settings(out, SETTINGS, {})
    assert list(resume(out, SETTINGS, other(messages=chat))) == ["p1"]
    for turns in (None, chat[:1], [chat[0], {"role": "assistant", "content": "Three."}]):
        with pytest.raises(UserError, match="another instruction of 'p1', whose text has changed"):
            resume(out, SETTINGS, other(messages=turns))


@pytest.mark.parametrize(
    ("changes", "asked", "message"),
    [
        (
            {"weights": "c" * 64, "step": 4},
            ASKED,
            r"settings: weights \(changed\), step \(was 2, now 4\); choose",
        ),
        ({"tokenizer": {"tokenizer.json": "c"}}, ASKED, r"tokenizer \(tokenizer.json changed\)"),
        ({"model": "n", "weights": "c" * 64}, ASKED, r"model \(was 'm', now 'n'\), weights \(changed\)"),
        ({}, other(instruction="One more?"), "another instruction of 'p1', whose text has changed"),
        ({}, {"p2": ASKED["p2"]}, "answers 'p1', which is not among the prompts"),
        ({}, other(language="fr"), r"the language of 'p1' has changed \(was 'en', now 'fr'\)"),
        ({}, other(model="n"), "holds answers of 'm'; go on with --name m, or"),
    ],
)
def test_answers_of_other_weights_or_to_other_texts_are_refused_as_they_are(
    changes: dict[str, Any], asked: dict[str, Any], message: str, out: Path
) -> None:
    before = out.read_bytes()
    with pytest.raises(UserError, match=message):
        resume(out, {**SETTINGS, **changes}, asked)
    assert out.read_bytes() == before


def test_models_and_prompts_that_were_moved_go_on(out: Path) -> None:
    write_settings(out, {**SETTINGS, "prompts": "p.jsonl"}, {})
    now = {**SETTINGS, "model": "/elsewhere/m", "prompts": "/elsewhere/p.jsonl"}
    assert list(resume(out, now, ASKED)) == ["p1"]


def test_weights_that_were_trained_again_are_the_same(out: Path) -> None:
    for known, goes_on in (("", False), ("d", True)):
        before = {**SETTINGS, "weights_digest": known}
        write_settings(out, before, {})
        now = {**before, "weights": "c" * 64}
        if goes_on:
            assert list(resume(out, now, ASKED)) == ["p1"]
        else:
            with pytest.raises(UserError, match=r"weights \(changed\)"):
                resume(out, now, ASKED)


def test_a_file_of_version_0_1_is_resumed_without_what_it_did_not_record(tmp_path: Path) -> None:
    path = tmp_path / "responses.jsonl"
    path.write_text(row())
    (tmp_path / "responses.provenance.json").write_text('{"settings": {"model": "m"}}')
    assert list(resume(path, SETTINGS, ASKED)) == ["p1"]
    with pytest.raises(UserError, match=r"model \(was 'm', now 'n'\)"):
        resume(path, {**SETTINGS, "model": "n"}, ASKED)


def test_two_files_that_differ_in_their_suffix_have_settings_of_their_own(tmp_path: Path) -> None:
    for name, model in (("x.jsonl", "a"), ("x.json", "b")):
        write_settings(tmp_path / name, {**SETTINGS, "model": model}, {})
        (tmp_path / name).write_text(row())
    assert check_ours(tmp_path / "x.jsonl")["model"] == "a"
    assert check_ours(tmp_path / "x.json")["model"] == "b"
