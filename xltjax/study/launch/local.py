"""Running a study on this machine: cells one after another, or side by side where there are several accelerators.

Without accelerators, one process runs the stages of all cells, so that nothing is imported or compiled twice. On
accelerators every stage gets a process and devices of its own. No process outlives this one.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from xltjax.common.signals import StopSignal
from xltjax.study.contents import Contents
from xltjax.study.launch.jobs import Job, Outcome, next_jobs
from xltjax.study.launch.pool import Pool, job_of, outcomes_of, ready
from xltjax.study.stage import Stage
from xltjax.study.state import states


class Watcher(Protocol):
    """Is told what happens."""

    def begun(self, job: Job) -> None:
        """A job has begun."""

    def ended(self, outcome: Outcome) -> None:
        """A stage has ended."""

    def waiting(self, jobs: Sequence[Job]) -> None:
        """Some time has passed with these jobs."""


def launch(
    stages: Sequence[Stage], root: Path, environment: Mapping[str, str], watcher: Watcher, stop: StopSignal
) -> dict[str, str]:
    """Run every stage that can be run, those of one cell after another.

    Args:
        stages: all stages, those that one needs before it.
        root: the folder of the study.
        environment: that of the processes.
        watcher: is told what happens.
        stop: after a signal the training runs end their update and save it, and nothing else is begun.

    Returns:
        The paths of the stages that have failed, each with the reason.
    """
    pool, contents, failed = Pool(environment), Contents(fetch=False), dict[str, str]()
    slots = pool.slots(max((stage.devices for stage in stages if stage.kind == "train"), default=1))
    told = False
    with contextlib.closing(pool):
        while True:
            found = states(stages, root, contents)
            if not stop.asked:
                begun = [stage.path for worker in pool.busy for stage in job_of(worker).stages]
                for job in next_jobs(stages, found, root, begun=begun, failed=failed, slots=slots):
                    if pool.begin(job):
                        watcher.begun(job)
            if not pool.busy:
                return failed
            while not (found_ready := ready(pool)):
                if stop.asked and not told:
                    told = True
                    for worker in pool.busy:
                        worker.signal(signal.SIGTERM)
                watcher.waiting([job_of(worker) for worker in pool.busy])
            for worker in found_ready:
                outcomes = worker.outcomes()
                for outcome in outcomes_of(outcomes, worker, root, stopping=stop.asked):
                    if outcome.state == "failed":
                        failed[outcome.path] = outcome.reason
                    watcher.ended(outcome)
                pool.ended(worker, alive=outcomes is not None)
