"""Files that are never half-written, and readers of text and JSON whose errors name file and line."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import json
import os
import tempfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

from platformdirs import user_cache_path

from xltjax.common.errors import UserError


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[TextIO]:
    """Write to a file beside ``path``, then rename it: readers see the old file or the whole new one.

    Raises:
        UserError: when the directory cannot be created, or the file system cannot rename.
    """
    make_output_directory(path.parent)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, 0o644)
        try:
            os.replace(name, path)
        except OSError as problem:
            raise UserError(f"{path} cannot be written: {problem.strerror}; choose another path") from None
    except BaseException as problem:
        Path(name).unlink(missing_ok=True)
        if isinstance(problem, OSError) and problem.filename is None:
            problem.filename = str(path)  # so that the message names the file
        raise


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file of ``data``, completely or not at all.

    Raises:
        UserError: as ``atomic_write``.
    """
    with atomic_write(path) as file:
        file.buffer.write(data)


def append(path: Path, text: str) -> None:
    """Add ``text`` to the end of a file: all of it or nothing.

    Raises:
        OSError: when it cannot be written; the file is then unchanged.
    """
    data = memoryview(text.encode("utf-8"))
    with path.open("ab", buffering=0) as file:
        end = file.tell()
        try:
            while data:
                data = data[file.write(data) :]
        except OSError as problem:
            with contextlib.suppress(OSError):
                file.truncate(end)
            problem.filename = str(path)
            raise


def json_line(row: Any, default: Callable[[Any], Any] | None = None) -> str:
    """One JSON value on one line. Lone surrogates, which UTF-8 cannot hold, are escaped.

    Args:
        row: the value.
        default: as ``json.dumps`` takes it, for what JSON does not have.
    """
    line = json.dumps(row, ensure_ascii=False, default=default)
    try:
        line.encode("utf-8")
    except UnicodeEncodeError:
        line = json.dumps(row, ensure_ascii=True, default=default)
    return line + "\n"


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write ``rows`` as JSON Lines, atomically."""
    with atomic_write(path) as file:
        file.writelines(json_line(row) for row in rows)


def read_jsonl(path: Path) -> list[Any]:
    """Every line of a JSON Lines file, parsed; blank lines are skipped.

    Raises:
        UserError: naming the file and line that is not JSON, or the file that cannot be read.
    """
    return [row for _, row in iterate_jsonl(path)]


def iterate_jsonl(path: Path) -> Iterator[tuple[int, Any]]:
    """Like ``read_jsonl``, but a stream of (line number from 1, row) that holds one line in memory at a time."""
    yield from ((number, parse_json(line, path, number)) for number, line in iterate_lines(path))


def iterate_lines(path: Path) -> Iterator[tuple[int, str]]:
    """A stream of (line number from 1, line) of the lines of a text file that are not space.

    Raises:
        UserError: as ``read_text`` does.
    """
    with open_text(path, newline="\n") as file:
        yield from ((number, line) for number, line in enumerate(file, start=1) if line.strip())


def parse_json(text: str, path: Path, line: int = 1) -> Any:
    """Parse ``text``, which begins at ``line`` of the file ``path``.

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


def read_json_object(path: Path) -> dict[str, Any]:
    """A file of one JSON object, parsed.

    Raises:
        UserError: when it is missing or holds anything else.
    """
    values = parse_json(read_text(path), path)
    if not isinstance(values, dict):
        raise UserError(f"{path} is not a JSON object")
    return values


def read_text(path: Path) -> str:
    """The text of a file, which may be gzipped.

    Raises:
        UserError: when it is missing, a directory, or not UTF-8.
    """
    with open_text(path) as file:
        return file.read()


@contextlib.contextmanager
def open_text(path: Path, newline: str | None = None) -> Iterator[TextIO]:
    """Open a file, which may be gzipped, as text; what goes wrong while it is read becomes a ``UserError``.

    Raises:
        UserError: when it is missing, a directory, not UTF-8, or not a whole gzip file.
    """
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as data:
            yield io.TextIOWrapper(data, "utf-8-sig", newline=newline)
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(f"{path} does not exist") from None
    except IsADirectoryError:
        raise UserError(f"{path} is a directory, not a file") from None
    except UnicodeDecodeError:
        raise UserError(_not_utf8(path)) from None
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise UserError(f"{path} is not a complete gzip file; copy or download it again") from None


def _not_utf8(path: Path) -> str:
    """Which line of a file is not UTF-8, which encoding it may have instead, and how to convert it."""
    with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as data:
        if data.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
            return f"{path} is not UTF-8 text but UTF-16; save it as UTF-8"
        data.seek(0)
        number, line = next(found for found in enumerate(data, start=1) if not _is_utf8(found[1]))
    letters = [byte for byte in line if byte >= 0x80 or chr(byte).isalpha()]
    cyrillic = sum(byte >= 0xC0 for byte in letters) > len(letters) / 2
    name = "windows-1251" if cyrillic else "windows-1252"
    text = line.decode(name, "replace").strip()
    if "\ufffd" in text or not text.isprintable():
        return f"{path} is not UTF-8 text (line {number}); save it as UTF-8"
    return (
        f"{path} is not UTF-8 text but perhaps {name} (line {number}: {text[:40]!r}); save it as UTF-8, in "
        f"spreadsheets as 'CSV UTF-8', or convert it: iconv -f {name} -t utf-8"
    )


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def cache_directory() -> Path:
    """``$XLTJAX_CACHE``, or else ``xltjax`` in the user's cache folder (``~/.cache`` on Linux)."""
    return Path(os.environ.get("XLTJAX_CACHE") or user_cache_path("xltjax", appauthor=False))


def check_output_directory(path: Path) -> None:
    """Refuse a directory for results that cannot be created, before hours of work.

    Raises:
        UserError: when ``path`` or one of its parents is a file.
    """
    there = next((place for place in (path, *path.parents) if os.path.lexists(place)), None)
    if there is not None and not there.is_dir():
        raise UserError(f"{path} cannot be created: {there} is a file, not a directory; choose another path")


def make_output_directory(path: Path) -> Path:
    """Create the directory ``path`` for results, with its parents.

    Raises:
        UserError: as ``check_output_directory``, or when the file system refuses.
    """
    check_output_directory(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise UserError(f"{path} cannot be created: {problem.strerror}; choose another path") from None
    return path


def unreadable_file(directory: Path) -> str:
    """Why a file under ``directory`` cannot be opened and read; empty when all can."""

    def stop(problem: OSError) -> None:
        raise problem

    try:
        for folder, _, names in os.walk(directory, onerror=stop):
            for name in names:
                with open(os.path.join(folder, name), "rb") as file:
                    file.read(1)
    except FileNotFoundError:
        return ""
    except OSError as problem:
        return f"{problem.strerror}: {problem.filename or directory}"
    return ""
