"""The export of a sheet: what an annotator sends back, as JSON and as CSV.

JSON::

    {"format": "xltjax-ratings", "schema": 1, "sheet": HASH, "language": "fr", "annotator": 1,
     "criteria": ["language", "fluency", ...],
     "items": [{"item": ID, "order": 1, "scores": {"language": 2, "fluency": "cannot_judge"}, "comment": "",
                "spans": [{"start": 0, "end": 4, "severity": "minor", "criterion": "fluency"}],
                "seconds": 12, "check": "0123abcd"}]}

A criterion that is not in ``scores`` has not been rated. Positions of spans count UTF-16 code units, as browsers do,
and ``order`` is the place in which the sheet shows the item. CSV has one row per item: the columns ``schema``,
``sheet``, ``language``, ``annotator``, ``item``, ``order``, one per criterion, such as ``score_fluency`` (empty: not
rated), ``comment``, ``spans`` (JSON), ``seconds`` and ``check``; columns ``instruction`` and ``answer`` are for the
reader. A table that was filled in by hand has no column ``check``. A comment that begins with ``=``, ``+``, ``-``,
``@``, a tab or a carriage return, or with apostrophes before one of these, has one more apostrophe in front in CSV,
so that no spreadsheet computes it.

``check`` tells a record that was changed after the export: it is the CRC-32, as eight hexadecimal digits, of the
UTF-8 text of ``JSON.stringify([sheet, item, order, [score of each criterion, null where not rated], comment,
[[start, end, severity, criterion] of each span], seconds])``. It guards against slips, not against fraud.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from xltjax.common.errors import UserError

FORMAT = "xltjax-ratings"
SCHEMA = 1
CANNOT_JUDGE = "cannot_judge"
SEVERITIES = ("minor", "major")
HEAD = ("schema", "sheet", "language", "annotator", "item", "order")
TAIL = ("comment", "spans", "seconds")
CHECK = "check"
SCORE = "score_"  # before the name of a criterion, since "language" is a column too
SHOWN = ("instruction", "answer")  # columns of a table to fill in
Scales = Mapping[str, Sequence[int]]  # the ratings that each criterion may get, ascending
_SURROGATE = re.compile("[\ud800-\udfff]")
AGAIN = "open the sheet, import the last good export there, make the change and export it again"


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


class Place(NamedTuple):
    """Where a record belongs: what other tools hand back as it was given."""

    sheet: str
    language: str
    item: str
    order: int


@dataclass(frozen=True)
class Export:
    """A file of ratings: where it came from and its records, one per item."""

    path: Path
    tool: str
    records: tuple[Record, ...]
    notes: tuple[str, ...] = ()  # what a reader must know


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


def read_json_export(document: Mapping[str, Any], path: Path, scales: Scales) -> Export:
    """The records of a JSON export.

    Args:
        document: the parsed file.
        path: the file, for messages.
        scales: the ratings that each criterion may get.

    Raises:
        UserError: naming the file and the field that is not as the format says.
    """
    if document.get("format") != FORMAT:
        raise UserError(f"{path}: format is not {FORMAT!r}; give a file that the sheet exported")
    check_schema(document.get("schema"), path)
    head = {name: _text(document.get(name), name, path) for name in ("sheet", "language")}
    annotator = str(whole(document.get("annotator"), "annotator", path))
    criteria = check_criteria(document.get("criteria"), scales, path)
    items = document.get("items")
    if not isinstance(items, list):
        raise UserError(f"{path}: items is not a list; export the sheet again")
    records = []
    for number, row in enumerate(items, start=1):
        if not isinstance(row, dict):
            raise UserError(f"{path}: items[{number}] is not an object; export the sheet again")
        where = f"items[{number}]"
        record = read_record(row, where, head, annotator, criteria, scales, path)
        if row.get(CHECK) != check_of(record, criteria):
            raise changed(record, where, path)
        records.append(record)
    return Export(path, "sheet", unique(records, path))


def check_schema(schema: Any, path: Path) -> None:
    """Refuse another version of the format.

    Raises:
        UserError: which says what to do about an older or a newer one.
    """
    if schema == SCHEMA and not isinstance(schema, bool):
        return
    if isinstance(schema, int) and schema > SCHEMA:
        raise UserError(f"{path}: schema {schema} is newer than {SCHEMA}; update xltjax")
    raise UserError(
        f"{path}: schema {json.dumps(schema)} is not {SCHEMA}; import the file in the sheet and export it again"
    )


def check_criteria(names: Any, scales: Scales, path: Path) -> list[str]:
    """The criteria of a file, all different and known.

    Raises:
        UserError: naming the one that is not.
    """
    if not isinstance(names, list) or not names or len(set(map(str, names))) != len(names):
        raise UserError(f"{path}: criteria is not a list of different names; export the sheet again")
    for name in names:
        if not isinstance(name, str) or name not in scales:
            raise UserError(
                f"{path}: the criterion {name!r} is not one of {', '.join(scales)}; "
                "give the --criteria of the sheets"
            )
    return names


def read_record(
    row: Mapping[str, Any],
    where: str,
    head: Mapping[str, str],
    annotator: str,
    criteria: Sequence[str],
    scales: Scales,
    path: Path,
) -> Record:
    """A record of either form, without its check.

    Args:
        row: the fields of the record.
        where: its place in the file, for messages.
        head: sheet and language.
        annotator: the number of the sheet.
        criteria: those that the file has.
        scales: the ratings that each criterion may get.
        path: the file, for messages.

    Raises:
        UserError: naming the field that is not as the format says.
    """
    item = _text(row.get("item"), f"{where}.item", path)
    where = f"{where} ({item})"
    scores = row.get("scores")
    if not isinstance(scores, dict):
        raise UserError(f"{path}: {where}.scores is not an object; {AGAIN}")
    for name, score in scores.items():
        if name not in criteria:
            raise UserError(
                f"{path}: {where}.scores has the criterion {name!r}, which the file does not list"
            )
        check_score(score, scales[name], f"{where}.scores.{name}", path)
    seconds = row.get("seconds")
    if seconds is not None:
        whole(seconds, f"{where}.seconds", path)
    comment = row.get("comment", "")
    if not isinstance(comment, str):
        raise UserError(f"{path}: {where}.comment is not a text; {AGAIN}")
    order = whole(row.get("order"), f"{where}.order", path)
    spans = row.get("spans") or []
    if not isinstance(spans, list):
        raise UserError(f"{path}: {where}.spans is not a list; {AGAIN}")
    marked = tuple(read_span(span, criteria, f"{where}.spans", path) for span in spans)
    return Record(head["sheet"], head["language"], annotator, item, order, scores, comment, marked, seconds)


def changed(record: Record, where: str, path: Path) -> UserError:
    """The error for a record whose check does not fit."""
    return UserError(
        f"{path}: {where} ({record.item}) was changed after the export (its check does not fit); {AGAIN}"
    )


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
    start, end = (whole(fields.get(name), f"{where}.{name}", path) for name in ("start", "end"))
    if end <= start:
        raise UserError(f"{path}: {where} ends at {end}, before it starts")
    if fields.get("severity") not in SEVERITIES:
        raise UserError(f"{path}: {where}.severity must be one of {', '.join(SEVERITIES)}")
    if fields.get("criterion") not in criteria:
        raise UserError(f"{path}: {where}.criterion is not one of {', '.join(criteria)}")
    return Span(start, end, fields["severity"], fields["criterion"])


def unique(records: Sequence[Record], path: Path) -> tuple[Record, ...]:
    """The records, of which an annotator has one for each item.

    Raises:
        UserError: naming the item that is there twice.
    """
    seen: set[tuple[str, str, str]] = set()
    for record in records:
        place = (record.sheet, record.annotator, record.item)
        if place in seen:
            raise UserError(
                f"{path}: the item {record.item} occurs twice by annotator {record.annotator}; keep one rating of "
                "it, or export again"
            )
        seen.add(place)
    return tuple(records)


def entries(holder: Mapping[str, Any], name: str, where: str, path: Path) -> list[dict[str, Any]]:
    """The list of objects under a name in the export of another tool; empty where there is none.

    Raises:
        UserError: when something else is there.
    """
    found = holder.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise UserError(f"{path}: {where} has {name!r} that is not a list of objects; export it again")
    return found


def read_place(data: Any, where: str, path: Path) -> Place:
    """The place that stands in the data of a task.

    Raises:
        UserError: naming the field that is missing.
    """
    fields = data if isinstance(data, dict) else {}
    lost = "export the tasks that sheets wrote, with their data"
    for name in ("sheet", "language", "item"):
        if not isinstance(fields.get(name), str) or not fields[name]:
            raise UserError(f"{path}: {where} has no {name!r}; {lost}")
    if isinstance(fields.get("order"), bool) or not isinstance(fields.get("order"), int):
        raise UserError(f"{path}: {where} has no 'order'; {lost}")
    return Place(fields["sheet"], fields["language"], fields["item"], fields["order"])


def _text(value: Any, name: str, path: Path) -> str:
    if not isinstance(value, str) or not value:
        raise UserError(f"{path}: {name} is missing or not a text; export the sheet again")
    return value


def whole(value: Any, name: str, path: Path) -> int:
    """A number that is whole and not negative.

    Raises:
        UserError: naming the field that has something else.
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise UserError(f"{path}: {name} is {json.dumps(value)}, not a whole number; {AGAIN}")
    return value
