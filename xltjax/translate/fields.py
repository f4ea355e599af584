"""Which texts of a row are translated, by its format; everything else of the row stays as it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from xltjax.data.formats import NO_COLUMNS, SYSTEM, format_key, with_our_names
from xltjax.data.reading.columns import with_value
from xltjax.data.reading.turns import ROLES, as_list
from xltjax.data.rows import is_chat

Change = Callable[[str, str], str]  # gets the name of a field and its text, and gives the new text

# What a tool returned is for the program that reads it.
TRANSLATED_ROLES = ("user", "assistant", "system")


def map_texts(row: Any, change: Change, columns: Mapping[str, str] = NO_COLUMNS) -> Any:
    """A copy of ``row`` in which every text to be translated is what ``change`` gives for it, in its order.

    These are the texts that people wrote: instructions, contexts, answers, system prompts, and the contents of turns
    of users, assistants and systems, each by itself. Categories, ids, tools and what tools returned are not.

    Args:
        row: a row of any format that training reads.
        change: is called with the name of each field, such as ``response`` or ``messages[1]``, and its text.
        columns: the names that rows have for our keys, see ``formats.training_columns``.
    """
    if columns:
        changed = map_texts(with_our_names(row, columns), change)
        whole = {**row, **{key: value for key, value in changed.items() if key not in columns}}
        for ours, theirs in columns.items():
            whole = with_value(whole, theirs, changed[ours])
        return whole
    if is_chat(row):
        return _turns(row, "chat", change)
    if not isinstance(row, dict):
        return row
    changed = dict(row)
    for key in SYSTEM:
        _text(changed, key, key, change)
    kind = format_key(row)
    if kind == "instruction":
        if row.get("history") is not None:
            changed["history"] = _history(row["history"], change)
        for key in ("instruction", "context", "input", "response", "output"):
            _text(changed, key, key, change)
    elif kind == "prompt":
        for key in ("prompt", "completion"):
            if is_chat(row[key]):
                changed[key] = _turns(row[key], key, change)
            else:
                _text(changed, key, key, change)
    elif kind in ("messages", "conversations"):
        changed[kind] = _turns(row[kind], kind, change)
    elif kind:
        _text(changed, kind, kind, change)
    return changed


def texts(row: Any, columns: Mapping[str, str] = NO_COLUMNS) -> list[tuple[str, str]]:
    """The name and the text of every field of ``row`` that is translated."""
    found: list[tuple[str, str]] = []

    def keep(name: str, text: str) -> str:
        found.append((name, text))
        return text

    map_texts(row, keep, columns)
    return found


def _text(row: dict[str, Any], key: str, name: str, change: Change) -> None:
    """Change the text at ``key``, or the texts of its parts."""
    value = row.get(key)
    if isinstance(value, str):
        row[key] = change(name, value)
    elif isinstance(value, list):
        row[key] = [_part(part, f"{name}.{number}", change) for number, part in enumerate(value)]


def _part(part: Any, name: str, change: Change) -> Any:
    if not isinstance(part, dict) or part.get("type") != "text":
        return part
    changed = dict(part)
    _text(changed, "text", name, change)
    return changed


def _turns(value: Any, name: str, change: Change) -> Any:
    """Turns of any form; those that a table holds as a JSON text become a JSON text again."""
    turns = as_list(value)
    if not isinstance(turns, list):
        return value
    changed = [_turn(turn, f"{name}[{number}]", change) for number, turn in enumerate(turns)]
    return json.dumps(changed, ensure_ascii=False) if isinstance(value, str) else changed


def _turn(turn: Any, name: str, change: Change) -> Any:
    if isinstance(turn, str):
        return change(name, turn)
    if not isinstance(turn, dict):
        return turn
    role = turn.get("role") if turn.get("role") is not None else turn.get("from")
    if not isinstance(role, str) or ROLES.get(role.lower()) not in TRANSLATED_ROLES:
        return turn
    changed = dict(turn)
    _text(changed, "content" if turn.get("content") is not None else "value", name, change)
    return changed


def _history(value: Any, change: Change) -> Any:
    history = as_list(value)
    if not isinstance(history, list):
        return value
    changed = [
        [change(f"history[{n}][{m}]", text) if isinstance(text, str) else text for m, text in enumerate(pair)]
        if isinstance(pair, list)
        else pair
        for n, pair in enumerate(history)
    ]
    return json.dumps(changed, ensure_ascii=False) if isinstance(value, str) else changed
