"""Ratings from a file, whichever tool wrote it: one of our sheets, Label Studio or Pearmut."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import parse_json, read_jsonl
from xltjax.eval.people import label_studio, pearmut
from xltjax.eval.people.schema import Export, Scales, read_json_export
from xltjax.eval.people.spreadsheet import Key, read_csv_export, read_file, table_rows


def read_export(path: Path, scales: Scales, key: Key | None = None) -> Export:
    """The ratings of a file.

    Args:
        path: JSON, JSON Lines, CSV or TSV, in UTF-8 or UTF-16.
        scales: the ratings that each criterion may get.
        key: the key of all sheets, with which ids that a spreadsheet has changed are restored.

    Raises:
        UserError: naming the file, and the field where there is one, that is not as the format says.
    """
    if path.suffix.lower() == ".jsonl":
        return _lines(read_jsonl(path), path, scales)
    text = read_file(path)
    start = text.lstrip()[:1]
    if not start:
        raise UserError(f"{path} is empty; export the sheet again")
    if start == "<":
        raise UserError(
            f"{path} is the sheet itself or another page; open the sheet, export the ratings and give that file"
        )
    if start not in ("{", "["):
        names, rows = table_rows(text, path)
        if label_studio.is_flat(names):
            named = ((line, dict(zip(names, cells, strict=False))) for line, cells in rows)
            return label_studio.read_rows(named, path, scales)
        return read_csv_export(text, path, scales, key or {})
    document = parse_json(text, path)
    if isinstance(document, list):
        return label_studio.read_tasks(document, path, scales)
    if "format" in document or "schema" in document or "items" in document:
        return read_json_export(document, path, scales)
    if "campaign_id" in document and "data" in document:
        raise UserError(f"{path} is a campaign of Pearmut; download its annotations from the dashboard")
    if document and all(isinstance(lines, list) for lines in document.values()):
        lines = list(itertools.chain.from_iterable(document.values()))
        return pearmut.read_annotations(lines, path, scales)
    raise UserError(f"{path}: not an export of a sheet or of Label Studio (JSON), nor annotations of Pearmut")


def _lines(lines: list[Any], path: Path, scales: Scales) -> Export:
    first = lines[0] if lines and isinstance(lines[0], dict) else {}
    if "repeat_of" in first and "rater" not in first:
        raise UserError(f"{path} is a key; give it as --key, and the exports of the sheets as FILES")
    if "rater" in first:
        raise UserError(f"{path} holds collected ratings; give the exports from which they come")
    return pearmut.read_annotations(lines, path, scales)
