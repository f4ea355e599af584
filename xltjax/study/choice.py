"""The learning rate of each family of a study: ``python -m xltjax.study.choice FOLDERS... --out FOLDER``."""

from __future__ import annotations

import json
import os
from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory
from xltjax.eval.comparison import choose
from xltjax.eval.comparison.choose import ChooseSettings
from xltjax.study.tables import cell_of, is_done

RUNS = "runs.json"


def choice(config: ChooseSettings) -> None:
    """Choose by ``eval choose`` among the cells that are done, which ``runs.json`` beside the choice lists.

    A family whose cells are all of one learning rate has nothing to choose, and is left out.

    Raises:
        UserError: when no family has two rates.
    """
    if not config.scores or not config.out:
        raise UserError("call: python -m xltjax.study.choice FOLDERS... --out FOLDER")
    out = make_output_directory(Path(config.out))
    scores: defaultdict[tuple[str, str, str], list[str]] = defaultdict(list)
    for folder in map(Path, config.scores):
        if is_done(folder):
            cell = cell_of(folder)
            family = "/".join((cell["model"], cell["data"], cell["adaptation"]))
            scores[family, cell["learning_rate"], cell["seed"]].append(os.path.relpath(folder, out))
    rates = {family: {rate for other, rate, _ in scores if other == family} for family, *_ in scores}
    runs = [
        {"family": family, "learning_rate": float(rate), "seed": int(seed), "scores": folders}
        for (family, rate, seed), folders in scores.items()
        if len(rates[family]) > 1
    ]
    if not runs:
        raise UserError(
            "no model has cells of two learning rates that are done, so there is nothing to choose"
        )
    with atomic_write(out / RUNS) as file:
        file.write(json.dumps({"runs": runs}, indent=1) + "\n")
    choose.run(replace(config, scores=(), runs=str(out / RUNS)))


COMMAND = command(
    ChooseSettings, choice, name="choice", help="The best learning rate of each family of a study's cells."
)


def main() -> NoReturn:
    """Entry point of ``python -m xltjax.study.choice``."""
    execute(COMMAND, program="python -m xltjax.study.choice")


if __name__ == "__main__":
    main()
