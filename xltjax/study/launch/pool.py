"""The processes that run jobs on this machine, and the devices that each has alone.

Nothing here imports JAX, which the processes need and not who sends them jobs.
"""

from __future__ import annotations

import contextlib
import json
import selectors
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from xltjax.common.errors import UserError
from xltjax.study.identity import Record
from xltjax.study.launch.devices import gpus, has_tpu
from xltjax.study.launch.jobs import Job, Outcome

TICK = 1.0  # seconds between two looks at what is running
GRACE = 5.0  # seconds for a process to end when its input does


class Worker:
    """A process of ``study.launch.worker``, and the job that it runs.

    Args:
        environment: its environment.
        gpus: the devices that it has alone.
    """

    def __init__(self, environment: Mapping[str, str], gpus: Sequence[str] = ()) -> None:
        self.gpus = tuple(gpus)
        self.devices = 0  # for how many JAX has started in it
        self.job: Job | None = None
        # In a session of its own, Ctrl-C reaches this process alone, which passes on what it decides.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "xltjax.study.launch.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=dict(environment),
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._jobs, self.replies = self._process.stdin, self._process.stdout

    def begin(self, job: Job) -> None:
        """Send it a job."""
        self.job, self.devices = job, job.devices or self.devices
        with contextlib.suppress(BrokenPipeError):  # it has died, as its replies will say
            self._jobs.write(job.to_json() + "\n")
            self._jobs.flush()

    def outcomes(self) -> list[Outcome] | None:
        """How the stages of its job ended; None when the process has died."""
        line = self.replies.readline()
        return [Outcome(**each) for each in json.loads(line)] if line.endswith("\n") else None

    def code(self) -> int:
        """The exit code of the process, which has ended; the negative of a signal's number."""
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """End the process at once."""
        with contextlib.suppress(BrokenPipeError):
            self._jobs.close()
        try:
            self._process.wait(GRACE)
        except subprocess.TimeoutExpired:  # it hangs, for example in a file system that does not answer
            self._process.kill()
            self._process.wait()
        self.replies.close()


class Pool:
    """The processes on this machine, and the devices that they may use.

    Args:
        environment: that of the processes.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._gpus = gpus(environment)
        self._tpu = has_tpu(environment)
        self._idle: list[Worker] = []
        self.busy: list[Worker] = []

    def slots(self, devices: int) -> int:
        """How many jobs that take so many devices can run side by side."""
        return max(len(self._gpus) // max(devices, 1), 1)

    def begin(self, job: Job) -> bool:
        """Run a job if there is a place for it now."""
        worker = self._on_gpus(job) if self._gpus and job.devices else self._on_host(job)
        if worker is None:
            return False
        self.busy.append(worker)
        worker.begin(job)
        return True

    def _on_gpus(self, job: Job) -> Worker | None:
        taken = {name for worker in self.busy for name in worker.gpus}
        free = [name for name in self._gpus if name not in taken]
        wanted = min(job.devices, len(self._gpus))  # where there are too few, the stage itself says so
        if len(free) < wanted:
            return None
        chosen = free[:wanted]
        return Worker({**self._environment, "CUDA_VISIBLE_DEVICES": ",".join(chosen)}, chosen)

    def _on_host(self, job: Job) -> Worker | None:
        if any(not worker.gpus for worker in self.busy):
            return None  # one at a time: a stage uses all cores
        for worker in self._idle:
            # JAX divides the CPU into devices when it starts; a stage that uses none can run anywhere.
            if not job.devices or worker.devices in (0, job.devices):
                self._idle.remove(worker)
                return worker
        return Worker({**self._environment, "JAX_PLATFORMS": "cpu"} if self._gpus else self._environment)

    def ended(self, worker: Worker, *, alive: bool) -> None:
        """Take back a process that has ended its job, or has died."""
        self.busy.remove(worker)
        worker.job = None
        if alive and not worker.gpus and not (self._tpu and worker.devices):
            self._idle.append(worker)
        else:
            worker.end()

    def close(self) -> None:
        """End all processes."""
        for worker in [*self.busy, *self._idle]:
            worker.end()


def job_of(worker: Worker) -> Job:
    """The job that a process runs."""
    assert worker.job is not None
    return worker.job


def ready(pool: Pool) -> list[Worker]:
    """The processes that have something to say, after a moment's wait."""
    with selectors.DefaultSelector() as selector:
        for worker in pool.busy:
            selector.register(worker.replies, selectors.EVENT_READ, worker)
        return [key.data for key, _ in selector.select(TICK)]


def outcomes_of(
    outcomes: Sequence[Outcome] | None, worker: Worker, root: Path, *, stopping: bool
) -> list[Outcome]:
    """The outcomes of a job. When nothing was done, one is a failure, so that the job is not begun for ever."""
    job = job_of(worker)
    if outcomes is None:
        code = worker.code()
        reason = f"its process ended with exit code {code}"
        if code < 0:
            advice = ", perhaps because memory ran out" if code == -signal.SIGKILL else ""
            reason = f"its process was ended by {signal.Signals(-code).name}{advice}"
        outcomes = [Outcome(stage.path, "left", reason) for stage in job.stages]
    if stopping or any(outcome.state != "left" for outcome in outcomes):
        return list(outcomes)
    from xltjax.study.launch.runner import finished

    lost = next(
        (stage for stage in job.stages if not (stage.sweep and finished(stage, root / stage.path))), None
    )
    if lost is None:  # it died when all was done; the command will find that out
        return list(outcomes)
    reason = next(each.reason for each in outcomes if each.path == lost.path) or "it was interrupted"
    with contextlib.suppress(OSError, UserError):  # the disk may be full
        record = Record.read(root / lost.path)
        if record is not None and record.state == "begun":
            record.ended(reason=reason).write(root / lost.path)
    return [
        replace(each, state="failed", reason=reason) if each.path == lost.path else each for each in outcomes
    ]
