"""The rows of a data file, of whatever format, with the place of each for error messages."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from xltjax.common.errors import UserError
from xltjax.common.files import iterate_jsonl, iterate_lines, parse_json, read_text
from xltjax.data.reading.tables import DELIMITERS, delimited_rows, parquet_rows

# What is no data file but may be taken for one, and what to do with it.
FOREIGN = {
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), "is a spreadsheet; save it as CSV (UTF-8)"),
    **dict.fromkeys(
        (".zip", ".bz2", ".xz", ".zst", ".tar", ".tgz", ".7z"), "is packed; unpack it, or use gzip"
    ),
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt"), "is a pickle, which is never read; save it as JSON Lines or Parquet"
    ),
}
SUFFIXES = (".json", ".jsonl", ".parquet", *DELIMITERS)
OnBad = Callable[[str, str], None]  # takes the place of a row that cannot be parsed, and the reason

# A document with one of these keys is a row, and its ``data`` is not the list of rows.
_ROW_KEYS = {"instruction", "messages", "conversations", "prompt", "text", "id"}


def is_chat(row: Any) -> bool:
    """Whether ``row`` is a list of chat messages: objects with ``role`` and ``content``."""
    return (
        isinstance(row, list)
        and len(row) > 0
        and all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in row)
    )


def listed(keys: Iterable[Any]) -> str:
    """Keys for an error message, without what would make it long or break its line."""
    shown = [
        key if len(key) <= 40 and key.isprintable() else f"{key!r:.40}" for key in sorted(map(str, keys))
    ]
    return ", ".join(shown[:12]) + (", ..." if len(shown) > 12 else "") or "(none)"


def file_format(path: Path) -> str:
    """The suffix that says the format; the one before ``.gz`` in the name of a gzipped file."""
    return (Path(path.stem).suffix if path.suffix == ".gz" else path.suffix).lower()


def refuse(place: str, reason: str) -> NoReturn:
    """Stop at a row that cannot be parsed.

    Raises:
        UserError: always.
    """
    raise UserError(f"{place}: {reason}")


def iterate_rows(path: Path, on_bad: OnBad = refuse) -> Iterator[tuple[str, Any]]:
    """The rows of a file by its suffix: Parquet, CSV, TSV, or else JSON.

    JSON is JSON Lines, or one document: a list of rows, a single row, or an object whose ``data`` is a list of
    rows. A list of chat messages is one row.

    Args:
        path: the file, which may be gzipped unless it is Parquet.
        on_bad: called with a line or row that cannot be parsed, which is then passed over.

    Yields:
        (place, row): where the row is, for error messages, such as ``d.jsonl, line 3``; and the parsed row.

    Raises:
        UserError: naming the file that cannot be read, or the line of a JSON document that is not JSON.
    """
    kind = file_format(path)
    if kind in FOREIGN:
        raise UserError(f"{path} {FOREIGN[kind]}")
    if kind == ".parquet":
        yield from parquet_rows(path)
    elif kind in DELIMITERS:
        yield from delimited_rows(path, DELIMITERS[kind], on_bad)
    elif not _is_document(path):
        for number, line in iterate_lines(path):
            place = f"{path}, line {number}"
            try:
                row = parse_json(line, path, number)
            except UserError as problem:
                on_bad(place, str(problem).removeprefix(f"{place}: "))
                continue
            yield from _expanded(place, row)
    else:
        document = parse_json(read_text(path), path)
        if isinstance(document, list) and not is_chat(document):
            yield from ((f"{path}, item {number}", row) for number, row in enumerate(document, start=1))
        else:
            yield from _expanded(f"{path}, item 1", document)


def _expanded(place: str, row: Any) -> Iterator[tuple[str, Any]]:
    """The rows in the ``data`` of a document; any other row unchanged."""
    if isinstance(row, dict) and isinstance(row.get("data"), list) and not _ROW_KEYS & row.keys():
        yield from (
            (f"{place}, item {number} of data", each) for number, each in enumerate(row["data"], start=1)
        )
    else:
        yield place, row


def _is_document(path: Path) -> bool:
    """Whether the file is one JSON document rather than JSON Lines, whose lines may be chats, hence lists."""
    try:
        _, head = next(iterate_jsonl(path), (0, None))
    except UserError:
        # The first line is not JSON: this is a document of several lines, or a mistake that will be reported.
        return read_text(path).lstrip().startswith("[" if ".jsonl" in path.suffixes else ("[", "{"))
    return isinstance(head, list) and not is_chat(head)
