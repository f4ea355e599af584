"""The raters of ``agreement``: scores of judges, programs and people by rater, metric and response."""

from __future__ import annotations

import functools
import statistics
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.judge.chosen import JudgeChoice, judge_of
from xltjax.eval.judge.judgments import PREFIX as JUDGE
from xltjax.eval.judge.rubrics import load_rubric
from xltjax.eval.people.raters import RATINGS, is_ratings, metrics_of, read_people
from xltjax.eval.scores import Score, read_scores
from xltjax.eval.summary import Unscored

PEOPLE = "people"  # all annotators together
Key = tuple[str, str]  # the model and the id of a response
Ratings = Mapping[str, Mapping[Key, float | None]]  # by metric and response; None is no score


@dataclass(frozen=True)
class Subject:
    """What is known of a rated response: its instruction (``unit``), language, model and task."""

    unit: str
    language: str = ""
    model: str = ""
    task: str = ""


@dataclass
class Raters:
    """The raters of all files, the second ratings of people, and counts of what was not scored, with reasons."""

    paths: dict[str, Path]
    raters: dict[str, Ratings]
    again: dict[str, Ratings]
    unscored: list[dict[str, Any]]
    about: dict[Key, Mapping[str, Any]]
    people: tuple[str, ...] = ()  # which of the raters are annotators


def read_ratings(
    paths: Sequence[Path], responses: Sequence[Response], choice: JudgeChoice | None = None
) -> Raters:
    """The scores of each rater by metric and response.

    A file is one rater, but each of several judges in it is one of its own. A score without a model, from an older
    version or from a person, belongs to the model that has its id in the other files or among the responses.

    Args:
        paths: files of scores, or of ratings of people.
        responses: the rated responses, as far as they are given.
        choice: which scores of judges count; by default the lower median over the repeats of every judge.

    Raises:
        UserError: for a line that is not a score, a response scored twice on one metric, a score without a model
            whose id several models have, or a judge that is not there.
    """
    choice = choice or JudgeChoice("", None, statistics.median_low)
    names = _names(paths)
    files: dict[str, list[Score]] = {}
    origin: dict[str, Path] = {}
    unscored: list[dict[str, Any]] = []
    people = [path for path in paths if is_ratings(path)]
    for path, name in zip(paths, names, strict=True):
        if path not in people:
            for judge, scores in _by_judge(choice.scores(read_scores(path))).items():
                rater = judge or name
                rater = f"{rater} ({name})" if rater in files else rater
                origin[rater] = path
                files[rater], rows = _counted(scores, rater)
                unscored += rows
    choice.check()
    metrics = metrics_of(list(files.values()))
    again: dict[str, list[Score]] = {}
    about: dict[Key, Mapping[str, Any]] = {}
    annotators: list[str] = []
    for path in people:
        found = read_people(path, metrics)
        for rater, scores in found.scores.items():
            name = f"{rater} ({names[paths.index(path)]})" if len(people) > 1 or rater in files else rater
            origin[name] = path
            annotators.append(name)
            files[name], rows = _counted(scores, name)
            unscored += rows
            if rater in found.again:
                again[name] = found.again[rater]
        about |= found.about
    # The first is the reference.
    files = dict(sorted(files.items(), key=lambda pair: paths.index(origin[pair[0]])))
    models: dict[str, set[str]] = {}
    for model, id in (
        *(each.key for each in responses),
        *((s.model, s.id) for scores in files.values() for s in scores),
    ):
        if model:
            models.setdefault(id, set()).add(model)
    return Raters(
        origin,
        {name: _ratings(origin[name], scores, models) for name, scores in files.items()},
        {name: _ratings(origin[name], scores, models) for name, scores in again.items()},
        unscored,
        about,
        tuple(annotators),
    )


def _by_judge(scores: Iterable[Score]) -> dict[str, list[Score]]:
    """The scores of each judge, where there are several; all others under an empty name."""
    found: dict[str, list[Score]] = {}
    for score in scores:
        judge = judge_of(score) if score.metric.startswith(JUDGE) else ""
        found.setdefault(judge, []).append(score)
    if len(found.keys() - {""}) > 1:
        return found
    return {"": [score for own in found.values() for score in own]}


def _counted(scores: Iterable[Score], name: str) -> tuple[list[Score], list[dict[str, Any]]]:
    """The scores without their evidence, and counts of those without a value."""
    counts: defaultdict[str, Unscored] = defaultdict(Unscored)
    kept = []
    for score in scores:
        counts[score.metric].add(score)
        kept.append(replace(score, detail={}))
    return kept, [found.row(metric, label=f"{metric} ({name})") for metric, found in counts.items()]


def _ratings(path: Path, scores: Iterable[Score], models: Mapping[str, set[str]]) -> Ratings:
    ratings: dict[str, dict[Key, float | None]] = {}
    for score in scores:
        known = {score.model} if score.model else models.get(score.id, {""})
        if len(known) > 1:
            raise UserError(
                f"{path}: several models have the id {score.id!r} ({', '.join(sorted(known))}); "
                'give its scores a "model"'
            )
        cell, key = ratings.setdefault(score.metric, {}), (min(known), score.id)
        if key in cell:
            raise UserError(f"{path}: {score.id!r} has two scores for {score.metric}; one rater, one score")
        cell[key] = score.value
    if not ratings:
        raise UserError(f"{path} holds no scores")
    return ratings


def scale_of(metric: str, cells: Iterable[Mapping[Key, float]]) -> tuple[float, ...] | None:
    """The ratings that could be given on a criterion of the shipped rubrics; None for others, and other ratings.

    A rating that nobody gave belongs to the scale too: AC2 depends on it.
    """
    scale = shipped_scales().get(metric.removeprefix(JUDGE))
    return scale if scale and {value for cell in cells for value in cell.values()} <= set(scale) else None


@functools.cache
def shipped_scales() -> dict[str, tuple[float, ...]]:
    """The reported values of each criterion of the shipped rubrics."""
    return {
        each.name: tuple(map(float, range(each.lowest, each.highest + 1)))
        for name in ("six", "relevance", "modifier")
        for each in load_rubric(name, preset="xlt", language="en").criteria
    }


def pooled(raters: Sequence[Ratings]) -> Ratings:
    """One rater with the mean of what several say about an answer."""
    values: dict[str, dict[Key, list[float]]] = {}
    for ratings in raters:
        for metric, cell in ratings.items():
            for item, value in cell.items():
                if value is not None:
                    values.setdefault(metric, {}).setdefault(item, []).append(value)
    return {
        metric: {item: statistics.fmean(given) for item, given in cell.items()}
        for metric, cell in values.items()
    }


def scores_file(path: Path) -> Path:
    """The file itself, or in a directory its ``scores.jsonl``, or else its ``ratings.jsonl`` of people."""
    if not path.is_dir():
        return path
    people = path / RATINGS
    return people if people.exists() and not (path / "scores.jsonl").exists() else path / "scores.jsonl"


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each rater: that of its file, or of its directory when all are called ``scores.jsonl``."""
    plain = {"scores", "ratings"}
    folders = [path.absolute().parent.name if path.stem in plain else path.stem for path in paths]
    for names in (folders, [path.absolute().parent.name for path in paths]):
        if len(set(names)) == len(names):
            return names
    return [f"{number}:{name}" for number, name in enumerate(names, start=1)]


def subjects_of(
    responses: Sequence[Response], raters: Mapping[str, Ratings], about: Mapping[Key, Mapping[str, Any]]
) -> dict[Key, Subject]:
    """What is known of every rated response, from the responses or else from the ratings of people."""
    rated = {key for ratings in raters.values() for cell in ratings.values() for key in cell}
    if not responses:
        return {key: _subject(key, about.get(key, {})) for key in rated}
    subjects = {
        each.key: Subject(each.instruction_id or each.id, each.language, each.model, each.task)
        for each in responses
        if each.key in rated
    }
    unknown = sorted(rated - subjects.keys())
    if unknown:
        model, id = unknown[0]
        raise UserError(
            f"{len(unknown)} rated answers are not among the responses, such as {id!r}"
            + (f" of the model {model!r}" if model else "")
        )
    return subjects


def _subject(key: Key, row: Mapping[str, Any]) -> Subject:
    """What a line of ``ratings.jsonl`` says about its answer."""
    language, task = str(row.get("language") or ""), str(row.get("task") or "")
    return Subject(str(row.get("instruction_id") or key[1]), language, key[0] if row else "", task)
