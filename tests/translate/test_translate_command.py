"""The command ``translate``: doubts, resuming, misbehaving servers, files of the user's, and what is refused."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.server import JudgeServer, completion, judge_server
from helpers.translation import (
    LASTING,
    PASSING,
    WORDS,
    item,
    lines,
    misbehave,
    results,
    source_of,
    translate,
    translator,
)  # fmt: skip

from xltjax.common.locks import lock_directory
from xltjax.translate.languages import language


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        misbehave(running)
        yield running


def write(folder: Path, rows: list[Any], name: str = "d.jsonl") -> Path:
    """A file of rows."""
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def flags(server: JudgeServer, out: Path, *more: str) -> list[str]:
    """Flags of a call that asks ``server``."""
    return ["--to", "fr", "--engine", "openai:m", "--base-url", server.url, "--out", str(out), *more]


def french(number: int, kind: str = "good") -> str:
    """The translation of an item."""
    return WORDS["fr"].format(n=number, kind=kind)


def in_french(text: str) -> str:
    """The translation of the text of an item."""
    number, _, kind = text.removeprefix("This is item ").partition(", kind=")
    return french(int(number), kind)


# --- what becomes of segments ---


def test_a_misbehaving_server_loses_nothing_and_doubles_nothing(server: JudgeServer, tmp_path: Path) -> None:
    server.hang = 1.5
    kinds = [*PASSING, *LASTING, "good", "good"]
    data = write(tmp_path, [item(number, kind) for number, kind in enumerate(kinds)])
    out = tmp_path / "out"
    more = ("--timeout", "0.5", "--retries", "2")
    assert translate(data, *flags(server, out, *more)) == 1
    rows = lines(out / "d.fr.jsonl")
    assert [row["id"] for row in rows] == [f"d-{number + 1}" for number in range(len(kinds))]
    for number, (kind, row) in enumerate(zip(kinds, rows, strict=True)):
        if kind in LASTING:
            assert row["quality"] == ["instruction: untranslated"]
            assert row["instruction"] == item(number, kind)["instruction"]
        else:
            assert row["quality"] == []
            assert row["instruction"] == french(number, kind)
    failed = lines(out / "quality.jsonl")
    assert [line["state"] for line in failed] == ["failed"] * len(LASTING)
    assert all(line["problem"] for line in failed)
    answered = [call["key"] for call in lines(out / "calls.jsonl") if "body" in call]
    assert len(answered) == len(set(answered)) == len(kinds) - len(LASTING)

    # The same command asks for those alone that have no translation.
    before = len(server.bodies)
    server.hook = lambda body: (200, completion(in_french(source_of(body))), {})
    assert translate(data, *flags(server, out, *more)) == 0
    assert len(server.bodies) - before == len(LASTING)
    assert [row["quality"] for row in lines(out / "d.fr.jsonl")] == [[]] * len(kinds)
    assert lines(out / "quality.jsonl") == []


def test_a_segment_that_occurs_often_is_asked_for_once(server: JudgeServer, tmp_path: Path) -> None:
    data = write(tmp_path, [item(1, "good")] * 5)
    assert translate(data, *flags(server, tmp_path / "out")) == 0
    assert len(server.bodies) == 1
    assert [row["instruction"] for row in lines(tmp_path / "out" / "d.fr.jsonl")] == [french(1)] * 5
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["d.fr.jsonl"]["segments"] == 1


def test_a_doubtful_segment_is_translated_once_more_sentence_by_sentence(tmp_path: Path) -> None:
    sentences = ["The dog sleeps in the garden of 1991.", "The cat sits on the roof of the house."]
    good = {
        sentences[0]: "Le chien dort dans le jardin de 1991.",
        sentences[1]: "Le chat est assis sur le toit de la maison.",
    }

    def half(text: str, body: Any) -> str:
        return good.get(text, "Le chat est assis sur le toit de la maison.")

    with translator(half) as server:
        data = write(tmp_path, [{"text": " ".join(sentences)}])
        assert translate(data, *flags(server, tmp_path / "out")) == 0
    (row,) = lines(tmp_path / "out" / "d.fr.jsonl")
    assert row["text"] == " ".join(good[sentence] for sentence in sentences)
    assert row["quality"] == []
    (line,) = lines(tmp_path / "out" / "quality.jsonl")
    assert line["state"] == "corrected"
    assert line["first"] == good[sentences[1]]
    assert "numbers" in line["first_doubts"]
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["d.fr.jsonl"]["corrected"] == 1


def test_what_stays_doubtful_is_marked_and_dropped_only_when_asked(tmp_path: Path) -> None:
    rows = [item(number, "good") for number in range(3)]
    doubtful = rows[1]["instruction"]

    def change(text: str, body: Any) -> str:
        return "Kot." if text == doubtful else in_french(text)

    with translator(change) as server:
        data = write(tmp_path, rows)
        assert translate(data, *flags(server, tmp_path / "out")) == 0
        kept = lines(tmp_path / "out" / "d.fr.jsonl")
        assert [bool(row["quality"]) for row in kept] == [False, True, False]
        # The second attempt has another prompt.
        asked = [body["messages"][0]["content"] for body in server.bodies if source_of(body) == doubtful]
        assert len(asked) == len(set(asked)) == 2
        count = len(server.bodies)
        assert translate(data, *flags(server, tmp_path / "out", "--drop-doubtful")) == 0
        assert len(server.bodies) == count
    assert lines(tmp_path / "out" / "d.fr.jsonl") == [kept[0], kept[2]]
    (line,) = lines(tmp_path / "out" / "quality.jsonl")
    assert (line["id"], line["field"], line["state"]) == ("d-2", "instruction", "doubtful")
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())["d.fr.jsonl"]
    assert (summary["rows"], summary["dropped"], summary["doubtful"]) == (3, 1, 1)


def test_a_translation_that_is_cut_off_or_refused_is_a_doubt(tmp_path: Path) -> None:
    with judge_server() as server:
        server.hook = lambda body: (
            (200, completion(None, refusal="no"), {})
            if "item 1" in source_of(body)
            else (200, completion(french(2), finish="length"), {})
        )
        data = write(tmp_path, [item(1, "good"), item(2, "good")])
        assert translate(data, *flags(server, tmp_path / "out")) == 1
    first, second = lines(tmp_path / "out" / "d.fr.jsonl")
    assert first["quality"] == ["instruction: untranslated"]
    assert second["quality"] == ["instruction: cut"]


# --- killed, resumed, locked ---


def run(arguments: list[str]) -> subprocess.Popen[bytes]:
    """The command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "xltjax.translate", *arguments],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, "JAX_PLATFORMS": "cpu"},
    )  # fmt: skip


@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.slow)])
def test_killed_at_random_instants_it_leaves_the_same_files(
    server: JudgeServer, tmp_path: Path, kills: int
) -> None:
    data = write(tmp_path, [item(number, "good" if number % 9 else "500") for number in range(60)])
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    more = ("--to", "fr,ru", "--concurrency", "3")
    assert translate(data, *flags(server, whole, *more)) == 0
    asked = len(server.bodies)
    misbehave(server)
    server.bodies.clear()
    server.asked.clear()
    server.delay = 0.02
    draw = random.Random(kills)
    for kill in range(1, kills + 1):
        process = run([str(data), *flags(server, killed, *more)])
        # Somewhere in the first answers, in the middle, or while files are written.
        enough = draw.randrange(asked * kill // (kills + 1))
        while len(server.bodies) < enough and process.poll() is None:
            time.sleep(0.01)
        time.sleep(draw.random() / 20)
        process.send_signal(signal.SIGKILL)
        process.wait()
    server.delay = 0.0
    assert translate(data, *flags(server, killed, *more)) == 0
    assert results(killed) == results(whole)
    answered = [call["key"] for call in lines(killed / "calls.jsonl") if "body" in call]
    assert len(answered) == len(set(answered)) == 120


def test_a_second_process_is_refused(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path, [item(1, "good")])
    (tmp_path / "out").mkdir()
    with lock_directory(tmp_path / "out"):
        assert translate(data, *flags(server, tmp_path / "out")) == 2
    assert "is being written by another command" in capsys.readouterr().err
    assert server.bodies == []


def test_a_server_on_another_host_goes_on_where_the_first_one_stopped(tmp_path: Path) -> None:
    data = write(tmp_path, [item(1, "good")])
    with judge_server() as first, judge_server() as second:
        for each in (first, second):
            misbehave(each)
        assert translate(data, *flags(first, tmp_path / "out")) == 0
        assert translate(data, *flags(second, tmp_path / "out")) == 0
        assert second.bodies == []


def test_grown_data_and_further_languages_ask_for_what_is_new_alone(
    server: JudgeServer, tmp_path: Path
) -> None:
    data = write(tmp_path, [item(1, "good")])
    out = tmp_path / "out"
    assert translate(data, *flags(server, out)) == 0
    write(tmp_path, [item(1, "good"), item(2, "good")])
    assert translate(data, *flags(server, out)) == 0
    assert len(server.bodies) == 2
    assert translate(data, *flags(server, out, "--to", "ru")) == 0
    assert len(server.bodies) == 4
    assert len(lines(out / "d.fr.jsonl")) == len(lines(out / "d.ru.jsonl")) == 2
    assert list(json.loads((out / "summary.json").read_text())) == ["d.fr.jsonl", "d.ru.jsonl"]


# --- nothing of the user's is overwritten ---


def test_files_that_it_did_not_write_are_refused(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path, [item(1, "good")])
    for name in ("d.fr.jsonl", "quality.jsonl", "summary.json"):
        out = tmp_path / name.partition(".")[0]
        out.mkdir()
        (out / name).write_text("mine\n")
        assert translate(data, *flags(server, out)) == 2
        assert f"{name} exists and was not written by this command" in capsys.readouterr().err
        assert (out / name).read_text() == "mine\n"
    assert server.bodies == []


def test_translations_that_were_corrected_by_hand_are_refused(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    data = write(tmp_path, [item(1, "good")])
    out = tmp_path / "out"
    assert translate(data, *flags(server, out)) == 0
    (out / "d.fr.jsonl").write_text("corrected\n")
    assert translate(data, *flags(server, out)) == 2
    assert "d.fr.jsonl was changed after it was written; move it away" in capsys.readouterr().err
    assert (out / "d.fr.jsonl").read_text() == "corrected\n"


def test_translations_by_another_engine_are_not_replaced(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    data = write(tmp_path, [item(1, "good")])
    out = tmp_path / "out"
    assert translate(data, *flags(server, out)) == 0
    before = results(out)
    assert translate(data, *flags(server, out, "--engine", "openai:other")) == 2
    assert (
        "was translated with other settings (engine: 'openai:m', now 'openai:other')"
        in capsys.readouterr().err
    )
    assert results(out) == before


# --- what is refused, and the plan ---


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (("--to", "fenglish"), "language 'fenglish' is not known"),
        (("--to", "rus_Latn"), "language 'rus_Latn' is not known; the nearest code is 'rus_Cyrl'"),
        (("--to", "xx"), "the nearest code is"),
        (("--to", "jp"), "language 'jp' is not known; the nearest code is 'ja'"),
        (("--to", "Frnch"), "the nearest code is 'fr'"),
        (("--to", "sr-Latn"), "language 'sr-Latn' is not known; the nearest code is 'srp_Cyrl'"),
        (("--to", "pt,pt-BR"), "--to names Portuguese (Brazil) twice"),
        (("--to", "en"), "--to en is the source language"),
        (("--to", "English"), "is the source language"),
        (("--to", "fr,fra_Latn"), "--to names French twice"),
        (("--engine", "ct:x"), "--engine 'ct:x' is not known; give ct2:DIR"),
        (("--engine", "ct2:"), "name the model, such as ct2:facebook/nllb-200-3.3B"),
        (("--engine", "ct2:nowhere"), "--engine: model directory nowhere does not exist"),
        (("--engine", "openai:"), "--engine openai:: name the model"),
        (("--prompt", "nowhere.txt"), "is neither a file nor one of plain, tower, translategemma"),
        (("--beam", "0"), "beam must be at least 1"),
        (("--base-url", "ftp://x"), "--base-url must be an http(s) URL"),
    ],
)
def test_mistakes_are_one_line_before_anything_is_sent(
    server: JudgeServer, tmp_path: Path, capsys: Any, more: tuple[str, ...], says: str
) -> None:
    data = write(tmp_path, [item(1, "good")])
    assert translate(data, *flags(server, tmp_path / "out", *more)) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith("error: ")
    assert says in line
    assert server.bodies == []
    assert not (tmp_path / "out").exists()


def test_without_the_extra_it_names_the_command_to_type(
    server: JudgeServer, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sentencex" else find(name))
    assert translate(write(tmp_path, [item(1, "good")]), *flags(server, tmp_path / "out")) == 2
    assert "pip install 'xltjax[translate]'" in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "openai" else find(name))
    assert translate(write(tmp_path, [item(1, "good")]), *flags(server, tmp_path / "out")) == 2
    assert "--engine openai:m needs the openai client: pip install 'xltjax[judge]'" in capsys.readouterr().err


def test_rows_without_text_are_kept_and_marked(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    empty = {"instruction": " ", "response": "42"}
    data = write(tmp_path, [empty, item(1, "good")])
    assert translate(data, *flags(server, tmp_path / "out")) == 0
    rows = lines(tmp_path / "out" / "d.fr.jsonl")
    assert rows[0]["quality"] == ["no_text"]
    assert {key: rows[0][key] for key in empty} == empty
    capsys.readouterr()
    data = write(tmp_path, [empty], "e.jsonl")
    assert translate(data, *flags(server, tmp_path / "other")) == 2
    assert "the rows have no text to translate" in capsys.readouterr().err


def test_rows_that_cannot_be_used_stop_or_are_listed(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    data = write(tmp_path, [item(1, "good"), {"question": "What?"}, item(2, "good")])
    assert translate(data, *flags(server, tmp_path / "out")) == 2
    assert "d.jsonl, line 2: the row has the keys question" in capsys.readouterr().err
    assert translate(data, *flags(server, tmp_path / "out", "--bad-rows", "skip")) == 0
    assert [row["id"] for row in lines(tmp_path / "out" / "d.fr.jsonl")] == ["d-1", "d-3"]
    (skipped,) = lines(tmp_path / "out" / "skipped.jsonl")
    assert skipped["row"].endswith("d.jsonl, line 2")


def test_the_plan_counts_and_sends_nothing(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path, [*[item(1, "good")] * 3, item(2, "good")])
    assert translate(data, *flags(server, tmp_path / "out", "--to", "fr,ru", "--plan")) == 0
    said = capsys.readouterr().out
    assert "2 segments are repetitions" in said
    assert (
        translate(data, "--to", "fr", "--engine", "openai:m", "--out", tmp_path / "out", "--plan") == 0
    )  # no key
    assert "hours" in said
    assert server.bodies == []
    assert not (tmp_path / "out").exists()
    assert translate(data, *flags(server, tmp_path / "out")) == 0
    capsys.readouterr()
    assert translate(data, *flags(server, tmp_path / "out", "--plan")) == 0
    assert "0 tokens left" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("prompt", "content"),
    [
        ("tower", "Translate the following text from English into French.\nEnglish: {}\nFrench:"),
        (
            "translategemma",
            [{"type": "text", "source_lang_code": "en", "target_lang_code": "fr", "text": "{}"}],
        ),
        ("mine.txt", "English, French: {}"),
    ],
)
def test_prompts_for_models_of_translation(tmp_path: Path, prompt: str, content: Any) -> None:
    text = item(1, "good")["instruction"]
    if prompt == "mine.txt":
        prompt = str(tmp_path / prompt)
        Path(prompt).write_text("{source}, {target}: {text}\n")
    with judge_server() as server:
        server.hook = lambda body: (200, completion(french(1)), {})
        data = write(tmp_path, [item(1, "good")])
        assert translate(data, *flags(server, tmp_path / "out", "--prompt", prompt)) == 0
        (body,) = server.bodies
    wanted = json.loads(json.dumps(content).replace("{}", text))
    assert body["messages"] == [{"role": "user", "content": wanted}]
    assert body["temperature"] == 0
    assert "response_format" not in body


@pytest.mark.parametrize(
    ("given", "label", "flores", "name"),
    [
        ("FRA_LATN", "fr", "fra_Latn", "French"),
        ("zh-TW", "zho_Hant", "zho_Hant", "Chinese (Traditional)"),
        ("Traditional Chinese", "zho_Hant", "zho_Hant", "Chinese (Traditional)"),
        ("zh-Hans", "zh", "zho_Hans", "Chinese"),
        ("pt_BR.UTF-8", "pt", "por_Latn", "Portuguese (Brazil)"),
        ("bho_Deva", "bho_Deva", "bho_Deva", "Bhojpuri"),
    ],
)
def test_scripts_and_regions_are_not_lost(given: str, label: str, flores: str, name: str) -> None:
    found = language(given)
    assert (found.label, found.flores, found.name) == (label, flores, name)


def test_another_region_is_another_translation(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    data = write(tmp_path, [item(1, "good")])
    server.hook = lambda body: (200, completion("Este é o item 1, kind=good"), {})
    assert translate(data, *flags(server, tmp_path / "out", "--to", "pt-BR")) == 0
    assert "into Portuguese (Brazil)." in server.bodies[0]["messages"][0]["content"]
    assert translate(data, *flags(server, tmp_path / "out", "--to", "pt")) == 2
    assert "(target: 'pt-BR', now None)" in capsys.readouterr().err


def test_translated_data_are_read_by_surface_as_they_are(tmp_path: Path) -> None:
    from xltjax.eval import __main__ as evaluators

    rows = [{"instruction": "Name 1 animal.", "response": f"This is item {n}, kind=good."} for n in range(4)]
    with judge_server() as server:
        misbehave(server)
        data = write(tmp_path, rows, "dolly.jsonl")
        assert translate(data, *flags(server, tmp_path / "out", "--to", "fr,ru")) == 0
    files = [str(tmp_path / "out" / f"dolly.{language}.jsonl") for language in ("fr", "ru")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eval", "surface", *files, "--out", str(tmp_path / "scores")])
        with pytest.raises(SystemExit) as stop:
            evaluators.main()
    assert not stop.value.code
    scores = lines(tmp_path / "scores" / "scores.jsonl")
    right = [score for score in scores if score["metric"] == "language_correct"]
    assert [score["value"] for score in right] == [1.0] * 8
    assert {score["model"] for score in right} == {"dolly.fr", "dolly.ru"}
