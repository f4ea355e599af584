"""``python -m xltjax.eval compare``: which model is better in which metric and language, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write, check_output_directory, parse_json, read_text
from xltjax.common.locks import lock_directory
from xltjax.common.provenance import sha256
from xltjax.common.settings import setting
from xltjax.data.responses import read_responses
from xltjax.eval.comparison.joined import Joined, join_scores
from xltjax.eval.comparison.report import notes, print_comparison, write_comparison
from xltjax.eval.comparison.rows import comparison_rows, model_pairs
from xltjax.eval.stats.intervals import resample

FILE = "compare.json"


@dataclass(frozen=True)
class CompareSettings:
    """Settings of ``compare``."""

    scores: tuple[str, ...] = setting(
        (),
        "Directories with scores.jsonl, or such files, of two or more models; NAME=PATH names a model.",
        positional=True,
        paths=True,
    )
    out: str = setting("", "Directory in which to write compare.{json,csv,md,tex}.")
    baseline: str = setting("", "Compare all other models with this one; without it, each pair of models.")
    by: tuple[str, ...] = setting(
        (),
        "Keys of the responses that divide them into groups, such as task or modifier; rows for each group.",
    )
    metrics: tuple[str, ...] = setting((), "Metrics to compare; all that two models share by default.")
    responses: tuple[str, ...] = setting(
        (),
        "The scored responses, where no answers.jsonl lies beside the scores: their language, instruction_id, task "
        "and other keys.",
        paths=True,
    )
    level: float = setting(0.95, "Level of the intervals and tests, between 0 and 1.", section="Statistics")
    draws: int = setting(
        10_000, "Resamples of the instructions, and random sign flips.", section="Statistics"
    )
    seed: int = setting(0, "Seed of the resamples.", section="Statistics")


def run(config: CompareSettings) -> None:
    """Compare the models, print the tables and write the files.

    Raises:
        UserError: for settings or files that cannot be compared.
    """
    if not config.scores:
        raise UserError("no scores given: python -m xltjax.eval compare SCORES... --out DIRECTORY")
    if not config.out:
        raise UserError("--out is missing; name the directory for compare.json and the tables")
    # A draw of power .8 makes no sense at a lower level of confidence.
    if not 0.5 <= config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be at least .5 and below 1, --draws at least 1 and --seed at least 0")
    out = Path(config.out)
    check_output_directory(out)
    _check_ours(out / FILE)
    joined = join_scores(config.scores, read_responses(config.responses) if config.responses else ())
    metrics = _metrics(joined, config.metrics)
    if config.baseline and config.baseline not in joined.models:
        raise UserError(
            f"--baseline {config.baseline!r} has no scores; {did_you_mean(config.baseline, joined.models)}"
        )
    pairs = model_pairs(joined.models, config.baseline)
    tasks = joined.tasks()
    resamples = resample(tasks, tasks, draws=config.draws, seed=config.seed)
    rows = comparison_rows(joined, metrics, pairs, config.by, resamples, config.level)
    if not any(row["n"] for row in rows):
        raise UserError("no prompt has a score of two models on the same metric; there is nothing to compare")
    told = notes(joined, rows, metrics, config.level, config.draws)
    document = {
        "models": joined.models,
        "baseline": config.baseline or None,
        "metrics": metrics,
        "by": config.by,
        "level": config.level,
        "draws": config.draws,
        "seed": config.seed,
        "instructions": len(resamples.units),
        "paired_by": joined.pairing,
        "files": {str(path): sha256(path) for path in joined.files},
        "families": {row["family"]: row["family_size"] for row in rows},
        "notes": told,
        "rows": rows,
    }
    with lock_directory(out):
        _check_ours(out / FILE)
        with atomic_write(out / FILE) as file:
            file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_comparison(out, rows, told, config.level)
    print_comparison(rows, told, config.level)
    print(f"compare.json, .csv, .md and .tex: {out}")


def _check_ours(path: Path) -> None:
    """Refuse to overwrite a file that is not a comparison of ours.

    Raises:
        UserError: which names it.
    """
    if path.exists():
        document: Any = parse_json(read_text(path), path)
        if not (isinstance(document, dict) and {"families", "paired_by", "rows"} <= document.keys()):
            raise UserError(f"{path} is not a comparison of ours; choose another --out")


def _metrics(joined: Joined, wanted: Sequence[str]) -> list[str]:
    """The metrics to compare, of those that at least two models have.

    Raises:
        UserError: when there is one model, no metric, or one that was asked for is missing.
    """
    if len(joined.models) < 2:
        raise UserError(
            f"all scores are of one model, {joined.models[0]!r}; give those of another, or name them: NAME=PATH"
        )
    shared = [
        metric
        for metric in joined.metrics
        if len({model for (name, _), cells in joined.cells.items() if name == metric for model in cells}) > 1
    ]
    for metric in wanted:
        if metric not in shared:
            raise UserError(f"metric {metric!r} is not that of two models; {did_you_mean(metric, shared)}")
    if not shared:
        raise UserError(f"no metric is that of two models; the files hold {', '.join(joined.metrics)}")
    return list(wanted) or shared


COMMAND = command(
    CompareSettings,
    run,
    name="compare",
    help="Paired comparisons of models.\n\n"
    "For each metric, language and pair of models: the difference on the instructions that both answered, with its "
    "interval, a test with Holm's correction, and the difference that could have been found. SCORES are "
    "directories in which evaluators have written scores.jsonl.",
)
