"""Ratings of people as raters of ``agreement``: who they are, what they said, and what they said the second time."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import iterate_jsonl
from xltjax.eval.judge.judgments import PREFIX as JUDGE
from xltjax.eval.scores import Score

RATINGS, REPEATS = "ratings.jsonl", "repeats.jsonl"
PREFIX = "people/"  # of the criteria in ratings.jsonl


@dataclass
class People:
    """The raters of a ``ratings.jsonl``.

    Attributes:
        path: the file.
        scores: by rater, in the metrics of the criteria's names.
        again: the same for items that came a second time, from the ``repeats.jsonl`` beside the file.
        about: by model and id, the rest of the line: instruction, language and task.
    """

    path: Path
    scores: dict[str, list[Score]] = field(default_factory=dict)
    again: dict[str, list[Score]] = field(default_factory=dict)
    about: dict[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)


def is_ratings(path: Path) -> bool:
    """Whether the lines of a file are ratings of people: the first names a rater."""
    _, row = next(iterate_jsonl(path), (0, None))
    return isinstance(row, dict) and "rater" in row


def read_people(path: Path, metrics: Iterable[str]) -> People:
    """The raters of a file, under the names of the ``metrics`` that judges score where these are the same criteria.

    Annotators with the same number are one rater over all languages, as the judge is; where two users of a tool rated
    the same answer under one number, and in files without numbers, raters are those that the file names.

    Raises:
        UserError: naming the line that is not a rating.
    """
    rows = list(_rows(path))
    repeats = path.with_name(REPEATS)
    again = list(_rows(repeats)) if path.name == RATINGS and repeats.exists() else []
    numbered = [row.get("annotator") for row in rows]
    places = {
        (row["annotator"], row["model"], row["id"], row["metric"]) for row in rows if row.get("annotator")
    }
    by_number = all(numbered) and len(places) == len(rows)
    found, known = People(path), set(metrics)
    for target, lines in ((found.scores, rows), (found.again, again)):
        for row in lines:
            name = f"annotator {row['annotator']}" if by_number else str(row["rater"])
            target.setdefault(name, []).append(_score(row, known))
            found.about.setdefault((row["model"], row["id"]), row)
    return found


def mean_scores(path: Path) -> tuple[list[Score], dict[tuple[str, str], dict[str, Any]]]:
    """The mean of all raters for each answer and criterion, as scores of ``people/<criterion>``.

    Returns:
        The scores, and what the lines say about the answers, by model and id: ``instruction_id`` and ``task``.

    Raises:
        UserError: naming the line that is not a rating.
    """
    given: dict[tuple[str, str, str], list[Score]] = {}
    about: dict[tuple[str, str], dict[str, Any]] = {}
    for row in _rows(path):
        score = _score(row, set())
        given.setdefault((score.model, score.id, score.metric), []).append(score)
        known = {key: row[key] for key in ("instruction_id", "task") if row.get(key)}
        about.setdefault((score.model, score.id), {"id": score.id, "model": score.model, **known})
    scores = []
    for of_answer in given.values():
        values = [score.value for score in of_answer if score.value is not None]
        first = next((score for score in of_answer if score.value is not None), of_answer[0])
        value = statistics.fmean(values) if values else None
        scores.append(replace(first, metric=PREFIX + first.metric, value=value))
    return scores, about


def _rows(path: Path) -> Iterable[dict[str, Any]]:
    for line, row in iterate_jsonl(path):
        if not isinstance(row, dict) or not {"id", "rater", "value"} <= row.keys():
            raise UserError(f"{path}, line {line}: not a rating (id, model, rater, criterion, value)")
        criterion = str(row.get("criterion") or row.get("metric") or "").rpartition("/")[2]
        if not criterion:
            raise UserError(f"{path}, line {line}: the rating names no criterion")
        try:
            value = None if row["value"] is None else float(row["value"])
        except (TypeError, ValueError):
            raise UserError(f"{path}, line {line}: the value {row['value']!r} is not a number") from None
        model = str(row.get("model") or "")
        yield {**row, "id": str(row["id"]), "model": model, "metric": criterion, "value": value}


def _score(row: Mapping[str, Any], metrics: set[str]) -> Score:
    metric = JUDGE + row["metric"] if JUDGE + row["metric"] in metrics else row["metric"]
    state = "ok" if row["value"] is not None else str(row.get("state") or "abstain")
    detail = {"reason": "cannot judge"} if state == "abstain" else {}
    return Score(row["id"], metric, row["value"], state, detail, row["model"], str(row.get("language") or ""))


def metrics_of(files: Sequence[Sequence[Score]]) -> set[str]:
    """The metrics that any of the files holds."""
    return {score.metric for scores in files for score in scores}
