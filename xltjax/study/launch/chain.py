"""Running the stages of one cell, one after another: ``python -m xltjax.study.launch.chain FILE``.

The file has a job on each line, as ``Job.to_json`` writes it. Nothing is planned here: a stage whose inputs were not
made is left out, and the exit code is 1 when one failed or was left out.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from xltjax.common.signals import StopSignal
from xltjax.study.identity import Record
from xltjax.study.launch.jobs import Job, Outcome
from xltjax.study.launch.pool import Pool, Worker, outcomes_of, ready


def run_chain(jobs: Sequence[Job], stop: StopSignal) -> list[Outcome]:
    """Run the jobs in order; after a signal the running stage is asked to end, and no other begins."""
    outcomes: list[Outcome] = []
    with contextlib.closing(Pool(os.environ)) as pool:
        for job in jobs:
            if stop.asked or not _ready_to_begin(job):
                outcomes += [Outcome(stage.path, "left", "what it reads is not done") for stage in job.stages]
                continue
            pool.begin(job)
            worker = _wait(pool, stop)
            ended = worker.outcomes()
            outcomes += outcomes_of(ended, worker, Path(job.root), stopping=stop.asked)
            pool.ended(worker, alive=ended is not None)
    return outcomes


def _wait(pool: Pool, stop: StopSignal) -> Worker:
    """Wait until the process of the job has something to say, and pass on the first signal that comes meanwhile."""
    told = False
    while not (found := ready(pool)):
        if stop.asked and not told:
            told = True
            pool.busy[0].signal(signal.SIGTERM)
    return found[0]


def _ready_to_begin(job: Job) -> bool:
    """Whether the stages that those of the job read are done; a stage over all cells makes do with some."""
    for stage in job.stages:
        done = [Record.of_done(Path(job.root) / each.stage) is not None for each in stage.upstream]
        if not (any(done) if stage.partial else all(done)):
            return False
    return True


def main() -> NoReturn:
    """Run the jobs of the file."""
    # SLURM sends it before the time is up; who has started this process then sends SIGTERM.
    signal.signal(signal.SIGUSR2, signal.SIG_IGN)
    lines = Path(sys.argv[1]).read_text(encoding="utf-8").splitlines()
    with StopSignal() as stop:
        outcomes = run_chain([Job.from_json(line) for line in lines], stop)
    for each in outcomes:
        print(f"{each.state}: {each.path}{f': {each.reason}' if each.reason else ''}", flush=True)
    sys.exit(128 + stop.number if stop.asked else int(any(each.state != "done" for each in outcomes)))


if __name__ == "__main__":
    main()
