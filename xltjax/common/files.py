"""Files that are never half-written, and JSON Lines with errors that name the line."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import tempfile
import zlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from xltjax.common.errors import UserError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Write beside ``path``, then rename: readers see the old file or the whole new one, never a part."""
    make_output_directory(path.parent)
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


def append(path: Path, text: str) -> None:
    """Add ``text`` to the end of a file, all of it or nothing.

    Raises:
        OSError: when it cannot be written; the file is then as it was.
    """
    data = memoryview(text.encode("utf-8"))
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError:
            file.truncate(end)
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
    with _reading(path, newline="\n") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, parse_json(line, path, number)


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """``text``, which begins at ``line`` of ``path``, parsed.

    Raises:
        UserError: naming the file and line that is not JSON.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as problem:
        line, reason = line + problem.lineno - 1, problem.msg
    except RecursionError:
        reason = "nested too deeply"
    except ValueError:  # Python refuses to read whole numbers of over 4,300 digits
        reason = "a number is too long"
    raise UserError(f"{path}, line {line}: not JSON ({reason})")


def read_text(path: Path) -> str:
    """The file, gzipped or not, as text.

    Raises:
        UserError: when it is missing, a directory, or not UTF-8.
    """
    with _reading(path) as file:
        return file.read()


@contextlib.contextmanager
def _reading(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """The file opened as text, gzipped or not, and its errors in one line."""
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as data:
            yield io.TextIOWrapper(data, "utf-8-sig", newline=newline)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory, not a file") from None
    except UnicodeDecodeError:
        raise UserError(f"{path} is not UTF-8 text") from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a whole gzip file") from None


def cache_directory() -> Path:
    """``$XLTJAX_CACHE``, or ``xltjax`` in the user's cache folder."""
    if os.environ.get("XLTJAX_CACHE"):
        return Path(os.environ["XLTJAX_CACHE"])
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "xltjax"


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


def read_json_object(path: Path) -> dict[str, Any]:
    """A file of one JSON object, parsed.

    Raises:
        UserError: when it is missing or holds anything else.
    """
    values = parse_json(read_text(path), path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object")
    return values
