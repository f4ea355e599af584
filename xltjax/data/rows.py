"""The rows of a JSON Lines or JSON file, of whatever format, with the place of each for error messages."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import iterate_jsonl, parse_json, read_text


def is_chat(row: Any) -> bool:
    """Whether ``row`` is a list of chat messages: objects with ``role`` and ``content``."""
    return (
        isinstance(row, list)
        and len(row) > 0
        and all(isinstance(turn, dict) and {"role", "content"} <= turn.keys() for turn in row)
    )


def iterate_rows(path: Path) -> Iterator[tuple[str, Any]]:
    """The rows of a file of JSON Lines, or of one JSON document that is a list of rows or a single row.

    A list of chat messages is one row.

    Yields:
        (place, row): where the row is, for error messages, such as ``d.jsonl, line 3``; and the parsed row.

    Raises:
        UserError: naming the file and line that is not JSON, or the file that cannot be read.
    """
    if not _is_document(path):
        yield from ((f"{path}, line {number}", row) for number, row in iterate_jsonl(path))
        return
    document = parse_json(read_text(path), path)
    rows = document if isinstance(document, list) and not is_chat(document) else [document]
    yield from ((f"{path}, item {number}", row) for number, row in enumerate(rows, start=1))


def _is_document(path: Path) -> bool:
    """Whether the file is one JSON document rather than JSON Lines, whose lines may be chats, hence lists."""
    try:
        _, head = next(iterate_jsonl(path), (0, None))
    except UserError:
        # The first line is not JSON: this is a document of several lines, or a mistake that will be reported.
        return read_text(path).lstrip().startswith("[" if ".jsonl" in path.suffixes else ("[", "{"))
    return isinstance(head, list) and not is_chat(head)
