"""``eval judge`` against a real server that misbehaves: nothing is lost, doubled or made up."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.command import KEY, judge, lines, scores, states
from helpers.judge.server import HANGS, OUTCOMES, SIX, JudgeServer, completion, judge_server, row, scores_of

from xltjax.eval import __main__ as program


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


QUICK = [kind for kind in OUTCOMES if kind not in HANGS]


def mixed(count: int) -> list[dict[str, Any]]:
    """Responses of all kinds; those that wait for the timeout are few and come first, so that they wait together."""
    first = ("hang", "drip")
    return [row(n, first[n] if n < len(first) else QUICK[n % len(QUICK)]) for n in range(count)]


def kind_of(line: dict[str, Any]) -> str:
    return str(line["response"]).split("kind=")[1].rstrip(".")


def expected(rows: list[dict[str, Any]]) -> dict[tuple[str, str], tuple[float | None, str]]:
    """What the server's answers mean, told apart by kind and computed from the number of the response."""
    found: dict[tuple[str, str], tuple[float | None, str]] = {}
    for line in rows:
        outcome = OUTCOMES[kind_of(line)]
        for name, level in scores_of(line["response"]).items():
            right = (float(level - 1), "ok") if outcome == "ok" else (None, f"failed:{outcome}")
            found[line["id"], name] = right
    return found


def found(folder: Path) -> dict[tuple[str, str], tuple[float | None, str]]:
    return {key: (score["value"], score["state"]) for key, score in scores(folder).items()}


FAST = ("--timeout", "60", "--retries", "2", "--concurrency", "64")


def test_a_thousand_items_end_with_every_outcome_right(server: JudgeServer, tmp_path: Path) -> None:
    rows = mixed(1000)
    server.hang = 7.0
    server.refuses = ("json_schema", "temperature", "max_tokens")
    flags = ("--judge", "openai:m", "--base-url", server.url, *FAST, "--timeout", "5")
    assert judge(tmp_path, rows, *flags) == 0
    assert found(tmp_path) == expected(rows)


def test_a_server_that_never_answers_is_given_up(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(n, "hang_forever") for n in range(3)]
    flags = ("--judge", "openai:m", "--base-url", server.url, "--timeout", "0.5", "--retries", "1")
    assert judge(tmp_path, rows, *flags) == 0
    assert found(tmp_path) == expected(rows)
    assert {score["detail"]["reason"] for score in scores(tmp_path).values()} == {"no answer in time"}
    assert set(server.asked.values()) == {2}


def test_a_second_run_asks_only_about_what_has_no_scores(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(n, kind) for n, kind in enumerate(QUICK)]
    to = ("--judge", "openai:m", "--base-url", server.url)
    assert judge(tmp_path, rows, *to, *FAST) == 0
    first, before = (tmp_path / "out" / "scores.jsonl").read_bytes(), dict(server.asked)
    assert judge(tmp_path, rows, *to, *FAST) == 0
    again = {text for text, count in server.asked.items() if count > before[text]}
    assert again == {line["response"][:-1] for line in rows if OUTCOMES[kind_of(line)] != "ok"}
    assert (tmp_path / "out" / "scores.jsonl").read_bytes() == first


def command(folder: Path, url: str) -> list[str]:
    return [
        sys.executable, "-m", "xltjax.eval", "judge", str(folder / "responses.jsonl"), "--out", str(folder / "out"),
        "--judge", "openai:m", "--base-url", url, "--concurrency", "8",
    ]  # fmt: skip


def kill_and_resume(server: JudgeServer, folder: Path, *, kills: int, count: int, seed: int) -> None:
    """Kill the command ``kills`` times at random, let it end, and compare with a run left alone."""
    draw = random.Random(seed)
    # No failures: each of these is asked until it is answered, once.
    rows = [row(n, ("good", "fenced", "two_stars", "prose")[n % 4]) for n in range(count)]
    server.delay = 0.05
    environment = {**os.environ, "OPENAI_API_KEY": KEY}
    alone = folder / "alone"
    alone.mkdir()
    assert judge(alone, rows, "--judge", "openai:m", "--base-url", server.url, "--concurrency", "64") == 0
    server.asked.clear()
    killed = folder / "killed"
    killed.mkdir()
    (killed / "responses.jsonl").write_text("".join(json.dumps(line) + "\n" for line in rows))
    calls = killed / "out" / "calls.jsonl"
    kept = 0
    for kill in range(kills):
        wanted = kept + draw.randrange(2 * (count - kept) // (kills - kill + 1) + 1)
        process = subprocess.Popen(command(killed, server.url), env=environment, stderr=subprocess.DEVNULL)
        while answers(calls) < wanted and process.poll() is None:
            time.sleep(0.002)
        time.sleep(draw.uniform(0, 0.1))
        process.kill()
        process.wait()
        assert answers(calls) >= kept
        kept = answers(calls)
    ended = subprocess.run(command(killed, server.url), env=environment, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert (killed / "out" / "scores.jsonl").read_bytes() == (alone / "out" / "scores.jsonl").read_bytes()
    # What was in flight at a kill, at most 8 calls, is asked again, and nothing else.
    assert sum(server.asked.values()) <= count + 8 * kills
    assert len(server.asked) == count


def answers(calls: Path) -> int:
    return calls.read_bytes().count(b'"body"') if calls.exists() else 0


def test_a_killed_run_asks_only_for_what_is_missing(server: JudgeServer, tmp_path: Path) -> None:
    kill_and_resume(server, tmp_path, kills=1, count=48, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_a_run_killed_ten_times_ends_with_the_same_file(
    server: JudgeServer, tmp_path: Path, seed: int
) -> None:
    kill_and_resume(server, tmp_path, kills=10, count=1000, seed=seed)


def test_a_failure_is_tried_again_and_a_score_is_never_replaced(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(0, "good"), row(1, "good"), row(2, "good")]
    to = ("--judge", "openai:m", "--base-url", server.url, "--retries", "0")
    down = {"item 1": (500, {"error": {"message": "down"}}, {}), "item 2": (200, completion("no"), {})}
    server.hook = lambda body: next(
        (reply for name, reply in down.items() if name in body["messages"][0]["content"]), None
    )
    assert judge(tmp_path, rows, *to) == 0
    assert states(tmp_path) == {"r0": "ok", "r1": "failed:http_error", "r2": "failed:invalid_json"}
    down.clear()
    assert judge(tmp_path, rows, *to) == 0
    assert set(states(tmp_path).values()) == {"ok"}
    assert len(server.bodies) == 5
    server.hook = lambda body: (500, {}, {})
    assert judge(tmp_path, rows, *to) == 0
    assert set(states(tmp_path).values()) == {"ok"}
    assert len(server.bodies) == 5


def test_equal_responses_are_one_call_and_each_has_its_scores(server: JudgeServer, tmp_path: Path) -> None:
    rows = [{**row(0, "good"), "model": model} for model in ("a", "b", "c")]
    assert judge(tmp_path, rows, "--judge", "openai:m", "--base-url", server.url) == 0
    assert len(server.bodies) == 1
    assert len(lines(tmp_path / "out" / "scores.jsonl")) == 3 * len(SIX)


@pytest.mark.parametrize(
    "change",
    [
        ("--judge", "openai:other"),
        ("--preset", "paper"),
        ("--rubric-language", "fr"),
        ("--max-tokens", "99"),
        ("--criteria", "relevance"),
        ("--repeats", "2"),
    ],
)
def test_another_request_is_another_call(
    server: JudgeServer, tmp_path: Path, change: tuple[str, str]
) -> None:
    rows = [row(0, "good")]
    settings = {"--judge": "openai:m", "--base-url": server.url}
    for flags in (settings, settings, settings | dict([change])):
        assert judge(tmp_path, rows, *(word for pair in flags.items() for word in pair)) == 0
    assert len(server.bodies) == 2


def test_repeats_and_several_judges_have_scores_of_their_own(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(n, "good") for n in range(4)]
    flags = (
        "--judge",
        "openai:a",
        "--judge",
        f"openai:b@{server.url}",
        "--base-url",
        server.url,
        "--repeats",
        "3",
    )
    assert judge(tmp_path, rows, *flags) == 0
    assert len(server.bodies) == 4 * 2 * 3
    got = [
        (score["detail"]["judge"].split("@")[0], score["detail"]["repeat"], score["id"])
        for score in lines(tmp_path / "out" / "scores.jsonl")
        if score["metric"] == "judge/fluency"
    ]
    assert got == [
        (name, repeat, f"r{n}") for name in ("openai:a", "openai:b") for n in range(4) for repeat in range(3)
    ]


def test_other_scores_of_the_folder_stay(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(n, "good", language="fr") for n in range(2)]
    to = ("--base-url", server.url)
    assert judge(tmp_path, rows, "--judge", "openai:a", *to) == 0
    path = tmp_path / "out" / "scores.jsonl"
    spelling = {"id": "r0", "model": "m", "metric": "spelling", "value": 0.5, "state": "ok", "detail": {}}
    language = [{**spelling, "id": f"r{n}", "metric": "language_correct", "value": 1.0} for n in range(2)]
    path.write_text("".join(json.dumps(line) + "\n" for line in (spelling, *language)) + path.read_text())
    assert judge(tmp_path, rows, "--judge", "openai:b", *to) == 0
    assert (
        judge(tmp_path, rows, "--judge", "openai:b", "--criteria", "relevance", "--preset", "paper", *to) == 0
    )
    got = [(line["metric"], line["detail"].get("judge")) for line in lines(path)]
    assert got.count(("spelling", None)) == 1
    assert [got.count(("judge/fluency", name)) for name in ("openai:a", "openai:b")] == [2, 2]
    assert {name for name in os.listdir(tmp_path / "out") if name.endswith(".md")} == {
        "six-averages.md", "six-outcomes.md", "relevance-averages.md", "relevance-outcomes.md",
    }  # fmt: skip
    # fastText's opinion is that of the folder: it would have called these answers English.
    table = (tmp_path / "out" / "six-averages.csv").read_text().splitlines()
    fasttext = [line.split(",") for line in table if "correct_only,fasttext" in line]
    assert {cells[8] for cells in fasttext} == {"2"}
    assert set(json.loads((tmp_path / "out" / "judge.json").read_text())) == {"six", "relevance"}


def test_scores_of_models_and_answers_that_are_not_given_stay(server: JudgeServer, tmp_path: Path) -> None:
    rows = [{**row(n, "good"), "model": model} for n in range(2) for model in ("a", "b")]
    to = ("--base-url", server.url, "--judge")
    assert judge(tmp_path, rows, *to, "openai:x") == 0
    path = tmp_path / "out" / "scores.jsonl"
    before = set(path.read_text().splitlines())
    for name, count in (("openai:x", len(before)), ("openai:y", len(before) * 3 // 2)):
        assert judge(tmp_path, rows[::2], *to, name) == 0
        after = path.read_text().splitlines()
        assert before <= set(after)
        assert len(after) == len(set(after)) == count
    assert judge(tmp_path, rows[:1], *to, "openai:x") == 0  # of a model whose other answers are not given
    assert sorted(path.read_text().splitlines()) == sorted(after)
    answers = [(line["model"], line["id"]) for line in lines(tmp_path / "out" / "answers.jsonl")]
    assert sorted(answers) == sorted((line["model"], line["id"]) for line in rows)


def test_the_scores_can_be_compared_between_models(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(2 * n + place, "good", model=model, id=f"q{n}", instruction_id=f"q{n}", instruction=f"Say {n}.")
            for n in range(6) for place, model in enumerate("ab")]  # fmt: skip
    assert judge(tmp_path, rows, "--judge", "openai:m", "--base-url", server.url) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            sys, "argv", ["eval", "compare", str(tmp_path / "out"), "--out", str(tmp_path / "compared")]
        )
        with pytest.raises(SystemExit) as stop:
            program.main()
    assert stop.value.code == 0
    assert "judge/helpfulness" in (tmp_path / "compared" / "compare.csv").read_text()


def test_what_cannot_be_judged_is_not_sent(server: JudgeServer, tmp_path: Path) -> None:
    rows = [
        row(0, "good"),
        row(1, "good", finish_reason="failed: too long (900 tokens)", response=""),
        row(2, "good", instruction=" "),
    ]
    to = ("--judge", "openai:m", "--base-url", server.url)
    assert judge(tmp_path, rows, *to) == 0
    assert len(server.bodies) == 1
    assert states(tmp_path) == {
        "r0": "ok",
        "r1": "failed:no answer (too long)",
        "r2": "failed:the instruction is not given",
    }
    assert judge(tmp_path, rows, *to, "--criteria", "modifier") == 2
    assert len(server.bodies) == 1


def test_answers_can_be_read_again_without_a_key_or_a_call(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(0, "good"), row(1, "good"), row(2, "seven")]
    to = ("--judge", "openai:m", "--base-url", server.url)
    assert judge(tmp_path, rows, *to, "--reparse") == 2  # there is nothing yet
    assert not (tmp_path / "out").exists()
    assert judge(tmp_path, rows[:2], *to) == 0
    journal = tmp_path / "out" / "calls.jsonl"
    # As if the answer to r1 were one that is read differently now.
    journal.write_text(
        journal.read_text().replace(json.dumps(json.dumps(scores_of("item 1"))), '"no scores"')
    )
    assert judge(tmp_path, rows, *to, "--reparse", key=None) == 0
    assert states(tmp_path) == {"r0": "ok", "r1": "failed:invalid_json"}
    assert len(server.bodies) == 2


def test_a_sample_has_every_task_in_proportion_and_the_same_instructions_for_all(
    server: JudgeServer, tmp_path: Path
) -> None:
    rows = [
        {**row(n, "good"), "model": model, "language": language, "instruction_id": f"i{n}",
         "id": f"{language}{n}", "response": f"This is item {n * 10 + place}, kind=good. {language} {model}",
         "task": "many" if n < 30 else "few"}
        for n in range(40)
        for place, (model, language) in enumerate([("a", "en"), ("a", "fr"), ("b", "en")])
    ]  # fmt: skip
    to = ("--judge", "openai:m", "--base-url", server.url)
    small, large = {}, {}
    for size, chosen in ((8, small), (20, large)):
        assert judge(tmp_path, rows, *to, "--sample", str(size)) == 0
        for score in lines(tmp_path / "out" / "scores.jsonl"):
            chosen.setdefault((score["model"], score["id"][:2]), set()).add(score["id"][2:])
    assert len(small) == 3
    assert len({frozenset(ids) for ids in small.values()}) == 1
    (eight,), (twenty,) = ({frozenset(ids) for ids in chosen.values()} for chosen in (small, large))
    assert (len(eight), sum(int(n) < 30 for n in eight)) == (8, 6)
    assert (len(twenty), sum(int(n) < 30 for n in twenty)) == (20, 15)
    assert eight < twenty
    assert len(server.bodies) == 60  # what the small sample has paid for is not asked again


def test_probes_are_asked_too_and_kept_apart(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(n, "good", language="fr") for n in range(3)]
    assert (
        judge(tmp_path, rows, "--judge", "openai:m", "--base-url", server.url, "--probe", "language,copy")
        == 0
    )
    kinds = [score["detail"].get("probe") for score in lines(tmp_path / "out" / "scores.jsonl")]
    assert {kind: kinds.count(kind) for kind in kinds} == {None: 18, "language": 18, "copy": 18}
