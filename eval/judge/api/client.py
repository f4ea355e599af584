"""A judge behind a Chat Completions API, through the ``openai`` client."""

from __future__ import annotations

import asyncio
import functools
import importlib.util
import logging
import random
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from xltjax.common.errors import UserError, first_line
from xltjax.eval.judge.api.dialect import Dialect, Dialects
from xltjax.eval.judge.api.endpoint import Endpoint
from xltjax.eval.judge.api.replies import (
    LONGEST_MESSAGE,
    OUT_OF_CREDIT,
    RETRIED,
    SILENT,
    UNREACHED,
    Reply,
    read_failure,
    read_response,
)
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.questions import Asked, Call, request_key
from xltjax.eval.table_files import encodable

if TYPE_CHECKING:
    import openai

log = logging.getLogger("xltjax")

One = TypeVar("One", bound=Asked)  # what is asked: questions to a judge, or texts to translate

FIRST_DELAY, LONGEST_DELAY = 0.5, 8.0  # seconds before a retry when the server does not say how many
LONGEST_WAIT = 120.0  # seconds that a server may ask for; after more, the call is left for the next run
UNREACHED_RETRIES = 2  # when no request has been answered yet
REFUSED_QUESTIONS = 3  # in a row and before any answer, after which the fault is not in the questions


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


class UnusableServerError(UserError):
    """Asking further makes no sense, whatever the question."""


class ApiJudge:
    """A judge behind an API.

    Args:
        name: as it was given with ``--judge``.
        endpoint: where it is.
        limits: how it is asked.
    """

    def __init__(self, name: str, endpoint: Endpoint, limits: Limits) -> None:
        self.name = name
        self.model = endpoint.model
        self._endpoint = endpoint
        self._limits = limits
        self._dialects = Dialects()
        self._remember: Callable[[Mapping[str, Any], str], None] = lambda accepts, why: None
        self._why = ""  # what the server said when it refused a parameter
        self._answered = 0  # calls of this run that got an answer
        self._refused = 0  # questions that were refused before any answer
        self._open = asyncio.Event()

    # --- the interface of judges ---

    def check(self) -> None:
        """Refuse a judge that cannot be asked.

        Raises:
            UserError: when the ``openai`` client is not installed, or there is no key.
        """
        if importlib.util.find_spec("openai") is None:
            raise UserError(
                f"{self._endpoint.flag} {self.name} needs the openai client: pip install 'xltjax[judge]'"
            )
        self._endpoint.check_key()

    def hide(self, text: str) -> str:
        """``text`` without the key."""
        return self._endpoint.hide(text)

    def provenance(self) -> dict[str, Any]:
        """Where the judge is and how it is asked."""
        accepts = asdict(self._dialects.current)
        return {
            "base_url": self._endpoint.base_url,
            "max_tokens": self._limits.max_tokens,
            "accepts": accepts,
        }

    def recall(self, calls: Calls) -> None:
        """Take from the journal what the server accepts, and keep there what is found out about it."""
        server = self._endpoint.identity or self._endpoint.base_url, self.model
        self._dialects = Dialects(calls.servers(*server))
        self._remember = functools.partial(calls.remember, *server)

    def keys(self, question: Asked) -> list[str]:
        """One key for each dialect in which the question may have been answered, and one for its failures.

        The first one is that of the request as it would be put now, the last one that of failures.
        """
        requests = [self.canonical(question, each) for each in self._dialects.known()]
        return [*dict.fromkeys(map(request_key, requests)), self._failure_key(question)]

    def answers(self, questions: Iterable[One]) -> Iterator[tuple[One, Call]]:
        """See ``Judge.answers``; a call that fails is retried with growing delays before it ends as a failure.

        Raises:
            UnusableServerError: when the server refuses the key or the model, wants the requests sent elsewhere,
                or is gone.
        """
        with asyncio.Runner() as runner:
            stream = self._stream(iter(questions))

            async def step() -> list[tuple[One, Call]] | None:
                return await anext(stream, None)

            async def stop() -> None:
                await stream.aclose()

            try:
                while (ended := runner.run(step())) is not None:
                    yield from ended
            finally:
                runner.run(stop())

    def batch_call(self, key: str, question: Asked, reply: Reply) -> Call:
        """The call of a batch that ended with ``reply``; what the server does not accept is kept for the next one."""
        used = self._dialects.current
        sent = used.parameters({}, self._limits.max_tokens)
        if self._dialects.refuse(used, sent, reply.status, reply.parameter, reply.message):
            self._remember(asdict(self._dialects.current), self._said(reply))
        if reply.body is None:
            key = self._failure_key(question)
        return Call(key, reply.body, reply.problem, self._said(reply), batch=True)

    def request(self, question: Asked, dialect: Dialect | None = None) -> dict[str, Any]:
        """The body of the request, in ``dialect`` or in the current one."""
        dialect = dialect or self._dialects.current
        parameters = dialect.parameters(question.schema, self._limits.max_tokens)
        messages = [
            {key: encodable(text) if isinstance(text, str) else text for key, text in message.items()}
            for message in question.messages
        ]
        return {"model": self._endpoint.model, "messages": messages, **parameters}

    def _failure_key(self, question: Asked) -> str:
        """The key of the question whatever the parameters: those that failed last may never be tried again."""
        bare = self.canonical(question, Dialect("text", "none", "none"))
        return request_key({**bare, "schema": question.schema, "max_tokens": self._limits.max_tokens})

    def canonical(self, question: Asked, dialect: Dialect | None = None) -> dict[str, Any]:
        """All that the answer depends on."""
        request = self.request(question, dialect)
        server = self._endpoint.identity or self._endpoint.base_url
        return {"version": 1, "base_url": server, "repeat": question.repeat, **request}

    # --- calls, side by side ---

    async def _stream(self, questions: Iterator[One]) -> AsyncGenerator[list[tuple[One, Call]]]:
        """The calls that have ended, as they end.

        The first call is alone until its first answer, so that a wrong key costs one request, and what the server
        does not accept is found out once.
        """
        self._open = asyncio.Event()
        opened = asyncio.create_task(self._open.wait())
        tasks: dict[asyncio.Task[Call], One] = {}
        try:
            async with self._client() as client:
                while True:
                    room = self._limits.concurrency if self._open.is_set() else 1
                    while len(tasks) < room and (question := next(questions, None)) is not None:
                        tasks[asyncio.create_task(self._call(client, question))] = question
                    if not tasks:
                        return
                    waiting: set[asyncio.Task[Any]] = set(tasks) | ({opened} if not opened.done() else set())
                    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                    ended = [task for task in tasks if task in done]
                    problems = [problem for task in ended if (problem := task.exception()) is not None]
                    yield [(tasks[task], task.result()) for task in ended if task.exception() is None]
                    if problems:
                        raise problems[0]
                    for task in ended:
                        del tasks[task]
        finally:
            for running in (opened, *tasks):
                running.cancel()
            await asyncio.gather(opened, *tasks, return_exceptions=True)

    def _client(self) -> openai.AsyncOpenAI:
        """The client, whose own retries are off.

        Raises:
            UnusableServerError: when it finds fault with the URL.
        """
        import openai

        url, timeout = self._endpoint.base_url, self._limits.timeout
        try:
            # The client's own transport, except that it does not take the key to where a server sends it.
            transport = openai.DefaultAsyncHttpxClient(base_url=url, timeout=timeout, follow_redirects=False)
            return openai.AsyncOpenAI(
                api_key=self._endpoint.key or "EMPTY",  # as servers without a key know it
                base_url=url,
                max_retries=0,
                timeout=timeout,
                http_client=transport,
            )
        except Exception as problem:
            if type(problem).__name__ != "InvalidURL":  # of httpx or httpx2
                raise
            raise UnusableServerError(f"--base-url {url} is not a URL: {first_line(problem)}") from None

    async def _call(self, client: openai.AsyncOpenAI, question: Asked) -> Call:
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
                self._why = self._said(reply)
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
        answered_key = request_key(self.canonical(question, dialect))
        return Call(
            self._failure_key(question) if reply.body is None else answered_key,
            reply.body,
            reply.problem,
            self._said(reply),
            {key: value["type"] if key == "response_format" else value for key, value in sent.items()},
            attempts,
            time.monotonic() - began,
        )

    def _said(self, reply: Reply) -> str:
        # The key goes first: of a text that is cut, a part of it might stay.
        return self._endpoint.hide(reply.message)[:LONGEST_MESSAGE]

    def _accept(self, dialect: Dialect) -> None:
        self._answered += 1
        if self._dialects.accept(dialect):
            self._remember(asdict(dialect), self._why)
            if self._why and dialect != Dialect():
                log.info(
                    "notice: %s is asked with %s, since it refused more (%s)", self.name, dialect, self._why
                )
                self._why = ""

    def _delay(self, reply: Reply, retries: int) -> float | None:
        """How many seconds to wait before the next attempt; None when there is none."""
        most = self._limits.retries
        if reply.problem == UNREACHED and not self._answered:
            most = min(most, UNREACHED_RETRIES)
        if not reply.retry or retries >= most or (reply.wait or 0) > LONGEST_WAIT:
            return None
        if reply.wait is not None:
            return reply.wait
        return min(FIRST_DELAY * 2**retries, LONGEST_DELAY) * random.uniform(0.75, 1)

    def _give_up(self, reply: Reply, answered: int) -> None:
        """A call has failed for good.

        Raises:
            UnusableServerError: when the others would fail too.
        """
        endpoint, said = self._endpoint, self._said(reply)
        if reply.code in OUT_OF_CREDIT:
            raise UnusableServerError(
                f"{endpoint.host}: the account of the key in {endpoint.variable} has no credit left"
            )
        if reply.problem == UNREACHED and self._answered == answered:  # nobody else got an answer meanwhile
            raise UnusableServerError(
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
            raise UnusableServerError(f"{endpoint.host} {wrong} (HTTP {reply.status})")
        if 300 <= reply.status < 400:
            raise UnusableServerError(
                f"{endpoint.base_url} sends requests elsewhere ({said}), where the key is not taken; "
                "if you trust that server, give it as --base-url"
            )
        if reply.status in (404, 405):
            raise UnusableServerError(
                f"{endpoint.base_url} has no model {endpoint.model!r}, or no Chat Completions there "
                f"(HTTP {reply.status}: {said})"
            )
        if 400 <= reply.status < 500 and reply.status not in RETRIED:
            self._refused += 1
            if self._refused >= REFUSED_QUESTIONS:
                raise UnusableServerError(
                    f"{endpoint.host} refuses every request (HTTP {reply.status}: {said})"
                )

    # --- one request ---

    async def _attempt(self, client: openai.AsyncOpenAI, request: Mapping[str, Any]) -> Reply:
        import openai

        # Parameters in `extra_body` are sent as they are: the client would walk through the schema in every call.
        rest = {key: value for key, value in request.items() if key not in ("model", "messages")}
        create = client.chat.completions.with_raw_response.create
        try:
            # The client's own timeout is for each read, and a server may drip.
            async with asyncio.timeout(self._limits.timeout):
                raw = await create(model=request["model"], messages=request["messages"], extra_body=rest)
        except openai.APIStatusError as problem:
            return read_response(problem.response)
        except (TimeoutError, openai.APITimeoutError):
            return Reply(problem=SILENT, retry=True)
        except openai.APIConnectionError as problem:
            return read_failure(problem.__cause__ or problem)
        return read_response(raw.http_response)
