"""``python -m xltjax.eval agreement``: how far judges, annotators and programs agree on the same answers.

Each ``scores.jsonl`` is one rater, and so is each of several judges in it and each annotator of a ``ratings.jsonl``.
Scores are joined by response and metric, so a person may have rated only a sample. What a rater could not score (its
state is not ``ok``) is missing and never a rating; the table shows the share of answers with two ratings, and says
which were left out and why.
"""

from __future__ import annotations

import itertools
import json
import math
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.eval.evaluator import ResponsesConfig
from xltjax.eval.judge.chosen import JudgeChoice
from xltjax.eval.raters import (
    PEOPLE,
    Key,
    Raters,
    Ratings,
    Subject,
    pooled,
    read_ratings,
    scale_of,
    scores_file,
    subjects_of,
)
from xltjax.eval.stats.coefficients import Agreement, agreement, system_tau
from xltjax.eval.stats.intervals import Interval, resample
from xltjax.eval.stats.mean_ratings import mean_ratings
from xltjax.eval.summary import LISTED_ANSWERS, LOW_COVERAGE, left_out_note
from xltjax.eval.table_files import print_legend, printable, table_console, write_table


@dataclass(frozen=True)
class AgreementConfig(ResponsesConfig):
    """Settings of ``agreement``."""

    scores: tuple[str, ...] = setting(
        (),
        "Two or more scores.jsonl, ratings.jsonl of people, or directories with one. The first is the reference.",
        positional=True,
        paths=True,
    )
    responses: tuple[str, ...] = setting(
        (),
        "The rated responses. With them there are rows per language, the ranking of models, and intervals that count "
        "the translations of one instruction once.",
        paths=True,
    )
    out: str = setting("", "Directory for agreement.json and the tables.")
    metrics: tuple[str, ...] = setting((), "Metrics to compare. By default all that two raters share.")
    scale: tuple[float, ...] = setting(
        (),
        "Possible ratings, such as 0,1,2. By default those of the shipped rubrics, and for other criteria the whole "
        "numbers from least to greatest.",
    )
    judge: str = setting(
        "", "Use only the scores of this judge. By default each of several judges is a rater."
    )
    repeat: int | None = setting(
        None, "Use only this repeat of a judge, counted from 0. By default the lower median of all."
    )
    level: float = setting(0.95, "Confidence level of the intervals, between 0 and 1.", section="Bootstrap")
    draws: int = setting(10_000, "Number of bootstrap resamples of the instructions.", section="Bootstrap")
    seed: int = setting(0, "Random seed of the resamples.", section="Bootstrap")


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


def run(config: AgreementConfig) -> None:
    """Compare the raters, print the table and write ``agreement.json``, ``means`` and ``confusion``.

    Raises:
        UserError: for settings or files that cannot be compared.
    """
    paths = [scores_file(Path(name)) for name in config.scores]
    if not paths:
        raise UserError(
            "agreement compares two or more scores.jsonl, or the raters of a ratings.jsonl; give them"
        )
    if not config.out:
        raise UserError("--out is missing; name the directory for agreement.json")
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    responses = config.read_files(config.responses) if config.responses else []
    choice = JudgeChoice(config.judge, config.repeat, statistics.median_low)
    read = read_ratings(paths, responses, choice)
    raters = read.raters
    if len(raters) < 2 and not read.again:
        raise UserError(
            f"{paths[0]} holds one rater and no repeats of people, and agreement compares two or more: give the "
            "scores of another"
        )
    metrics = list(config.metrics) if len(raters) < 2 else _shared_metrics(raters, config.metrics)
    metrics = metrics or list(dict.fromkeys(itertools.chain.from_iterable(read.again.values())))
    scale = tuple(sorted(set(config.scale))) or None
    _check_scale(raters, metrics, scale)
    subjects = subjects_of(responses, raters, read.about)
    rows = [
        *_rows(raters, metrics, subjects, scale, config),
        *_self_rows(read, metrics, subjects, scale, config),
    ]
    silent = _silent(raters, metrics)
    if not any(row.agreement.n for row in rows):
        raise UserError("; ".join(silent) or _nothing_in_common(raters, metrics))

    means = list(_mean_rows(read, metrics, subjects, config))
    left_out = _left_out(raters, read.unscored, metrics)
    _print(rows, config.level, "\n".join([*(f"{line}." for line in silent), left_out]))
    document = {
        "raters": {name: str(path) for name, path in read.paths.items()},
        "responses": list(config.responses),
        "judge": config.judge or None,
        "repeat": config.repeat,
        "level": config.level,
        "draws": config.draws,
        "seed": config.seed,
        "left_out": left_out,
        "rows": [_plain(row) for row in rows],
        "means": means,
    }
    out = Path(config.out)
    with lock_directory(out), atomic_write(out / "agreement.json") as file:
        file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_table(out / "means", means, MEAN_COLUMNS, ".4f", MEAN_NOTE)
        write_table(out / "confusion", _confusion_rows(rows), CONFUSION_COLUMNS, ".4f", CONFUSION_NOTE)
    print(printable(f"agreement.json, means.md (mean ratings by model) and confusion.md: {out}"))


COMMAND = command(
    AgreementConfig,
    run,
    name="agreement",
    help="Measure the agreement of judges, people and programs.\n\n"
    "Computes exact agreement, kappa, alpha and AC2 of raters of the same responses.",
)


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


def _rows(
    raters: Mapping[str, Ratings],
    metrics: Sequence[str],
    subjects: Mapping[Key, Subject],
    scale: Sequence[float] | None,
    config: AgreementConfig,
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
            if not answers:
                continue  # people of different languages, for example
            chosen = {name: cells[name] for name in names}
            yield _row(metric, language, chosen, answers, subjects, scale, config)


def _self_rows(
    read: Raters,
    metrics: Sequence[str],
    subjects: Mapping[Key, Subject],
    scale: Sequence[float] | None,
    config: AgreementConfig,
) -> Iterator[Row]:
    """Each person against herself, on the items that she was shown twice, in the languages of ``_rows``."""
    for (name, again), metric in itertools.product(read.again.items(), metrics):
        second = {item: value for item, value in again.get(metric, {}).items() if item in subjects}
        languages = sorted({subjects[item].language for item in second} - {""})
        for language in ["", *(languages if len(languages) > 1 else ())]:
            items = [item for item in second if language in ("", subjects[item].language)]
            first = read.raters[name].get(metric, {})
            cells = {
                rater: {item: value for item in items if (value := cell.get(item)) is not None}
                for rater, cell in ((name, first), (f"{name}, again", second))
            }
            if all(cells.values()):
                yield _row(metric, language, cells, len(items), subjects, scale, config)


def _row(
    metric: str,
    language: str,
    cells: Mapping[str, Mapping[Key, float]],
    answers: int,
    subjects: Mapping[Key, Subject],
    scale: Sequence[float] | None,
    config: AgreementConfig,
) -> Row:
    items = {item: subjects[item] for cell in cells.values() for item in cell}
    cluster = {item: subject.unit for item, subject in items.items()}
    tasks = {subject.unit: subject.task for subject in items.values()}
    models = {item: subject.model for item, subject in items.items()}
    resamples = resample(tasks, tasks, draws=config.draws, seed=config.seed)
    scale = scale or scale_of(metric, cells.values())
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


MEAN_COLUMNS = (
    "metric", "language", "model", "first_rater", "second_rater", "n", "first", "first_low", "first_high", "second",
    "second_low", "second_high", "difference", "difference_low", "difference_high",
)  # fmt: skip
MEAN_NOTE = (
    "Mean ratings of two raters over the n answers that both rated, and the second minus the first. Intervals: "
    "bootstrap over instructions. Below 0 the second rater is stricter, above 0 kinder."
)


def _mean_rows(
    read: Raters, metrics: Sequence[str], subjects: Mapping[Key, Subject], config: AgreementConfig
) -> Iterator[dict[str, Any]]:
    """For each pair of raters, metric and language: the means over all models and of each, Figure 5 of the paper.

    Several annotators are also one rater, with the mean of their ratings, against each of the others.
    """
    tasks = {subject.unit: subject.task for subject in subjects.values()}
    resamples = resample(tasks, tasks, draws=config.draws, seed=config.seed)
    cluster = {item: subject.unit for item, subject in subjects.items()}
    raters = dict(read.raters)
    pairs = list(itertools.combinations(raters, 2))
    if len(read.people) > 1 and PEOPLE not in raters:
        raters[PEOPLE] = pooled([read.raters[name] for name in read.people])
        pairs += [(PEOPLE, name) for name in read.raters if name not in read.people]
    languages = sorted({subject.language for subject in subjects.values()} - {""})
    models = sorted({subject.model for subject in subjects.values()} - {""})
    for metric, pair, language, model in itertools.product(
        metrics,
        pairs,
        ["", *(languages if len(languages) > 1 else ())],
        ["", *(models if len(models) > 1 else ())],
    ):
        first, second = (
            {
                item: value
                for item, value in raters[name].get(metric, {}).items()
                if language in ("", subjects[item].language) and model in ("", subjects[item].model)
            }
            for name in pair
        )
        found = mean_ratings(first, second, resamples, cluster=cluster, level=config.level)
        if found["n"]:
            place = (metric, language or "all", model or "all", *pair)
            yield {**dict(zip(MEAN_COLUMNS, place, strict=False)), **found}


CONFUSION_COLUMNS = ("metric", "language", "first_rater", "second_rater", "first", "second", "count", "share")
CONFUSION_NOTE = (
    "Answers by the rating of the first and of the second rater; shares of the answers that both rated."
)


def _confusion_rows(rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
    """The confusion matrices of all pairs of raters, a row per cell."""
    for row in rows:
        counts, scale = row.agreement.confusion, row.agreement.scale
        if counts is None or len(row.raters) != 2:
            continue
        total = sum(map(sum, counts))
        for (i, first), (j, second) in itertools.product(enumerate(scale), repeat=2):
            cell = (row.metric, row.language or "all", *row.raters, f"{first:g}", f"{second:g}", counts[i][j])
            yield dict(zip(CONFUSION_COLUMNS, (*cell, counts[i][j] / total), strict=True))


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
            lines.append(f"{metric}: only one rater has a line for {len(alone)} answers (such as {such})")
    return printable("\n".join(lines))


def _print(rows: Sequence[Row], level: float, left_out: str) -> None:
    from rich.table import Table

    console = table_console(160, plain=True)
    notes: dict[str, None] = {}
    for names in dict.fromkeys(row.raters for row in rows):
        title = "agreement of " + ", ".join(names)
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        for heading in ("metric", "lang", "n", "exact", "kappa", "linear", "alpha", "AC2", "diff", "tau"):
            table.add_column(heading, overflow="fold")
        for row in rows:
            if row.raters == names:
                a = row.agreement
                intervals = (a.exact, a.kappa, a.kappa_linear, a.alpha, a.ac2, a.mean_difference, row.tau)
                notes.update((i.note, None) for i in intervals if i is not None and i.note)
                cells = [_cell(interval) for interval in intervals]
                if row.bounds is not None and row.coverage < LOW_COVERAGE:
                    cells[0] += " ({:.2f}–{:.2f})".format(*row.bounds)
                count = f"{a.n} {math.floor(100 * row.coverage)}%"
                table.add_row(printable(row.metric), row.language or "all", count, *cells)
        console.print(table)
    print_legend(
        "exact: share of equal ratings; kappa: Cohen's, quadratic weights; linear: the same with linear weights; "
        "alpha: Krippendorff's, ordinal; AC2: Gwet's second agreement coefficient, ordinal; diff: second rater minus "
        f"first; tau: Kendall's, ranking of models. {100 * level:g}% bootstrap intervals over instructions. "
        "Beside n: the share of the answers with a line of two raters that have two ratings; where it is under "
        f"{100 * LOW_COVERAGE:g}%, (bounds): exact agreement if the raters differed in, or agreed on, all others."
    )
    print_legend(*(f"* {note}" for note in notes), left_out)


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
