"""Costs before and after, and batch files, against hand computation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.command import judge, lines, states
from helpers.judge.server import JudgeServer, completion, judge_server, row, scores_of

from xltjax.common.errors import UserError
from xltjax.eval.judge.api import batch_files
from xltjax.eval.judge.costs import Bill, Price, estimated_tokens, find_price, read_prices

ROWS = [row(n, "good") for n in range(10)]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.yaml"
    path.write_text("m: {input: 2.0, output: 8.0, cached_input: 0.5}\n")
    return str(path)


def test_the_cost_of_a_journal_is_that_computed_by_hand(
    server: JudgeServer, tmp_path: Path, prices: str, capsys: Any
) -> None:
    usages = [
        {"prompt_tokens": 1000, "completion_tokens": 50},
        {"prompt_tokens": 2000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 1500}},
        None,
        {"prompt_tokens": "many", "completion_tokens": 1},
    ]

    def answer(body: dict[str, Any]) -> tuple[int, Any, dict[str, str]]:
        number = int(re.search(r"item (\d)", body["messages"][0]["content"])[1])  # type: ignore[index]
        text = "no scores" if number == 1 else json.dumps(scores_of(f"item {number}"))
        return 200, completion(text) | {"usage": usages[number]}, {}

    server.hook = answer
    flags = ("--judge", "openai:m", "--base-url", server.url, "--prices", prices)
    assert judge(tmp_path, ROWS[:4], *flags) == 0
    # 1000 + 500 tokens in at 2, 1500 cached at 0.5, 150 out at 8 per million.
    cost = (1500 * 2 + 1500 * 0.5 + 150 * 8) / 1e6
    assert f"cost {cost:.4f}" in capsys.readouterr().out
    record = json.loads((tmp_path / "out" / "judge.json").read_text())["six"]["judges"]["openai:m"]
    assert record["cost"] == pytest.approx(cost)
    tokens = {"input": 3000, "cached": 1500, "output": 150}
    assert record["usage"] == {
        "calls": 4, "uncounted": 2, "tokens": tokens, "in_batches": dict.fromkeys(tokens, 0)
    }  # fmt: skip
    # The answer without scores was paid for too, and is paid for again.
    assert judge(tmp_path, ROWS[:4], *flags) == 0
    again = cost + (500 * 2 + 1500 * 0.5 + 100 * 8) / 1e6
    assert f"cost {again:.4f}" in capsys.readouterr().out


def test_a_dry_run_sends_nothing_leaves_nothing_and_says_what_is_to_come(
    server: JudgeServer, tmp_path: Path, prices: str, capsys: Any
) -> None:
    flags = ("--judge", "openai:m", "--base-url", server.url, "--prices", prices)
    assert judge(tmp_path, ROWS, *flags, "--dry-run", "--repeats", "3", key=None) == 0
    said = capsys.readouterr().out
    assert server.bodies == []
    assert not (tmp_path / "out").exists()
    assert "30 calls to make, 0 answered before" in said
    assert f"at most {30 * 1024:,}" in said
    # With some answers, the estimate is what they took: 100 tokens in and 20 out.
    assert judge(tmp_path, ROWS[:4], *flags) == 0
    capsys.readouterr()
    assert judge(tmp_path, [ROWS[0]] * 0 + ROWS, *flags, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "6 calls to make, 4 answered before; about 600 tokens in and 120 out (at most 6,144)" in said
    cost, most = (600 * 2 + 120 * 8) / 1e6, (600 * 2 + 6144 * 8) / 1e6
    assert f"about {cost:.4f}, at most {most:.4f}" in said
    assert len(server.bodies) == 4


def test_without_prices_a_dry_run_says_so(tmp_path: Path, capsys: Any) -> None:
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--dry-run", key=None) == 0
    assert "cost: unknown; give --prices FILE" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "tokens"), [("", 0), ("word" * 10, 10), ("слово" * 4, 10), ("déjà vu", 3)])
def test_tokens_are_estimated_by_the_stated_rule(text: str, tokens: int) -> None:
    assert estimated_tokens(text) == tokens


@pytest.mark.parametrize("content", [
    "", "[]", "m: 3", "m: {input: 1}", "m: {input: 1, output: -1}", "m: {input: 1, output: .nan}",
    "m: {input: 1, output: two}", "m: {input: 1, output: 2, ouput: 3}", "m: {input: true, output: 1}", "{",
])  # fmt: skip
def test_a_mistake_in_the_prices_names_the_file(tmp_path: Path, content: str) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(content)
    with pytest.raises(UserError, match=re.escape(str(path))):
        read_prices(path)


def test_a_judge_without_a_price_is_not_free() -> None:
    known = {"m": Price(1, 2, 1), "openai:n": Price(3, 4, 3)}
    assert find_price(known, "p", "openai:n", "n") == Price(3, 4, 3)
    assert find_price({}, "", "openai:n", "n") is None
    with pytest.raises(UserError, match="no price for 'mm'; did you mean 'm'"):
        find_price(known, "p", "openai:mm", "mm")


def test_calls_of_a_batch_cost_half() -> None:
    bill = Bill()
    bill.add({"prompt_tokens": 100, "completion_tokens": 10}, batch=True)
    bill.add({"prompt_tokens": 100, "completion_tokens": 10})
    assert Price(1e6, 0, 1e6).cost(bill) == pytest.approx(150)
    assert Price(0, 1e6, 0).cost(bill) == pytest.approx(15)


# --- batch files ---


def results_of(requests: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What OpenAI gives back, in another order."""
    return [
        {
            "id": f"batch_req_{number}",
            "custom_id": request["custom_id"],
            "response": {
                "status_code": 200,
                "request_id": "r",
                "body": completion(json.dumps(scores_of(request["body"]["messages"][0]["content"]))),
            },
            "error": None,
        }
        for number, request in reversed(list(enumerate(requests)))
    ]


def write(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in rows))
    return str(path)


def test_a_batch_gives_the_scores_of_calls_at_half_the_price(
    server: JudgeServer, tmp_path: Path, prices: str, capsys: Any
) -> None:
    flags = ("--judge", "openai:m", "--base-url", server.url, "--prices", prices)
    requests = tmp_path / "batch.jsonl"
    assert judge(tmp_path, ROWS, *flags, "--batch-file", str(requests), key=None) == 0
    asked = lines(requests)
    assert {(line["method"], line["url"]) for line in asked} == {("POST", "/v1/chat/completions")}
    assert len({line["custom_id"] for line in asked}) == 10
    assert not (tmp_path / "out").exists()

    answered = results_of(asked)
    lost = {
        "id": "x",
        "custom_id": asked[3]["custom_id"],
        "response": None,
        "error": {"code": "batch_expired"},
    }
    other = {**answered[0], "custom_id": "0" * 64}
    results = write(
        tmp_path / "results.jsonl", [line for line in answered if line["custom_id"] != lost["custom_id"]]
    )
    errors = write(tmp_path / "errors.jsonl", [lost, other])
    assert judge(tmp_path, ROWS, *flags, "--batch-file", results, "--batch-file", errors, key=None) == 0
    said = capsys.readouterr().out
    assert "10 results read; 1 belong to other requests" in said
    assert f"cost {9 * (100 * 2 + 20 * 8) / 2e6:.4f}" in said
    found = states(tmp_path)
    assert found.pop("r3") == "failed:http_error"
    assert set(found.values()) == {"ok"}

    # Results are read once, and what is still missing is asked in another batch, or now.
    assert (
        judge(tmp_path, ROWS, *flags, "--batch-file", results, "--batch-file", str(tmp_path / "b2.jsonl"))
        == 0
    )
    assert "0 results read; 9 were there already" in capsys.readouterr().out
    assert [line["custom_id"] for line in lines(tmp_path / "b2.jsonl")] == [lost["custom_id"]]
    assert server.bodies == []
    assert judge(tmp_path, ROWS, *flags) == 0
    assert len(server.bodies) == 1
    assert set(states(tmp_path).values()) == {"ok"}
    alone = tmp_path / "alone"
    alone.mkdir()
    assert judge(alone, ROWS, *flags) == 0
    assert (tmp_path / "out" / "scores.jsonl").read_bytes() == (alone / "out" / "scores.jsonl").read_bytes()


def test_a_parameter_that_a_batch_refuses_is_left_out_of_the_next(tmp_path: Path) -> None:
    flags = ("--judge", "openai:m", "--batch-file")
    assert judge(tmp_path, ROWS, *flags, str(tmp_path / "one.jsonl")) == 0
    error = {
        "error": {"message": "Unsupported value: 'temperature' does not support 0", "param": "temperature"}
    }
    refused = [
        {"custom_id": line["custom_id"], "response": {"status_code": 400, "body": error}, "error": None}
        for line in lines(tmp_path / "one.jsonl")
    ]
    assert judge(tmp_path, ROWS, *flags, write(tmp_path / "errors.jsonl", refused)) == 0
    assert set(states(tmp_path).values()) == {"failed:http_error"}
    assert judge(tmp_path, ROWS, *flags, str(tmp_path / "two.jsonl")) == 0
    assert all("temperature" not in line["body"] for line in lines(tmp_path / "two.jsonl"))
    assert len(lines(tmp_path / "two.jsonl")) == 10


def test_a_batch_that_one_file_cannot_hold_is_written_to_several(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 4)
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--batch-file", str(tmp_path / "b.jsonl")) == 0
    counts = {path.name: len(lines(path)) for path in tmp_path.glob("b*.jsonl")}
    assert counts == {"b.jsonl": 4, "b-2.jsonl": 4, "b-3.jsonl": 2}


def test_a_file_of_the_user_is_never_replaced_by_a_batch(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(batch_files, "MOST_REQUESTS", 4)
    mine = tmp_path / "b-2.jsonl"
    mine.write_text("mine")
    flags = ("--judge", "openai:m", "--batch-file")
    assert judge(tmp_path, ROWS, *flags, str(tmp_path / "b.jsonl")) == 2
    assert judge(tmp_path, ROWS, *flags, str(mine)) == 2
    assert mine.read_text() == "mine"
    assert not (tmp_path / "b.jsonl").exists()
    # A file of requests is not taken for one of results, nor written again.
    requests = tmp_path / "one.jsonl"
    assert judge(tmp_path, ROWS[:3], *flags, str(requests)) == 0
    written = requests.read_bytes()
    assert judge(tmp_path, ROWS, *flags, str(requests)) == 0
    assert requests.read_bytes() == written


def test_results_of_other_settings_are_refused(tmp_path: Path) -> None:
    flags = ("--judge", "openai:m", "--batch-file")
    assert judge(tmp_path, ROWS, *flags, str(tmp_path / "b.jsonl")) == 0
    results = write(tmp_path / "r.jsonl", results_of(lines(tmp_path / "b.jsonl")))
    assert judge(tmp_path, ROWS, *flags, results, "--max-tokens", "7") == 2
    assert not (tmp_path / "out").exists()
