"""What is asked of a judge, and what comes back; the one interface of judges behind an API and of local ones."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from xltjax.data.responses import Response
from xltjax.eval.judge.rubrics import Rubric
from xltjax.eval.judge.verdicts import Verdict, read_verdict

HTTP_ERROR = "http_error"  # the outcome of a call without an answer


@dataclass(frozen=True)
class Question:
    """One call: a rubric asked about one response.

    Attributes:
        response: the response that is judged.
        messages: the chat messages.
        schema: the JSON schema of the answer; None when the rubric does not ask for JSON.
        repeat: 0 for the first time that the same is asked, then 1, 2, ...
    """

    response: Response
    messages: Sequence[Mapping[str, str]]
    schema: Mapping[str, Any] | None
    repeat: int = 0


@dataclass(frozen=True)
class Call:
    """How one call ended, as the journal keeps it.

    Attributes:
        key: sha256 of the canonical request, in hexadecimal digits.
        body: the raw answer, an object of Chat Completions; None when there is none.
        problem: why there is no answer: a few words that are the same for each call that ends in this way.
        message: what the server said about the problem.
        parameters: with which parameters it was asked, besides the messages.
        attempts: how often the request was sent.
        seconds: the time from the first attempt to the end.
        batch: whether it came from a batch file, at half the price.
    """

    key: str
    body: Mapping[str, Any] | None = None
    problem: str = ""
    message: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    attempts: int = 1
    seconds: float = 0.0
    batch: bool = False


class Judge(Protocol):
    """A model that answers questions.

    Attributes:
        name: as it was given with ``--judge``.
        model: the model alone, under which a file of prices knows it.
    """

    name: str
    model: str

    def keys(self, question: Question) -> Sequence[str]:
        """The keys under which the journal may hold the answer, the current one first."""

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Call]]:
        """Ask the questions, and give each with its call as soon as it has ended, in any order.

        Questions are taken from the stream when there is room for them.

        Raises:
            UserError: when it makes no sense to ask further.
        """


def request_key(request: Mapping[str, Any]) -> str:
    """The sha256 of a request in canonical JSON: keys sorted, no spaces, ASCII."""
    return hashlib.sha256(json.dumps(request, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def first_choice(body: Any) -> Mapping[str, Any] | None:
    """The first choice of an answer of Chat Completions; None when ``body`` is not such an answer."""
    choices = body.get("choices") if isinstance(body, dict) else None
    choice = choices[0] if isinstance(choices, list) and choices else None
    return choice if isinstance(choice, dict) and isinstance(choice.get("message"), dict) else None


def judgment(rubric: Rubric, call: Call) -> Verdict:
    """The verdict of a call."""
    choice = first_choice(call.body)
    if choice is None:
        return Verdict(HTTP_ERROR, detail=call.problem or "not an answer of Chat Completions")
    message, finish = choice["message"], choice.get("finish_reason")
    refusal = message.get("refusal")
    return read_verdict(
        rubric,
        _text(message.get("content")),
        finish_reason=finish if isinstance(finish, str) else None,
        refusal=refusal if isinstance(refusal, str) else None,
    )


def _text(content: Any) -> str | None:
    """The text of a message, which some servers send in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None
