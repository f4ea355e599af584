"""Judges by the names that ``--judge`` takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

from xltjax.common.errors import UserError
from xltjax.eval.judge.api.client import ApiJudge, Limits
from xltjax.eval.judge.api.endpoint import PREFIX, read_endpoint
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.local.model import LOCAL_PREFIX, LocalOptions
from xltjax.eval.judge.questions import Call, Question


class Judge(Protocol):
    """A model that answers questions.

    Attributes:
        name: as it was given with ``--judge``.
        model: the model alone, under which a file of prices may know it.
    """

    name: str
    model: str

    def check(self) -> None:
        """Find out what can be found out without a request.

        Raises:
            UserError: when the judge cannot be asked.
        """

    def recall(self, calls: Calls) -> None:
        """Take from the journal what earlier runs have found out; it comes before the methods below."""

    def keys(self, question: Question) -> Sequence[str]:
        """The keys under which the journal may hold the answer, the current one first."""

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Call]]:
        """Ask the questions, and give each with its call as soon as it has ended, in any order.

        Questions are taken from the stream when there is room for them.

        Raises:
            UserError: when it makes no sense to ask further.
        """

    def hide(self, text: str) -> str:
        """``text`` without what must not be in a file."""

    def provenance(self) -> dict[str, Any]:
        """What the answers depend on besides the questions, ready for JSON."""


def make_judge(name: str, base_url: str, key_variable: str, limits: Limits, local: LocalOptions) -> Judge:
    """The judge ``name``; nothing is sent or loaded yet.

    Args:
        name: ``openai:MODEL`` or ``jax:DIR``.
        base_url: the server of a judge behind an API that names none.
        key_variable: the environment variable with its key.
        limits: how it is asked.
        local: how a local judge is run.

    Raises:
        UserError: when there is no such kind of judge, or its settings cannot be used.
    """
    if is_local(name):
        from xltjax.eval.judge.local.judge import LocalJudge

        return LocalJudge(name.removeprefix(LOCAL_PREFIX), local)
    if not name.startswith(PREFIX):
        raise UserError(
            f"--judge {name!r} is not known; give {PREFIX}MODEL for a server of Chat Completions, "
            f"or {LOCAL_PREFIX}DIR for a local model"
        )
    return ApiJudge(name, read_endpoint(name, base_url, key_variable), limits)


def is_local(name: str) -> bool:
    """Whether a judge runs here, at no price."""
    return name.startswith(LOCAL_PREFIX)
