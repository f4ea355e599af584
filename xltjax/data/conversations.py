"""A conversation: what every format of instruction data is read into, and what chat templates take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``user``, ``assistant`` or ``tool`` (what a tool returned); or ``tools``, before all turns,
            for the tools that the assistant may call; or ``text`` for plain text without a template, all of whose
            tokens are learned, as in pretraining.
        content: the text, without special tokens; for ``tools`` a JSON list of their descriptions.
        learned: whether the turn is learned, if it is an answer or plain text.
    """

    role: str
    content: str
    learned: bool = True


Conversation = tuple[Message, ...]


def half_surrogate(text: str) -> str:
    """What stands around half of a surrogate pair, which no tokenizer takes; empty for a text without any."""
    try:
        text.encode()
    except UnicodeEncodeError as problem:
        return text[max(0, problem.start - 20) : problem.end + 20]
    return ""
