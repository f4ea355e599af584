"""The summary of scores for each model, language and metric, and the files that a command leaves."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, json_line, read_text
from xltjax.data.responses import Response
from xltjax.eval.scores import Score, read_scores
from xltjax.eval.stats.comparisons import detectable_between_models
from xltjax.eval.stats.intervals import wilson_interval
from xltjax.eval.table_files import write_table

Z_95 = 1.959963984540054  # normal quantile of a 95 % interval


@dataclass
class _Cell:
    values: Counter[float] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    abstained: int = 0
    failed: int = 0


class Summary:
    """Counts, mean and 95 % interval of every metric per model and language, gathered from a stream of scores.

    The mean is over the scores that are ``ok``. Metrics of 0 and 1 get the Wilson interval, other shares the
    normal one, mean ± 1.96 s/√n cut to [0, 1], where s is the sample standard deviation. Both take responses as
    independent, as ``detectable`` does (see ``detectable_between_models``). The values are counted rather than
    kept, so the result does not depend on their order.
    """

    def __init__(self) -> None:
        self._cells: defaultdict[tuple[str, str, str], _Cell] = defaultdict(_Cell)

    def add(self, response: Response, score: Score) -> None:
        """Take in one score of ``response``."""
        cell = self._cells[response.model, response.language, score.metric]
        if score.value is not None:
            cell.values[score.value] += 1
        elif score.state == "abstain":
            cell.abstained += 1
            cell.reasons[score.detail["reason"]] += 1
        else:
            cell.failed += 1
            cell.reasons[score.state] += 1

    def rows(self) -> list[dict[str, Any]]:
        """One row per model, language and metric, with the metrics in the order in which they were added."""
        cells = sorted(self._cells.items(), key=lambda item: item[0][:2])
        return [_summary_row(*key, cell) for key, cell in cells]


def _summary_row(model: str, language: str, metric: str, cell: _Cell) -> dict[str, Any]:
    ok = cell.values.total()
    n = ok + cell.abstained + cell.failed
    mean = math.fsum(value * count for value, count in cell.values.items()) / ok if ok else None
    low, high, method = _interval(cell.values, mean, ok)
    return {
        "model": model,
        "language": language,
        "metric": metric,
        "n": n,
        "ok": ok,
        "abstain": cell.abstained,
        "failed": cell.failed,
        "coverage": ok / n,
        "mean": mean,
        "low": low,
        "high": high,
        "interval": method,
        "detectable": detectable_between_models(cell.values),
        "reasons": dict(sorted(cell.reasons.items())),
    }


def _interval(
    values: Mapping[float, int], mean: float | None, n: int
) -> tuple[float | None, float | None, str | None]:
    if mean is None:
        return None, None, None
    if values.keys() <= {0.0, 1.0}:
        return *wilson_interval(values.get(1.0, 0), n), "wilson"
    if n < 2:
        return None, None, None
    variance = math.fsum(count * (value - mean) ** 2 for value, count in values.items()) / (n - 1)
    half = Z_95 * math.sqrt(variance / n)
    return max(0.0, mean - half), min(1.0, mean + half), "normal"


SUMMARY_COLUMNS = (
    "model", "language", "metric", "n", "ok", "abstain", "failed", "coverage", "mean", "low", "high", "interval",
    "detectable",
)  # fmt: skip


INTERVAL_NOTE = (
    "Intervals: 95 %; Wilson's for metrics of 0 and 1, normal (mean ± 1.96 s/√n) for shares; answers taken as "
    "independent."
)
DETECTABLE_NOTE = (
    "the difference from another model with as many scored answers that a two-sided test at the 5 % level finds "
    "with 80 % power; answers taken as independent (paired comparisons find smaller ones); "
    "none where all scores are equal"
)


def save_results(
    out: Path,
    scored: Iterable[tuple[Response, Iterable[Score]]],
    metrics: Collection[str],
    command: str,
    provenance: Mapping[str, Any],
) -> list[dict[str, Any]]:
    """Write ``scores.jsonl`` and ``summary.{json,csv,md}`` under ``out``, each completely or not at all.

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
    scores_path, summary_path = out / "scores.jsonl", out / "summary.json"
    earlier = _read_summary(summary_path)
    summary = Summary()
    with atomic_write(scores_path) as file:
        if scores_path.exists():
            for score in read_scores(scores_path):
                if score.metric not in metrics:
                    file.write(json_line(score.row()))
        for response, scores in scored:
            for score in scores:
                file.write(json_line(score.row()))
                summary.add(response, score)
    rows = summary.rows()
    all_rows = [row for row in earlier["rows"] if row["metric"] not in metrics] + rows
    document = {
        "rows": all_rows,
        "notes": {"interval": INTERVAL_NOTE, "detectable": DETECTABLE_NOTE},
        "provenance": {**earlier["provenance"], command: provenance},
    }
    with atomic_write(summary_path) as file:
        file.write(json.dumps(document, ensure_ascii=True, indent=1) + "\n")
    notes = f"{INTERVAL_NOTE}\n`detectable`: {DETECTABLE_NOTE}. n is `ok`."
    write_table(out / "summary", all_rows, SUMMARY_COLUMNS, ".4f", notes)
    return rows


def check_results(out: Path) -> None:
    """Before hours of work, refuse a folder into which ``save_results`` would not write.

    Raises:
        UserError: when it has a ``scores.jsonl`` or ``summary.json`` that is not ours.
    """
    _read_summary(out / "summary.json")
    if (out / "scores.jsonl").exists():
        for _ in read_scores(out / "scores.jsonl"):
            pass


def detectable_by_metric(rows: Iterable[Mapping[str, Any]]) -> dict[str, str]:
    """What stands under a table: the detectable difference of each metric, as the median of its rows, with their n.

    >>> detectable_by_metric([{"metric": "lpr", "ok": 113, "detectable": 0.187}])
    {'lpr': '18.7 (n 113)'}
    """
    found: defaultdict[str, list[tuple[float, int]]] = defaultdict(list)
    for row in rows:
        if row["detectable"] is not None:
            found[row["metric"]].append((row["detectable"], row["ok"]))
    return {
        metric: f"{median_points([value for value, _ in pairs], 1)} (n {count_range([n for _, n in pairs])})"
        for metric, pairs in found.items()
    }


def median_points(values: Sequence[float], decimals: int) -> str:
    """The median of some differences between shares, in percentage points."""
    points = 100 * statistics.median(values)
    return f"{points:.{decimals}f}" if points <= 100 else ">100"


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
    raise UserError(f"{path} is not a summary of ours; choose another --out")
