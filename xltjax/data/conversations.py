"""A conversation: what every format of instruction data is read into, and what chat templates take."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation.

    Attributes:
        role: ``system``, ``user`` or ``assistant``; or ``text`` for plain text without a template, all of
            whose tokens are learned, as in pretraining.
        content: the text, without special tokens.
    """

    role: str
    content: str


Conversation = tuple[Message, ...]
