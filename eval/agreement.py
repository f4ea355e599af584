"""``python -m xltjax.eval agreement``: how far judges, annotators and programs agree on the same answers.

Each ``scores.jsonl`` is one rater. Scores are joined by response and metric, so a person may have rated only a
sample. What a rater could not score (its state is not ``ok``) is missing and never a rating; the table shows the
share of answers with two ratings, and says which were left out and why.
"""

from __future__ import annotations

import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.data.responses import Response
from xltjax.eval.evaluator import ResponsesConfig
from xltjax.eval.scores import Score, read_scores
from xltjax.eval.stats.coefficients import Agreement, agreement, system_tau
from xltjax.eval.stats.intervals import Interval, resample
from xltjax.eval.summary import LISTED_ANSWERS, LOW_COVERAGE, Unscored, left_out_note
from xltjax.eval.table_files import printable

Key = tuple[str, str]  # the model and the id of a response
Ratings = Mapping[str, Mapping[Key, float | None]]  # by metric and response; None is no score


@dataclass(frozen=True)
class AgreementSettings(ResponsesConfig):
    """Settings of ``agreement``."""

    scores: tuple[str, ...] = setting(
        (),
        "Two or more scores.jsonl, or directories with one; the first is the reference.",
        positional=True,
        paths=True,
    )
    responses: tuple[str, ...] = setting(
        (),
        "The rated responses. Their language, model, task and instruction give rows per language, the ranking "
        "of models, and intervals that count the translations of one instruction once.",
        paths=True,
    )
    out: str = setting("", "Directory in which to write agreement.json.")
    metrics: tuple[str, ...] = setting((), "Metrics to compare; all that two raters share by default.")
    scale: tuple[float, ...] = setting(
        (), "Ratings that could be given, such as 0,1,2; by default the whole numbers from least to greatest."
    )
    level: float = setting(0.95, "Level of the intervals, between 0 and 1.", section="Bootstrap")
    draws: int = setting(10_000, "Resamples of the instructions.", section="Bootstrap")
    seed: int = setting(0, "Seed of the resamples.", section="Bootstrap")


@dataclass(frozen=True)
class Subject:
    """What is known of a rated response: its instruction (``unit``), language, model and task."""

    unit: str
    language: str = ""
    model: str = ""
    task: str = ""


@dataclass(frozen=True)
class Row:
    """The agreement of some raters on one metric; ``language`` is empty for all languages together.

    ``answers`` is the number of answers for which two raters or more have a line, with a rating or without.
    """

    metric: str
    language: str
    raters: tuple[str, ...]
    answers: int
    agreement: Agreement
    tau: Interval | None

    @property
    def coverage(self) -> float:
        """The share of these answers that have two ratings."""
        return self.agreement.n / self.answers if self.answers else 0.0

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Exact agreement if the raters differed in, or agreed on, every answer that lacks a rating."""
        equal = self.agreement.exact.estimate
        if equal is None:
            return None
        least = equal * self.agreement.n / self.answers
        return least, least + 1 - self.coverage


def run(config: AgreementSettings) -> None:
    """Compare the raters, print the table and write ``agreement.json``.

    Raises:
        UserError: for settings or files that cannot be compared.
    """
    if len(config.scores) < 2:
        raise UserError("agreement compares two or more scores.jsonl; give them after the command")
    if not config.out:
        raise UserError("--out is missing; name the directory for agreement.json")
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    paths = [_scores_file(Path(name)) for name in config.scores]
    responses = config.read_files(config.responses) if config.responses else []
    names = _names(paths)
    read, unscored = _read_ratings(paths, names, responses)
    raters = dict(zip(names, read, strict=True))
    metrics = _shared_metrics(raters, config.metrics)
    scale = tuple(sorted(set(config.scale))) or None
    _check_scale(raters, metrics, scale)
    subjects = _subjects(responses, raters)
    rows = list(_rows(raters, metrics, subjects, scale, config))
    silent = _silent(raters, metrics)
    if not any(row.agreement.n for row in rows):
        raise UserError("; ".join(silent) or _nothing_in_common(raters, metrics))

    left_out = _left_out(raters, unscored, metrics)
    _print(rows, config.level, "\n".join([*(f"{line}." for line in silent), left_out]))
    document = {
        "raters": {name: str(path) for name, path in zip(raters, paths, strict=True)},
        "responses": list(config.responses),
        "level": config.level,
        "draws": config.draws,
        "seed": config.seed,
        "left_out": left_out,
        "rows": [_plain(row) for row in rows],
    }
    out = Path(config.out)
    with lock_directory(out), atomic_write(out / "agreement.json") as file:
        file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")


COMMAND = command(
    AgreementSettings,
    run,
    name="agreement",
    help="Agreement of judges, people and programs.\n\n"
    "Exact agreement, kappa, alpha and AC2 of raters of the same responses. SCORES are two or more "
    "scores.jsonl, or directories with one; the first is the reference.",
)


def _read_ratings(
    paths: Sequence[Path], names: Sequence[str], responses: Sequence[Response]
) -> tuple[list[Ratings], list[dict[str, Any]]]:
    """The scores of each file by metric and response, and counts of those without a value, with their reasons.

    A score without a model, from an older version or from a person, belongs to the model that has its id in the
    other files or among the responses.

    Raises:
        UserError: for a line that is not a score, a response scored twice on one metric, or a score without a
            model whose id several models have.
    """
    files, unscored = [], []
    for path, name in zip(paths, names, strict=True):
        scores: list[Score] = []
        counts: defaultdict[str, Unscored] = defaultdict(Unscored)
        for score in read_scores(path):
            counts[score.metric].add(score)
            # Without the evidence, which would take the memory of all files.
            scores.append(replace(score, detail={}))
        files.append(scores)
        unscored += [found.row(metric, label=f"{metric} ({name})") for metric, found in counts.items()]
    models: dict[str, set[str]] = {}
    for model, id in (
        *(each.key for each in responses),
        *((s.model, s.id) for scores in files for s in scores),
    ):
        if model:
            models.setdefault(id, set()).add(model)
    return [_ratings(path, scores, models) for path, scores in zip(paths, files, strict=True)], unscored


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


def _scores_file(path: Path) -> Path:
    return path / "scores.jsonl" if path.is_dir() else path


def _names(paths: Sequence[Path]) -> list[str]:
    """A name for each rater: that of its file, or of its directory when all are called ``scores.jsonl``."""
    for names in ([path.stem for path in paths], [path.absolute().parent.name for path in paths]):
        if len(set(names)) == len(names):
            return names
    return [f"{number}:{name}" for number, name in enumerate(names, start=1)]


def _shared_metrics(raters: Mapping[str, Ratings], wanted: Sequence[str]) -> list[str]:
    counts: dict[str, int] = {}
    for metric in itertools.chain.from_iterable(raters.values()):
        counts[metric] = counts.get(metric, 0) + 1
    shared = [metric for metric, count in counts.items() if count > 1]
    for metric in wanted:
        if metric not in shared:
            raise UserError(f"metric {metric!r} is not in two of the files; {did_you_mean(metric, shared)}")
    if not shared:
        raise UserError(f"no metric is in two of the files; they hold {', '.join(sorted(counts))}")
    return list(wanted) or shared


def _check_scale(
    raters: Mapping[str, Ratings], metrics: Sequence[str], scale: Sequence[float] | None
) -> None:
    for (name, ratings), metric in itertools.product(raters.items(), metrics):
        for (_, id), value in ratings.get(metric, {}).items():
            if scale and value is not None and value not in scale:
                raise UserError(
                    f"{name} rates {id!r} {value:g} on {metric}, which is not on --scale "
                    f"{','.join(f'{v:g}' for v in scale)}; correct the scale or choose --metrics"
                )


def _silent(raters: Mapping[str, Ratings], metrics: Sequence[str]) -> list[str]:
    """A sentence for each rater and metric whose scores are all abstentions or failures."""
    cells = {
        (name, metric): ratings[metric]
        for (name, ratings), metric in itertools.product(raters.items(), metrics)
        if metric in ratings
    }
    return [
        f"{name} rates nothing on {metric}: all {len(cell)} scores are abstentions or failures"
        for (name, metric), cell in cells.items()
        if all(value is None for value in cell.values())
    ]


def _nothing_in_common(raters: Mapping[str, Ratings], metrics: Sequence[str]) -> str:
    rated = {
        name: [
            key for metric in metrics for key, value in ratings.get(metric, {}).items() if value is not None
        ]
        for name, ratings in raters.items()
    }
    shown = ", ".join(
        f"{name} rates {keys[0][1]!r:.40}" + (f" of {keys[0][0]!r:.40}" if keys[0][0] else "")
        for name, keys in rated.items()
        if keys
    )
    return f"no answer is rated twice; the files have nothing in common ({shown}); give answers the same ids"


def _subjects(responses: Sequence[Response], raters: Mapping[str, Ratings]) -> dict[Key, Subject]:
    """What is known of every rated response."""
    rated = {key for ratings in raters.values() for cell in ratings.values() for key in cell}
    if not responses:
        return {(model, id): Subject(id) for model, id in rated}
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


def _rows(
    raters: Mapping[str, Ratings],
    metrics: Sequence[str],
    subjects: Mapping[Key, Subject],
    scale: Sequence[float] | None,
    config: AgreementSettings,
) -> Iterator[Row]:
    """For all languages together and for each: all raters together, when they are more than two, and each pair."""
    languages = sorted({subject.language for subject in subjects.values()} - {""})
    for metric, language in itertools.product(metrics, ["", *(languages if len(languages) > 1 else ())]):
        cells = {
            name: {
                item: value
                for item, value in ratings.get(metric, {}).items()
                if value is not None and language in ("", subjects[item].language)
            }
            for name, ratings in raters.items()
        }
        lines = {
            name: {item for item in ratings.get(metric, ()) if language in ("", subjects[item].language)}
            for name, ratings in raters.items()
        }
        present = [name for name, cell in cells.items() if cell]
        together = [tuple(present)] if len(present) > 2 else []
        for names in [*together, *itertools.combinations(present, 2)]:
            counts = Counter(item for name in names for item in lines[name])
            answers = sum(count > 1 for count in counts.values())
            chosen = {name: cells[name] for name in names}
            yield _row(metric, language, chosen, answers, subjects, scale, config)


def _row(
    metric: str,
    language: str,
    cells: Mapping[str, Mapping[Key, float]],
    answers: int,
    subjects: Mapping[Key, Subject],
    scale: Sequence[float] | None,
    config: AgreementSettings,
) -> Row:
    items = {item: subjects[item] for cell in cells.values() for item in cell}
    cluster = {item: subject.unit for item, subject in items.items()}
    tasks = {subject.unit: subject.task for subject in items.values()}
    models = {item: subject.model for item, subject in items.items()}
    resamples = resample(tasks, tasks, draws=config.draws, seed=config.seed)
    found = agreement(list(cells.values()), resamples, scale=scale, cluster=cluster, level=config.level)
    tau = None
    if len(cells) == 2 and len(set(models.values())) > 1:
        first, second = cells.values()
        tau = system_tau(first, second, models, resamples, cluster=cluster, level=config.level)
    return Row(metric, language, tuple(cells), answers, found, tau)


def _plain(row: Row) -> dict[str, Any]:
    """The row without nesting, ready for JSON."""
    values = asdict(row)
    return {
        **{key: values[key] for key in ("metric", "language", "raters", "answers")},
        "coverage": row.coverage,
        "exact_bounds": row.bounds,
        **values["agreement"],
        "tau": values["tau"],
    }


def _left_out(
    raters: Mapping[str, Ratings], unscored: Iterable[Mapping[str, Any]], metrics: Sequence[str]
) -> str:
    """Which answers enter no number: those that a rater did not score, and those of one rater alone."""
    lines = [left_out_note([{**row, "metric": row["label"]} for row in unscored if row["metric"] in metrics])]
    for metric in metrics:
        counts = Counter(item for ratings in raters.values() for item in ratings.get(metric, ()))
        alone = sorted(id for (_, id), count in counts.items() if count == 1)
        if alone:
            such = ", ".join(alone[:LISTED_ANSWERS])
            lines.append(f"{metric}: only one file has a line for {len(alone)} answers (such as {such})")
    return printable("\n".join(lines))


def _print(rows: Sequence[Row], level: float, left_out: str) -> None:
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 160  # a file has no width to fit
    notes: dict[str, None] = {}
    for names in dict.fromkeys(row.raters for row in rows):
        title = "agreement of " + ", ".join(names)
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        for heading in ("metric", "lang", "n", "exact", "kappa", "alpha", "AC2", "diff", "tau"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            if row.raters == names:
                a = row.agreement
                intervals = (a.exact, a.kappa, a.alpha, a.ac2, a.mean_difference, row.tau)
                notes.update((i.note, None) for i in intervals if i is not None and i.note)
                cells = [_cell(interval) for interval in intervals]
                if row.bounds is not None and row.coverage < LOW_COVERAGE:
                    cells[0] += " ({:.2f}–{:.2f})".format(*row.bounds)
                count = f"{a.n} {math.floor(100 * row.coverage)}%"
                table.add_row(printable(row.metric), row.language or "all", count, *cells)
        console.print(table)
    console.print(
        "kappa: quadratic weights; alpha: Krippendorff, ordinal; AC2: Gwet, ordinal; diff: second rater minus "
        f"first; tau: Kendall, ranking of models. {100 * level:g} % bootstrap intervals over instructions. "
        "Beside n: the share of the answers with a line of two raters that have two ratings; where it is under "
        f"{100 * LOW_COVERAGE:g} %, (bounds): exact agreement if the raters differed in, or agreed on, all others."
    )
    for note in notes:
        console.print(f"* {note}")
    console.print(left_out)


def _cell(interval: Interval | None) -> str:
    """The estimate and its limits, which move to a line of their own where the terminal is narrow."""
    if interval is None:
        return ""
    mark = "*" if interval.note else ""
    if interval.estimate is None:
        return f"-{mark}"
    if interval.low is None or interval.high is None:
        return f"{interval.estimate:.2f}{mark}"
    return f"{interval.estimate:.2f}{mark} {interval.low:.2f}–{interval.high:.2f}"
