"""Sheets that people have rated: a key of two models, two languages and two annotators, and their exports."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from helpers.scored import write_lines

from xltjax.eval.people.schema import Record, Span, json_export
from xltjax.eval.people.spreadsheet import csv_export

CRITERIA = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
SCALES = {name: range(3) for name in CRITERIA}


def key_rows(instructions: int = 4) -> list[dict[str, Any]]:
    """The key of four sheets; on each, the first item comes again at the end."""
    rows: list[dict[str, Any]] = []
    for language, annotator in itertools.product(("en", "fr"), (1, 2)):
        sheet = f"sheet{language}{annotator}"
        cells = [(model, number) for number in range(instructions) for model in "AB"]
        for order, (model, number) in enumerate([*cells, cells[0]], start=1):
            rows.append(
                {
                    "sheet": sheet, "annotator": annotator, "language": language, "item": f"{sheet}x{order}",
                    "order": order, "model": model, "id": f"q{number}-{language}", "instruction_id": f"q{number}",
                    "task": f"t{number % 2}", "repeat_of": f"{sheet}x1" if order > len(cells) else "",
                }
            )  # fmt: skip
    return rows


def score_of(row: Mapping[str, Any], criterion: str) -> int:
    """What the annotators say: A is better than B, and the second annotator is kinder about helpfulness."""
    if criterion != "helpfulness":
        return 2
    number = int(row["instruction_id"][1:])
    return min(2, (number + (row["model"] == "A")) % 3 + (row["annotator"] == 2))


def records(rows: list[dict[str, Any]], sheet: str) -> Iterator[Record]:
    """The records of one sheet, all rated."""
    for row in rows:
        if row["sheet"] == sheet:
            scores = {name: score_of(row, name) for name in CRITERIA}
            spans = (Span(0, 3, "minor", "fluency"),) if row["order"] == 2 else ()
            yield Record(
                sheet, row["language"], str(row["annotator"]), row["item"], row["order"], scores,
                "à « lire »\n" if row["order"] == 1 else "", spans, 10 + row["order"],
            )  # fmt: skip


def write_sheets(folder: Path) -> tuple[Path, list[Path]]:
    """The key and the four exports, of which those of the second annotator are CSV."""
    rows = key_rows()
    write_lines(folder / "key.jsonl", rows)
    paths = []
    for sheet in dict.fromkeys(row["sheet"] for row in rows):
        found = list(records(rows, sheet))
        path = folder / (f"{sheet}.json" if sheet.endswith("1") else f"{sheet}.csv")
        write = json_export if path.suffix == ".json" else csv_export
        path.write_text(write(found, CRITERIA), encoding="utf-8")
        paths.append(path)
    return folder / "key.jsonl", paths
