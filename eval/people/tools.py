"""Ratings from exports of Label Studio (JSON, JSON-MIN) and of Pearmut (its download of annotations, or its log)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import parse_json, read_jsonl, read_text
from xltjax.eval.people.schema import (
    CANNOT_JUDGE,
    SEVERITIES,
    Export,
    Record,
    Span,
    check_score,
    read_sheet_export,
    unique,
)

Scales = Mapping[str, Sequence[int]]
COMMENT, SPANS = "comment", "spans"  # names of fields in the labelling config
ANSWER = "answer"  # what stands for the model in a task of Pearmut
SKIPPED = -1  # the place of Pearmut's sliders that means "cannot judge"
LONGEST_PAUSE = 61  # seconds between two actions that Pearmut counts as work


def read_export(path: Path, scales: Scales) -> Export:
    """The ratings of a file, whichever tool wrote it.

    Args:
        path: JSON, JSON Lines or CSV.
        scales: the ratings that each criterion may get.

    Raises:
        UserError: naming the file, and the field where there is one, that is not as the format says.
    """
    if path.suffix.lower() == ".jsonl":
        return _pearmut(read_jsonl(path), path, scales)
    text = read_text(path).removeprefix("\ufeff")
    start = text.lstrip()[:1]
    if start not in ("{", "["):
        return read_sheet_export(path, scales)
    document = parse_json(text, path)
    if isinstance(document, list):
        return _label_studio(document, path, scales)
    if "format" in document or "schema" in document or "items" in document:
        return read_sheet_export(path, scales)
    if document and all(isinstance(lines, list) for lines in document.values()):
        return _pearmut(list(itertools.chain.from_iterable(document.values())), path, scales)
    raise UserError(
        f"{path}: neither an export of a sheet, nor of Label Studio (JSON), nor the annotations of Pearmut"
    )


def _number(text: Any) -> Any:
    """A rating as Label Studio writes it."""
    return int(text) if isinstance(text, str) and text.isascii() and text.isdigit() else text


def _place(data: Any, where: str, path: Path) -> tuple[str, str, str, int]:
    """Sheet, language, item and order, which the tools hand back as they were given."""
    found = [
        data.get(name) if isinstance(data, dict) else None for name in ("sheet", "language", "item", "order")
    ]
    for name, value in zip(("sheet", "language", "item"), found, strict=False):
        if not isinstance(value, str) or not value:
            raise UserError(
                f"{path}: {where} has no {name!r}; export the tasks that sheets wrote, with their data"
            )
    if isinstance(found[3], bool) or not isinstance(found[3], int):
        raise UserError(
            f"{path}: {where} has no 'order'; export the tasks that sheets wrote, with their data"
        )
    return str(found[0]), str(found[1]), str(found[2]), found[3]


# --- Label Studio ---


def _label_studio(tasks: Sequence[Any], path: Path, scales: Scales) -> Export:
    records: list[Record] = []
    for number, task in enumerate(tasks, start=1):
        where = f"task {number}"
        if not isinstance(task, dict):
            raise UserError(f"{path}: {where} is not an object; export from Label Studio as JSON")
        if "data" not in task:
            records.append(_label_studio_min(task, where, path, scales))
            continue
        place = _place(task["data"], where, path)
        for annotation in task.get("annotations") or ():
            if annotation.get("was_cancelled"):
                continue
            records.append(_annotation(annotation, place, f"{where} ({place[2]})", path, scales))
    if not records:
        raise UserError(
            f"{path}: no task has an annotation; export from Label Studio as JSON, with annotations"
        )
    return Export(path, "label-studio", unique(records, path))


def _annotation(
    annotation: Mapping[str, Any], place: tuple[str, str, str, int], where: str, path: Path, scales: Scales
) -> Record:
    scores: dict[str, int | str] = {}
    comment: list[str] = []
    spans: list[Span] = []
    for result in annotation.get("result") or ():
        name, value = result.get("from_name"), result.get("value") or {}
        if name == COMMENT:
            comment += value.get("text") or ()
        elif name == SPANS:
            spans += _label_studio_spans([value], where, path, scales)
        elif name in scales:
            chosen = value.get("choices") or [None]
            scores[name] = _number(chosen[0])
            check_score(scores[name], scales[name], f"{where}, {name}", path)
        else:
            raise UserError(f"{path}: {where} rates {name!r}, which is not a criterion ({', '.join(scales)})")
    who = annotation.get("completed_by")
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    seconds = annotation.get("lead_time")
    return Record(
        *place[:2], str(who or ""), *place[2:], scores, "\n".join(comment), tuple(spans), _seconds(seconds)
    )


def _label_studio_min(row: Mapping[str, Any], where: str, path: Path, scales: Scales) -> Record:
    place = _place(row, where, path)
    scores = {name: _number(row[name]) for name in scales if row.get(name) is not None}
    for name, score in scores.items():
        check_score(score, scales[name], f"{where} ({place[2]}), {name}", path)
    comment = row.get(COMMENT) or ""
    spans = _label_studio_spans(row.get(SPANS) or (), f"{where} ({place[2]})", path, scales)
    return Record(
        *place[:2],
        str(row.get("annotator") or ""),
        *place[2:],
        scores,
        comment if isinstance(comment, str) else "\n".join(comment),
        tuple(spans),
        _seconds(row.get("lead_time")),
    )


def _label_studio_spans(values: Sequence[Any], where: str, path: Path, scales: Scales) -> Iterator[Span]:
    for value in values:
        for label in value.get("labels") or ():
            severity, _, criterion = label.partition(" ")
            if severity not in SEVERITIES or criterion not in scales:
                raise UserError(
                    f"{path}: {where} has a span {label!r}; known are those of the labelling config"
                )
            yield Span(int(value["start"]), int(value["end"]), severity, criterion)


def _seconds(value: Any) -> float | None:
    return round(float(value), 3) if isinstance(value, (int, float)) else None


# --- Pearmut ---


def _pearmut(lines: Sequence[Any], path: Path, scales: Scales) -> Export:
    last: dict[tuple[str, str, str], Record] = {}
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict) or not isinstance(line.get("annotation"), list):
            continue  # resets and forms
        where = f"annotation {number}"
        items = line.get("item")
        if not isinstance(items, list) or len(items) != len(line["annotation"]):
            raise UserError(f"{path}: {where} has no item; download the annotations from Pearmut's dashboard")
        times = [action["time"] for action in line.get("actions") or () if "time" in action]
        seconds = sum(min(later - earlier, LONGEST_PAUSE) for earlier, later in itertools.pairwise(times))
        for item, found in zip(items, line["annotation"], strict=True):
            record = _pearmut_record(item, found, str(line.get("user_id") or ""), where, path, scales)
            share = _seconds(seconds / len(items)) if times else None
            record = Record(**{**vars(record), "seconds": share})
            last[record.sheet, record.annotator, record.item] = (
                record  # a later submission replaces an earlier one
            )
    if not last:
        raise UserError(f"{path}: no annotations; download them from Pearmut's dashboard")
    return Export(path, "pearmut", tuple(last.values()))


def _pearmut_record(
    item: Mapping[str, Any], found: Mapping[str, Any], user: str, where: str, path: Path, scales: Scales
) -> Record:
    sheet, language, id, order = _place(item, where, path)
    where = f"{where} ({id})"
    values = found.get(ANSWER)
    if not isinstance(values, dict):
        raise UserError(f"{path}: {where} does not rate {ANSWER!r}; these are not tasks that sheets wrote")
    scores: dict[str, int | str] = {}
    for name, value in (values.get("sliders") or {}).items():
        if name not in scales:
            raise UserError(f"{path}: {where} rates {name!r}, which is not a criterion ({', '.join(scales)})")
        if value is None:
            continue
        scores[name] = CANNOT_JUDGE if value == SKIPPED else value
        check_score(scores[name], scales[name], f"{where}, {name}", path)
    spans = []
    for span in values.get("error_spans") or ():
        criterion = str(span.get("category") or "").split("/")[0]
        if span.get("severity") not in SEVERITIES or criterion not in scales:
            raise UserError(f"{path}: {where} has a span without a severity or criterion that is known")
        spans.append(
            Span(span["start_i"], span["end_i"] + 1, span["severity"], criterion)
        )  # the end is inclusive
    return Record(sheet, language, user, id, order, scores, values.get("textfield") or "", tuple(spans))
