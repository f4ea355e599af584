"""The question in a row of any file of prompts, with the system prompt and the turns before it."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from xltjax.data.conversations import Conversation, Message
from xltjax.data.formats import asked, history, with_system
from xltjax.data.reading.columns import renamed
from xltjax.data.reading.report import BadRowError
from xltjax.data.reading.turns import Note, as_prompt, as_turns
from xltjax.data.rows import is_chat, listed

ACCEPTED = (
    "a text file with a prompt a line; JSON Lines, a JSON list, CSV, TSV or Parquet of rows with 'instruction' "
    "(ours, AlpacaEval, Dolly, Alpaca), 'prompt' or 'messages', or of chat lists of {role, content}; or a folder "
    "with a file per language, such as fr.jsonl, or the paper's released set"
)
# The columns of a row that say what is asked, and those of its answer, which are passed over.
QUESTION = ("instruction", "prompt", "messages", "conversations")
ASKED = (*QUESTION, "context", "input", "system", "history")
ANSWER = ("response", "output", "completion")
# What ``--columns`` may name.
COLUMN_NAMES = (*ASKED, "language", "id", "instruction_id", "task", "modifier", *ANSWER)


def with_our_names(row: Any, columns: Mapping[str, str]) -> Any:
    """A row under our names. When one of them is what is asked, nothing else in the row is.

    Raises:
        BadRowError: for a row that lacks a named column.
    """
    if not columns:
        return row
    named = renamed(row, columns)
    others = {key: value for key, value in row.items() if not (named.keys() & set(QUESTION) and key in ASKED)}
    return {**others, **named}


def of_table(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of a CSV or TSV file, whose cells are texts: empty ones are not there, but for what is asked."""
    values: dict[str, Any] = {key: value for key, value in row.items() if value != "" or key in QUESTION}
    if modifier := values.get("modifier"):
        with contextlib.suppress(ValueError, RecursionError):
            values["modifier"] = json.loads(modifier)
    if str(values.get("human")).lower() in ("true", "false"):
        values["human"] = str(values["human"]).lower() == "true"
    return values


def question(row: Any, note: Note) -> Conversation:
    """The turns that are asked, of which the last is the user's.

    Raises:
        BadRowError: for a row without a question, or with two.
    """
    if is_chat(row):
        return as_prompt(as_turns(row, "the chat", note), note)
    if not isinstance(row, dict):
        raise BadRowError(f"{row!r:.40} is not an instruction; accepted: {ACCEPTED}")
    chat = next((key for key in ("messages", "conversations") if row.get(key) not in (None, [])), "")
    key = next((key for key in ("instruction", "prompt") if key in row), "")
    if not chat and not key:
        raise BadRowError(f"no instruction among its keys ({listed(row)}); accepted: {ACCEPTED}")
    if chat:
        turns = as_turns(row[chat], chat, note)
    elif is_chat(row[key]):
        turns = as_turns(row[key], key, note)
    else:
        if not isinstance(row[key], str):
            raise BadRowError(f"{key} must be text, not {row[key]!r:.40}")
        more = any(row.get(other) not in (None, "") for other in ("context", "input"))
        # A text that no tokenizer takes is left to fail by itself.
        turns = [*history(row), Message("user", asked(row, key) if more else row[key])]
    if row.get("tools"):
        note("tools are not read")
    found = as_prompt(with_system(row, turns, note), note)
    if chat and key == "instruction" and row[key] not in (None, found[-1].content):
        raise BadRowError(f"the instruction is not the last question in {chat}; keep one of them")
    return found
