"""``python -m xltjax.eval collect``: from the files that annotators send back to ratings and tables."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, check_output_directory, write_jsonl
from xltjax.common.locks import lock_directory
from xltjax.common.provenance import sha256
from xltjax.common.settings import setting
from xltjax.data.responses import Response
from xltjax.eval.judge.averages import COLUMNS, NOTE, average_rows, print_averages
from xltjax.eval.judge.judgments import PREFIX as JUDGE
from xltjax.eval.judge.rubrics import Criterion, load_criteria
from xltjax.eval.people.merging import (
    DISAGREEMENTS,
    DISAGREEMENTS_NOTE,
    disagreement_rows,
    merge,
    missing_notes,
    rating_rows,
    read_key,
)
from xltjax.eval.people.raters import PREFIX, RATINGS, REPEATS
from xltjax.eval.people.spreadsheet import no_formula
from xltjax.eval.people.tools import read_export
from xltjax.eval.scores import Score
from xltjax.eval.table_files import printable, write_table

RECORD = "collect.json"  # what was collected, and the mark of a directory of ours
KEY = "key.jsonl"
PEOPLE = "people"  # the name of all annotators together in the tables


@dataclass(frozen=True)
class CollectConfig:
    """Settings of ``collect``."""

    files: tuple[str, ...] = setting(
        (),
        "Files from annotators: JSON or CSV of sheets, JSON of Label Studio, annotations of Pearmut.",
        positional=True,
        paths=True,
    )
    key: str = setting("", "The key.jsonl that sheets wrote, or its directory. It links items to models.")
    out: str = setting("", "Directory for ratings.jsonl, repeats.jsonl and the tables.")
    criteria: str = setting(
        "six", "The rated criteria, as given to sheets: six, another name, or a YAML file."
    )
    level: float = setting(0.95, "Confidence level of the intervals, between 0 and 1.", section="Bootstrap")
    draws: int = setting(10_000, "Number of bootstrap resamples of the instructions.", section="Bootstrap")
    seed: int = setting(0, "Random seed of the resamples.", section="Bootstrap")


def run(config: CollectConfig) -> None:
    """Check and merge all files, then write ratings, repeats, averages, disagreements and ``collect.json``.

    Raises:
        UserError: naming the file and the field that cannot be used; nothing is written then.
    """
    if not config.files:
        raise UserError("no files given: python -m xltjax.eval collect FILES... --key KEY --out DIRECTORY")
    if not config.key:
        raise UserError("--key is missing; give the key that sheets wrote")
    if not config.out:
        raise UserError("--out is missing; name the directory for the ratings")
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    criteria = load_criteria(config.criteria)
    scales = {each.name: range(each.lowest, each.highest + 1) for each in criteria}
    out = Path(config.out)
    check_output_directory(out)
    _check_ours(out)
    key_path = Path(config.key) / KEY if Path(config.key).is_dir() else Path(config.key)
    key = read_key(key_path)
    found = merge((read_export(Path(name), scales, key) for name in config.files), key)
    rated = {name for record in found.records.values() for name in record.scores}
    if not rated:
        raise UserError(f"{', '.join(config.files)}: nothing is rated yet")
    used = [each for each in criteria if each.name in rated]
    rows = list(rating_rows(found, key, [each.name for each in used]))
    first = [row for row in rows if not row["repeat_of"]]
    averages = _averages(first, used, config)
    differences = [{**row, "comments": no_formula(row["comments"])} for row in disagreement_rows(first)]
    notes = [*found.notes, *missing_notes(rows, found, key)]
    raters = sorted({row["rater"] for row in rows})
    record = {
        "files": {name: sha256(Path(name)) for name in config.files},
        "key": {str(key_path): sha256(key_path)},
        "criteria": config.criteria,
        "raters": raters,
        "level": config.level,
        "draws": config.draws,
        "seed": config.seed,
        "notes": notes,
    }
    with lock_directory(out):
        _check_ours(out)
        with atomic_write(out / RECORD) as file:
            file.write(json.dumps(record, indent=1) + "\n")
        # An older file of repeats must not stay beside newer ratings.
        write_jsonl(out / REPEATS, (row for row in rows if row["repeat_of"]))
        write_jsonl(out / RATINGS, first)
        write_table(out / "people-averages", averages, COLUMNS, ".4f", NOTE)
        write_table(out / "disagreements", differences, DISAGREEMENTS, ".2f", DISAGREEMENTS_NOTE)
    print_averages([row for row in averages if row["judge"] == PEOPLE], [])
    given = sum(row["state"] == "ok" for row in first)
    print(printable(f"{given} ratings of {len(raters)} annotators: {out / RATINGS}"))
    if differences:
        far = sum(row["spread"] > 1 for row in differences)
        print(printable(
            f"{len(differences)} ratings differ between annotators, {far} by more than 1: "
            f"{out / 'disagreements.md'}"
        ))  # fmt: skip
    for note in notes:
        print(printable(note))


def _check_ours(out: Path) -> None:
    """Refuse to overwrite ratings that this command did not write.

    Raises:
        UserError: which names the file.
    """
    for name in (RATINGS, REPEATS):
        if (out / name).exists() and not (out / RECORD).exists():
            raise UserError(f"{out / name} exists and was not written by this command; choose another --out")


COMMAND = command(
    CollectConfig,
    run,
    name="collect",
    help="Collect the ratings of people.\n\n"
    "Checks the files from annotators against the key, merges them into ratings.jsonl, with one line per rater, item "
    "and criterion, and averages them by model and language.",
)


def _averages(
    rows: Sequence[Mapping[str, Any]], criteria: Sequence[Criterion], config: CollectConfig
) -> list[dict[str, Any]]:
    """Rows for all annotators together, and for each number of an annotator when there are several.

    An answer that several people rated counts with their mean, and as in the wrong language when most say so.
    """
    responses = {
        (row["model"], row["id"]): Response(
            row["id"], row["model"], row["language"], row["task"], instruction_id=row["instruction_id"]
        )
        for row in rows
    }
    several = len({row["annotator"] for row in rows}) > 1
    found = average_rows(
        list(responses.values()),
        _scores(rows, several=several),
        criteria,
        draws=config.draws,
        level=config.level,
        seed=config.seed,
    )
    return [{**row, "language_by": row["language_by"] and PEOPLE} for row in found]


def _scores(rows: Iterable[Mapping[str, Any]], *, several: bool) -> Iterator[Score]:
    for row in rows:
        metric = JUDGE + row["metric"].removeprefix(PREFIX)
        for name in (PEOPLE, *([f"annotator {row['annotator']}"] if several else [])):
            yield Score(
                row["id"], metric, row["value"], row["state"], {"judge": name}, row["model"], row["language"]
            )
