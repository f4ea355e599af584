"""What a server with the Chat Completions API answered to one request."""

from __future__ import annotations

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urljoin, urlsplit

from xltjax.common.errors import first_line
from xltjax.eval.judge.questions import first_choice
from xltjax.eval.table_files import printable

RETRIED = (408, 409, 425, 429)  # and everything from 500 on
OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
FILTERED = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
LONGEST_MESSAGE = 300  # characters of what a server says
LOST, SILENT, UNREACHED = "the connection was lost", "no answer in time", "no server answers"
NO_ANSWER = "not an answer of Chat Completions"


@dataclass(frozen=True)
class Reply:
    """What came back for one request: a body of Chat Completions, or a problem.

    ``status`` is 0 when there was no HTTP response; ``wait`` is what the server asks for in seconds.
    """

    status: int = 0
    body: Mapping[str, Any] | None = None
    problem: str = ""
    message: str = ""
    code: str = ""
    parameter: str = ""
    wait: float | None = None
    retry: bool = False


def read_response(response: Any) -> Reply:
    """What an HTTP response says."""
    status = response.status_code
    if 300 <= status < 400:
        target = urljoin(str(response.request.url), response.headers.get("location", ""))
        where = urlsplit(target).netloc or "nowhere"
        return Reply(status, problem="redirected", message=f"HTTP {status} to {where}")
    body = _json(response.content)
    if status == 200:
        return read_body(status, body, response.text)
    return read_problem(status, body, response.text, response.headers)


def read_body(status: int, body: Any, text: str) -> Reply:
    """What a response with a status of 200 says: its ``body`` as JSON (None when it is none) and as ``text``."""
    if first_choice(body) is not None:
        return Reply(status, body)
    message, code, _ = _error(body, text)
    return Reply(status, None, NO_ANSWER, message, code, retry=True)


def read_problem(status: int, body: Any, text: str, headers: Mapping[str, str]) -> Reply:
    """What a response with another status says."""
    message, code, parameter = _error(body, text)
    if code in FILTERED:
        choice = {"finish_reason": "content_filter", "message": {"content": None, "refusal": message}}
        return Reply(status, {"error": {"code": code, "message": message}, "choices": [choice]})
    if status == 401:
        message = ""  # which repeats a part of the key
    retry = (status in RETRIED or status >= 500) and code not in OUT_OF_CREDIT
    return Reply(status, None, f"HTTP {status}", message, code, parameter, _wait(headers), retry)


def read_failure(cause: BaseException) -> Reply:
    """What it means that there is no response; the names of the causes are the same in httpx and httpx2."""
    if type(cause).__name__ == "ConnectError":
        return Reply(problem=UNREACHED, message=first_line(cause), retry=True)
    return Reply(problem=LOST, message=type(cause).__name__, retry=True)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=lambda name: None)  # NaN is no JSON
    except (ValueError, RecursionError):
        return None


def _error(body: Any, text: str) -> tuple[str, str, str]:
    """The message, the code and the parameter of an error, in the forms that servers give it."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        detail = error.get("message", error.get("detail", error))
        code, parameter = (str(error.get(key) or "") for key in ("code", "param"))
        inner = error.get("innererror")
        if code not in FILTERED and isinstance(inner, dict):
            code = str(inner.get("code") or code)
    else:
        detail, code, parameter = error if error is not None else text, "", ""
    if isinstance(detail, list):  # FastAPI: where and what, without the input, which may say anything
        places = [each for each in detail if isinstance(each, dict)]
        detail = "; ".join(f"{each.get('loc', '')} {each.get('msg', '')}" for each in places)
    said = detail if isinstance(detail, str) else json.dumps(detail)
    if said.lstrip()[:1] == "<":
        said = "an HTML page"
    return printable(" ".join(said.split())), code, parameter


def _wait(headers: Mapping[str, str]) -> float | None:
    """The seconds of Retry-After, which may be a number or a date."""
    for name, scale in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        value = headers.get(name, "")
        try:
            seconds = float(value) / scale
        except ValueError:
            try:
                seconds = email.utils.parsedate_to_datetime(value).timestamp() - time.time()
            except (ValueError, TypeError, OverflowError):
                continue
        if 0 < seconds < float("inf"):
            return seconds
    return None
