"""Submitting a study to SLURM: a job for each cell, which runs its stages one after another, and one for all cells.

submitit only carries commands there: nothing is planned in a job, and nothing is pickled but a command. The same call
later finds the jobs that are still in the queue, and submits what has failed or was canceled.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import atomic_write, read_json_object
from xltjax.study.launch.jobs import Job, unreachable
from xltjax.study.stage import Stage

if TYPE_CHECKING:  # which imports JAX
    from xltjax.study.state import State

PROGRAMS = ("sbatch", "srun", "squeue", "scancel")
FOLDER, LOGS = "slurm", "submitit"
ALL_CELLS = "all-cells"  # the job over all cells
MOST_TIMEOUTS = 1000  # a stage resumes itself, so a job may be requeued as often as its time runs out
SAVING = 80.0  # seconds for a training to end its update and save it; SLURM gives 90
DEFAULT_MINUTES = 24 * 60


class Chain:
    """The function that submitit calls in a job: a command, run as a process.

    Args:
        command: the words of the command.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self.command = list(command)

    def __call__(self) -> None:
        """Run it.

        Raises:
            RuntimeError: when it fails, so that SLURM knows.
        """
        process = self._process = subprocess.Popen(self.command)
        while process.poll() is None:  # not `wait`, in which a signal's handler could not ask for the end
            time.sleep(0.2)
        if process.returncode:
            raise RuntimeError(f"the stages ended with exit code {process.returncode}; see the log above")

    def checkpoint(self) -> Any:
        """Called before the job's time is up or it gives way to another: let a training save, and come again."""
        from submitit.helpers import DelayedSubmission

        with contextlib.suppress(AttributeError):  # it has not begun
            self._process.terminate()
            deadline = time.monotonic() + SAVING
            while self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
        return DelayedSubmission(Chain(self.command))


@dataclass(frozen=True)
class Submission:
    """What was submitted.

    Attributes:
        submitted: the ids of the new jobs by cell.
        queued: the ids of those that were in the queue before.
        ended: the logs of earlier jobs of the cells that are submitted again.
    """

    submitted: Mapping[str, str]
    queued: Mapping[str, str]
    ended: Mapping[str, Path] = field(default_factory=dict)


def submit(
    stages: Sequence[Stage], states: Mapping[str, State], root: Path, options: Sequence[str]
) -> Submission:
    """Submit a job for each cell with stages to do that is not in the queue, and one for the stages over all cells.

    Args:
        stages: all stages, those that one needs before it.
        states: the state of each stage.
        root: the folder of the study.
        options: options of sbatch as KEY=VALUE.

    Raises:
        UserError: when there is no SLURM, or it refuses a job.
    """
    parameters = read_options(options)
    executor = _executor(root)
    known, hopeless = _jobs(root), unreachable(stages, states, ())
    queue = queued_jobs(root)
    submitted: dict[str, str] = {}
    kept: dict[str, str] = {}
    logs = {
        cell: root / FOLDER / LOGS / f"{job}_0_log.out" for cell, job in known.items() if cell not in queue
    }
    chains: dict[str, list[Stage]] = {}
    for stage in stages:
        if stage.cell and states[stage.path].kind != "done" and stage.path not in hopeless:
            chains.setdefault(stage.cell, []).append(stage)
    # What is done over all cells is so of those that are done, and more will be.
    over_all = [
        stage
        for stage in stages
        if not stage.cell and stage.path not in hopeless and (chains or states[stage.path].kind != "done")
    ]
    for cell, chain in chains.items():  # a combined cell comes after those that it is made of
        needs = {
            source for stage in chain for each in stage.upstream if (source := _cell(each.stage)) != cell
        }
        if cell in queue:
            if not needs & submitted.keys():
                kept[cell] = queue[cell]
                continue
            subprocess.run(["scancel", queue[cell]], check=False)  # it would not wait for the new jobs
        jobs = [job for source in sorted(needs) if (job := submitted.get(source) or kept.get(source))]
        submitted[cell] = known[cell] = _submit(executor, cell, chain, root, _after(jobs, parameters))
        _write_jobs(root, known)
    if over_all:
        if ALL_CELLS in queue and not submitted:
            kept[ALL_CELLS] = queue[ALL_CELLS]
        else:
            if ALL_CELLS in queue:  # it would not wait for the new jobs
                subprocess.run(["scancel", queue[ALL_CELLS]], check=False)
            waiting = _after([*kept.values(), *submitted.values()], parameters)
            submitted[ALL_CELLS] = known[ALL_CELLS] = _submit(executor, ALL_CELLS, over_all, root, waiting)
            _write_jobs(root, known)
    again = submitted.keys() & chains.keys()
    return Submission(
        submitted, kept, {cell: log for cell, log in logs.items() if cell in again and log.is_file()}
    )


def _cell(path: str) -> str:
    return path.rpartition("/")[0]


def _after(jobs: Sequence[str], parameters: Mapping[str, str]) -> dict[str, str]:
    """Options with which a job waits until others have ended, well or not: its stages look what is there."""
    ours = ["afterany:" + ":".join(jobs)] if jobs else []
    wanted = [*([parameters["dependency"]] if "dependency" in parameters else []), *ours]
    return {**parameters, **({"dependency": ",".join(wanted)} if wanted else {})}


def queued_jobs(root: Path) -> dict[str, str]:
    """The ids of the jobs of the study that SLURM has not ended yet, by cell.

    A copy of the folder, or one that came from another cluster, names jobs that are none of its own.

    Raises:
        UserError: when SLURM does not say.
    """
    known = _jobs(root)
    if not known:
        return {}
    if shutil.which("squeue") is None:
        return {}
    listed = _run(["squeue", "--noheader", "--user", str(os.getuid()), "--format", "%i %T %o"])
    place, alive = (root / FOLDER).resolve(), set()
    for line in listed.splitlines():
        job, state, command = (*line.split(maxsplit=2), "", "")[:3]
        if state != "COMPLETING" and Path(command).resolve().is_relative_to(place):
            alive.add(job)
    return {cell: job for cell, job in known.items() if job in alive}


def read_options(options: Iterable[str]) -> dict[str, str]:
    """Options of sbatch from ``KEY=VALUE``, with hyphens in their names.

    Raises:
        UserError: for one that is not of this form.
    """
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not key or not equals:
            raise UserError(f"--slurm {option} is not of the form KEY=VALUE, such as partition=gpu")
        found[key.strip().removeprefix("--").replace("_", "-")] = value.strip()
    return found


def minutes(text: str) -> int:
    """A time of sbatch in minutes, rounded up: minutes, MM:SS, HH:MM:SS, or D-HH, D-HH:MM, D-HH:MM:SS.

    Raises:
        UserError: when it is none of these.
    """
    days, dash, rest = text.partition("-") if "-" in text else ("0", "", text)
    try:
        parts = [int(part) for part in rest.split(":")]
        if not 1 <= len(parts) <= 3:
            raise ValueError
        if dash:
            hours, mins, seconds = (*parts, 0, 0)[:3]
        elif len(parts) == 3:
            hours, mins, seconds = parts
        else:
            hours, (mins, seconds) = 0, (*parts, 0)[:2]
        return max(-(-(((int(days) * 24 + hours) * 60 + mins) * 60 + seconds) // 60), 1)
    except ValueError:
        raise UserError(f"--slurm time={text} is not a time, such as 720, 12:00:00 or 1-12") from None


def _executor(root: Path) -> Any:
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UserError("--launcher slurm needs submitit: pip install 'xltjax[study]'") from None
    for program in PROGRAMS:
        if shutil.which(program) is None:
            raise UserError(f"there is no SLURM here ({program} is not found); use --launcher local")
    return SlurmExecutor(root / FOLDER / LOGS, max_num_timeout=MOST_TIMEOUTS)


def _submit(
    executor: Any, name: str, stages: Sequence[Stage], root: Path, parameters: Mapping[str, str]
) -> str:
    """Submit the stages of a cell; returns the id of the job."""
    file = root / FOLDER / "chains" / f"{name}.jsonl"
    with atomic_write(file) as lines:
        lines.writelines(Job((stage,), str(root)).to_json() + "\n" for stage in stages)
    more = {key: value for key, value in parameters.items() if key != "time"}
    executor.update_parameters(
        job_name=name,
        time=minutes(parameters["time"]) if "time" in parameters else DEFAULT_MINUTES,
        additional_parameters=more,
        stderr_to_stdout=True,
        setup=["export PYTHONUNBUFFERED=1"],
    )
    try:
        job = executor.submit(Chain([sys.executable, "-m", "xltjax.study.launch.chain", str(file)]))
    except Exception as problem:  # submitit raises a type of its own with the output of sbatch
        said = [line for line in str(problem).splitlines() if "error" in line.lower()]
        raise UserError(
            f"SLURM refused the job of {name}: {said[-1] if said else first_line(problem)}"
        ) from None
    return str(job.job_id)


def _jobs(root: Path) -> dict[str, str]:
    file = root / FOLDER / "jobs.json"
    return {key: str(value) for key, value in read_json_object(file).items()} if file.is_file() else {}


def _write_jobs(root: Path, jobs: Mapping[str, str]) -> None:
    with atomic_write(root / FOLDER / "jobs.json") as file:
        json.dump(dict(jobs), file, indent=1)


def _run(command: Sequence[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UserError(f"{command[0]} failed: {first_line(RuntimeError(done.stderr.strip()))}")
    return done.stdout
