"""The turns of a chat as a conversation: roles, content parts, which answers are learned, and one rule of order.

The rule: turns of one role in a row are joined, with a blank line between them, except those of tools; turns before
the first question are dropped, except the system prompt; and so is what follows the last answer, as nothing is
learned from it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xltjax.data.conversations import Conversation, Message, half_surrogate
from xltjax.data.reading.report import BadRowError, NothingToLearnError

ROLES = {
    **dict.fromkeys(("user", "human", "prompter"), "user"),
    **dict.fromkeys(("assistant", "gpt", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("tool", "observation", "function", "ipython"), "tool"),
}
MOST_TURNS = 2000
CALLS = ("tool_calls", "function_call")
THOUGHTS = ("reasoning_content", "reasoning", "thinking")
LEARNED = ("weight", "train", "training")

Note = Callable[[str], None]  # what is called with a way in which a row is learned otherwise than it says


def as_text(value: Any, name: str) -> str:
    """A text, or a list of content parts, whose texts are joined.

    Raises:
        BadRowError: for anything else, and for a text that UTF-8 cannot hold.
    """
    if isinstance(value, list) and value and all(isinstance(part, dict) and "type" in part for part in value):
        other = [
            part["type"] for part in value if part["type"] != "text" or not isinstance(part.get("text"), str)
        ]
        if other:
            raise BadRowError(f"{name} has a part of type {other[0]!r:.40}, which is not read as text")
        value = "".join(part["text"] for part in value)
    if not isinstance(value, str):
        raise BadRowError(f"{name}: expected text, found {'null' if value is None else type(value).__name__}")
    if near := half_surrogate(value):
        raise BadRowError(f"{name} contains half of a surrogate pair, at {near!r}")
    return value


def as_list(value: Any) -> Any:
    """The list that a JSON text holds, as tables and some datasets write lists; any other value unchanged."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            pass
    return value


def as_turns(turns: Any, name: str, note: Note) -> list[Message]:
    """The messages of a list of {role, content} or {from, value}, or of strings of user and assistant in turn.

    Raises:
        BadRowError: when the list cannot be read.
    """
    turns = as_list(turns)
    if not isinstance(turns, list):
        raise BadRowError(f"{name} must be a list of {{role, content}}")
    if not turns:
        raise BadRowError(f"{name} is an empty list, without a turn")
    if len(turns) > MOST_TURNS:
        raise BadRowError(f"{name} has {len(turns)} turns; at most {MOST_TURNS} are read")
    if all(isinstance(turn, dict) for turn in turns):
        return [_turn(turn, f"turn {number}", note) for number, turn in enumerate(turns, start=1)]
    roles = ("user", "assistant")
    return [Message(roles[i % 2], as_text(turn, f"turn {i + 1}")) for i, turn in enumerate(turns)]


def _turn(turn: Mapping[str, Any], place: str, note: Note) -> Message:
    named = turn.get("role") if turn.get("role") is not None else turn.get("from")
    if named is None:
        raise BadRowError(f"{place} has no role; chats must be a list of {{role, content}}")
    role = ROLES.get(named.lower()) if isinstance(named, str) else None
    if role is None:
        raise BadRowError(f"{place}: role {named!r:.40} is not system, user, assistant or tool")
    calls = next((key for key in CALLS if turn.get(key)), None)
    if calls:
        raise BadRowError(
            f"{place} calls tools in {calls}, which is not read; write the call into the content"
        )
    if any(turn.get(key) for key in THOUGHTS):
        note("reasoning beside the content of turns is not read")
    content = turn.get("content") if turn.get("content") is not None else turn.get("value")
    return Message(role, as_text(content, place), _learned(turn, role, place, note))


def _learned(turn: Mapping[str, Any], role: str, place: str, note: Note) -> bool:
    """Whether the turn is learned, if it is an answer.

    Raises:
        BadRowError: for a weight between, which cannot be honored.
    """
    given = {key: turn[key] for key in LEARNED if turn.get(key) is not None}
    for key, value in given.items():
        if not isinstance(value, (bool, int, float)) or value not in (0, 1):
            raise BadRowError(f"{place}: {key} is {value!r:.40}; only 0 and 1, false and true can be honored")
    if role != "assistant" and any(given[key] for key in LEARNED[1:] if key in given):
        note("turns that are no answers are never learned, though they say so")
    return all(given.values())


def as_conversation(turns: Sequence[Message], note: Note) -> Conversation:
    """A conversation by the rule of this file, up to its last answer.

    Raises:
        BadRowError: when the rule does not cover the order of the turns.
        NothingToLearnError: when there is no answer that is learned.
    """
    joined = _joined(turns, note)
    system, rest = (joined[:1], joined[1:]) if joined[0].role == "system" else ([], joined)
    begin = next((i for i, turn in enumerate(rest) if turn.role == "user"), len(rest))
    if any(turn.role == "system" for turn in rest):
        raise BadRowError("a system prompt after the first turn; it must come first")
    answers = [i for i, turn in enumerate(rest) if i > begin and turn.role == "assistant"]
    if not answers:
        raise NothingToLearnError("no answer")
    if begin:
        note("turns before the first question are dropped")
    for before, turn in zip(rest[begin:], rest[begin + 1 :], strict=False):
        if turn.role == "tool" and before.role == "user":
            raise BadRowError("a tool turn follows a question; it must follow an answer that calls the tool")
    full = [i for i in answers if rest[i].content.strip()]
    if not full:
        raise NothingToLearnError("an empty answer")
    if not any(rest[i].learned for i in full):
        raise NothingToLearnError("no answer is learned, since all have weight 0 or train false")
    empty = {i for i in answers if i < full[-1]} - {*full}
    if empty:
        note("empty answers among others are not learned")
    used = (
        replace(turn, learned=False) if i in empty else turn for i, turn in enumerate(rest[: full[-1] + 1])
    )
    return (*system, *[*used][begin:])


def as_prompt(turns: Sequence[Message], note: Note) -> Conversation:
    """The turns up to the last question, by the rule of this file; what follows it is an answer, and is not asked.

    Raises:
        BadRowError: when there is no question, or the rule does not cover the order of the turns.
    """
    last = next((i for i in reversed(range(len(turns))) if turns[i].role == "user"), None)
    if last is None:
        raise BadRowError("the chat has no question (a user turn)")
    joined = _joined(turns[: last + 1], note)
    system, rest = (joined[:1], joined[1:]) if joined[0].role == "system" else ([], joined)
    begin = next(i for i, turn in enumerate(rest) if turn.role == "user")
    if any(turn.role == "system" for turn in rest):
        raise BadRowError("a system prompt after the first turn; it must come first")
    if begin:
        note("turns before the first question are dropped")
    return (*system, *rest[begin:])


def _joined(turns: Sequence[Message], note: Note) -> list[Message]:
    """The turns, with those of one role in a row joined to one; every turn of a tool stays for itself.

    Raises:
        BadRowError: when only some parts of an answer are learned.
    """
    joined: list[Message] = []
    for turn in turns:
        if not joined or turn.role != joined[-1].role or turn.role == "tool":
            joined.append(turn)
            continue
        last = joined[-1]
        if turn.role == "assistant" and turn.learned != last.learned:
            raise BadRowError("two answers in a row, of which only one is learned")
        joined[-1] = replace(last, content="\n\n".join(t.content for t in (last, turn) if t.content.strip()))
        note("turns of one role in a row are joined")
    return joined
