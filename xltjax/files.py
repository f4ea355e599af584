"""Files that are never half-written, and JSON Lines with errors that name the line."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from xltjax.errors import UserError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Write beside ``path``, then rename: readers see the old file or the whole new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        os.replace(name, path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def json_line(row: Mapping[str, Any]) -> str:
    """One JSON object on one line. Lone surrogates, which UTF-8 cannot hold, are escaped."""
    line = json.dumps(row, ensure_ascii=False)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(row, ensure_ascii=True)
    return line + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSON Lines, atomically."""
    with atomic_write(path) as file:
        file.writelines(json_line(row) for row in rows)


def read_jsonl(path: Path) -> list[Any]:
    """Every line of a JSON Lines file, parsed; blank lines are passed over.

    Raises:
        UserError: naming the file and line that is not JSON, or the file that cannot be read.
    """
    return [row for _, row in iterate_jsonl(path)]


def iterate_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """``read_jsonl`` as a stream of (line number from 1, row): one line in memory at a time."""
    with _reading(path), path.open(encoding="utf-8-sig", newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    row = json.loads(line)
                except (json.JSONDecodeError, RecursionError) as problem:
                    reason = getattr(problem, "msg", "nested too deeply")
                    raise UserError(f"{path}, line {number}: not JSON ({reason})") from None
                yield number, row


def read_text(path: Path) -> str:
    """The file as text.

    Raises:
        UserError: when it is missing, a directory, or not UTF-8.
    """
    with _reading(path):
        return path.read_text(encoding="utf-8-sig")


@contextlib.contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory, not a file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None


def make_output_directory(path: Path) -> Path:
    """Create ``path`` for results.

    Raises:
        UserError: when a file stands in its way.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise UserError(f"{path} cannot be a directory: a file stands in its way") from None
    return path
