"""What a server accepts is found out from its refusals, once, and remembered."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.command import judge, lines, states
from helpers.judge.server import JudgeServer, judge_server, row

from xltjax.eval.judge.api.dialect import DIALECTS, Dialect, Dialects

ROWS = [row(n, "good") for n in range(12)]
SENT = Dialect().parameters({}, 9)


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def parameters(body: dict[str, Any]) -> set[str]:
    """What a request has besides model and messages, with the type of the form."""
    names = set(body) - {"model", "messages"}
    form = body.get("response_format", {}).get("type")
    return names - {"response_format"} | ({form} if form else set())


LADDERS = (("json_schema", "json_object"), ("max_tokens", "max_completion_tokens"), ("temperature",))
REFUSALS = [
    [name for ladder, count in zip(LADDERS, counts, strict=True) for name in ladder[:count]]
    for counts in itertools.product(range(3), range(3), range(2))
]


def best(refuses: list[str]) -> set[str]:
    """The best of what is not refused, of each kind."""
    return {next((name for name in ladder if name not in refuses), "") for ladder in LADDERS} - {""}


@pytest.mark.parametrize("vaguely", [False, True])
@pytest.mark.parametrize("refuses", REFUSALS, ids=lambda refuses: "-".join(refuses) or "nothing")
def test_whatever_a_server_refuses_the_most_that_it_accepts_is_found(
    refuses: list[str], vaguely: bool
) -> None:
    dialects = Dialects()
    for _ in DIALECTS:
        used = dialects.current
        sent = used.parameters({}, 9)
        refused = [name for name in refuses if name in parameters(sent)]
        if not refused:
            break
        message = "Bad Request" if vaguely else f"Unsupported parameter: {refused[0]}"
        assert dialects.refuse(used, sent, 400, "", message)
    assert parameters(dialects.current.parameters({}, 9)) == best(refuses)


@pytest.mark.parametrize("vaguely", [False, True])
@pytest.mark.parametrize("refuses", [[], ["json_schema", "temperature"], sum(LADDERS, ())], ids=len)
def test_what_was_found_out_is_remembered(
    server: JudgeServer, tmp_path: Path, capsys: Any, refuses: list[str], vaguely: bool
) -> None:
    server.refuses, server.vaguely = refuses, vaguely
    to = ("--judge", "openai:m", "--base-url", server.url)
    assert judge(tmp_path, ROWS[:3], *to) == 0
    assert set(states(tmp_path).values()) == {"ok"}
    assert parameters(server.bodies[-1]) == best(refuses)
    assert ("refused more" in capsys.readouterr().err) == bool(refuses)
    # A second run, with more responses, does not try again what was refused.
    tries = len(server.bodies)
    assert judge(tmp_path, ROWS[:5], *to) == 0
    assert [parameters(body) for body in server.bodies[tries:]] == [best(refuses), best(refuses)]


def test_a_refusal_in_the_middle_of_a_run_loses_nothing(server: JudgeServer, tmp_path: Path) -> None:
    """As when a server is replaced: what it answered before is still found under the parameters of then."""

    def stricter(body: dict[str, Any]) -> None:
        if len(server.bodies) >= 6:
            server.refuses = ("json_schema", "temperature")

    server.hook = stricter
    to = ("--judge", "openai:m", "--base-url", server.url, "--concurrency", "4")
    assert judge(tmp_path, ROWS, *to) == 0
    assert set(states(tmp_path).values()) == {"ok"}
    requests = len(server.bodies)
    for _ in range(2):
        assert judge(tmp_path, ROWS, *to) == 0
    assert len(server.bodies) == requests
    remembered = [line["accepts"] for line in lines(tmp_path / "out" / "calls.jsonl") if "server" in line]
    assert [each["format"] for each in remembered] == ["json_schema", "json_object"]


@pytest.mark.parametrize(
    ("status", "error", "left"),
    [
        # What servers say, word for word.
        (400, {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use "
                          "'max_completion_tokens' instead.", "param": "max_tokens", "code": "unsupported_parameter"},
         {"json_schema", "max_completion_tokens", "temperature"}),
        (400, {"message": "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) "
                          "value is supported.", "param": "temperature", "code": "unsupported_value"},
         {"json_schema", "max_tokens"}),
        (400, {"message": "Invalid parameter: 'response_format' of type 'json_schema' is not supported with this "
                          "model.", "param": "response_format"}, {"json_object", "max_tokens", "temperature"}),
        (500, {"message": "Failed to compile the grammar of the schema"},
         {"json_object", "max_tokens", "temperature"}),
        (404, {"message": "No endpoints found that support the requested parameters: response_format"},
         {"json_object", "max_tokens", "temperature"}),
    ],
)  # fmt: skip
def test_the_words_of_known_servers_are_understood(
    server: JudgeServer, tmp_path: Path, status: int, error: Any, left: set[str]
) -> None:
    server.hook = lambda body: None if parameters(body) == left else (status, {"error": error}, {})
    assert judge(tmp_path, ROWS[:2], "--judge", "openai:m", "--base-url", server.url) == 0
    assert len(server.bodies) == 3


def test_a_validation_error_that_repeats_the_request_is_read_by_its_place(
    server: JudgeServer, tmp_path: Path
) -> None:
    detail = [{"type": "extra_forbidden", "loc": ["body", "response_format"], "msg": "Extra inputs are not permitted",
               "input": {"temperature": 0, "max_tokens": 1}}]  # fmt: skip
    server.hook = lambda body: (422, {"detail": detail}, {}) if "response_format" in body else None
    assert judge(tmp_path, ROWS[:2], "--judge", "openai:m", "--base-url", server.url) == 0
    assert parameters(server.bodies[-1]) == {"max_tokens", "temperature"}


@pytest.mark.parametrize("message", [
    "This model's maximum context length is 4096 tokens, and you requested max_tokens 1024.",
    "'max_tokens' is too large: 1024. The model supports at most 512 completion tokens.",
    "The prompt, with the word temperature in it, exceeds the context window.",
])  # fmt: skip
def test_a_prompt_that_is_too_long_is_no_refusal_of_a_parameter(message: str) -> None:
    dialects = Dialects()
    assert not dialects.refuse(Dialect(), SENT, 400, "max_tokens", message)
    assert dialects.current == Dialect()


def test_after_an_answer_only_a_named_parameter_changes_the_dialect() -> None:
    dialects = Dialects()
    assert dialects.accept(Dialect())
    assert not dialects.refuse(Dialect(), SENT, 400, "", "Bad Request")
    assert dialects.refuse(Dialect(), SENT, 400, "temperature", "")
    assert dialects.current == Dialect(temperature="none")
    # A request that was under way meanwhile is refused for the same reason, and sent again as all are now.
    assert dialects.refuse(Dialect(), SENT, 400, "temperature", "")
    assert dialects.current == Dialect(temperature="none")
    assert dialects.known() == [Dialect(temperature="none"), Dialect()]


def test_without_a_schema_no_form_is_asked_for(server: JudgeServer, tmp_path: Path) -> None:
    rows = [row(0, "good")]
    server.hook = lambda body: (200, json.loads(json.dumps(ONE)), {})
    flags = ("--criteria", "relevance", "--preset", "paper")
    assert judge(tmp_path, rows, "--judge", "openai:m", "--base-url", server.url, *flags) == 0
    assert parameters(server.bodies[0]) == {"max_tokens", "temperature"}
    assert states(tmp_path, "relevant") == {"r0": "ok"}


ONE = {"choices": [{"finish_reason": "stop", "message": {"role": "assistant", "content": "1"}}]}


def test_there_are_all_dialects_and_the_first_is_the_best() -> None:
    assert len(DIALECTS) == len(set(DIALECTS)) == 3 * 3 * 2
    assert DIALECTS[0] == Dialect("json_schema", "max_tokens", "0")
