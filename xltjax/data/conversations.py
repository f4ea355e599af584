"""Conversations, as every format is read and every template is filled."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Message:
    """One turn of a conversation; ``role`` is ``system``, ``user``, ``assistant`` or ``text``.

    ``text`` is plain text without a template, learned token by token (pretraining).
    """

    role: str
    content: str


Conversation = tuple[Message, ...]
