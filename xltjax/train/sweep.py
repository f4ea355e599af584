"""What a sweep over learning rates final with: a table of its runs, and the commands that continue."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from xltjax.common.files import read_jsonl
from xltjax.training.config import TrainConfig
from xltjax.training.metrics import FinalMetrics
from xltjax.training.run import Run


def print_sweep(config: TrainConfig) -> None:
    """Print how the runs of a sweep have ended, as far as they have come."""
    table = Table("rate", "updates", "final loss", "validation loss", "lowest (at)", "language")
    for each in config.runs():
        run = Run(each.out)
        final = FinalMetrics.of(run.metrics)
        if final is None:
            continue
        lowest = f"{final.lowest[0]:.4f} ({final.lowest[1]})" if final.lowest else "-"
        validation = "-" if final.validation_loss is None else f"{final.validation_loss:.4f}"
        table.add_row(
            f"{each.learning_rate:g}",
            str(final.step),
            f"{final.loss:.4f}",
            validation,
            lowest,
            _language(run),
        )
    Console().print(table)


def _language(run: Run) -> str:
    """How many of the newest sample answers are in the language of their prompt.

    It needs the [eval] extra, which is not installed everywhere that models are trained.
    """
    if not run.samples_file.is_file():
        return "-"
    try:
        from xltjax.eval.language import language_correct, load_identifier
        from xltjax.eval.scores import Unavailable
    except ImportError:
        return "needs 'xltjax[eval]'"
    identifier = load_identifier(None)
    if isinstance(identifier, Unavailable):
        return "needs 'xltjax[eval]'"
    rows = read_jsonl(run.samples_file)
    newest = [row for row in rows if row["step"] == rows[-1]["step"]]
    right = [
        language_correct(row["id"], row["response"], row["language"], identifier).value
        for row in newest
        if row["language"] in identifier.languages
    ]
    undecided = len(newest) - right.count(1) - right.count(0)
    return f"{right.count(1)} of {len(newest)} right" + (f", {undecided} undecided" if undecided else "")


def generation(out: str, prompts: str) -> str:
    """The command that asks a model; ``out`` as a shell reads it."""
    return f"python -m xltjax.generate --model {out} --prompts {prompts} --out {out}/responses.jsonl"


def print_next(runs: Sequence[Path], prompts: str) -> None:
    """Print the commands that answer and score with each model of a sweep, and choose among them."""
    places = " ".join(shlex.quote(str(run)) for run in runs)
    answers = " ".join(shlex.quote(f"{run}/responses.jsonl") for run in runs)
    scores = shlex.quote(f"{runs[0].parent}/scores")
    command = generation('"$run"', prompts)
    print(f"next:    for run in {places}; do {command}; done")
    print(f"then:    python -m xltjax.eval surface {answers} --out {scores}")
