"""Rows of JSON Lines, or of one JSON document, whatever stands in them."""

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
    """(place to name in messages, row) of JSON Lines, or of one JSON document: a list of rows, or one row.

    A list of chat messages is one row.

    Raises:
        UserError: as ``read_jsonl``.
    """
    if not _is_document(path):
        yield from ((f"{path}, line {number}", row) for number, row in iterate_jsonl(path))
        return
    document = parse_json(read_text(path), path)
    rows = document if isinstance(document, list) and not is_chat(document) else [document]
    yield from ((f"{path}, item {number}", row) for number, row in enumerate(rows, start=1))


def _is_document(path: Path) -> bool:
    """Whether the file is one JSON document rather than JSON Lines (whose lines may be lists: chats)."""
    try:
        _, head = next(iterate_jsonl(path), (0, None))
    except UserError:
        # Not JSON by the line: a document of several lines, or a mistake to be reported.
        return read_text(path).lstrip().startswith("[" if ".jsonl" in path.suffixes else ("[", "{"))
    return isinstance(head, list) and not is_chat(head)
