"""What an engine is asked and what it says, whatever the engine is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.questions import Call, first_choice, message_text
from xltjax.translate.languages import Language


@dataclass(frozen=True)
class Segment:
    """A text to translate.

    Attributes:
        text: a few sentences at most.
        source: its language.
        target: the language to translate it into.
        attempt: 0 the first time; 1 for a segment whose translation is doubtful, which an engine translates in
            another way then: with another beam, or after another prompt.
    """

    text: str
    source: Language
    target: Language
    attempt: int = 0


Missing = Callable[[Segment], bool]


class Engine(Protocol):
    """A translator of segments.

    Attributes:
        name: as it was given with ``--engine``.
        label: the name without the folders that lead to the model; it stands in every translated row.
    """

    name: str
    label: str

    @property
    def parameters(self) -> float | None:
        """Of the model; None when it is not known."""

    def check(self, languages: Sequence[Language]) -> None:
        """Find out what can be found out before the work: what is installed, and the languages of the model.

        Raises:
            UserError: when the engine cannot translate between the languages.
        """

    def count(self, text: str) -> int:
        """How many tokens the text has for the engine."""

    def recall(self, calls: Calls) -> None:
        """Take from the journal what earlier runs have found out; it comes before the methods below."""

    def keys(self, segment: Segment) -> Sequence[str]:
        """The keys under which the journal may hold the translation, the current one first."""

    def answers(self, segments: Sequence[Segment], missing: Missing) -> Iterator[tuple[Segment, Call]]:
        """Translate the segments that are ``missing``, and give each with its call, in any order.

        Args:
            segments: all of them, also those whose translations are there: where several are translated at once,
                which ones these are does not depend on where an earlier run was killed.
            missing: says which ones are translated.

        Raises:
            UserError: when it makes no sense to continue.
        """

    def hide(self, text: str) -> str:
        """``text`` without what must not be in a file."""

    def provenance(self) -> dict[str, Any]:
        """What the translations depend on besides the segments, ready for JSON."""

    def close(self) -> None:
        """Stop what the engine has started."""


def body(text: str, finish_reason: str, read: int, written: int) -> dict[str, Any]:
    """A translation in the form in which servers give it, which the journal keeps.

    Args:
        text: the translation.
        finish_reason: ``stop``, or ``length`` for one that was cut off.
        read: tokens of the source.
        written: tokens of the translation.
    """
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "finish_reason": finish_reason, "message": message}
    return {"choices": [choice], "usage": {"prompt_tokens": read, "completion_tokens": written}}


def translation(call: Call) -> tuple[str, bool]:
    """The text of a translation, empty when there is none, and whether it was cut off."""
    choice = first_choice(call.body)
    if choice is None:
        return "", False
    text = message_text(choice["message"].get("content")) or ""
    return text.strip(), choice.get("finish_reason") == "length"
