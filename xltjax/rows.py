"""Instruction data on disk -> conversations. The format of a row is recognised by its keys."""

from __future__ import annotations

import glob
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xltjax.chat import Conversation, Message
from xltjax.errors import UserError

SUFFIXES = (".json", ".jsonl", ".parquet")
ACCEPTED = (
    "Dolly (instruction, context, response), Alpaca (instruction, input, output), LIMA (conversations), "
    "chat (messages, or a bare list of {role, content}), plain text (text)"
)
ROLES = {"human": "user", "gpt": "assistant", "user": "user", "assistant": "assistant", "system": "system"}


def read_conversations(source: str) -> list[Conversation]:
    """All conversations of a file, a directory, a glob pattern, or a Hugging Face dataset id.

    Raises:
        UserError: when nothing is found, a file cannot be parsed, a row's keys are unknown, or there
            is no row at all.
    """
    conversations = []
    for path in find_files(source):
        for number, row in enumerate(_rows(path), start=1):
            conversations.append(_conversation(row, f"{path}, row {number}"))
    if not conversations:
        raise UserError(f"{source} holds no rows")
    return conversations


def find_files(source: str) -> list[Path]:
    """The data files that ``source`` names."""
    path = Path(source)
    if path.is_file():
        return [path]
    if path.is_dir():
        found = sorted(p for p in path.rglob("*") if p.is_file() and _format(p) in SUFFIXES)
    elif glob.has_magic(source):
        found = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())
    elif source.count("/") == 1 and not source.startswith((".", "/")) and not path.suffix:
        found = _download(source)
    else:
        raise UserError(f"data file {source} does not exist")
    if not found:
        raise UserError(f"{source} holds no data files ({', '.join(SUFFIXES)}, optionally .gz)")
    return found


def _download(dataset: str) -> list[Path]:
    """The data files of a Hugging Face dataset, through the hub's cache."""
    from huggingface_hub import snapshot_download

    patterns = [f"**{suffix}{gz}" for suffix in SUFFIXES for gz in ("", ".gz")]
    try:
        root = snapshot_download(dataset, repo_type="dataset", allow_patterns=patterns)
    except Exception as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise UserError(
            f"{dataset} is neither a file nor a Hugging Face dataset within reach: {reason}"
        ) from None
    return sorted(p for p in Path(root).rglob("*") if p.is_file() and _format(p) in SUFFIXES)


def _format(path: Path) -> str:
    """The suffix that tells the format, looked for under ``.gz``."""
    return Path(path.stem).suffix if path.suffix == ".gz" else path.suffix


def _rows(path: Path) -> Iterator[Any]:
    """The parsed rows of one file."""
    if _format(path) == ".parquet":
        yield from _parquet(path)
        return
    text = _text(path)
    if text.lstrip().startswith("[") and _format(path) != ".jsonl":
        try:
            rows = json.loads(text)
        except json.JSONDecodeError as problem:
            raise UserError(f"{path}, line {problem.lineno}: not JSON ({problem.msg})") from None
        # One chat is a bare list of messages; a list of rows holds rows.
        yield from [rows] if _is_chat(rows) else rows
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except json.JSONDecodeError as problem:
                raise UserError(f"{path}, line {number}: not JSON ({problem.msg})") from None


def _text(path: Path) -> str:
    try:
        data = path.read_bytes()
        return (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8")
    except (gzip.BadGzipFile, EOFError):
        raise UserError(f"{path} is not a gzip file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None


def _parquet(path: Path) -> list[Any]:
    try:
        import pyarrow.parquet
    except ImportError:
        raise UserError(f"{path}: reading Parquet needs pyarrow; pip install pyarrow") from None
    try:
        return pyarrow.parquet.read_table(path).to_pylist()  # type: ignore[no-any-return]
    except (pyarrow.ArrowException, OSError) as problem:
        raise UserError(f"{path} is not a Parquet file ({str(problem).splitlines()[0]})") from None


def _is_chat(row: Any) -> bool:
    return isinstance(row, list) and bool(row) and all(isinstance(m, dict) and "role" in m for m in row)


def _conversation(row: Any, where: str) -> Conversation:
    """One row in any accepted format as messages."""
    if _is_chat(row):
        return _chat(row, where)
    if not isinstance(row, dict):
        raise UserError(f"{where} is not a JSON object; accepted: {ACCEPTED}")
    keys = row.keys()
    if {"instruction", "response"} <= keys:
        return _exchange(row["instruction"], row.get("context"), row["response"], where)
    if {"instruction", "output"} <= keys:
        return _exchange(row["instruction"], row.get("input"), row["output"], where)
    if "messages" in keys:
        return _chat(row["messages"], where)
    if "conversations" in keys:
        return _turns(row["conversations"], where)
    if "text" in keys:
        return (Message("text", _string(row["text"], where)),)
    raise UserError(f"{where} has the keys {', '.join(sorted(keys)) or '(none)'}; accepted: {ACCEPTED}")


def _exchange(instruction: Any, context: Any, answer: Any, where: str) -> Conversation:
    """Instruction and context joined by a newline (the release does not say how; DESIGN, section 4)."""
    prompt = _string(instruction, where)
    if context:
        prompt += "\n" + _string(context, where)
    return (Message("user", prompt), Message("assistant", _string(answer, where)))


def _chat(messages: Any, where: str) -> Conversation:
    if not _is_chat(messages):
        raise UserError(f"{where}: messages must be a list of {{role, content}}")
    turns = []
    for message in messages:
        role = ROLES.get(str(message["role"]))
        if role is None:
            raise UserError(f"{where}: role {message['role']!r} is not system, user or assistant")
        turns.append(Message(role, _string(message.get("content"), where)))
    return tuple(turns)


def _turns(turns: Any, where: str) -> Conversation:
    """LIMA's alternating strings, or ShareGPT's {from, value}."""
    if not isinstance(turns, list):
        raise UserError(f"{where}: conversations must be a list")
    if all(isinstance(turn, dict) for turn in turns):
        renamed = [{"role": turn.get("from"), "content": turn.get("value")} for turn in turns]
        return _chat(renamed, where)
    # A trailing question without an answer teaches nothing.
    paired = turns[: len(turns) // 2 * 2]
    return tuple(
        Message("assistant" if i % 2 else "user", _string(turn, where)) for i, turn in enumerate(paired)
    )


def _string(value: Any, where: str) -> str:
    if not isinstance(value, str):
        raise UserError(f"{where}: expected text, found {type(value).__name__}")
    return value
