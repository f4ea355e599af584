"""Checks of what Python gives: each takes the name of an argument and its value, and returns what it stands for.

All of them raise a ``UserError`` that names the argument and says what was given.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message, half_surrogate
from xltjax.data.reading.report import BadRowError
from xltjax.data.reading.turns import as_prompt, as_turns


@contextlib.contextmanager
def naming(argument: str) -> Iterator[None]:
    """Put the name of an argument in front of what is wrong with it."""
    try:
        yield
    except UserError as problem:
        raise UserError(f"{argument}: {problem}") from None


def conversation(name: str, prompt: Any) -> Conversation:
    """A prompt that is a string or a list of turns ending with the user's, as training joins turns."""
    if isinstance(prompt, str):
        return (Message("user", text(name, prompt)),)
    if not isinstance(prompt, (list, tuple)) or not prompt:
        hint = (
            "; a chat is a list of its turns, even if it has only one" if isinstance(prompt, Mapping) else ""
        )
        raise UserError(f"{name} is neither a string nor a list of turns but {described(prompt)}{hint}")
    try:
        turns = as_turns(list(prompt), name, lambda _: None)
        if turns[-1].role != "user":
            raise BadRowError(f"it ends with a turn of the {turns[-1].role}; it must end with a user turn")
        for number, turn in enumerate(turns, start=1):
            if not turn.content.strip():
                raise BadRowError(f"turn {number} is empty")
        return as_prompt(turns, lambda _: None)  # by the rule of training
    except BadRowError as problem:
        raise UserError(f"{name}: {problem}") from None


def text(name: str, value: Any) -> str:
    """A string that says something, without half of a surrogate pair."""
    if not isinstance(value, str):
        raise UserError(f"{name} is not a string but {described(value)}")
    if near := half_surrogate(value):
        raise UserError(f"{name} contains half of a surrogate pair, at {near!r}")
    if not value.strip():
        raise UserError(f"{name} is empty")
    return value


def as_list(name: str, value: Any) -> list[Any]:
    """The items of a list, a tuple, a column or an iterator, but not the letters of a string."""
    if isinstance(value, (str, bytes, Mapping)) or not hasattr(value, "__iter__"):
        raise UserError(f"{name} is not a list but {described(value)}; put it in a list")
    if hasattr(value, "columns"):
        raise UserError(f"{name} is a table; give one of its columns, such as table['instruction']")
    return list(value)


def path(name: str, value: Any) -> str:
    """A path or a name, as a string."""
    if not isinstance(value, (str, os.PathLike)) or not str(value):
        raise UserError(f"{name} is not a path but {described(value)}")
    return os.fspath(value)


def whole_number(name: str, value: Any, least: int) -> int:
    """A whole number of Python or NumPy that is at least ``least``."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise UserError(f"{name} is not a whole number of at least {least}: {value!r:.40}")
    return int(value)


def number(name: str, value: Any) -> float:
    """A number of Python or NumPy."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise UserError(f"{name} is not a number but {described(value)}")
    return float(value)


def described(value: Any) -> str:
    """What a value is, for a message: its type and, where short, the value."""
    try:
        text = json.dumps(value)
    except (TypeError, ValueError):
        text = ""
    return f"{type(value).__name__} {text}" if 0 < len(text) <= 30 else type(value).__name__
