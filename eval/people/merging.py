"""Ratings of people from several files, traced back to models by the key, and what is missing or contradictory."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import iterate_jsonl
from xltjax.eval.people.raters import PREFIX
from xltjax.eval.people.schema import CANNOT_JUDGE, Export, Record
from xltjax.eval.people.spreadsheet import Key

NOT_RATED = "failed:not_rated"
_FIELDS = {
    "sheet": str, "annotator": int, "language": str, "item": str, "order": int, "model": str, "id": str,
    "instruction_id": str, "task": str, "repeat_of": str,
}  # fmt: skip

KeyRow = Mapping[str, Any]


def read_key(path: Path) -> Key:
    """The key of all sheets: what each opaque id stands for.

    Raises:
        UserError: naming the line that is not of a key.
    """
    key: dict[str, dict[str, KeyRow]] = {}
    for line, row in iterate_jsonl(path):
        for name, kind in _FIELDS.items():
            value = row.get(name) if isinstance(row, dict) else None
            if not isinstance(value, kind) or isinstance(value, bool):
                raise UserError(
                    f"{path}, line {line}: {name} is missing; this is not the key that sheets wrote"
                )
        shown = key.setdefault(row["sheet"], {})
        if row["item"] in shown:
            raise UserError(
                f"{path}, line {line}: the item {row['item']} occurs twice; give the original key"
            )
        shown[row["item"]] = row
    if not key:
        raise UserError(f"{path} is empty; give the key that sheets wrote")
    return key


@dataclass
class Collected:
    """All ratings of all files: by rater and item the record, and lines about what a reader must know."""

    # By sheet, user of a tool, and item.
    records: dict[tuple[str, str, str], Record] = field(default_factory=dict)
    tools: dict[tuple[str, str], str] = field(default_factory=dict)  # by sheet and user
    notes: list[str] = field(default_factory=list)


def merge(exports: Iterable[Export], key: Key) -> Collected:
    """All records, each checked against the key.

    A record that another file holds too counts once, also where one file has more of its scores than the other, as
    an earlier export of the same sheet has.

    Raises:
        UserError: for a record of another sheet, or two that contradict each other.
    """
    found = Collected()
    origin: dict[tuple[str, str, str], Path] = {}
    for export in exports:
        again = 0
        found.notes += export.notes
        for record in export.records:
            _check_place(record, export, key)
            user = "" if export.tool == "sheet" else record.annotator
            place = (record.sheet, user, record.item)
            known = found.records.get(place)
            if known is not None:
                again += 1
                record = _fuller(known, record, origin[place], export.path)
            found.records[place] = record
            found.tools[record.sheet, user] = export.tool
            origin[place] = export.path
        if again:
            found.notes.append(f"{export.path}: {again} items are in an earlier file too; each counts once")
    return found


def _check_place(record: Record, export: Export, key: Key) -> None:
    """Refuse a record that is not of a sheet of the key."""
    path = export.path
    if record.sheet not in key:
        raise UserError(
            f"{path}: it belongs to the sheet {record.sheet}, which is not in the key; give the key of that sheet"
        )
    row = key[record.sheet].get(record.item)
    if row is None:
        raise UserError(
            f"{path}: the item {record.item!r} is not on the sheet {record.sheet}; export the sheet again"
        )
    told = {"language": record.language, "order": record.order}
    if export.tool == "sheet":
        told["annotator"] = int(record.annotator)
    for name, value in told.items():
        if value != row[name]:
            raise UserError(
                f"{path}: the item {record.item} has the {name} {value!r}, but in the key it is {row[name]!r}; "
                "export the sheet again"
            )


def _fuller(first: Record, second: Record, first_path: Path, second_path: Path) -> Record:
    """The record of an item that has more scores, when they agree in all that both have."""
    for name in first.scores.keys() & second.scores.keys():
        if first.scores[name] != second.scores[name]:
            raise UserError(
                f"{second_path}: the item {first.item} has {second.scores[name]} for {name}, but "
                f"{first.scores[name]} in {first_path}; give only the newer export, and where two people rated "
                "with one sheet, only that of one of them"
            )
    return second if len(second.scores) >= len(first.scores) else first


def rating_rows(found: Collected, key: Key, criteria: Sequence[str]) -> Iterator[dict[str, Any]]:
    """One row per rater, item and criterion; an item of a repeat has its first item's id in ``repeat_of``.

    A rater is a language and the number of the annotator, and where several users of a tool rated one sheet, also
    the user. What stands once for an item (comment and seconds) is in the row of the first criterion.
    """
    users: dict[str, set[str]] = {}
    for sheet, user in found.tools:
        users.setdefault(sheet, set()).add(user)
    for sheet, user in found.tools:
        for item, row in sorted(key[sheet].items(), key=lambda pair: pair[1]["order"]):
            record = found.records.get((sheet, user, item))
            rater = f"{row['language']}-{row['annotator']}"
            rater += f"-{user}" if user and len(users[sheet]) > 1 else ""
            for number, criterion in enumerate(criteria):
                score = record.scores.get(criterion) if record else None
                state = "ok" if isinstance(score, int) else "abstain" if score == CANNOT_JUDGE else NOT_RATED
                spans = [vars(span) for span in record.spans if span.criterion == criterion] if record else []
                yield {
                    **{name: row[name] for name in ("id", "model", "language")},
                    "metric": PREFIX + criterion,
                    "value": score if state == "ok" else None,
                    "state": state,
                    "rater": rater,
                    "user": user,
                    "tool": found.tools[sheet, user],
                    **{
                        name: row[name]
                        for name in ("annotator", "sheet", "item", "order", "instruction_id", "task")
                    },
                    "repeat_of": row["repeat_of"],
                    "spans": spans,
                    "comment": record.comment if record and not number else "",
                    "seconds": record.seconds if record and not number else None,
                }


DISAGREEMENTS = (
    "model", "language", "id", "task", "criterion", "spread", "mean", "majority", "ratings", "comments",
)  # fmt: skip
DISAGREEMENTS_NOTE = (
    "Answers that annotators rate differently, the farthest apart first. spread: the highest minus the lowest; "
    "majority: the rating of more annotators than any other, empty where there is none."
)


def disagreement_rows(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The answers and criteria that two annotators or more rate differently, from rows of ``rating_rows``.

    Comments and ratings of annotators stand in one cell each, behind the annotator's name.
    """
    values: dict[tuple[str, str, str], dict[str, Mapping[str, Any]]] = {}
    comments: dict[tuple[str, str], dict[str, str]] = {}
    for row in rows:
        if row["comment"]:
            comments.setdefault((row["model"], row["id"]), {})[row["rater"]] = row["comment"]
        if row["state"] == "ok":
            place = (row["model"], row["id"], row["metric"].removeprefix(PREFIX))
            values.setdefault(place, {})[row["rater"]] = row
    found = []
    for (model, id, criterion), rated in values.items():
        ratings = [row["value"] for row in rated.values()]
        spread = max(ratings) - min(ratings)
        if spread:
            modes = statistics.multimode(ratings)
            first = next(iter(rated.values()))
            said = comments.get((model, id), {})
            found.append(
                {
                    "model": model,
                    "language": first["language"],
                    "id": id,
                    "task": first["task"],
                    "criterion": criterion,
                    "spread": spread,
                    "mean": float(statistics.fmean(ratings)),
                    "majority": modes[0] if len(modes) == 1 else None,
                    "ratings": "; ".join(f"{rater}: {row['value']}" for rater, row in rated.items()),
                    "comments": "; ".join(f"{rater}: {text}" for rater, text in said.items()),
                }
            )
    return sorted(found, key=lambda row: -row["spread"])


def missing_notes(rows: Iterable[Mapping[str, Any]], found: Collected, key: Key) -> list[str]:
    """A line for each rater who has not rated everything, and for each sheet that nobody sent back."""
    gaps: dict[tuple[str, str], dict[str, int]] = {}
    for row in rows:
        if row["state"] == NOT_RATED:
            gaps.setdefault((row["rater"], row["sheet"]), {})[row["item"]] = row["order"]
    lines = []
    for (rater, sheet), items in gaps.items():
        item, order = min(items.items(), key=lambda pair: pair[1])
        lines.append(
            f"{rater}: {len(items)} of {len(key[sheet])} items are not rated on every criterion, first {item} "
            f"(place {order}); they count as missing"
        )
    for (sheet, one), (same, other) in itertools.combinations(found.tools, 2):
        if sheet == same and one.casefold() == other.casefold():
            lines.append(
                f"the users {one!r} and {other!r} rated the sheet {sheet} and count as two raters; if they are one "
                "person, keep the ratings of one"
            )
    came = {sheet for sheet, _ in found.tools}
    for sheet, shown in key.items():
        if sheet not in came:
            row = next(iter(shown.values()))
            lines.append(f"{row['language']}-{row['annotator']}: nothing has come back of the sheet {sheet}")
    return lines
