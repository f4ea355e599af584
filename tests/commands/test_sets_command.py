"""``python -m xltjax.eval sets``: the list, the export read back, mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from xltjax.data.prompt_sets import load_set
from xltjax.eval import __main__ as program


def run(capsys, monkeypatch, *arguments):
    """Exit code, standard output and standard error of ``eval sets``."""
    monkeypatch.setattr(sys, "argv", ["eval", "sets", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        program.main()
    captured = capsys.readouterr()
    return stop.value.code, captured.out, captured.err


def test_the_list_says_languages_counts_and_license(capsys, monkeypatch):
    code, printed, _ = run(capsys, monkeypatch)
    assert code == 0
    line = next(line for line in printed.splitlines() if "xlt113" in line)
    assert line.split() == ["xlt113", "de,", "en,", "fr,", "pt,", "ru", "113", "251", "CC", "BY", "4.0"]


@pytest.mark.parametrize("flags", [(), ("--modifiers",)])
def test_an_exported_set_is_read_back_as_it_was(tmp_path, capsys, monkeypatch, flags):
    out = tmp_path / "new" / "set"
    code, printed, _ = run(capsys, monkeypatch, "--export", out, *flags)
    assert code == 0
    assert load_set(out) == load_set("xlt113", modifiers=bool(flags))
    assert f"{out / 'fr.jsonl'}: {364 if flags else 113} instructions" in printed
    assert (out / "LICENSE").read_text().startswith("CC BY 4.0\n")


def test_a_file_holds_the_instructions_in_its_language_whatever_the_answers(tmp_path, capsys, monkeypatch):
    flags = ("--languages", "ru,pt-BR", "--modifiers", "--set", "xlt113")
    code, *_ = run(capsys, monkeypatch, "--export", tmp_path / "set", *flags)
    assert code == 0
    assert {path.name for path in (tmp_path / "set").glob("*.jsonl")} == {"ru.jsonl", "pt.jsonl"}
    assert load_set(tmp_path / "set" / "ru.jsonl") == load_set("xlt113", ["ru"], modifiers=True)
    rows = [json.loads(line) for line in (tmp_path / "set" / "ru.jsonl").read_text().splitlines()]
    assert {row["id"].split("-")[2] for row in rows} == {"ru"}
    assert {row["language"] for row in rows} == {"ru", "fr", "pt", "de"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--export", "{t}/new", "--set", "xlt13"), "did you mean 'xlt113'?"),
        (("--export", "{t}/new", "--languages", "en,it"), "no instructions in it"),
        (("--export", "{t}/new", "--languages", "Elvish"), "not a code"),
        (("--export", "{t}/file"), "is a file, not a directory"),
        (("--export", "{t}/full"), "already holds fr.jsonl"),
        (("--exprot", "x"), "--export"),
    ],
)
def test_mistakes_are_one_line_and_code_2_and_write_nothing(
    tmp_path: Path, capsys, monkeypatch, arguments, message
):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "fr.jsonl").write_text("mine")
    code, _, errors = run(capsys, monkeypatch, *(each.format(t=tmp_path) for each in arguments))
    assert (code, errors.count("\n")) == (2, 1)
    assert errors.startswith("error: ")
    assert message in errors
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == {
        "file",
        "full",
        "full/fr.jsonl",
    }
    assert (tmp_path / "full" / "fr.jsonl").read_text() == "mine"
