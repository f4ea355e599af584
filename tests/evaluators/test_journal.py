"""Evaluators go on after a kill and score only what is new, with the results of a fresh run."""

from __future__ import annotations

import json
import tempfile
from hashlib import blake2b
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.common.cli import execute
from xltjax.data.responses import Response
from xltjax.eval import spelling, surface
from xltjax.eval.journal import Journal
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.scores import Score, failed

WORDS = ["chat", "dort", "Кошка", "the", "sleeps"]
ROWS = [
    {"id": f"r{n}", "model": "m", "language": "fr" if n % 2 else "en", "response": f"{word} {n} chat \ud800"}
    for n, word in enumerate(WORDS)
]
RESULTS = ("scores.jsonl", "summary.json", "summary.csv", "summary.md")


@pytest.fixture(autouse=True)
def dictionaries(monkeypatch, tmp_path):
    """Small ones of every name that the tests look for, and none of the machine's."""
    monkeypatch.setattr(spelling, "SYSTEM_FOLDERS", ())
    monkeypatch.setenv("DICPATH", str(tmp_path))
    for name, words in (("fr_FR", "chat\ndort"), ("en_US", "the\nsleeps"), ("en_GB", "the\nsleeps")):
        (tmp_path / f"{name}.aff").write_text("SET UTF-8\n")
        (tmp_path / f"{name}.dic").write_text(f"2\n{words}\n")
    return tmp_path


@pytest.fixture
def scored(monkeypatch):
    """The ids that the surface metrics are computed for; "stop" at its end interrupts."""
    ids = []
    compute = surface.SurfaceMetrics.__call__

    def counted(self, response):
        if ids[-1:] == ["stop"]:
            raise KeyboardInterrupt
        ids.append(response.id)
        if ids[:1] == ["stop after 3"] and len(ids) == 4:
            ids.append("stop")
        return compute(self, response)

    monkeypatch.setattr(surface.SurfaceMetrics, "__call__", counted)
    return ids


def run(command, folder, out, rows, *flags):
    path = folder / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as stop:
        execute(command, [str(path), "--out", str(out), *map(str, flags)])
    return stop.value.code


def results(out):
    return {name: (out / name).read_bytes() for name in RESULTS}


def test_a_killed_run_goes_on_where_it_was(tmp_path, scored):
    assert run(surface.COMMAND, tmp_path, tmp_path / "fresh", ROWS) == 0
    scored[:] = ["stop after 3"]
    out = tmp_path / "killed"
    assert run(surface.COMMAND, tmp_path, out, ROWS) == 130
    assert not (out / "scores.jsonl").exists()
    # The process died while it wrote the third.
    journal = out / "surface.journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-40])
    scored.clear()
    assert run(surface.COMMAND, tmp_path, out, ROWS) == 0
    assert scored == ["r2", "r3", "r4"]
    assert results(out) == results(tmp_path / "fresh")


def test_of_a_grown_file_only_the_new_rows_are_scored(tmp_path, scored):
    assert run(surface.COMMAND, tmp_path, tmp_path / "fresh", ROWS) == 0
    out = tmp_path / "grown"
    assert run(surface.COMMAND, tmp_path, out, ROWS[1:4]) == 0
    scored.clear()
    assert run(surface.COMMAND, tmp_path, out, ROWS) == 0
    assert scored == ["r0", "r4"]
    assert results(out) == results(tmp_path / "fresh")
    # And of a shrunk one the others' scores do not stay.
    assert run(surface.COMMAND, tmp_path, out, ROWS[:1]) == 0
    assert {json.loads(line)["id"] for line in (out / "scores.jsonl").open()} == {"r0"}


def test_processes_share_what_is_left(tmp_path, scored):
    ours = ("--languages", "en,fr")  # another process would find the machine's dictionaries of the others
    assert run(surface.COMMAND, tmp_path, tmp_path / "fresh", ROWS, *ours) == 0
    assert run(surface.COMMAND, tmp_path, tmp_path / "out", ROWS[:2], *ours) == 0
    assert run(surface.COMMAND, tmp_path, tmp_path / "out", ROWS, *ours, "--workers", 2) == 0
    assert results(tmp_path / "out") == results(tmp_path / "fresh")


def test_a_changed_answer_setting_or_dictionary_is_scored_anew(tmp_path, scored, monkeypatch):
    def again(rows, *flags):
        scored.clear()
        assert run(surface.COMMAND, tmp_path, tmp_path / "out", rows, *flags) == 0
        return list(scored)

    everything = [row["id"] for row in ROWS]
    assert again(ROWS) == everything
    assert again(ROWS) == []
    changed = [{**ROWS[0], "response": "The"}, {**ROWS[1], "language": "en"}, *ROWS[2:]]
    assert again(changed) == ["r0", "r1"]
    assert again(changed, "--languages", "en,fr") == everything
    (tmp_path / "fr_FR.dic").write_text("1\nchat\n")
    assert again(changed, "--languages", "en,fr") == everything


def test_the_dictionary_of_an_answers_own_language_counts_too(tmp_path, scored):
    def again():
        scored.clear()
        assert run(surface.COMMAND, tmp_path, tmp_path / "out", ROWS, "--languages", "en") == 0
        return list(scored)

    again()
    (tmp_path / "fr_FR.dic").write_text("1\nchat\n")
    assert again() == ["r1", "r3"]


def test_a_modified_answer_is_checked_anew_when_the_unmodified_one_changes(tmp_path, monkeypatch):
    names = []
    check = modifiers.grade
    monkeypatch.setattr(modifiers, "grade", lambda r, *rest: names.append(r.id) or check(r, *rest))
    rows = []
    for n in range(3):
        plain = {"id": f"p{n}", "model": "m", "language": "en", "instruction_id": f"q{n}", "response": "# A"}
        rows += [plain, {**plain, "id": f"m{n}", "modifier": {"name": "markdown", "params": {}}}]
    out = tmp_path / "out"
    assert run(modifiers.COMMAND, tmp_path, out, rows[:4]) == 0
    rows[0]["response"] = "Plain."
    assert run(modifiers.COMMAND, tmp_path, out, rows) == 0
    assert names == ["m0", "m1", "m0", "m2"]
    assert run(modifiers.COMMAND, tmp_path, tmp_path / "fresh", rows) == 0
    assert results(out) == results(tmp_path / "fresh")
    for name in ("modifiers.csv", "modifiers.md"):
        assert (out / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()


def test_a_raised_version_scores_anew_only_the_commands_that_have_the_metric(tmp_path, scored, monkeypatch):
    graded = []
    grade = modifiers.grade
    monkeypatch.setattr(modifiers, "grade", lambda r, *rest: graded.append(r.id) or grade(r, *rest))
    rows = [*ROWS[1:], {**ROWS[0], "modifier": {"name": "markdown", "params": {}}}]

    def again():
        scored.clear()
        graded.clear()
        for command in (surface.COMMAND, modifiers.COMMAND):
            assert run(command, tmp_path, tmp_path / "out", rows) == 0
        return len(scored), len(graded)

    assert again() == (5, 1)
    assert again() == (0, 0)
    monkeypatch.setattr(surface, "SPELLING_VERSION", surface.SPELLING_VERSION + 1)
    assert again() == (5, 0)
    monkeypatch.setattr(modifiers, "MODIFIERS_VERSION", modifiers.MODIFIERS_VERSION + 1)
    assert again() == (0, 1)
    assert again() == (0, 0)


def test_a_changed_source_voids_nothing(tmp_path):
    # What the header is made of is all here, so that it is the same whatever the source looks like.
    with Journal(tmp_path, "x", {"metric": 1}, {"n": 1}):
        pass
    header = json.loads((tmp_path / "x.journal.jsonl").read_text())
    assert header == {"settings": blake2b(b'[{"metric": 1}, {"n": 1}]', digest_size=16).hexdigest()}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("scores.jsonl", "mine\n"),
        ("summary.json", "mine\n"),
        ("summary.csv", "mine\n"),
        ("summary.md", ""),
        ("surface.journal.jsonl", "mine\n"),
        ("surface.journal.jsonl", '{"mine": 1}'),
    ],
)
def test_files_that_are_not_ours_are_refused_before_the_work(name, content, tmp_path, scored):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / name).write_text(content)
    assert run(surface.COMMAND, tmp_path, tmp_path / "out", ROWS) == 2
    assert scored == []
    assert {path.name: path.read_text() for path in (tmp_path / "out").iterdir()} == {name: content}


def test_scores_of_another_model_in_the_same_folder_are_not_lost(tmp_path, scored, capsys):
    out = tmp_path / "out"
    other = [{**row, "model": "n"} for row in ROWS]
    assert run(surface.COMMAND, tmp_path, out, ROWS) == 0
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    assert run(surface.COMMAND, tmp_path, out, other) == 2
    assert f"{out} holds scores of m, which would be lost" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    scored.clear()
    assert run(surface.COMMAND, tmp_path, out, ROWS + other) == 0
    assert len(scored) == len(other)


RESPONSES = [Response(id=str(n), response=text) for n, text in enumerate(["a", "\ud800\n", "é", ""])]


def scores_of(response):
    return [
        Score(response.id, "x", 1 / 3, detail={"text": response.response, "spans": [[0, 1]]}),
        failed(response.id, "y", "lost"),
    ]


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_a_journal_cut_anywhere_is_completed(data):
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        with Journal(out, "x", {"metric": 1}, {"n": 1}) as journal:
            for response in RESPONSES:
                journal.add(response, scores_of(response))
        path = out / "x.journal.jsonl"
        whole = path.read_bytes()
        path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
        lines = path.read_bytes().count(b"\n")
        with Journal(out, "x", {"metric": 1}, {"n": 1}) as journal:
            missing = [response for response in RESPONSES if response not in journal]
            assert missing == RESPONSES[max(0, lines - 1) :]
            for response in missing:
                journal.add(response, scores_of(response))
            assert list(journal.scored(RESPONSES)) == [(r, scores_of(r)) for r in RESPONSES]
        assert path.read_bytes() == whole
