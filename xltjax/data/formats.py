"""Reads instruction data from disk as conversations; the format of each row is recognized by its keys."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.reading.columns import parse_columns, renamed
from xltjax.data.reading.files import choose_files
from xltjax.data.reading.report import BadRowError, NothingToLearnError, RowReport
from xltjax.data.reading.tables import DELIMITERS
from xltjax.data.reading.turns import Note, as_conversation, as_list, as_text, as_turns
from xltjax.data.rows import file_format, is_chat, iterate_rows, listed

ACCEPTED = (
    "Dolly (instruction, context, response), Alpaca (instruction, input, output, system, history), "
    "LIMA and ShareGPT (conversations), chat (messages, or a bare list of {role, content}), "
    "TRL (prompt, completion), plain text (text)"
)
# Keys of a row besides those that name its format.
SYSTEM = ("system", "system_prompt")
TOOLS = ("tools", "functions")
MEDIA = ("images", "image", "videos", "audios")

# What ``--columns`` may name.
COLUMN_NAMES = (
    "prompt", "completion", "instruction", "context", "input", "response", "output", "system", "history",
    "messages", "conversations", "tools", "text",
)  # fmt: skip
NO_COLUMNS: Mapping[str, str] = MappingProxyType({})


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


def read_rows(
    source: str,
    report: RowReport,
    split: str = "",
    default: str = "train",
    columns: Mapping[str, str] = NO_COLUMNS,
) -> Iterator[Row]:
    """A stream of the rows of a source that have something to learn.

    Args:
        source: a file, a directory, a glob pattern, or a Hugging Face dataset id.
        report: learns of the other rows, and of what is not honored.
        split: see ``reading.files.choose_files``.
        default: see ``reading.files.choose_files``.
        columns: the names that rows have for our keys, see ``training_columns``.

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
                conversation = read_row(with_our_names(row, columns), partial(report.note, path))
                asked = [turn for turn in conversation if turn.role == "user"]
                # An empty cell is a gap, where an empty text in JSON may be meant.
                if file_format(path) in DELIMITERS and not all(turn.content.strip() for turn in asked):
                    raise BadRowError("an empty question")
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
        raise NothingToLearnError("an answer labeled as bad")
    turns = with_system(row, _turns(row, kind, note), note)
    return _tools(row) + as_conversation(turns, note)


def with_system(row: Mapping[str, Any], turns: list[Message], note: Note) -> list[Message]:
    """The turns of a row after the system prompt in a column of its own, unless they begin with the same one."""
    for key in SYSTEM:
        given = as_text(row[key], key) if row.get(key) is not None else ""
        if given.strip() and not (turns[0].role == "system" and turns[0].content.strip() == given.strip()):
            turns = [Message("system", given), *turns]
    for key in MEDIA:
        if row.get(key):
            note(f"{key} are not read")
    return turns


def training_columns(pairs: Sequence[str]) -> dict[str, str]:
    """The columns that the setting ``columns`` names, see ``parse_columns``."""
    return parse_columns(pairs, COLUMN_NAMES)


def with_our_names(row: Any, columns: Mapping[str, str]) -> Any:
    """A row under our names.

    When the named columns are a format by themselves, such as a prompt and a completion, they are all that is read;
    otherwise they join the other columns of the row.

    Raises:
        BadRowError: for a row that lacks a named column.
    """
    if not columns:
        return row
    named = renamed(row, columns)
    return named if _known(named) else {**row, **named}


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
        return [*history(row), *_exchange(row)]
    if kind == "prompt":
        prompt = _prompt_or_answer(row, "prompt", "user", note)
        # TRL learns the completion alone.
        prompt = [replace(turn, learned=False) for turn in prompt]
        return [*prompt, *_prompt_or_answer(row, "completion", "assistant", note)]
    if kind:
        return as_turns(row[kind], kind, note)
    raise BadRowError(
        f"the row has the keys {listed(row)}; accepted: {ACCEPTED}; or name the columns, as in --columns "
        "prompt=question,completion=answer"
    )


def _exchange(row: Mapping[str, Any]) -> list[Message]:
    """One question and its answer."""
    answers = {key: row[key] for key in ("response", "output") if row.get(key) is not None}
    key = next(iter(answers), "response" if "response" in row else "output")
    if len(answers) == 2 and answers["response"] != answers["output"]:
        raise BadRowError("the row has both a response and an output, which differ; keep one of them")
    return [Message("user", asked(row, "instruction")), Message("assistant", as_text(row[key], key))]


def asked(row: Mapping[str, Any], key: str) -> str:
    """The instruction under ``key``, with the context after it, on a new line.

    The paper and its release do not say how they joined instruction and context.
    """
    keys = [key, *(more for more in ("context", "input") if row.get(more) not in (None, ""))]
    return "\n".join(as_text(row[each], each) for each in keys)


def history(row: Mapping[str, Any]) -> list[Message]:
    """The earlier exchanges, whose answers are learned too."""
    pairs = as_list(row.get("history")) or []
    if not isinstance(pairs, list) or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise BadRowError("history must be a list of [question, answer]")
    return [
        Message(role, as_text(text, "history"))
        for pair in pairs
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
