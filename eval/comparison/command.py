"""``python -m xltjax.eval compare``: which model is better in which metric and language, and how sure that is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write, check_output_directory, parse_json, read_json_object, read_text
from xltjax.common.locks import lock_directory
from xltjax.common.provenance import sha256
from xltjax.common.settings import setting
from xltjax.eval.comparison.joined import Joined, find_scores, join_scores
from xltjax.eval.comparison.report import notes, print_comparison, write_comparison
from xltjax.eval.comparison.rows import comparison_rows, model_pairs
from xltjax.eval.evaluator import ResponsesConfig
from xltjax.eval.judge.chosen import JudgeChoice, mean
from xltjax.eval.stats.intervals import resample

FILE, FORMS = "compare.json", (".csv", ".md", ".tex")
KEYS = frozenset(("families", "paired_by", "rows"))


@dataclass(frozen=True)
class CompareConfig(ResponsesConfig):
    """Settings of ``compare``."""

    scores: tuple[str, ...] = setting(
        (),
        "scores.jsonl, or directories with one, of two or more models. NAME=PATH names a model.",
        positional=True,
        paths=True,
    )
    out: str = setting("", "Directory for compare.{json,csv,md,tex}.")
    baseline: str = setting("", "Compare all other models with this one. By default every pair of models.")
    by: tuple[str, ...] = setting(
        (),
        "Also compare within groups of responses, by keys such as task or modifier.",
    )
    metrics: tuple[str, ...] = setting((), "Metrics to compare. By default all that two models share.")
    responses: tuple[str, ...] = setting(
        (),
        "The scored responses, for scores without an answers.jsonl: they supply language, instruction_id, task and "
        "other keys.",
        paths=True,
    )
    split: str = setting(
        "", "The choice.json of `choose`: leave out the instructions on which learning rates were chosen."
    )
    judge: str = setting("", "Use only the scores of this judge, if there are several.")
    repeat: int | None = setting(
        None, "Use only this repeat of a judge, counted from 0. By default the mean of all."
    )
    level: float = setting(
        0.95, "Confidence level of the intervals and tests, between 0 and 1.", section="Statistics"
    )
    draws: int = setting(
        10_000,
        "Number of bootstrap resamples of the instructions, and of random sign flips.",
        section="Statistics",
    )
    seed: int = setting(0, "Random seed of the resamples.", section="Statistics")


def run(config: CompareConfig) -> None:
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
    check_ours(out, FILE, KEYS, FORMS)
    joined = join_scores(
        map(find_scores, config.scores),
        config.read_files(config.responses) if config.responses else (),
        read_left_out(Path(config.split)) if config.split else (),
        JudgeChoice(config.judge, config.repeat, mean),
    )
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
        "split": config.split or None,
        "judges": {metric: joined.judges[metric][0] for metric in metrics if metric in joined.judges},
        "repeat": config.repeat,
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
        check_ours(out, FILE, KEYS, FORMS)
        with atomic_write(out / FILE) as file:
            file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_comparison(out, rows, told, config.level)
    print_comparison(rows, told, config.level)
    print(f"compare.json, .csv, .md and .tex: {out}")


def read_left_out(path: Path) -> frozenset[str]:
    """The instructions of a ``choice.json`` on which rates were chosen and which final numbers should not use.

    Raises:
        UserError: when it is not one.
    """
    document = read_json_object(path)
    sides = [document.get(name) for name in ("selection", "evaluation")]
    if not all(isinstance(side, list) and all(isinstance(name, str) for name in side) for side in sides):
        raise UserError(f"{path} is not a choice.json with the instructions that were used to choose")
    return frozenset(sides[0] or ()) - frozenset(sides[1] or ())


def check_ours(out: Path, name: str, keys: frozenset[str], forms: Sequence[str]) -> None:
    """Refuse to overwrite files that this command did not write.

    Args:
        out: the directory of the results.
        name: the results' JSON file, which is written before the tables.
        keys: some of its keys.
        forms: the suffixes of the tables beside it.

    Raises:
        UserError: which names the file.
    """
    path = out / name
    if path.exists():
        document: Any = parse_json(read_text(path), path)
        if not (isinstance(document, dict) and keys <= document.keys()):
            raise UserError(f"{path} was not written by this command; choose another --out")
        return
    for each in (path.with_suffix(form) for form in forms):
        if each.exists():
            raise UserError(f"{each} exists and was not written by this command; choose another --out")


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
            raise UserError(
                f"metric {metric!r} does not have scores of two models; {did_you_mean(metric, shared)}"
            )
    if not shared:
        raise UserError(f"no metric has scores of two models; the files hold {', '.join(joined.metrics)}")
    for metric in list(wanted) or shared:
        judges = joined.judges.get(metric, ())
        if len(judges) > 1:
            raise UserError(
                f"{metric} was scored by several judges ({', '.join(map(repr, judges))}); choose one: --judge NAME"
            )
    return list(wanted) or shared


COMMAND = command(
    CompareConfig,
    run,
    name="compare",
    help="Compare models, pair by pair.\n\n"
    "For each metric, language and pair of models, computes the difference on the instructions that both answered, "
    "with its interval, a test with Holm's correction, and the smallest difference that could have been detected.",
)
