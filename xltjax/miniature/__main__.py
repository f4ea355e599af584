"""``python -m xltjax.miniature``: the whole pipeline on the miniature, by the commands that a user would type.

Three learning rates reproduce the paper's main finding on a small scale: with too low a rate the model does not
answer, and with too high a rate most answers are in English whatever the language of the question.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xltjax.common import cli
from xltjax.common.errors import UserError
from xltjax.common.files import read_jsonl, read_text
from xltjax.common.settings import setting
from xltjax.miniature.language import LANGUAGES
from xltjax.miniature.text import answer_is_right, evaluation_rows
from xltjax.miniature.world import SEED
from xltjax.training.config import rate_texts

RESPONSES = "responses.jsonl"
NEXT_STEPS = """
The same with LLaMA-2-7B on two accelerators (weights from Hugging Face, any English instruction data):

  python -m xltjax.train --config paper/llama2-7b-dolly-en-ft --mesh 2x1 --out runs/7b
  python -m xltjax.generate --model runs/7b --prompts xlt113 --out runs/7b/responses.jsonl
  python -m xltjax.eval surface runs/7b/responses.jsonl --out runs/7b/scores
  python -m xltjax.converters to-hf runs/7b runs/7b/hf
"""


@dataclass(frozen=True)
class MiniatureConfig:
    """Settings of the command."""

    learning_rates: tuple[float, ...] = setting((1e-6, 1e-4, 1e-3), "Peak learning rates to compare.")
    steps: int = setting(100, "Number of updates of instruction tuning.")
    mesh: str = setting("2x1", "Devices as DxT; CPU cores are used if there is no accelerator.")
    out: str = setting("runs/quickstart", "Directory of the runs.")


def tour(config: MiniatureConfig) -> None:
    """Build the miniature, then train, generate, evaluate and export, one command after another."""
    from xltjax.miniature.build import ensure  # with JAX, which --help does not need

    ensure()
    out = Path(config.out)
    rates = rate_texts(config.learning_rates)
    config = replace(config, learning_rates=tuple(rates))  # each once
    _run("train", "--mesh", config.mesh, "--learning-rates", ",".join(map(repr, rates)), "--steps",
         str(config.steps), "--out", str(out))  # fmt: skip
    runs = [out / f"lr-{text}" for text in rates.values()]
    for run in runs:
        responses = str(run / RESPONSES)
        # The miniature's answers are a sentence long: there is no repetition to penalize.
        _run("generate", "--model", str(run), "--prompts", "miniature", "--max-new-tokens", "32",
             "--repetition-penalty", "1", "--dtype", "float32", "--out", responses)  # fmt: skip
        _run("eval", "surface", responses, "--out", str(run / "scores"), quiet=True)
    best = runs[len(runs) // 2]
    _run("converters", "to-hf", str(best), str(out / "hf"), "--overwrite")
    _run("converters", "check", str(best), str(out / "hf"))
    _print_scores(config, runs)
    _print_answers(config, runs)
    print(f"\nexported to {out / 'hf'}: transformers.AutoModelForCausalLM.from_pretrained loads it")
    print(NEXT_STEPS)


def _run(command: str, *arguments: str, quiet: bool = False) -> None:
    """Print a command of xltjax and run it as a user would.

    Raises:
        UserError: when the command fails, after it has printed its own message.
    """
    shown = shlex.join(["python", "-m", f"xltjax.{command}", *arguments])
    print(f"\n$ {shown}", flush=True)
    done = subprocess.run(
        [sys.executable, "-m", f"xltjax.{command}", *arguments],
        stdout=subprocess.DEVNULL if quiet else None,
        check=False,
    )
    if done.returncode:
        raise UserError(f"the command above ended with exit code {done.returncode}")


def _print_scores(config: MiniatureConfig, runs: Sequence[Path]) -> None:
    """Print a table of language correctness and spelling, as the evaluators found them, and of right answers."""
    table = Table(title="Tuned on English only (paper, Figure 2): share of answers in %")
    table.add_column("learning rate")
    for column in ("answer in the right language", "words spelled right", "right answers"):
        for language in LANGUAGES:
            table.add_column(
                f"{column if language == 'en' else ''}\n{language}", justify="right", max_width=9
            )
    for rate, run in zip(config.learning_rates, runs, strict=True):
        rows = json.loads(read_text(run / "scores" / "summary.json"))["rows"]
        means = {(row["language"], row["metric"]): row["mean"] for row in rows}
        right = _right_answers(run / RESPONSES)
        cells = [means.get((language, "language_correct")) for language in LANGUAGES]
        cells += [means.get((language, "spelling")) for language in LANGUAGES]
        cells += [right[language] for language in LANGUAGES]
        table.add_row(f"{rate:g}", *("-" if value is None else f"{100 * value:.0f}" for value in cells))
    Console(width=max(Console().width, 130)).print(table)


def _right_answers(path: Path) -> dict[str, float]:
    """The share of right answers in each language, between 0 and 1."""
    expected = {row["id"]: row for row in evaluation_rows(SEED)}
    verdicts: dict[str, list[bool]] = defaultdict(list)
    for response in read_jsonl(path):
        row = expected[response["id"]]
        verdicts[row["language"]].append(answer_is_right(row, response["response"]))
    return {language: sum(found) / len(found) for language, found in verdicts.items()}


def _print_answers(config: MiniatureConfig, runs: Sequence[Path]) -> None:
    """Print one question in every language, with the answer of the model of each learning rate."""
    by_rate: list[dict[str, dict[str, Any]]] = [
        {row["id"]: row for row in read_jsonl(run / RESPONSES)} for run in runs
    ]
    console = Console()
    for language in LANGUAGES:
        key = next(key for key in by_rate[0] if key.startswith("food-") and key.endswith(f"-{language}"))
        console.print(f"\n[bold]{escape(by_rate[0][key]['instruction'])}[/bold]")
        for rate, rows in zip(config.learning_rates, by_rate, strict=True):
            console.print(f"  {rate:<7g} {escape(rows[key]['response'])}", highlight=False)


COMMAND = cli.command(
    MiniatureConfig,
    tour,
    name="miniature",
    help="Run the whole pipeline on an embedded toy world in four languages: train, generate, evaluate, export.",
)


main = cli.entry_point(COMMAND, "python -m xltjax.miniature")


if __name__ == "__main__":
    main()
