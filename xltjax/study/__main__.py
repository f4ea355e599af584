"""``python -m xltjax.study``: train, generate and score models x data x adaptations x rates x seeds."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from xltjax.common import cli
from xltjax.common.errors import UserError
from xltjax.common.files import check_output_directory
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.common.signals import StopSignal, importing

if TYPE_CHECKING:
    from xltjax.study.settings import Study
    from xltjax.study.stage import Stage
    from xltjax.study.state import State

log = logging.getLogger("xltjax")

PATIENCE = 1.0  # seconds for which a lock is tried that --status may be looking at


@dataclass(frozen=True)
class StudyConfig:
    """Settings of the command."""

    study: str = setting("", "YAML file of the study, or a shipped one such as study/paper.", positional=True)
    out: str = setting("", "Directory of the study. By default runs/NAME.")
    launcher: Literal["local", "slurm"] = setting(
        "local", "Where the stages run: on this machine, or in SLURM jobs."
    )
    slurm: tuple[str, ...] = setting(
        (),
        "sbatch option for every job, such as partition=gpu; repeatable.",
        paths=True,
        metavar="KEY=VALUE",
    )
    relevance_judge: str = setting(
        "",
        "Chat model of the LLaMA family that judges relevance, as jax:DIR or jax:ID; the same as judge_model in the "
        "section relevance. Without either, learning rates are chosen by language and spelling alone, except on the "
        "miniature, whose answers are known.",
        metavar="jax:DIR",
    )
    dry_run: bool = setting(False, "Print every stage with its state, memory and time, and exit.")
    status: bool = setting(
        False, "Print what is done, running and failed, and exit; works while the study runs."
    )


def study(config: StudyConfig) -> None:
    """Run what is not done of a study, or print its state.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    _check(config)
    with importing():  # JAX and the settings of all commands, which --help does not need
        import jax

        from xltjax.study.contents import Contents
        from xltjax.study.display import Teller, blocked
        from xltjax.study.grid import cells
        from xltjax.study.launch.local import launch
        from xltjax.study.launch.runner import wait_for
        from xltjax.study.launch.slurm import queued_jobs
        from xltjax.study.settings import read_study
        from xltjax.study.stages import prepare, stages
        from xltjax.study.state import states
        from xltjax.study.status import print_plan, print_status

    # The accelerators are for the stages, which are other processes.
    jax.config.update("jax_platforms", "cpu")
    described = _with_judge(read_study(config.study), config.relevance_judge)
    root = Path(config.out or f"runs/{described.name}")
    check_output_directory(root)
    try:
        grid = cells(described)
        every = stages(described, grid, root)
    except UserError as problem:
        raise UserError(f"{config.study}: {problem}") from None
    contents = Contents(fetch=False)
    if config.dry_run:
        print_plan(described, grid, every, states(every, root, contents), contents)
        return
    if config.status:
        print_status(grid, every, states(every, root, contents), contents, root)
        return
    with wait_for(lambda: lock_directory(root), PATIENCE), StopSignal() as stop:
        prepare(described, grid, root)
        found = states(every, root, contents)
        if config.launcher == "slurm":
            _submit(config, every, found, root)
            return
        if queued := queued_jobs(root):
            raise UserError(
                f"{len(queued)} jobs of this study are in SLURM's queue; wait until they end, cancel them, or give "
                "--launcher slurm"
            )
        for line in blocked(found):
            print(line, flush=True)
        teller = Teller(every, root, found)
        failed = launch(every, root, os.environ, teller, stop)
        left = states(every, root, contents)
    teller.conclude(left, failed, stopped=stop.asked)
    if stop.asked:
        sys.exit(128 + stop.number)
    if any(state.kind != "done" for state in left.values()):
        sys.exit(1)


def _check(config: StudyConfig) -> None:
    """Refuse a call that says nothing, or two things.

    Raises:
        UserError: saying what to give.
    """
    if not config.study:
        raise UserError(
            "call: python -m xltjax.study STUDY.yaml; shipped: study/miniature, study/paper-7b, study/paper"
        )
    if config.slurm and config.launcher != "slurm":
        raise UserError("--slurm is an option of SLURM's jobs: give --launcher slurm too")
    if config.dry_run and config.status:
        raise UserError("give --dry-run or --status, not both")


def _with_judge(described: Study, judge: str) -> Study:
    """The study with the judge of relevance that the command line names.

    Raises:
        UserError: for a judge that is none of relevance.
    """
    from xltjax.eval.judge.local.model import LOCAL_PREFIX
    from xltjax.eval.relevance import RelevanceConfig

    if not judge:
        return described
    if not judge.removeprefix(LOCAL_PREFIX) or judge.startswith("openai:"):
        raise UserError(
            f"--relevance-judge {judge} is not jax:DIR; a judge behind a server is described in the study: "
            "judge: {judge: openai:MODEL, criteria: relevance}"
        )
    settings = described.relevance or RelevanceConfig()
    return replace(described, relevance=replace(settings, judge_model=judge.removeprefix(LOCAL_PREFIX)))


def _submit(config: StudyConfig, every: Sequence[Stage], found: Mapping[str, State], root: Path) -> None:
    """Submit what is not done to SLURM, and say what was submitted."""
    from xltjax.study.display import blocked, results
    from xltjax.study.launch.slurm import submit

    submission = submit(every, found, root, config.slurm)
    for cell, job in submission.submitted.items():
        before = f"; its last job ended early: {log}" if (log := submission.ended.get(cell)) else ""
        print(f"submitted: {cell} (job {job}){before}")
    done = sum(state.kind == "done" for state in found.values())
    count, queued = len(submission.submitted), len(submission.queued)
    print(f"{done} of {len(every)} stages are done; {count} jobs submitted, {queued} were in the queue")
    lines = blocked(found)
    for line in (*results(found, root), *lines):
        print(line)
    if lines:
        sys.exit(1)


COMMAND = cli.command(
    StudyConfig,
    study,
    name="study",
    help="Train, generate, score and compare: models x data x adaptations x learning rates x seeds.",
)


main = cli.entry_point(COMMAND, "python -m xltjax.study")


if __name__ == "__main__":
    main()
