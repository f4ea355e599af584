"""A judge behind an API of Chat Completions, through the ``openai`` client."""

from __future__ import annotations

import asyncio
import email.utils
import json
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin, urlsplit

from xltjax.common.errors import UserError, first_line
from xltjax.eval.judge.api.dialect import Dialect, Dialects
from xltjax.eval.judge.api.endpoint import Endpoint
from xltjax.eval.judge.questions import Call, Question, first_choice, request_key
from xltjax.eval.table_files import printable

if TYPE_CHECKING:
    import openai

log = logging.getLogger("xltjax")

FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0  # seconds before a retry when the server does not say how many
LONGEST_WAIT = 120.0  # seconds that a server may ask for; after more, the call is left for the next run
RETRIED = (408, 409, 425, 429)  # and everything from 500 on
OUT_OF_CREDIT = ("insufficient_quota", "billing_hard_limit_reached", "billing_not_active")
FILTERED = ("content_filter", "content_policy_violation", "ResponsibleAIPolicyViolation")
UNREACHED_RETRIES = 2  # when no request has been answered yet
REFUSED_QUESTIONS = 3  # in a row and before any answer, after which the fault is not in the questions
LONGEST_MESSAGE = 300  # characters of what a server says
LOST, SILENT, UNREACHED = "the connection was lost", "no answer in time", "no server answers"
NO_ANSWER = "not an answer of Chat Completions"


@dataclass(frozen=True)
class Limits:
    """How a server is asked.

    Attributes:
        concurrency: how many calls are under way at once.
        timeout: seconds for which one attempt may take.
        retries: how often a call is tried again.
        max_tokens: how long an answer may be.
    """

    concurrency: int
    timeout: float
    retries: int
    max_tokens: int


@dataclass(frozen=True)
class _Reply:
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


class Hopeless(UserError):
    """Asking further makes no sense, whatever the question."""


class ApiJudge:
    """A judge behind an API.

    Args:
        name: as it was given with ``--judge``.
        endpoint: where it is.
        limits: how it is asked.
        remembered: what earlier runs have found out about the server.
        remember: keeps what this run finds out, and why.

    Raises:
        UserError: when the ``openai`` client is not installed.
    """

    def __init__(
        self,
        name: str,
        endpoint: Endpoint,
        limits: Limits,
        remembered: Sequence[Mapping[str, Any]] = (),
        remember: Callable[[Mapping[str, Any], str], None] = lambda accepts, why: None,
    ) -> None:
        try:
            import openai  # noqa: F401
        except ImportError:
            raise UserError(f"--judge {name} needs the openai client: pip install 'xltjax[judge]'") from None
        self.name = name
        self.model = endpoint.model
        self.endpoint = endpoint
        self._limits = limits
        self._dialects = Dialects(remembered)
        self._remember = remember
        self._why = ""
        self._answered = 0  # calls of this run that got an answer
        self._refused = 0  # questions that were refused before any answer
        self._open = asyncio.Event()

    # --- the interface of judges ---

    def keys(self, question: Question) -> list[str]:
        """One key for each dialect in which the question may have been asked, the current one first."""
        return list(
            dict.fromkeys(request_key(self.canonical(question, each)) for each in self._dialects.known())
        )

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Call]]:
        """See ``Judge.answers``; a call that fails is retried with growing delays before it ends as a failure.

        Raises:
            Hopeless: when the server refuses the key or the model, wants the requests sent elsewhere, or is gone.
        """
        with asyncio.Runner() as runner:
            stream = self._stream(iter(questions))

            async def step() -> list[tuple[Question, Call]] | None:
                return await anext(stream, None)

            async def stop() -> None:
                await stream.aclose()

            try:
                while (ended := runner.run(step())) is not None:
                    yield from ended
            finally:
                runner.run(stop())

    def request(self, question: Question, dialect: Dialect | None = None) -> dict[str, Any]:
        """The body of the request, in ``dialect`` or in the current one."""
        dialect = dialect or self._dialects.current
        parameters = dialect.parameters(question.schema, self._limits.max_tokens)
        messages = [{key: printable(text) for key, text in message.items()} for message in question.messages]
        return {"model": self.endpoint.model, "messages": messages, **parameters}

    def canonical(self, question: Question, dialect: Dialect | None = None) -> dict[str, Any]:
        """All that the answer depends on."""
        request = self.request(question, dialect)
        return {"version": 1, "base_url": self.endpoint.base_url, "repeat": question.repeat, **request}

    # --- calls, side by side ---

    async def _stream(self, questions: Iterator[Question]) -> AsyncGenerator[list[tuple[Question, Call]]]:
        """The calls that have ended, as they end.

        The first call is alone until its first answer, so that a wrong key costs one request, and what the server
        does not accept is found out once.
        """
        self._open = asyncio.Event()
        opened = asyncio.create_task(self._open.wait())
        tasks: dict[asyncio.Task[Call], Question] = {}
        try:
            async with self._client() as client:
                while True:
                    room = self._limits.concurrency if self._open.is_set() else 1
                    while len(tasks) < room and (question := next(questions, None)) is not None:
                        tasks[asyncio.create_task(self._call(client, question))] = question
                    if not tasks:
                        return
                    waiting = set(tasks) | ({opened} if not opened.done() else set())
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    ended = [task for task in tasks if task in done]
                    problems = [problem for task in ended if (problem := task.exception()) is not None]
                    yield [(tasks[task], task.result()) for task in ended if task.exception() is None]
                    if problems:
                        raise problems[0]
                    for task in ended:
                        del tasks[task]
        finally:
            for task in (opened, *tasks):
                task.cancel()
            await asyncio.gather(opened, *tasks, return_exceptions=True)

    def _client(self) -> openai.AsyncOpenAI:
        import openai

        return openai.AsyncOpenAI(
            api_key=self.endpoint.key or "EMPTY",  # as servers without a key know it
            base_url=self.endpoint.base_url,
            max_retries=0,
            timeout=self._limits.timeout,
            # The client's own one, except that it does not take the key to where a server sends it.
            http_client=openai.DefaultAsyncHttpxClient(
                base_url=self.endpoint.base_url, timeout=self._limits.timeout, follow_redirects=False
            ),
        )

    async def _call(self, client: openai.AsyncOpenAI, question: Question) -> Call:
        began, attempts, retries = time.monotonic(), 0, 0
        answered = self._answered
        while True:
            dialect = self._dialects.current
            request = self.request(question, dialect)
            reply = await self._attempt(client, request)
            attempts += 1
            sent = {key: value for key, value in request.items() if key not in ("model", "messages")}
            if reply.body is not None:
                self._accept(dialect)
                break
            if self._dialects.refuse(dialect, sent, reply.status, reply.parameter, reply.message):
                self._why = self.endpoint.hide(reply.message)
                continue
            delay = self._delay(reply, retries)
            if delay is None:
                self._give_up(reply, answered)
                break
            if reply.problem != UNREACHED:
                self._open.set()
            retries += 1
            await asyncio.sleep(delay)
        self._open.set()
        return Call(
            request_key(self.canonical(question, dialect)),
            reply.body,
            reply.problem,
            self.endpoint.hide(reply.message),
            {key: value["type"] if key == "response_format" else value for key, value in sent.items()},
            attempts,
            time.monotonic() - began,
        )

    def _accept(self, dialect: Dialect) -> None:
        self._answered += 1
        if self._dialects.accept(dialect):
            self._remember(asdict(dialect), self._why)
            if self._why:
                log.info(
                    "notice: %s is asked with %s, since it refused more (%s)", self.name, dialect, self._why
                )
                self._why = ""

    def _delay(self, reply: _Reply, retries: int) -> float | None:
        """How many seconds to wait before the next attempt; None when there is none."""
        most = self._limits.retries
        if reply.problem == UNREACHED and not self._answered:
            most = min(most, UNREACHED_RETRIES)
        if not reply.retry or retries >= most or (reply.wait or 0) > LONGEST_WAIT:
            return None
        if reply.wait is not None:
            return reply.wait
        return min(FIRST_DELAY * 2**retries, LONGEST_DELAY) * random.uniform(0.75, 1)

    def _give_up(self, reply: _Reply, answered: int) -> None:
        """A call has failed for good.

        Raises:
            Hopeless: when the others would fail too.
        """
        endpoint, said = self.endpoint, self.endpoint.hide(reply.message)
        if reply.code in OUT_OF_CREDIT:
            raise Hopeless(
                f"{endpoint.host}: the account of the key in {endpoint.variable} has no credit left"
            )
        if reply.problem == UNREACHED and self._answered == answered:  # nobody else got an answer meanwhile
            raise Hopeless(
                f"no server answers at {endpoint.base_url} ({said}); start it, or correct --base-url"
            )
        if self._answered:
            return
        if reply.status in (401, 403):
            wrong = (
                f"refuses the key in {endpoint.variable}"
                if endpoint.key
                else f"wants a key: set {endpoint.variable}"
            )
            raise Hopeless(f"{endpoint.host} {wrong} (HTTP {reply.status})")
        if 300 <= reply.status < 400:
            raise Hopeless(
                f"{endpoint.base_url} sends requests elsewhere ({said}), where the key is not taken; "
                "if you trust that server, give it as --base-url"
            )
        if reply.status in (404, 405):
            raise Hopeless(
                f"{endpoint.base_url} has no model {endpoint.model!r}, or no Chat Completions there "
                f"(HTTP {reply.status}: {said})"
            )
        if 400 <= reply.status < 500 and reply.status not in RETRIED:
            self._refused += 1
            if self._refused >= REFUSED_QUESTIONS:
                raise Hopeless(f"{endpoint.host} refuses every request (HTTP {reply.status}: {said})")

    # --- one request ---

    async def _attempt(self, client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> _Reply:
        import openai

        try:
            # The client's own timeout is for each read, and a server may drip.
            async with asyncio.timeout(self._limits.timeout):
                raw = await client.chat.completions.with_raw_response.create(**request)
        except openai.APIStatusError as problem:
            return _refusal(problem.response)
        except (TimeoutError, openai.APITimeoutError):
            return _Reply(problem=SILENT, retry=True)
        except openai.APIConnectionError as problem:
            return _unconnected(problem.__cause__ or problem)
        return _answer(raw.http_response)


def _answer(response: Any) -> _Reply:
    """What a response with a status of 200 says."""
    body = _json(response.content)
    if first_choice(body) is not None:
        return _Reply(response.status_code, body)
    message, code, _ = _error(response, body)
    return _Reply(response.status_code, None, NO_ANSWER, message, code, retry=True)


def _refusal(response: Any) -> _Reply:
    """What a response with another status says."""
    status = response.status_code
    if 300 <= status < 400:
        target = urljoin(str(response.request.url), response.headers.get("location", ""))
        return _Reply(
            status, problem="redirected", message=f"HTTP {status} to {urlsplit(target).netloc or 'nowhere'}"
        )
    message, code, parameter = _error(response, _json(response.content))
    if code in FILTERED:
        choice = {"finish_reason": "content_filter", "message": {"content": None, "refusal": message}}
        return _Reply(status, {"error": {"code": code, "message": message}, "choices": [choice]})
    retry = status in RETRIED or status >= 500
    if code in OUT_OF_CREDIT:
        retry = False
    return _Reply(status, None, f"HTTP {status}", message, code, parameter, _wait(response.headers), retry)


def _unconnected(cause: BaseException) -> _Reply:
    """What it means that there is no response; the names of the causes are the same in httpx and httpx2."""
    if type(cause).__name__ == "ConnectError":
        return _Reply(problem=UNREACHED, message=first_line(cause), retry=True)
    return _Reply(problem=LOST, message=type(cause).__name__, retry=True)


def _json(content: bytes) -> Any:
    try:
        return json.loads(content, parse_constant=lambda name: None)  # NaN is no JSON
    except (ValueError, RecursionError):
        return None


def _error(response: Any, body: Any) -> tuple[str, str, str]:
    """The message, the code and the parameter of an error, in the forms that servers give it."""
    error = body.get("error", body) if isinstance(body, dict) else body
    if isinstance(error, dict):
        detail = error.get("message", error.get("detail", error))
        code, parameter = (str(error.get(key) or "") for key in ("code", "param"))
        inner = error.get("innererror")
        if code not in FILTERED and isinstance(inner, dict):
            code = str(inner.get("code") or code)
    else:
        detail, code, parameter = error if error is not None else response.text, "", ""
    if isinstance(detail, list):  # FastAPI: where and what, without the input, which may say anything
        places = [each for each in detail if isinstance(each, dict)]
        detail = "; ".join(f"{each.get('loc', '')} {each.get('msg', '')}" for each in places)
    text = detail if isinstance(detail, str) else json.dumps(detail)
    if text.lstrip()[:1] == "<":
        text = "an HTML page"
    return printable(" ".join(text.split()))[:LONGEST_MESSAGE], code, parameter


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
