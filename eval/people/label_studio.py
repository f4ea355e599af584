"""Ratings from exports of Label Studio: JSON, JSON-MIN, CSV and TSV."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.eval.people.schema import (
    SCORE,
    SEVERITIES,
    Export,
    Place,
    Record,
    Scales,
    Span,
    check_score,
    entries,
    read_place,
    unique,
)

TOOL = "label-studio"
COMMENT, SPANS = "comment", "spans"  # names of fields in the labeling config
_COLUMNS = frozenset(("annotation_id", "annotator", "lead_time", "item", "sheet"))  # of its flat exports


def is_flat(names: Iterable[str]) -> bool:
    """Whether these are the keys or columns of a row of JSON-MIN, CSV or TSV."""
    return set(names) >= _COLUMNS


def read_tasks(tasks: Sequence[Any], path: Path, scales: Scales) -> Export:
    """The annotations of all users in JSON or JSON-MIN; skipped ones and predictions do not count.

    Raises:
        UserError: naming the task and the field that is not as the labeling config says.
    """
    records: list[Record] = []
    for number, task in enumerate(tasks, start=1):
        where = f"task {number}"
        if not isinstance(task, dict):
            raise UserError(f"{path}: {where} is not an object; export from Label Studio as JSON")
        if "data" not in task:
            records.append(_flat(task, where, path, scales))
            continue
        place = read_place(task["data"], where, path)
        for annotation in entries(task, "annotations", where, path):
            if not annotation.get("was_cancelled"):
                answer = str(task["data"].get("answer") or "")
                records.append(
                    _annotation(annotation, place, answer, f"{where} ({place.item})", path, scales)
                )
    return _export(records, path)


def read_rows(rows: Iterable[tuple[int, Mapping[str, str]]], path: Path, scales: Scales) -> Export:
    """The same of CSV or TSV, from rows with the numbers of their lines."""
    records = []
    for line, cells in rows:
        row: dict[str, Any] = {name: cell for name, cell in cells.items() if cell != ""}
        row["order"] = _whole(row.get("order"))
        if SPANS in row:
            row[SPANS] = _parsed(row[SPANS], f"line {line}", path)
        records.append(_flat(row, f"line {line}", path, scales))
    return _export(records, path)


def _export(records: Sequence[Record], path: Path) -> Export:
    if not records:
        raise UserError(
            f"{path}: no task has an annotation; export from Label Studio as JSON, with annotations"
        )
    return Export(path, TOOL, unique(records, path))


def _annotation(
    annotation: Mapping[str, Any], place: Place, answer: str, where: str, path: Path, scales: Scales
) -> Record:
    scores: dict[str, int | str] = {}
    comment: list[str] = []
    spans: list[Span] = []
    for result in entries(annotation, "result", where, path):
        name, value = str(result.get("from_name")), result.get("value")
        value = value if isinstance(value, dict) else {}
        criterion = name.removeprefix(SCORE)
        if name == COMMENT:
            comment += _texts(value.get("text"))
        elif name == SPANS:
            spans += _spans([value], answer, where, path, scales)
        elif name != criterion and criterion in scales:
            chosen = value.get("choices")
            scores[criterion] = _whole(chosen[0] if isinstance(chosen, list) and chosen else chosen)
            check_score(scores[criterion], scales[criterion], f"{where}, {criterion}", path)
        else:
            known = ", ".join(SCORE + each for each in scales)
            raise UserError(f"{path}: {where} has the field {name!r}, which is not a criterion ({known})")
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return Record(
        place.sheet,
        place.language,
        str(who or ""),
        place.item,
        place.order,
        scores,
        "\n".join(comment),
        tuple(spans),
        _seconds(annotation.get("lead_time")),
    )


def _flat(row: Mapping[str, Any], where: str, path: Path, scales: Scales) -> Record:
    """A row of JSON-MIN: the data of the task, the annotation and its user side by side."""
    place = read_place(row, where, path)
    where = f"{where} ({place.item})"
    scores = {name: _whole(row[SCORE + name]) for name in scales if row.get(SCORE + name) is not None}
    for name, score in scores.items():
        check_score(score, scales[name], f"{where}, {name}", path)
    answer = str(row.get("answer") or "")
    return Record(
        place.sheet,
        place.language,
        str(row.get("annotator") or ""),
        place.item,
        place.order,
        scores,
        "\n".join(_texts(row.get(COMMENT))),
        tuple(_spans(entries(row, SPANS, where, path), answer, where, path, scales)),
        _seconds(row.get("lead_time")),
    )


def _texts(value: Any) -> list[str]:
    """A comment, which is one text or several."""
    return list(map(str, value)) if isinstance(value, list) else [str(value)] if value else []


def _spans(
    values: Sequence[Mapping[str, Any]], answer: str, where: str, path: Path, scales: Scales
) -> Iterator[Span]:
    """Label Studio counts code points; ours are UTF-16 positions."""
    places = list(accumulate((1 + (sign > "\uffff") for sign in answer), initial=0))
    for value in values:
        start, end = (value.get(name) for name in ("start", "end"))
        if not (isinstance(start, int) and isinstance(end, int) and 0 <= start < end < len(places)):
            raise UserError(
                f"{path}: {where} has a span from {start} to {end}, which is not in the answer; export the tasks "
                "that sheets wrote, with their data"
            )
        for label in _texts(value.get("labels")):
            severity, _, criterion = label.partition(" ")
            if severity not in SEVERITIES or criterion not in scales:
                raise UserError(
                    f"{path}: {where} has a span {label!r}; known labels are those of the labeling config"
                )
            yield Span(places[start], places[end], severity, criterion)


def _whole(text: Any) -> Any:
    """A rating or a place as Label Studio writes it."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else text


def _seconds(value: Any) -> float | None:
    try:
        return round(float(value), 3) if math.isfinite(float(value)) else None
    except (TypeError, ValueError):
        return None


def _parsed(text: str, where: str, path: Path) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        raise UserError(f"{path}, {where}: {SPANS} is not JSON; export from Label Studio again") from None
