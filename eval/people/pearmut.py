"""Ratings from Pearmut: its download of annotations, or its log."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.eval.people.schema import (
    CANNOT_JUDGE,
    Export,
    Record,
    Scales,
    check_score,
    entries,
    read_place,
    read_span,
)

TOOL = "pearmut"
ANSWER = "answer"  # what stands for the model in a task
LONGEST_PAUSE = 61  # seconds between two actions that Pearmut counts as work
RESET = "__RESET__"  # in place of annotations: the user starts over, and nothing before it counts


def skipped(scale: Sequence[int]) -> int:
    """The place of a slider that means "cannot judge": below the lowest rating."""
    return scale[0] - 1


def read_annotations(lines: Sequence[Any], path: Path, scales: Scales) -> Export:
    """The last submission of each user for each item, of lines of the log in their order.

    Raises:
        UserError: naming the annotation and the field that is not as the campaign says.
    """
    last: dict[tuple[str, str, str], Record] = {}
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, dict):
            raise UserError(f"{path}: annotation {number} is not an object; download the annotations again")
        user = str(line.get("user_id") or "")
        if line.get("annotation") == RESET:
            last = {key: record for key, record in last.items() if key[1] != user}
        if not isinstance(line.get("annotation"), list):
            continue  # forms
        for record in _records(line, user, f"annotation {number}", path, scales):
            last[record.sheet, user, record.item] = record
    if not last:
        raise UserError(f"{path}: no annotations; download them from Pearmut's dashboard")
    return Export(path, TOOL, tuple(last.values()))


def _records(line: Mapping[str, Any], user: str, where: str, path: Path, scales: Scales) -> list[Record]:
    items = line.get("item")
    if not isinstance(items, list) or len(items) != len(line["annotation"]):
        raise UserError(f"{path}: {where} has no item; download the annotations from Pearmut's dashboard")
    actions = entries(line, "actions", where, path)
    times = [time for action in actions if isinstance(time := action.get("time"), int | float)]
    seconds = sum(min(later - earlier, LONGEST_PAUSE) for earlier, later in itertools.pairwise(times))
    share = round(float(seconds / len(items)), 3) if times else None
    remark = str(line.get("comment") or "")  # from the menu of settings
    return [
        _record(item, found, where, path, scales, user=user, seconds=share, remark=remark)
        for item, found in zip(items, line["annotation"], strict=True)
    ]


def _record(
    item: Mapping[str, Any],
    found: Any,
    where: str,
    path: Path,
    scales: Scales,
    *,
    user: str,
    seconds: float | None,
    remark: str,
) -> Record:
    place = read_place(item, where, path)
    where = f"{where} ({place.item})"
    values = found.get(ANSWER) if isinstance(found, dict) else None
    if not isinstance(values, dict):
        raise UserError(f"{path}: {where} does not rate {ANSWER!r}; these are not tasks that sheets wrote")
    scores: dict[str, int | str] = {}
    sliders = values.get("sliders") or {}
    if not isinstance(sliders, dict):
        raise UserError(
            f"{path}: {where} has 'sliders' that are not an object; download the annotations again"
        )
    for name, value in sliders.items():
        if name not in scales:
            raise UserError(f"{path}: {where} rates {name!r}, which is not a criterion ({', '.join(scales)})")
        if value is None:
            continue
        scores[name] = CANNOT_JUDGE if value == skipped(scales[name]) else value
        check_score(scores[name], scales[name], f"{where}, {name}", path)
    spans = []
    for span in entries(values, "error_spans", where, path):
        criterion = str(span.get("category") or "").split("/")[0]
        end = span.get("end_i")  # inclusive
        given = {
            "start": span.get("start_i"),
            "end": end + 1 if isinstance(end, int) else end,
            "severity": span.get("severity"),
            "criterion": criterion,
        }
        spans.append(read_span(given, list(scales), f"{where}, error_spans", path))
    comment = "\n".join(filter(None, (str(values.get("textfield") or ""), remark)))
    return Record(
        place.sheet, place.language, user, place.item, place.order, scores, comment, tuple(spans), seconds
    )
