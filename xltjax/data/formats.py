"""Reads instruction data from disk as conversations; the format of each row is recognized by its keys."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.rows import is_chat, iterate_rows

SUFFIXES = (".json", ".jsonl", ".parquet")
ACCEPTED = (
    "Dolly (instruction, context, response), Alpaca (instruction, input, output), LIMA (conversations), "
    "chat (messages, or a bare list of {role, content}), plain text (text)"
)
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def read_conversations(source: str) -> list[Conversation]:
    """Read all conversations of a file, a directory, a glob pattern, or a Hugging Face dataset id.

    A row without an answer is an empty conversation.

    Raises:
        UserError: when nothing is found, a file cannot be parsed, the keys of a row are unknown, or there
            is no row at all.
    """
    files = find_files(source)
    conversations = [_conversation(row, place) for path in files for place, row in _rows(path)]
    if not conversations:
        raise UserError(f"{source} holds no rows")
    return conversations


def find_files(source: str) -> list[Path]:
    """The data files of ``source``, which is what ``read_conversations`` takes.

    Raises:
        UserError: when there are none.
    """
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = _data_files(path)
    elif glob.has_magic(source):
        found = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())
    elif source.count("/") == 1 and not source.startswith((".", "/")) and _format(path) not in SUFFIXES:
        found = _download(source)
    else:
        raise UserError(f"data file {source} does not exist")
    if not found:
        raise UserError(f"{source} holds no data files ({', '.join(SUFFIXES)}, optionally .gz)")
    return found


def _data_files(root: Path) -> list[Path]:
    """The data files under ``root``, without hidden files and hidden folders."""
    names = sorted(path.relative_to(root) for path in root.rglob("*") if _format(path) in SUFFIXES)
    visible = [root / name for name in names if not any(part.startswith(".") for part in name.parts)]
    return [path for path in visible if path.is_file()]


def _download(dataset: str) -> list[Path]:
    """The data files of a dataset on the Hugging Face Hub: of its training split, if it has one.

    They are downloaded into the hub's own cache, unless they are there.
    """
    from huggingface_hub import snapshot_download

    patterns = [f"**{suffix}{gz}" for suffix in SUFFIXES for gz in ("", ".gz")]
    try:
        root = Path(snapshot_download(dataset, repo_type="dataset", allow_patterns=patterns))
    except Exception as problem:  # an error of the hub, of its HTTP library, or a malformed name
        reason = str(problem).split("\n", 1)[0] or type(problem).__name__
        raise UserError(
            f"{dataset} is neither a file nor a Hugging Face dataset that can be downloaded: {reason}"
        ) from None
    files = _data_files(root)
    training = [p for p in files if re.search(r"(?<![a-z])train", str(p.relative_to(root)), re.IGNORECASE)]
    return training or files


def _format(path: Path) -> str:
    """The suffix that says the format; the one before ``.gz`` in the name of a gzipped file."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _rows(path: Path) -> Iterator[tuple[str, Any]]:
    """Like ``iterate_rows``, for Parquet files too."""
    if _format(path) != ".parquet":
        yield from iterate_rows(path)
        return
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow") from None
    try:
        rows = pyarrow.parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as problem:
        raise UserError(f"{path} is not a Parquet file ({str(problem).splitlines()[0]})") from None
    yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, start=1))


def _conversation(row: Any, place: str) -> Conversation:
    """A row of any accepted format as a conversation, which is empty when it has no answer."""
    if is_chat(row):
        return _chat(row, place)
    if not isinstance(row, dict):
        raise UserError(f"{place} is not a JSON object; accepted: {ACCEPTED}")
    keys = row.keys()
    if {"instruction", "response"} <= keys:
        return _exchange(row["instruction"], row.get("context"), row["response"], place)
    if {"instruction", "output"} <= keys:
        return _exchange(row["instruction"], row.get("input"), row["output"], place)
    if "messages" in keys:
        return _chat(row["messages"], place)
    if "conversations" in keys:
        return _turns(row["conversations"], place)
    if "text" in keys:
        return (Message("text", _string(row["text"], place)),)
    raise UserError(f"{place} has the keys {', '.join(sorted(keys)) or '(none)'}; accepted: {ACCEPTED}")


def _exchange(instruction: Any, context: Any, answer: Any, place: str) -> Conversation:
    """One question and its answer, with the context after the instruction, on a new line.

    The paper and its release do not say how they joined instruction and context.
    """
    prompt = _string(instruction, place)
    if context not in (None, ""):
        prompt += "\n" + _string(context, place)
    return (Message("user", prompt), Message("assistant", _string(answer, place)))


def _chat(messages: Any, place: str) -> Conversation:
    if not is_chat(messages):
        raise UserError(f"{place}: messages must be a list of {{role, content}}")
    turns = []
    for message in messages:
        role = ROLES.get(str(message["role"]))
        if role is None:
            raise UserError(f"{place}: role {message['role']!r:.40} is not system, user or assistant")
        turns.append(Message(role, _string(message["content"], place)))
    return _answered(turns, place)


def _turns(turns: Any, place: str) -> Conversation:
    """A conversation as LIMA writes it, strings of user and assistant in turn, or ShareGPT, {from, value}."""
    if not isinstance(turns, list):
        raise UserError(f"{place}: conversations must be a list")
    if all(isinstance(turn, dict) for turn in turns):
        return _chat([{"role": turn.get("from"), "content": turn.get("value")} for turn in turns], place)
    roles = ("user", "assistant")
    return _answered([Message(roles[i % 2], _string(t, place)) for i, t in enumerate(turns)], place)


def _answered(turns: Sequence[Message], place: str) -> Conversation:
    """The turns up to the last answer, as there is nothing to learn after it.

    Raises:
        UserError: unless user and assistant alternate, after an optional system prompt.
    """
    first = 1 if turns[0].role == "system" else 0
    for number, turn in enumerate(turns[first:]):
        if turn.role != ("user", "assistant")[number % 2]:
            raise UserError(
                f"{place}: turn {first + number + 1} has the role {turn.role}; after an optional system prompt, "
                "user and assistant must alternate"
            )
    pairs = (len(turns) - first) // 2
    return tuple(turns[: first + 2 * pairs]) if pairs else ()


def _string(value: Any, place: str) -> str:
    if not isinstance(value, str):
        found = "null" if value is None else type(value).__name__
        raise UserError(f"{place}: expected text, found {found}")
    return value
