"""The answers in a row of any file of responses: ours, chats, AlpacaEval's, prompt and completion, or named keys."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.reading.columns import parse_columns, value_under
from xltjax.data.reading.lm_eval import is_sample, model_and_task, sample_answers
from xltjax.data.reading.report import BadRowError
from xltjax.data.reading.turns import ROLES, as_list
from xltjax.data.rows import is_chat, listed

ACCEPTED = (
    "id and response, or instruction and output, or messages, or conversations, or prompt and completion, "
    "or output_1 and output_2 (AlpacaEval pairs), or samples of lm-eval; "
    "or name the columns, as in --columns response=answer,instruction=question"
)
THOUGHTS = ("thinking", "redacted_thinking", "reasoning")  # content parts that are no answer


@dataclass(frozen=True)
class RowKeys:
    """Keys of rows that the user has named, instead of those that are recognized.

    A key may lead into objects and lists, as in ``doc.language`` or ``choices.0.text``. An empty one is not named.

    Attributes:
        id: the keys that together make the id, which are joined by "/".
    """

    id: tuple[str, ...] = ()
    response: str = ""
    language: str = ""
    model: str = ""
    instruction: str = ""
    task: str = ""
    instruction_id: str = ""


# What ``--columns`` may call the fields of a response.
COLUMN_NAMES = {
    **{name: name for name in ("response", "instruction", "language", "model", "task", "id", "instruction_id")},
    "prompt": "instruction", "completion": "response", "output": "response",
}  # fmt: skip


def with_columns(keys: RowKeys, pairs: Sequence[str]) -> RowKeys:
    """``keys`` with those of ``--columns``, see ``parse_columns``.

    Raises:
        UserError: for columns that are none, and for a key that is named twice.
    """
    given: dict[str, Any] = {}
    for ours, theirs in parse_columns(pairs, tuple(COLUMN_NAMES)).items():
        name = COLUMN_NAMES[ours]
        if name in given or getattr(keys, name):
            raise UserError(f"the column of the {name.replace('_', ' ')} is named twice, also in columns")
        given[name] = (theirs,) if name == "id" else theirs
    return replace(keys, **given)


@dataclass(frozen=True)
class Origin:
    """Where rows come from, for what they do not say themselves.

    Attributes:
        stem: the name of the file without its suffixes.
        model: the model of rows that name none.
        task: the task of rows that name none.
    """

    stem: str
    model: str
    task: str = ""


def origin(path: Path) -> Origin:
    """The origin of the rows in ``path``, which for sample logs of lm-eval names their model and task."""
    stem = Path(path.name.removesuffix(".gz")).stem
    model, task = model_and_task(path, stem)
    return Origin(stem, model or stem, task)


def read_answers(row: Any, number: int, source: Origin, keys: RowKeys) -> list[dict[str, Any]]:
    """The answers in a row, each under the names of the fields of ``Response``, beside the row's other keys.

    A row that does not say which instruction it answers gets the id ``<file>/<number>`` and, as ``instruction_id``,
    a hash of the instruction, so that the answers of several models to one instruction belong together.

    Args:
        row: a parsed row.
        number: its number in the file, from 1.
        source: its file.
        keys: what the user has named.

    Raises:
        BadRowError: for a row without an answer, or without a key that is named.
    """
    if is_chat(row):
        row = {"messages": row}
    if not isinstance(row, dict):
        raise BadRowError(f"a response is an object or a list of chat messages, not {row!r:.40}")
    named = _named(row, keys)
    answers = []
    for values in _recognized(row, source, keys):
        values = {key: value for key, value in values.items() if not (key in _DEFAULTS and value is None)}
        values = {"model": source.model, "task": source.task, **values, **named}
        if "id" not in values:
            text = values.get("instruction")
            if text and isinstance(text, str):
                digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8)
                values.setdefault("instruction_id", digest.hexdigest())
            values["id"] = f"{source.stem}/{number}"
        for key in _NAMES & values.keys():
            values[key] = as_name(values[key], key)
        answers.append(values)
    return answers


_DEFAULTS = frozenset(("id", "model", "task", "language", "instruction", "instruction_id"))
_NAMES = frozenset(("id", "model", "task", "instruction_id"))


def as_modifier(value: Any) -> dict[str, Any] | None:
    """The modifier of a row, ``{"name": ..., "params": {...}}``; None where it has none.

    Raises:
        BadRowError: for anything else.
    """
    if value is not None and not (isinstance(value, dict) and isinstance(value.get("name"), str)):
        raise BadRowError('modifier must be {"name": ..., "params": {...}}')
    return value


def as_name(value: Any, key: str) -> str:
    """A name as text: whole numbers, which tables and JSON write as numbers, become their digits.

    >>> as_name(7, "id"), as_name(7.0, "id")
    ('7', '7')

    Raises:
        BadRowError: for anything else but text.
    """
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise BadRowError(f"{key} must be text, not {value!r:.40}")
    return value


def _named(row: Mapping[str, Any], keys: RowKeys) -> dict[str, Any]:
    """The values under the keys that the user has named, but for the answer; null stands for nothing."""
    values: dict[str, Any] = {}
    for name in ("language", "model", "instruction", "task", "instruction_id"):
        if key := getattr(keys, name):
            values[name] = _under(row, key, name)
    if "instruction" in values:
        values["instruction"] = _instruction(values["instruction"])
    values = {name: value for name, value in values.items() if value is not None}
    if keys.id:
        values["id"] = "/".join(as_name(_under(row, key, "id"), key) for key in keys.id)
    return values


def _under(row: Mapping[str, Any], key: str, name: str) -> Any:
    return value_under(row, key, f"--{name.replace('_', '-')}-key", " (or --columns)")


def may_repeat(row: Any) -> bool:
    """Whether files of such rows repeat answers: pairs that share a model, and samples of several filters."""
    return isinstance(row, dict) and _kind(set(row)) in ("output_1", "resps")


def _recognized(row: Mapping[str, Any], source: Origin, keys: RowKeys) -> list[dict[str, Any]]:
    """The answers of a row by the format that its keys show, without defaults."""
    if keys.response:
        others = {key: value for key, value in row.items() if key not in (keys.response, "response")}
        return [_asked(others) | {"response": _answer(_under(row, keys.response, "response"))}]
    # Tables that join several formats fill the columns of the others with null.
    kind = _kind({key for key, value in row.items() if value is not None}) or _kind(set(row))
    values = dict(row)
    if kind == "output_1":
        return _pair(values)
    if kind == "resps":
        samples = sample_answers(values, source.task)
        return [each | {"instruction": _instruction(each["instruction"])} for each in samples]
    if kind == "response":
        if "id" in row and row["id"] in (None, ""):
            raise BadRowError("the response has no id")
        values = _asked(values)
        if "id" not in row and not keys.id and not values.get("instruction"):
            raise BadRowError("the response has no id; name its key with --id-key, or give its instruction")
        return [values]
    if kind in ("messages", "conversations"):
        instruction, response = _chat(values.pop(kind))
        return [{**values, "instruction": instruction, "response": response}]
    if kind:
        response = _answer(values.pop(kind))
        return [_joined(_asked(values)) | {"response": response}]
    raise BadRowError(f"keys {listed(row)} are not a response; expected {ACCEPTED}")


def _kind(keys: set[str]) -> str:
    """The key that names the format of a row with these keys; empty when there is none."""
    if {"output_1", "output_2"} <= keys:
        return "output_1"
    if is_sample(keys):
        return "resps"
    if "output" in keys and keys & {"instruction", "prompt"} and "response" not in keys:
        return "output"
    return next((key for key in ("response", "messages", "conversations", "completion") if key in keys), "")


def _asked(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with the model and the instruction under our names, where only others are given."""
    if "model" not in values and "generator" in values:
        values["model"] = values.pop("generator")
    if "instruction" not in values and "prompt" in values:
        values["instruction"] = _instruction(values.pop("prompt"))
    return values


def _joined(values: dict[str, Any]) -> dict[str, Any]:
    """``values`` with Alpaca's input after the instruction, as in training."""
    instruction, more = values.get("instruction"), values.get("input")
    if isinstance(instruction, str) and isinstance(more, str) and more:
        values["instruction"] = f"{instruction}\n{more}"
    return values


def _pair(values: dict[str, Any]) -> list[dict[str, Any]]:
    """Both answers of a row of AlpacaEval's annotations."""
    outputs = [
        (values.pop(f"output_{n}"), values.pop(f"generator_{n}", None) or f"output_{n}") for n in (1, 2)
    ]
    return [{**values, "response": _answer(output), "model": model} for output, model in outputs]


# --- chats ---


def _answer(value: Any) -> Any:
    """The text of an answer, which may stand at the end of a chat."""
    turns = as_list(value)
    return _chat(turns)[1] if is_chat(turns) else value


def _instruction(value: Any) -> Any:
    """The text of an instruction; of a chat, what the user said."""
    turns = as_list(value)
    return _question(_turns(turns)) if is_chat(turns) else value


def _chat(turns: Any) -> tuple[str, str]:
    """What the user said, and the answer with which a chat ends."""
    read = _turns(turns)
    role, answer = read[-1]
    if role != "assistant":
        raise BadRowError("the chat does not end with an assistant's answer; generate one first")
    return _question(read[:-1]), _text(answer, asked=False)


def _question(read: list[tuple[str, Any]]) -> str:
    return "\n".join(_text(content, asked=True) for role, content in read if role == "user")


def _turns(turns: Any) -> list[tuple[str, Any]]:
    """The roles and contents of {role, content} or {from, value}, or of texts of user and assistant in turn."""
    turns = as_list(turns)
    if not isinstance(turns, list) or not turns:
        raise BadRowError(f"a chat is a list of {{role, content}}, not {turns!r:.40}")
    if all(isinstance(turn, str) for turn in turns):
        return [(("user", "assistant")[place % 2], turn) for place, turn in enumerate(turns)]
    read = []
    for place, turn in enumerate(turns, start=1):
        named = (turn.get("role") or turn.get("from")) if isinstance(turn, dict) else None
        role = ROLES.get(named.lower()) if isinstance(named, str) else None
        if role is None:
            raise BadRowError(f"turn {place}: role {named!r:.40} is not system, user, assistant or tool")
        read.append((role, turn["content"] if turn.get("content") is not None else turn.get("value")))
    return read


def _text(content: Any, asked: bool) -> str:
    """The text of a turn; parts of a question that are no text, such as images, are named in brackets.

    Raises:
        BadRowError: for content that is no text, and for an answer with other parts than text and thoughts.
    """
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise BadRowError(f"the content of a turn must be text or a list of parts, not {content!r:.40}")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if isinstance(text, str) and kind not in THOUGHTS:
            texts.append(text)
        elif asked:
            texts.append(f"[{kind}]")
        elif kind not in THOUGHTS:
            raise BadRowError(f"the answer has a part of type {kind!r:.40}, which is not read as text")
    return "".join(texts)
