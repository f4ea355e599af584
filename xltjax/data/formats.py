"""Reads instruction data from disk as conversations; the format of each row is recognized by its keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.reading.files import choose_files
from xltjax.data.reading.report import BadRowError, NothingToLearnError, RowReport
from xltjax.data.reading.turns import Note, as_conversation, as_list, as_text, as_turns
from xltjax.data.rows import is_chat, iterate_rows, listed

ACCEPTED = (
    "Dolly (instruction, context, response), Alpaca (instruction, input, output, system, history), "
    "LIMA and ShareGPT (conversations), chat (messages, or a bare list of {role, content}), "
    "TRL (prompt, completion), plain text (text)"
)
SYSTEM, TOOLS, MEDIA = (
    ("system", "system_prompt"),
    ("tools", "functions"),
    ("images", "image", "videos", "audios"),
)


@dataclass(frozen=True)
class Row:
    """A row of a data file.

    Attributes:
        path: the file.
        place: the file and the row in it, such as ``d.jsonl, line 3``.
        conversation: what the row holds.
    """

    path: Path
    place: str
    conversation: Conversation


def read_rows(source: str, report: RowReport, split: str = "", default: str = "train") -> Iterator[Row]:
    """A stream of the rows of a source that have something to learn.

    Args:
        source: a file, a directory, a glob pattern, or a Hugging Face dataset id.
        report: learns of the other rows, and of what is not honored.
        split: see ``reading.files.choose_files``.
        default: see ``reading.files.choose_files``.

    Raises:
        UserError: when nothing is found, a file cannot be parsed, there is no row at all, or a row cannot be used
            and ``report`` stops at it.
    """
    files, others = choose_files(source, split, default)
    report.unread(source, others)
    count = 0

    def bad(path: Path, place: str, reason: str) -> None:
        nonlocal count
        count += 1
        report.bad(path, place, reason)

    for path in files:
        for place, row in iterate_rows(path, partial(bad, path)):
            try:
                conversation = read_row(row, partial(report.note, path))
            except BadRowError as problem:
                bad(path, place, str(problem))
            except RecursionError:
                bad(path, place, "nested too deeply")
            except NothingToLearnError as reason:
                count += 1
                report.left_out(path, place, str(reason))
            else:
                count += 1
                yield Row(path, place, conversation)
    if not count:
        raise UserError(f"{source} holds no rows; give a file with data")


def read_row(row: Any, note: Note) -> Conversation:
    """A row of any accepted format as a conversation.

    Args:
        row: the parsed row.
        note: is called with each way in which it is learned otherwise than it says.

    Raises:
        BadRowError: when it cannot be used.
        NothingToLearnError: when it is in good order without anything to learn.
        RecursionError: when it is nested too deeply.
    """
    if is_chat(row):
        return as_conversation(as_turns(row, "the chat", note), note)
    if not isinstance(row, dict):
        raise BadRowError(f"the row is not a JSON object; accepted: {ACCEPTED}")
    kind = format_key(row)
    if kind == "text":
        text = as_text(row["text"], "text")
        if not text.strip():
            raise NothingToLearnError("an empty text")
        return (Message("text", text),)
    if row.get("kto_tag") is False or (kind == "prompt" and row.get("label") is False):
        raise NothingToLearnError("an answer that is labeled as bad")
    turns = _turns(row, kind, note)
    for key in SYSTEM:
        given = as_text(row[key], key) if row.get(key) is not None else ""
        if given.strip() and not (turns[0].role == "system" and turns[0].content.strip() == given.strip()):
            turns.insert(0, Message("system", given))
    for key in MEDIA:
        if row.get(key):
            note(f"{key} are not read")
    return _tools(row) + as_conversation(turns, note)


def format_key(row: Mapping[str, Any]) -> str:
    """The key that names the format of a row, such as ``instruction`` or ``messages``; empty when there is none."""
    # Tables that join several formats fill the columns of the others with null.
    return _known(key for key, value in row.items() if value is not None and value != []) or _known(row)


def _known(keys: Iterable[str]) -> str:
    """The key that names the format of a row with these keys; empty when there is none."""
    keys = set(keys)
    if "instruction" in keys and keys & {"response", "output"}:
        return "instruction"
    if {"prompt", "completion"} <= keys and not keys & {"messages", "conversations"}:
        return "prompt"
    return next((key for key in ("messages", "conversations", "text") if key in keys), "")


def _turns(row: Mapping[str, Any], kind: str, note: Note) -> list[Message]:
    if kind == "instruction":
        return [*_history(row), *_exchange(row)]
    if kind == "prompt":
        prompt = _prompt_or_answer(row, "prompt", "user", note)
        # TRL learns the completion alone.
        prompt = [replace(turn, learned=False) for turn in prompt]
        return [*prompt, *_prompt_or_answer(row, "completion", "assistant", note)]
    if kind:
        return as_turns(row[kind], kind, note)
    raise BadRowError(f"the row has the keys {listed(row)}; accepted: {ACCEPTED}")


def _exchange(row: Mapping[str, Any]) -> list[Message]:
    """One question and its answer, with the context after the instruction, on a new line.

    The paper and its release do not say how they joined instruction and context.
    """
    prompt = [as_text(row["instruction"], "instruction")]
    prompt += [as_text(row[key], key) for key in ("context", "input") if row.get(key) not in (None, "")]
    answers = {key: row[key] for key in ("response", "output") if row.get(key) is not None}
    key = next(iter(answers), "response" if "response" in row else "output")
    if len(answers) == 2 and answers["response"] != answers["output"]:
        raise BadRowError("the row has both a response and an output, which differ; keep one of them")
    return [Message("user", "\n".join(prompt)), Message("assistant", as_text(row[key], key))]


def _history(row: Mapping[str, Any]) -> list[Message]:
    """The earlier exchanges, whose answers are learned too."""
    history = as_list(row.get("history")) or []
    if not isinstance(history, list) or not all(
        isinstance(pair, list) and len(pair) == 2 for pair in history
    ):
        raise BadRowError("history must be a list of [question, answer]")
    return [
        Message(role, as_text(text, "history"))
        for pair in history
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def _prompt_or_answer(row: Mapping[str, Any], key: str, role: str, note: Note) -> list[Message]:
    """A column that is a text, of this role, or a list of messages."""
    return as_turns(row[key], key, note) if is_chat(row[key]) else [Message(role, as_text(row[key], key))]


def _tools(row: Mapping[str, Any]) -> Conversation:
    """The tools of a row as a turn of their own; none when it has none."""
    for key in TOOLS:
        tools = as_list(row.get(key))
        if not tools:
            continue
        if not isinstance(tools, list):
            raise BadRowError(f"{key} must be a list of descriptions of tools")
        return (Message("tools", as_text(json.dumps(tools, ensure_ascii=False, default=str), key)),)
    return ()
