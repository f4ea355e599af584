"""What is asked of a judge and what comes back, whatever the judge is."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from xltjax.data.responses import Response
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.judge.probes import ProbeItem
from xltjax.eval.judge.rubrics import Rubric
from xltjax.eval.judge.verdicts import Verdict, read_verdict

HTTP_ERROR = "http_error"  # the outcome of a call without an answer


class Asked(Protocol):
    """One request to a server with the Chat Completions API: a question to a judge, or a text to translate."""

    @property
    def messages(self) -> Sequence[Mapping[str, Any]]:
        """The chat messages."""

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The JSON schema of the answer; None when any text will do."""

    @property
    def repeat(self) -> int:
        """0 for the first time that the same is asked, then 1, 2, ..."""


@dataclass(frozen=True)
class Question:
    """One call: a rubric asked about one response.

    Attributes:
        rubric: what is asked.
        response: what it is asked about.
        repeat: 0 for the first time that the same is asked, then 1, 2, ...
        detail: what the scores carry besides judge and repeat.
    """

    rubric: Rubric
    response: Response
    repeat: int = 0
    detail: Mapping[str, Any] = field(default_factory=dict)

    @property
    def messages(self) -> list[dict[str, str]]:
        """The chat messages."""
        return self.rubric.messages(self.response)

    @property
    def schema(self) -> Mapping[str, Any] | None:
        """The form of the scores."""
        return self.rubric.schema()


class Questions(Sequence[Question]):
    """Every question of a run, made when it is needed: each item ``repeats`` times.

    Args:
        rubric: what is asked about each response.
        responses: those that can be judged by the rubric.
        probes: further requests.
        repeats: how often each is asked.
    """

    def __init__(
        self, rubric: Rubric, responses: Sequence[Response], probes: Sequence[ProbeItem], repeats: int
    ) -> None:
        self._rubric, self._responses, self._probes, self._repeats = rubric, responses, probes, repeats

    def __len__(self) -> int:
        return (len(self._responses) + len(self._probes)) * self._repeats

    def __getitem__(self, number: Any) -> Any:
        item, repeat = divmod(number, self._repeats)
        if item < len(self._responses):
            return Question(self._rubric, self._responses[item], repeat)
        probe = self._probes[item - len(self._responses)]
        return Question(probe.rubric, probe.response, repeat, probe.detail)


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

    @property
    def usage(self) -> Mapping[str, Any]:
        """The tokens that the server counted; empty when it did not say."""
        usage = self.body.get("usage") if self.body else None
        return usage if isinstance(usage, dict) else {}


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
        message_text(message.get("content")),
        finish_reason=finish if isinstance(finish, str) else None,
        refusal=refusal if isinstance(refusal, str) else None,
    )


def message_text(content: Any) -> str | None:
    """The text of a message, which some servers send in parts."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        return "".join(part for part in parts if isinstance(part, str))
    return content if isinstance(content, str) else None


def sample(responses: StoredResponses, instructions: int) -> StoredResponses:
    """All responses to some of the instructions, the same ones for every model and language.

    The tasks are represented in proportion. A larger sample contains each smaller one, so that what was paid for a
    first look is not lost, and no sample depends on the order of the responses.

    Args:
        responses: in any order.
        instructions: how many instructions to take.
    """
    tasks: dict[str, set[str]] = {}
    for response in responses:
        tasks.setdefault(response.task, set()).add(_unit(response))
    ranks: dict[str, tuple[float, bytes]] = {}
    for units in tasks.values():
        for rank, unit in enumerate(sorted(units, key=_digest)):
            ranks[unit] = min(ranks.get(unit, (1.0, b"")), ((rank + 0.5) / len(units), _digest(unit)))
    chosen = set(sorted(ranks, key=ranks.__getitem__)[:instructions])
    return responses.where(lambda response: _unit(response) in chosen)


def _unit(response: Response) -> str:
    return response.instruction_id or response.instruction or response.id


def _digest(unit: str) -> bytes:
    return hashlib.sha256(unit.encode("utf-8", "surrogatepass")).digest()
