"""The export of a sheet: what an annotator sends back, as JSON and as CSV.

JSON::

    {"format": "xltjax-ratings", "schema": 1, "sheet": HASH, "language": "fr", "annotator": 1,
     "criteria": ["language", "fluency", ...],
     "items": [{"item": ID, "order": 1, "scores": {"language": 2, "fluency": "cannot_judge"}, "comment": "",
                "spans": [{"start": 0, "end": 4, "severity": "minor", "criterion": "fluency"}],
                "seconds": 12, "check": "0123abcd"}]}

A criterion that is not in ``scores`` has not been rated. Positions of spans count UTF-16 code units, as browsers do,
and ``order`` is the place in which the sheet shows the item. CSV has one row per item: the columns ``schema``,
``sheet``, ``language``, ``annotator``, ``item``, ``order``, one per criterion, such as
``score_fluency`` (empty: not rated), ``comment``,
``spans`` (JSON), ``seconds`` and ``check``; columns ``instruction`` and ``answer`` are for the reader. A table that
was filled in by hand has no column ``check``.

``check`` tells a record that was changed after the export: it is the CRC-32, as eight hexadecimal digits, of the
UTF-8 text of ``JSON.stringify([sheet, item, order, [score of each criterion, null where not rated], comment,
[[start, end, severity, criterion] of each span], seconds])``. It guards against slips, not against fraud.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import open_text

FORMAT = "xltjax-ratings"
SCHEMA = 1
CANNOT_JUDGE = "cannot_judge"
SEVERITIES = ("minor", "major")
HEAD = ("schema", "sheet", "language", "annotator", "item", "order")
TAIL = ("comment", "spans", "seconds")
CHECK = "check"
SCORE = "score_"  # before the name of a criterion, since "language" is a column too
SHOWN = ("instruction", "answer")  # columns of a table to fill in
_SURROGATE = re.compile("[\ud800-\udfff]")
_AGAIN = "open the sheet, import the last good export there, make the change and export it again"


@dataclass(frozen=True)
class Span:
    """A marked passage of an answer: UTF-16 positions from ``start`` up to ``end``."""

    start: int
    end: int
    severity: str
    criterion: str


@dataclass(frozen=True)
class Record:
    """What an annotator said about one item.

    ``scores`` holds a number of the scale or ``CANNOT_JUDGE`` for each criterion that was rated. ``annotator`` is the
    number of the sheet, and for exports of other tools the name that the tool gives.
    """

    sheet: str
    language: str
    annotator: str
    item: str
    order: int
    scores: Mapping[str, int | str]
    comment: str = ""
    spans: tuple[Span, ...] = ()
    seconds: float | None = None


@dataclass(frozen=True)
class Export:
    """A file of ratings: where it came from and its records, one per item."""

    path: Path
    tool: str
    records: tuple[Record, ...]


def check_of(record: Record, criteria: Sequence[str]) -> str:
    """The checksum of a record; ``criteria`` in the order of the export."""
    whole = [
        record.sheet,
        record.item,
        record.order,
        [record.scores.get(name) for name in criteria],
        record.comment,
        [[span.start, span.end, span.severity, span.criterion] for span in record.spans],
        record.seconds,
    ]
    text = json.dumps(whole, ensure_ascii=False, separators=(",", ":"))
    text = _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    return f"{zlib.crc32(text.encode()):08x}"


def json_export(records: Sequence[Record], criteria: Sequence[str]) -> str:
    """The JSON form of the records of one sheet, which are one or more."""
    first = records[0]
    document = {
        "format": FORMAT,
        "schema": SCHEMA,
        "sheet": first.sheet,
        "language": first.language,
        "annotator": int(first.annotator),
        "criteria": list(criteria),
        "items": [
            {
                "item": record.item,
                "order": record.order,
                "scores": dict(record.scores),
                "comment": record.comment,
                "spans": [vars(span) for span in record.spans],
                "seconds": record.seconds,
                "check": check_of(record, criteria),
            }
            for record in records
        ],
    }
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def csv_export(records: Sequence[Record], criteria: Sequence[str]) -> str:
    """The CSV form of the records of one sheet."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*HEAD, *(SCORE + name for name in criteria), *TAIL, CHECK])
    for record in records:
        spans = json.dumps([vars(span) for span in record.spans], ensure_ascii=False) if record.spans else ""
        scores = [record.scores.get(name, "") for name in criteria]
        head = [SCHEMA, record.sheet, record.language, record.annotator, record.item, record.order]
        tail = [record.comment, spans, record.seconds, check_of(record, criteria)]
        writer.writerow([*head, *scores, *tail])
    return file.getvalue()


def read_json_export(document: Mapping[str, Any], path: Path, scales: Mapping[str, Sequence[int]]) -> Export:
    """The records of a JSON export.

    Args:
        document: the parsed file.
        path: the file, for messages.
        scales: the ratings that each criterion may get.

    Raises:
        UserError: naming the file and the field that is not as the format says.
    """
    _check_schema(document.get("schema"), path)
    head = {name: _text(document.get(name), name, path) for name in ("sheet", "language")}
    annotator = str(_whole(document.get("annotator"), "annotator", path))
    criteria = _criteria(document.get("criteria"), scales, path)
    items = document.get("items")
    if not isinstance(items, list):
        raise UserError(f"{path}: items is not a list; export the sheet again")
    records = []
    for number, row in enumerate(items, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: items[{number}] is not an object; export the sheet again")
        records.append(_record(row, f"items[{number}]", head, annotator, criteria, scales, path))
    return Export(path, "sheet", unique(records, path))


def read_csv_export(text: str, path: Path, scales: Mapping[str, Sequence[int]]) -> Export:
    """The records of a CSV export with commas, semicolons or tabs; raises as the JSON form does."""
    text = text.removeprefix("\ufeff")
    heading = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=heading.count)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        names = next(rows, [])
        lines = [(rows.line_num, cells) for cells in rows if any(cells)]
    except csv.Error as error:
        raise UserError(f"{path}: not a CSV file ({error})") from None
    for name in (*HEAD, *TAIL):
        if name not in names:
            raise UserError(f"{path}: the column {name!r} is missing; export the sheet again")
    scored = [name.removeprefix(SCORE) for name in names if name.startswith(SCORE)]
    criteria = _criteria(scored, scales, path)
    for name in names:
        if names.count(name) > 1 or not (name in (*HEAD, *SHOWN, *TAIL, CHECK) or name.startswith(SCORE)):
            raise UserError(f"{path}: the column {name!r} is unknown or there twice; export the sheet again")
    records = []
    for line, cells in lines:
        where = f"line {line}"
        if len(cells) != len(names):
            raise UserError(f"{path}, {where}: {len(cells)} cells for {len(names)} columns; {_AGAIN}")
        row = dict(zip(names, cells, strict=True))
        _check_schema(_number(row["schema"]), path)
        scores = {name: _number(row[SCORE + name]) for name in criteria if row[SCORE + name] != ""}
        try:
            spans = json.loads(row["spans"] or "[]")
        except ValueError:
            raise UserError(f"{path}, {where}: spans is not JSON; {_AGAIN}") from None
        nested = {
            "item": row["item"],
            "order": _number(row["order"]),
            "scores": scores,
            "comment": row["comment"],
            "spans": spans,
            "seconds": _number(row["seconds"]) if row["seconds"] else None,
            "check": row.get(CHECK),
        }
        head = {"sheet": row["sheet"], "language": row["language"]}
        annotator = str(_whole(_number(row["annotator"]), "annotator", path))
        records.append(
            _record(nested, where, head, annotator, criteria, scales, path, checked=CHECK in names)
        )
    return Export(path, "sheet", unique(records, path))


def read_sheet_export(path: Path, scales: Mapping[str, Sequence[int]]) -> Export:
    """The records of an export in either form, by what the file holds."""
    with open_text(path, newline="") as file:  # a comment keeps its line ends
        text = file.read()
    if text.lstrip("\ufeff \r\n\t").startswith("{"):
        try:
            document = json.loads(text.removeprefix("\ufeff"))
        except ValueError:
            raise UserError(f"{path}: not JSON; the file may have been cut, export the sheet again") from None
        return read_json_export(document, path, scales)
    return read_csv_export(text, path, scales)


def _check_schema(schema: Any, path: Path) -> None:
    if schema == SCHEMA and not isinstance(schema, bool):
        return
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(f"{path}: schema {schema} is newer than {SCHEMA}; update xltjax")
    raise UserError(
        f"{path}: schema {json.dumps(schema)} is not {SCHEMA}; import the file in the sheet and export it again"
    )


def _criteria(names: Any, scales: Mapping[str, Sequence[int]], path: Path) -> list[str]:
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise UserError(f"{path}: criteria is not a list of different names; export the sheet again")
    for name in names:
        if name not in scales:
            raise UserError(f"{path}: the criterion {name!r} is unknown; known are {', '.join(scales)}")
    return names


def _record(
    row: Mapping[str, Any],
    where: str,
    head: Mapping[str, str],
    annotator: str,
    criteria: Sequence[str],
    scales: Mapping[str, Sequence[int]],
    path: Path,
    *,
    checked: bool = True,
) -> Record:
    item = _text(row.get("item"), f"{where}.item", path)
    where = f"{where} ({item})"
    scores = row.get("scores")
    if not isinstance(scores, dict):
        raise UserError(f"{path}: {where}.scores is not an object; {_AGAIN}")
    for name, score in scores.items():
        if name not in criteria:
            raise UserError(
                f"{path}: {where}.scores has the criterion {name!r}, which the file does not list"
            )
        check_score(score, scales[name], f"{where}.scores.{name}", path)
    seconds = row.get("seconds")
    if seconds is not None:
        _whole(seconds, f"{where}.seconds", path)
    comment = row.get("comment", "")
    if not isinstance(comment, str):
        raise UserError(f"{path}: {where}.comment is not a text; {_AGAIN}")
    order = _whole(row.get("order"), f"{where}.order", path)
    spans = tuple(read_span(span, criteria, f"{where}.spans", path) for span in row.get("spans") or ())
    record = Record(head["sheet"], head["language"], annotator, item, order, scores, comment, spans, seconds)
    if checked and row.get("check") != check_of(record, criteria):
        raise UserError(f"{path}: {where} was changed after the export (its check does not fit); {_AGAIN}")
    return record


def check_score(score: Any, scale: Sequence[int], where: str, path: Path) -> None:
    """Refuse a score that is neither on the scale nor ``CANNOT_JUDGE``.

    Raises:
        UserError: naming the field.
    """
    if score != CANNOT_JUDGE and (
        isinstance(score, bool) or not isinstance(score, int) or score not in scale
    ):
        allowed = ", ".join(map(str, scale))
        raise UserError(
            f"{path}: {where} is {json.dumps(score)}; it must be one of {allowed}, or {CANNOT_JUDGE!r}"
        )


def read_span(row: Any, criteria: Sequence[str], where: str, path: Path) -> Span:
    """A span of a record.

    Raises:
        UserError: naming the field.
    """
    fields = row if isinstance(row, dict) else {}
    start, end = (_whole(fields.get(name), f"{where}.{name}", path) for name in ("start", "end"))
    if end <= start:
        raise UserError(f"{path}: {where} ends at {end}, before it starts")
    if fields.get("severity") not in SEVERITIES:
        raise UserError(f"{path}: {where}.severity must be one of {', '.join(SEVERITIES)}")
    if fields.get("criterion") not in criteria:
        raise UserError(f"{path}: {where}.criterion is not one of {', '.join(criteria)}")
    return Span(start, end, fields["severity"], fields["criterion"])


def unique(records: Sequence[Record], path: Path) -> tuple[Record, ...]:
    seen: set[tuple[str, str]] = set()
    for record in records:
        if (record.sheet, record.item) in seen:
            raise UserError(
                f"{path}: the item {record.item} is there twice; keep one, or export the sheet again"
            )
        seen.add((record.sheet, record.item))
    return tuple(records)


def _text(value: Any, name: str, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{path}: {name} is missing or not a text; export the sheet again")
    return value


def _whole(value: Any, name: str, path: Path) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{path}: {name} is {json.dumps(value)}, not a whole number; {_AGAIN}")
    return value


def _number(cell: str) -> int | str:
    """A cell as a whole number where it is one."""
    return int(cell) if cell.isascii() and cell.isdigit() else cell
