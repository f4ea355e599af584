"""A real HTTP server of Chat Completions on the loopback that misbehaves on purpose, response by response.

How it treats a request is said by the response that is judged: ``kind=...`` in its text.
"""

from __future__ import annotations

import email.utils
import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SIX = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
HTML = "<html><body><h1>503 Service Unavailable</h1></body></html>"

# What becomes of a response of each kind.
OUTCOMES = {
    "good": "ok", "429_after": "ok", "429_date": "ok", "429": "ok", "500": "ok", "503_html": "ok", "hang": "ok",
    "cut": "ok", "html": "ok", "not_json": "ok", "error_200": "ok", "close": "ok", "drip": "ok",
    "fenced": "ok", "prose": "ok", "two_stars": "ok", "upper": "ok", "parts": "ok",
    "500_forever": "http_error", "429_forever": "http_error", "cut_forever": "http_error",
    "html_forever": "http_error", "hang_forever": "http_error", "400": "http_error", "no_choices": "http_error",
    "invalid": "invalid_json", "empty": "invalid_json", "missing": "missing_key", "seven": "out_of_range",
    "refusal": "refusal", "refusal_text": "refusal", "filter": "refusal", "filter_400": "refusal",
    "truncated": "truncated",
}  # fmt: skip
HANGS = ("hang", "hang_forever", "drip")


def scores_of(text: str) -> dict[str, int]:
    """The levels (1 to 3) that the server gives to a response: by its text, so that they can be checked."""
    number = int((re.search(r"item (\d+)", text) or re.search(r"()0", "0"))[1] or 0)
    return {name: 1 + (number + place) % 3 for place, name in enumerate(SIX)}


def row(number: int, kind: str, **more: Any) -> dict[str, Any]:
    """A line of ``responses.jsonl`` that the server treats as ``kind``."""
    return {
        "id": f"r{number}", "model": "m", "language": "en", "task": f"task{number % 5}",
        "instruction": f"Name {number} animals.", "response": f"This is item {number}, kind={kind}.", **more,
    }  # fmt: skip


class JudgeServer(ThreadingHTTPServer):
    """The server.

    Attributes:
        asked: how often each response was asked about, by the text of its item.
        keys: the Authorization headers that came.
        bodies: every request.
        refuses: words of parameters that it refuses with a message, such as ``json_schema``.
        vaguely: whether it refuses them without naming them.
        delay: seconds before each answer.
        close_each: whether a connection is closed after each answer.
        hook: called with each request before it is answered; it may return (status, body, headers).
    """

    daemon_threads = True
    request_queue_size = 512

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: Counter[str] = Counter()
        self.keys: set[str | None] = set()
        self.bodies: list[dict[str, Any]] = []
        self.refuses: Sequence[str] = ()
        self.vaguely = False
        self.delay = 0.0
        self.hang = 2.0
        self.close_each = False
        self.hook: Callable[[dict[str, Any]], tuple[int, Any, Mapping[str, str]] | None] = lambda body: None
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that has gone away is no error."""


@contextmanager
def judge_server() -> Iterator[JudgeServer]:
    """A server that runs during the block."""
    server = JudgeServer()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: JudgeServer

    def log_message(self, *_: Any) -> None:
        pass

    def do_POST(self) -> None:
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        content = body["messages"][-1]["content"]
        prompt = content if isinstance(content, str) else content[0]["text"]
        text = (re.search(r"This is item \d+, kind=\w+", prompt) or re.search(".*", prompt))[0]  # type: ignore[index]
        kind = text.partition("kind=")[2] or "good"
        with server.lock:
            server.keys.add(self.headers["authorization"])
            server.bodies.append(body)
            server.asked[text] += 1
            attempt = server.asked[text]
        time.sleep(server.delay)
        if (found := server.hook(body)) is not None:
            return self.send(*found)
        for word in server.refuses:
            if self._has(body, word):
                message = (
                    "Bad Request" if server.vaguely else f"Unsupported parameter: '{word}' is not supported."
                )
                return self.send(400, {"error": {"message": message, "type": "invalid_request_error"}})
        once = kind in ("429_after", "429_date", "429", "500", "503_html", "hang", "cut", "html", "not_json",
                        "error_200", "close", "drip")  # fmt: skip
        if once and attempt > 1:
            kind = "good"
        self._treat(kind, text)

    @staticmethod
    def _has(body: Mapping[str, Any], word: str) -> bool:
        return word in body or body.get("response_format", {}).get("type") == word

    def _treat(self, kind: str, text: str) -> None:
        scores = scores_of(text)
        plain = json.dumps(scores)
        contents = {
            "good": plain,
            "fenced": f"```json\n{json.dumps(scores, indent=1)}\n```",
            "prose": f"Here are the scores:\n{plain}\nI hope this helps!",
            "two_stars": json.dumps({name: f"{level} stars" for name, level in scores.items()}),
            "upper": json.dumps(
                {("Logical coherence" if n == "coherence" else n.title()): v for n, v in scores.items()}
            ),
            "invalid": '{"language": 3, "fluency": ',
            "empty": "",
            "missing": json.dumps({name: level for name, level in scores.items() if name != "accuracy"}),
            "seven": json.dumps({**scores, "fluency": 7}),
            "refusal_text": "I'm sorry, but I can't help with that.",
        }
        if kind in contents:
            self.send(200, completion(contents[kind]))
        elif kind == "parts":
            self.send(
                200, completion([{"type": "text", "text": plain[:9]}, {"type": "text", "text": plain[9:]}])
            )
        elif kind == "refusal":
            self.send(200, completion(None, refusal="I will not grade this."))
        elif kind == "filter":
            self.send(200, completion("", finish="content_filter"))
        elif kind == "filter_400":
            self.send(400, {"error": {"code": "content_filter", "message": "The prompt was filtered."}})
        elif kind == "truncated":
            self.send(200, completion(plain[:20], finish="length"))
        elif kind == "429_after":
            self.send(429, {"error": {"message": "slow down"}}, {"Retry-After": "1"})
        elif kind == "429_date":
            self.send(
                429,
                {"error": {"message": "slow down"}},
                {"Retry-After": email.utils.formatdate(time.time() + 1)},
            )
        elif kind in ("429", "429_forever"):
            self.send(429, {"error": {"message": "slow down"}})
        elif kind in ("500", "500_forever"):
            self.send(500, {"error": {"message": "The server had an error."}})
        elif kind == "503_html":
            self.send(503, HTML, {"Content-Type": "text/html"})
        elif kind in ("html", "html_forever"):
            self.send(200, HTML, {"Content-Type": "text/html"})
        elif kind == "not_json":
            self.send(200, '{"choices": [', {"Content-Type": "application/json"})
        elif kind == "error_200":
            self.send(200, {"error": {"message": "upstream failed", "code": 502}})
        elif kind == "no_choices":
            self.send(200, {"choices": []})
        elif kind == "400":
            self.send(
                400,
                {"error": {"message": "The prompt exceeds the context length.", "code": "context_length"}},
            )
        elif kind in ("hang", "hang_forever"):
            time.sleep(self.server.hang)
            self.close_connection = True
        elif kind in ("cut", "cut_forever", "close", "drip"):
            self._broken(kind, json.dumps(completion(plain)).encode())
        else:
            raise AssertionError(kind)

    def _broken(self, kind: str, data: bytes) -> None:
        self.close_connection = True
        if kind == "close":
            return
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2])
        until = time.monotonic() + self.server.hang
        while kind == "drip" and time.monotonic() < until:
            self.wfile.flush()
            time.sleep(0.05)
            self.wfile.write(b" ")

    def send(self, status: int, body: Any, headers: Mapping[str, str] = {}) -> None:
        data = (body if isinstance(body, str) else json.dumps(body)).encode()
        self.send_response(status)
        for name, value in {"Content-Type": "application/json", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        if self.server.close_each:
            self.send_header("Connection", "close")
            self.close_connection = True
        if self.server.close_each:
            self.send_header("Connection", "close")
            self.close_connection = True
        self.end_headers()
        self.wfile.write(data)


def completion(content: Any, *, finish: str = "stop", refusal: str | None = None) -> dict[str, Any]:
    """An answer of Chat Completions, with 100 + 20 tokens."""
    message = {"role": "assistant", "content": content} | ({"refusal": refusal} if refusal else {})
    return {
        "id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "served-model",
        "system_fingerprint": "fp_1", "choices": [{"index": 0, "finish_reason": finish, "message": message}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }  # fmt: skip
