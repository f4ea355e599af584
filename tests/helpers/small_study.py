"""A study of two cells with a tiny random model, and its stages run in this process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from xltjax.miniature.text import instruction_rows
from xltjax.study.contents import Contents
from xltjax.study.grid import Cell, cells
from xltjax.study.launch.jobs import Outcome, next_jobs
from xltjax.study.launch.runner import run
from xltjax.study.settings import Study, read_study
from xltjax.study.stage import Stage
from xltjax.study.stages import prepare, stages
from xltjax.study.state import State, states

QUESTIONS = {"en": ("Name a thing.", "What is blue?"), "fr": ("Nomme une chose.", "Qu'est-ce qui est bleu ?")}
MODIFIERS = {
    "briefly": {
        "texts": {"en": "Keep it short.", "fr": "Fais court."},
        "instructions": ["prompts-1"],
    }
}


def write_study(folder: Path, model: Path, **changes: Any) -> Path:
    """The file of a study of two rates, with data and prompts beside it; ``changes`` replace its sections."""
    folder.mkdir(parents=True, exist_ok=True)
    prompts = folder / "prompts"
    prompts.mkdir(exist_ok=True)
    for language, questions in QUESTIONS.items():
        rows = [
            {"instruction_id": f"prompts-{n}", "instruction": question}
            for n, question in enumerate(questions)
        ]
        (prompts / f"{language}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (prompts / "modifiers.yaml").write_text(yaml.safe_dump(MODIFIERS))
    data = folder / "dolly.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:24]))
    values = {
        "models": {"tiny": str(model)},
        "data": {"dolly": str(data)},
        "learning_rates": [1e-3, 1e-2],
        "train": {
            "precision": "float32", "sequence_length": 128, "tokens_per_batch": 128, "accumulation": 1, "steps": 4,
            "save_every": 2, "keep": 1,
        },
        "generate": {
            "prompts": str(prompts), "max_new_tokens": 4, "batch_size": 4, "dtype": "float32", "modifiers": True,
        },
        "report": False,  # which takes longer than all the rest
        **changes,
    }  # fmt: skip
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


class SmallStudy:
    """A study in a folder, as one call of the command would see it."""

    def __init__(self, file: Path, root: Path) -> None:
        self.root = root
        self.study: Study = read_study(str(file))
        self.cells: list[Cell] = cells(self.study)
        self.stages: list[Stage] = stages(self.study, self.cells, root)

    def states(self) -> dict[str, State]:
        return states(self.stages, self.root, Contents(fetch=False))

    def finish(self) -> list[Outcome]:
        """Run in this process what is not done."""
        prepare(self.study, self.cells, self.root)
        outcomes: list[Outcome] = []
        while True:
            failed = [each.path for each in outcomes if each.state == "failed"]
            jobs = next_jobs(self.stages, self.states(), self.root, begun=(), failed=failed, slots=1)
            if not jobs:
                return outcomes
            outcomes += run(jobs[0])


def results(root: Path) -> dict[str, bytes]:
    """The responses, scores and tables of a study by their paths in it, without what was set aside."""
    names = ("responses.jsonl", "scores.jsonl", "cells.csv")
    found = (path for name in names for path in root.rglob(name))
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in sorted(found)
        if ".old-" not in path.parent.name
    }


def command(file: Path, root: Path, *flags: str, environment: Mapping[str, str] | None = None) -> Any:
    """The command as a process in a session of its own, whose output is a pipe."""
    return subprocess.Popen(
        [sys.executable, "-m", "xltjax.study", str(file), "--out", str(root), *flags],
        stdout=subprocess.PIPE,  # a pipe holds all that such a small study prints
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, **(environment or {})},
        start_new_session=True,
    )


def kill(process: int) -> None:
    os.kill(process, signal.SIGKILL)
