"""The summary of scores for each model, language and metric, and the files that a command leaves."""

from __future__ import annotations

import json
import math
import statistics
from array import array
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, read_text
from xltjax.data.responses import Response
from xltjax.eval.scores import ANSWERS, ZERO_ONE, Score, read_answers, read_scores, rewrite_scores
from xltjax.eval.stats.intervals import Interval, mean_intervals, resample, wilson_interval
from xltjax.eval.stats.power import detectable_between_clustered, detectable_between_models, within_scale
from xltjax.eval.table_files import printable, write_table

LISTED_ANSWERS = 3  # ids that a summary names for each reason
LOW_COVERAGE = 0.98  # below it, tables show the bounds


@dataclass
class Unscored:
    """What some scores leave out: counts by reason, with the ids of some of the answers."""

    abstained: int = 0
    failed: int = 0
    reasons: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def add(self, score: Score) -> None:
        """Count ``score`` unless it has a value."""
        if score.value is not None:
            return
        if score.state == "abstain":
            self.abstained += 1
        else:
            self.failed += 1
        self.reasons[score.reason] += 1
        examples = self.examples.setdefault(score.reason, [])
        if len(examples) < LISTED_ANSWERS:
            examples.append(score.id)

    def row(self, metric: str, **more: Any) -> dict[str, Any]:
        """The counts as ``left_out_note`` takes them."""
        return {
            "metric": metric,
            "abstain": self.abstained,
            "failed": self.failed,
            "reasons": dict(sorted(self.reasons.items())),
            "examples": dict(sorted(self.examples.items())),
            **more,
        }


@dataclass
class _Cell:
    """The scores of one metric for one model and language."""

    # Numbers of instructions, one for each value.
    answers: array[int] = field(default_factory=lambda: array("q"))
    values: array[float] = field(default_factory=lambda: array("d"))
    seen: set[int] = field(default_factory=set)
    unscored: Unscored = field(default_factory=Unscored)


class Summary:
    """Counts, mean, bounds and 95% interval of every metric per model and language, from a stream of scores.

    The mean is over the scores that are ``ok``, and the bounds are what it would be if all others were 0, or 1.
    The interval follows from the metric (``scores.ZERO_ONE``): Wilson's for metrics of 0 and 1, and for shares the
    percentile bootstrap over instructions, in which the answers to one instruction stay together. The n of both is
    the number of instructions, by ``instruction_id``, or by ``id`` where there is none. The result does not depend
    on the order of the scores, except for the ids that are named as examples.
    """

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[str, str, str], _Cell] = defaultdict(_Cell)
        self._instructions: dict[str, int] = {}

    def add(self, response: Response, score: Score) -> None:
        """Take in one score of ``response``."""
        cell = self._cells[response.model, response.language, score.metric]
        name = response.instruction_id or response.id
        instruction = self._instructions.setdefault(name, len(self._instructions))
        cell.seen.add(instruction)
        if score.value is not None:
            cell.answers.append(instruction)
            cell.values.append(score.value)
        cell.unscored.add(score)

    def rows(self) -> list[dict[str, Any]]:
        """One row per model, language and metric, with the metrics in the order in which they were added."""
        names = list(self._instructions)
        groups: dict[tuple[str, str], dict[str, _Cell]] = {}
        for (model, language, metric), cell in sorted(self._cells.items(), key=lambda item: item[0][:2]):
            groups.setdefault((model, language), {})[metric] = cell
        return [
            {"model": model, "language": language, **row}
            for (model, language), cells in groups.items()
            for row in _group_rows(cells, names)
        ]


def _group_rows(cells: Mapping[str, _Cell], names: Sequence[str]) -> list[dict[str, Any]]:
    shares = {metric: cell for metric, cell in cells.items() if metric not in ZERO_ONE and cell.values}
    intervals: dict[str, Interval] = {}
    if shares:
        # One set of draws for all metrics of the group.
        resamples = resample(names[n] for cell in cells.values() for n in cell.seen)
        keyed = {
            metric: {
                (names[n], place): value
                for place, (n, value) in enumerate(sorted(zip(cell.answers, cell.values, strict=True)))
            }
            for metric, cell in shares.items()
        }
        cluster = {item: item[0] for cell in keyed.values() for item in cell}
        intervals = mean_intervals(keyed, resamples, cluster=cluster)
    return [_summary_row(metric, cell, intervals.get(metric)) for metric, cell in cells.items()]


def _summary_row(metric: str, cell: _Cell, interval: Interval | None) -> dict[str, Any]:
    ok = len(cell.values)
    unscored = cell.unscored
    answers = ok + unscored.abstained + unscored.failed
    scored = len(set(cell.answers))
    total = math.fsum(cell.values)
    low = high = method = None
    mean = total / ok if ok else None
    if mean is not None and metric in ZERO_ONE:
        low, high, method = *wilson_interval(mean * scored, scored), "wilson"
    elif interval is not None:
        mean = interval.estimate
        if interval.low is not None:
            low, high, method = interval.low, interval.high, "bootstrap"
    detectable, beyond = within_scale(_detectable(metric, cell, scored))
    return {
        **unscored.row(metric),
        "n": len(cell.seen),
        "n_scored": scored,
        "answers": answers,
        "ok": ok,
        "coverage": ok / answers,
        "mean": mean,
        "unscored_as_0": total / answers,
        "unscored_as_1": (total + answers - ok) / answers,
        "low": low,
        "high": high,
        "interval": method,
        "detectable": detectable,
        "not_detectable": beyond,
    }


def _detectable(metric: str, cell: _Cell, scored: int) -> float | None:
    if scored == len(cell.values):
        return detectable_between_models(Counter(cell.values), zero_one=metric in ZERO_ONE)
    by_instruction: dict[int, list[float]] = {}
    for instruction, value in sorted(zip(cell.answers, cell.values, strict=True)):
        by_instruction.setdefault(instruction, []).append(value)
    sums = np.array([math.fsum(values) for values in by_instruction.values()])
    return detectable_between_clustered(sums, np.array([float(len(v)) for v in by_instruction.values()]))


SUMMARY_COLUMNS = (
    "model", "language", "metric", "n", "n_scored", "answers", "ok", "abstain", "failed", "coverage", "mean",
    "unscored_as_0", "unscored_as_1", "low", "high", "interval", "detectable",
)  # fmt: skip


# Metrics that go by an abbreviation, and what it means.
ABBREVIATIONS = {
    "lpr": "LPR: line-level pass rate, answers of which every line of 5 tokens or more is in the expected language.",
    "wpr": "WPR: word-level pass rate, answers without an English word in any line, for languages of other scripts.",
}


def abbreviations(metrics: Collection[str]) -> list[str]:
    """What the abbreviations among ``metrics`` mean, for the text under a table."""
    return [text for metric, text in ABBREVIATIONS.items() if metric in metrics]


INTERVAL_NOTE = (
    "Intervals: 95%; Wilson's for metrics of 0 and 1, bootstrap over instructions (10,000 draws) for shares; "
    "n is the number of instructions."
)
BOUNDS_NOTE = "the mean if every answer that was not scored had 0, or 1"
DETECTABLE_NOTE = (
    "the difference from another model with as many scored answers that a two-sided test at the 5% level finds "
    "with 80% power; answers taken as independent (paired comparisons find smaller ones); "
    "none where all scores are equal, or where so few answers cannot show any difference"
)


def save_results(
    out: Path,
    scored: Iterable[tuple[Response, Iterable[Score]]],
    metrics: Collection[str],
    command: str,
    provenance: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Write ``scores.jsonl``, ``answers.jsonl`` and ``summary.{json,csv,md}``, each completely or not at all.

    The scores of other metrics that are already there stay, so that commands can share a directory.

    Args:
        out: an existing directory.
        scored: a stream of responses with their scores.
        metrics: every metric that ``scored`` may have; their old scores are replaced.
        command: the name under which ``provenance`` is kept in ``summary.json``.
        provenance: what the scores depend on besides the responses: models, dictionaries, settings.

    Returns:
        The summary's rows for ``metrics``.
    """
    summary_path = out / "summary.json"
    earlier = _read_summary(summary_path)
    summary = Summary()
    for response, score in rewrite_scores(out, scored, lambda score: score.metric in metrics):
        if response is not None:
            summary.add(response, score)
    rows = summary.rows()
    all_rows = [row for row in earlier["rows"] if row["metric"] not in metrics] + rows
    document = {
        "rows": all_rows,
        "notes": {"interval": INTERVAL_NOTE, "bounds": BOUNDS_NOTE, "detectable": DETECTABLE_NOTE},
        "provenance": {**earlier["provenance"], command: provenance},
    }
    with atomic_write(summary_path) as file:
        file.write(json.dumps(document, ensure_ascii=True, indent=1) + "\n")
    notes = (
        f"{''.join(f'{each} ' for each in abbreviations({row['metric'] for row in all_rows}))}"
        f"{INTERVAL_NOTE}\n`unscored_as_0`, `unscored_as_1`: {BOUNDS_NOTE}.\n"
        f"`detectable`: {DETECTABLE_NOTE}. Its n is `n_scored`.\n{left_out_note(all_rows)}"
    )
    write_table(out / "summary", all_rows, SUMMARY_COLUMNS, ".4f", notes)
    return rows


def check_results(out: Path, metrics: Collection[str], responses: Iterable[Response]) -> None:
    """Before hours of work, refuse a folder into which ``save_results`` would not write, or would lose scores.

    Args:
        out: the directory.
        metrics: the metrics whose scores will be replaced.
        responses: what will be scored.

    Raises:
        UserError: when it has a ``scores.jsonl``, ``answers.jsonl`` or a summary that is not ours, or scores in
            ``metrics`` of models that ``responses`` do not have.
    """
    _read_summary(out / "summary.json")
    if not (out / "summary.json").exists():  # which is written before the other forms of the summary
        for path in (out / "summary.csv", out / "summary.md"):
            if path.exists():
                raise UserError(f"{path} exists and was not written by an evaluator; choose another --out")
    if (out / ANSWERS).exists():
        for _ in read_answers(out / ANSWERS):
            pass
    if (out / "scores.jsonl").exists():
        scored = {score.model for score in read_scores(out / "scores.jsonl") if score.metric in metrics}
        if lost := sorted(scored - {response.model for response in responses} - {""}):
            raise UserError(
                f"{out} holds scores of {printable(lost[0])}, which would be lost; choose another --out, or give "
                "the responses of that model too, whose scores are then taken from there"
            )


def detectable_by_metric(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What stands under a table: the detectable difference of each metric, as the median of its rows, with their n.

    >>> detectable_by_metric([{"metric": "lpr", "n_scored": 113, "detectable": 0.187}])
    {'lpr': '18.7 (n = 113)'}
    >>> detectable_by_metric([{"metric": "lpr", "n_scored": 4, "detectable": None, "not_detectable": True}])
    {'lpr': 'not detectable with n = 4'}
    """
    found: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for row in rows:
        if row["detectable"] is not None or row.get("not_detectable"):
            found[row["metric"]].append((_or_infinite(row["detectable"]), row["n_scored"]))
    return {metric: detectable_text(pairs, 1) for metric, pairs in found.items()}


def _or_infinite(difference: float | None) -> float:
    return math.inf if difference is None else difference


def detectable_text(pairs: Sequence[tuple[float, int]], decimals: int, unit: str = "n") -> str:
    """The median of detectable differences in percentage points, and of how many answers.

    Args:
        pairs: (difference, answers) of each row; the difference is infinite where the scale has none so large.
        decimals: of the median.
        unit: what is counted.
    """
    median = statistics.median(difference for difference, _ in pairs)
    counts = f"{unit} = {count_range([n for _, n in pairs])}"
    if math.isinf(median):
        return f"not detectable with {counts}"
    return f"{100 * median:.{decimals}f} ({counts})"


def left_out(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """For each reason why answers were not scored, a line with the metrics, the counts and some of the ids."""
    counts: dict[str, Counter[str]] = {}
    examples: dict[str, list[str]] = {}
    for row in rows:
        for reason, count in row["reasons"].items():
            counts.setdefault(reason, Counter())[row["metric"]] += count
            examples.setdefault(reason, []).extend(row.get("examples", {}).get(reason, ()))
    lines = []
    for reason, metrics in sorted(counts.items()):
        listed = ", ".join(f"{metric} {count}" for metric, count in metrics.items())
        ids = list(dict.fromkeys(examples[reason]))[:LISTED_ANSWERS]
        lines.append(printable(f"{reason}: {listed}" + (f" (such as {', '.join(ids)})" if ids else "")))
    return lines


def left_out_note(rows: Sequence[Mapping[str, Any]]) -> str:
    """What stands under a table about the answers that its means leave out."""
    rows = [row for row in rows if row.get("reasons")]
    lines = left_out(rows)
    if not lines:
        return "Every answer was scored."
    abstained, lost = (sum(row[state] for row in rows) for state in ("abstain", "failed"))
    head = f"Not scored: {abstained} abstentions and {lost} failures; their lines in the file say why."
    return "\n".join([head, *(f"  {line}" for line in lines)])


def count_range(counts: Sequence[int]) -> str:
    """The smallest and the largest of some counts, or the only one."""
    least, most = min(counts), max(counts)
    return str(least) if least == most else f"{least}–{most}"


def _read_summary(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {"rows": [], "provenance": {}}
    try:
        document = json.loads(read_text(path))
        if all("metric" in row for row in document["rows"]) and isinstance(document["provenance"], dict):
            return document
    except (json.JSONDecodeError, KeyError, TypeError):
        pass
    raise UserError(f"{path} is not one of our summaries; choose another --out")
