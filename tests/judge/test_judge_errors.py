"""What ``eval judge`` refuses with one line, and where the key never appears."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from helpers.judge.command import KEY, judge, lines, states
from helpers.judge.server import JudgeServer, completion, judge_server, row

from xltjax.eval.judge.api.endpoint import read_endpoint

ROWS = [row(n, "good") for n in range(6)]


@pytest.fixture
def server() -> Iterator[JudgeServer]:
    with judge_server() as running:
        yield running


def refused(folder: Path, capsys: pytest.CaptureFixture[str], *flags: str, **more: Any) -> str:
    """The one line with which the command refuses ``flags``; it leaves nothing behind and does not show the key."""
    assert judge(folder, ROWS, *flags, **more) == 2
    said = capsys.readouterr()
    (line,) = said.err.strip().splitlines()
    assert line.startswith("error: ")
    assert KEY not in said.out + said.err
    assert not (folder / "out").exists()
    return line


def test_nothing_is_sent_without_a_judge(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    assert "give --judge" in refused(tmp_path, capsys, "--base-url", server.url)
    assert server.bodies == []


def test_openai_needs_a_key_and_another_server_does_not(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    said = refused(tmp_path, capsys, "--judge", "openai:gpt", key=None)
    assert "set OPENAI_API_KEY" in said
    said = refused(tmp_path, capsys, "--judge", "openai:gpt", "--key-variable", "MY_KEY")
    assert "set MY_KEY" in said
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--base-url", server.url, key=None) == 0
    assert all(KEY not in str(header) for header in server.keys)


def test_the_key_comes_from_the_named_variable(server: JudgeServer, tmp_path: Path) -> None:
    flags = ("--judge", "openai:m", "--base-url", server.url, "--key-variable", "MY_KEY")
    assert judge(tmp_path, ROWS, *flags, key="sk-not-this-one", environment={"MY_KEY": f" {KEY}\n"}) == 0
    assert server.keys == {f"Bearer {KEY}"}


@pytest.mark.parametrize("given", [KEY, "hf_abcdefghijklmnop"])
def test_a_key_in_place_of_its_variable_is_not_shown(tmp_path: Path, capsys: Any, given: str) -> None:
    assert given not in refused(tmp_path, capsys, "--judge", "openai:m", "--key-variable", given)


def test_the_server_in_the_environment_counts(server: JudgeServer, tmp_path: Path) -> None:
    assert judge(tmp_path, ROWS, "--judge", "openai:m", environment={"OPENAI_BASE_URL": server.url}) == 0
    assert server.asked.total() == len(ROWS)


@pytest.mark.parametrize(
    ("status", "error", "says"),
    [
        (
            401,
            {"message": f"Incorrect API key provided: {KEY}", "code": "invalid_api_key"},
            "refuses the key in",
        ),
        (403, {"message": "Country not supported"}, "refuses the key in OPENAI_API_KEY"),
        (404, {"message": "The model `m` does not exist", "code": "model_not_found"}, "has no model 'm'"),
        (405, "Method Not Allowed", "no Chat Completions"),
        (429, {"message": "You exceeded your quota", "code": "insufficient_quota"}, "no credit left"),
    ],
)
def test_a_server_that_will_never_answer_is_one_line_and_one_request(
    server: JudgeServer, tmp_path: Path, capsys: Any, status: int, error: Any, says: str
) -> None:
    server.hook = lambda body: (status, {"error": error}, {})
    assert says in refused(tmp_path, capsys, "--judge", "openai:m", "--base-url", server.url)
    assert len(server.bodies) == 1


def test_a_missing_key_is_told_from_a_wrong_one(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    server.hook = lambda body: (401, {"error": {"message": "unauthorized"}}, {})
    said = refused(tmp_path, capsys, "--judge", "openai:m", "--base-url", server.url, key=None)
    assert "wants a key: set OPENAI_API_KEY" in said


def test_a_server_that_is_not_there_is_one_line(tmp_path: Path, capsys: Any) -> None:
    with judge_server() as gone:
        url = gone.url
    assert f"no server answers at {url}" in refused(
        tmp_path, capsys, "--judge", "openai:m", "--base-url", url
    )


def test_a_server_that_refuses_everything_stops_the_run(
    server: JudgeServer, tmp_path: Path, capsys: Any
) -> None:
    server.hook = lambda body: (400, {"error": {"message": "no"}}, {})
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--base-url", server.url, "--concurrency", "1") == 2
    assert "refuses every request (HTTP 400: no)" in capsys.readouterr().err


def test_one_response_that_is_refused_does_not_stop_the_run(server: JudgeServer, tmp_path: Path) -> None:
    first = ROWS[0]["response"]
    server.hook = lambda body: (
        (400, {"error": {"message": "no"}}, {}) if first in body["messages"][0]["content"] else None
    )
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--base-url", server.url) == 0
    assert states(tmp_path) == {"r0": "failed:http_error"} | {f"r{n}": "ok" for n in range(1, 6)}


def test_a_server_that_dies_stops_the_run_and_what_was_answered_is_kept(tmp_path: Path, capsys: Any) -> None:
    with judge_server() as server:
        url = server.url

        def die(body: dict[str, Any]) -> None:
            if len(server.bodies) == 3:
                server.socket.close()
                threading.Thread(target=server.shutdown).start()

        server.hook = die
        flags = ("--judge", "openai:m", "--base-url", url, "--concurrency", "1", "--retries", "1")
        # The connection that is open is still served; each further one is refused.
        server.close_each = True
        assert judge(tmp_path, ROWS, *flags) == 2
    assert "3 calls of this run are kept" in capsys.readouterr().err
    assert len(lines(tmp_path / "out" / "calls.jsonl")) == 1 + 3
    assert not (tmp_path / "out" / "scores.jsonl").exists()


@pytest.mark.parametrize("url", [
    "ftp://localhost/v1", "file:///etc/passwd", "localhost:8000", "http://", "http://a b/v1", "http://localhost:x/v1",
    "http://localhost:99999/v1", "http://[::1", f"http://user:{KEY}@localhost/v1", f"http://localhost/v1?key={KEY}",
    f"http://localhost/v1#{KEY}", "http://300.1.1.1/v1", "javascript:alert(1)", KEY, "http://local\nhost/v1",
])  # fmt: skip
def test_a_url_that_is_not_http_is_refused_before_anything_is_sent(
    tmp_path: Path, capsys: Any, url: str
) -> None:
    refused(tmp_path, capsys, "--judge", "openai:m", "--base-url", url)


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("HTTP://LocalHost:8000/v1/", "http://localhost:8000/v1"),
        ("http://localhost:8000/v1/chat/completions", "http://localhost:8000/v1"),
        ("https://[::1]:8000/v1", "https://[::1]:8000/v1"),
        (" https://api.openai.com/v1/ ", "https://api.openai.com/v1"),
    ],
)
def test_spellings_of_one_url_are_one(given: str, used: str) -> None:
    assert read_endpoint("openai:m", given, "OPENAI_API_KEY", {}).base_url == used
    assert read_endpoint(f"openai:m@{given.strip().lower()}", "http://other", "X", {}).base_url == used


@contextlib.contextmanager
def redirecting(status: int, location: str) -> Iterator[tuple[str, list[str | None]]]:
    """A server that sends every request to ``location``, and the keys that it was given."""
    keys: list[str | None] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            keys.append(self.headers["authorization"])
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.send_header("Location", location)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/v1", keys
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("where", ["another port", "another host"])
def test_a_redirect_does_not_take_the_key_along(
    server: JudgeServer, tmp_path: Path, capsys: Any, status: int, where: str
) -> None:
    elsewhere = server.url if where == "another port" else server.url.replace("127.0.0.1", "localhost")
    with redirecting(status, f"{elsewhere}/chat/completions") as (url, keys):
        said = refused(tmp_path, capsys, "--judge", "openai:m", "--base-url", url)
    assert elsewhere.split("/")[2] in said
    assert keys == [f"Bearer {KEY}"]
    assert server.bodies == []


@pytest.mark.parametrize("mistake", [
    ("--judge", "gpt-4o"), ("--judge", "openai:"), ("--judge", "openai:m", "--judge", "openai:m"),
    ("--judge", "openai:m", "--criteria", "sixx"), ("--judge", "openai:m", "--preset", "papr"),
    ("--judge", "openai:m", "--preset", "paper", "--criteria", "modifier"), ("--judge", "openai:m", "--repeats", "0"),
    ("--judge", "openai:m", "--concurrency", "0"), ("--judge", "openai:m", "--timeout", "0"),
    ("--judge", "openai:m", "--timeout", "nan"), ("--judge", "openai:m", "--retries", "-1"),
    ("--judge", "openai:m", "--max-tokens", "0"), ("--judge", "openai:m", "--sample", "-1"),
    ("--judge", "openai:m", "--dry-run", "--reparse"), ("--judge", "openai:m", "--prices", "missing.yaml"),
    ("--judge", "openai:m", "--judge", "openai:n", "--batch-file", "b.jsonl"),
    ("--judge", "openai:m", "--rubric-language", "it"), ("--judge", "openai:m", "--probe", "langage"),
])  # fmt: skip
def test_a_mistake_in_the_settings_is_one_line(
    server: JudgeServer, tmp_path: Path, capsys: Any, mistake: tuple[str, ...]
) -> None:
    refused(tmp_path, capsys, "--base-url", server.url, *mistake)
    assert server.bodies == []


def test_a_folder_with_files_of_others_is_left_alone(server: JudgeServer, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, text in (("calls.jsonl", "my notes"), ("calls.jsonl", '{"a": 1}\n'), ("scores.jsonl", "{}\n")):
        (out / name).write_text(text)
        assert judge(tmp_path, ROWS, "--judge", "openai:m", "--base-url", server.url) == 2
        assert (out / name).read_text() == text
        (out / name).unlink()
    assert server.bodies == []


def echo(body: Mapping[str, Any]) -> tuple[int, Any, dict[str, str]] | None:
    """A server that puts the key into everything that it says."""
    prompt = body["messages"][0]["content"]
    if "item 1" in prompt:
        return 500, {"error": {"message": f"{'x' * 290} {KEY} {KEY}"}}, {}
    if "item 2" in prompt:
        return 200, f"<html>{KEY}</html>", {"Content-Type": "text/html"}
    if "item 3" in prompt:
        return 200, completion(f"I was given {KEY}."), {}
    if "item 4" in prompt:
        return 200, completion(None, refusal=f"No: {KEY}"), {}
    if "item 5" in prompt:
        return 401, {"error": {"message": f"Incorrect API key provided: {KEY[:8]}****{KEY[-4:]}."}}, {}
    return None


def test_the_key_is_in_no_file_and_in_no_line(server: JudgeServer, tmp_path: Path, capsys: Any) -> None:
    server.hook = echo
    assert judge(tmp_path, ROWS, "--judge", "openai:m", "--base-url", server.url, "--retries", "1") == 0
    said = capsys.readouterr()
    written = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert len(written) == 8
    for text in (*written, said.out, said.err):
        for part in (KEY, KEY[:12], KEY[-8:], KEY[-4:]):
            assert part not in text
    assert sum(text.count("[key]") for text in written) > 0
    assert json.dumps(states(tmp_path)).count("http_error") == 3
