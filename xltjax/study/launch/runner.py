"""Running a job in this process: its stages are identified, begun, run and written down.

Every launcher comes through here. A stage that was interrupted continues, since every command resumes its files.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from xltjax.__main__ import PACKAGES
from xltjax.common.errors import UserError
from xltjax.common.locks import lock_file
from xltjax.study.contents import MODELS, WEIGHTS, Contents, output, trained
from xltjax.study.identity import Record, set_aside, told
from xltjax.study.launch.jobs import Job, Outcome, shown
from xltjax.study.stage import Stage
from xltjax.study.state import identity_of

PATIENCE = 30.0  # seconds for which we wait for a process that is just dying to let a stage go
INTERRUPTED = (130, 143)


def run(job: Job) -> list[Outcome]:
    """Run the stages of a job that can be begun, and write down how each ended."""
    outcomes: list[Outcome] = []
    try:
        _run(job, outcomes)
    except OSError as problem:  # the log or a record, such as when the disk is full
        reason = f"{problem.filename or job.log} cannot be written: {problem.strerror}"
        ended = {outcome.path for outcome in outcomes}
        outcomes += [Outcome(each.path, "failed", reason) for each in job.stages if each.path not in ended]
    return outcomes


def _run(job: Job, outcomes: list[Outcome]) -> None:
    root, began = Path(job.root), time.monotonic()
    notes: dict[str, str] = {}
    begun: list[Stage] = []
    contents = Contents(fetch=True)
    with contextlib.ExitStack() as held, printing_to(job.log):
        for stage in job.stages:
            try:
                held.enter_context(wait_for(partial(lock_file, root / stage.path), PATIENCE))
                note = _begin(stage, root, job, contents)
                if note is None:
                    outcomes.append(Outcome(stage.path, "done"))
                    continue
                notes[stage.path] = note
                begun.append(stage)
            except (UserError, OSError) as problem:
                reason = str(problem)
                if isinstance(problem, OSError) and problem.filename:
                    reason = f"{problem.filename} cannot be written: {problem.strerror}"
                with contextlib.suppress(OSError):  # the disk may be full
                    print(f"error: {reason}", file=sys.stderr)
                outcomes.append(Outcome(stage.path, "failed", _one_line(reason)))
        if begun:
            start, words = _size(job.log), _words(job, begun, root)
            print(f"\n$ {shown(words)}", flush=True)
            code = call(words)
            seconds = (time.monotonic() - began) / len(begun)
            _end(outcomes, begun, root, code, seconds, _complaint(job.log, start, code), notes)
        gc.collect()  # the arrays of a model are on circles of references


def _words(job: Job, stages: Sequence[Stage], root: Path) -> list[str]:
    """The command for those stages that could begin, without the folders of cells that are not done."""
    read = (root / each.stage for stage in stages if stage.partial for each in stage.upstream)
    lost = {str(folder) for folder in read if Record.of_done(folder) is None}
    return [word for word in job.command(stages) if word not in lost]


def _begin(stage: Stage, root: Path, job: Job, contents: Contents) -> str | None:
    """Write down that a stage begins; another result in its folder is set aside, and what is returned says so.

    None when the stage is done, because another process was faster.

    Raises:
        UserError: for an input that is not there.
    """
    directory, note = root / stage.path, ""
    now = identity_of(stage, root, contents)
    before = Record.read(directory)
    if before is not None:
        changes = now.changes(before.identity, stage.defaults)
        # A result that was changed by hand, or of which a part is gone, must not be mixed with a new one.
        if not changes and before.state == "done":
            changes = _spoiled(stage, directory, before)
            if not changes and all(output(directory, name) is not None for name in stage.outputs):
                return None
        if changes:
            place = set_aside(directory)
            note = f"{told(changes)}; the old result is kept in {place}"
    Record(now, command=shown(job.command([stage]))).write(directory)
    return note


def _spoiled(stage: Stage, directory: Path, before: Record) -> list[str]:
    changed = []
    for name in stage.outputs:
        now = output(directory, name)
        if now is not None and name not in MODELS and now != before.outputs.get(name):
            changed.append(f"{name} was changed")
    return changed


def _end(
    outcomes: list[Outcome], stages: Sequence[Stage], root: Path, code: int, seconds: float, complaint: str,
    notes: dict[str, str],
) -> None:  # fmt: skip
    """Write down how the stages of a command ended. The first of a sweep that is not complete has failed."""
    stopped = False
    for stage in stages:
        directory = root / stage.path
        record = Record.read(directory)
        assert record is not None
        if finished(stage, directory, code):
            outputs = {name: str(output(directory, name)) for name in stage.outputs}
            record.ended(outputs=outputs, seconds=seconds).write(directory)
            outcomes.append(Outcome(stage.path, "done", "", seconds, notes[stage.path]))
        elif stopped or code in INTERRUPTED:
            outcomes.append(Outcome(stage.path, "left", "", seconds, notes[stage.path]))
        else:
            record.ended(reason=complaint, seconds=seconds).write(directory)
            outcomes.append(Outcome(stage.path, "failed", complaint, seconds, notes[stage.path]))
            stopped = True


def finished(stage: Stage, directory: Path, code: int = 0) -> bool:
    """Whether a stage is complete, after its command has ended with ``code``."""
    if WEIGHTS in stage.outputs:
        return trained(directory, stage.settings["steps"])
    return code == 0 and all((directory / name).exists() for name in stage.outputs)


def call(words: Sequence[str]) -> int:
    """Run a command of xltjax in this process, as ``python -m xltjax.<words>`` would; returns its exit code."""
    name = words[0]
    module = importlib.import_module(f"xltjax.{name}.__main__" if name in PACKAGES else f"xltjax.{name}")
    before, sys.argv = sys.argv, [f"python -m xltjax.{name}", *words[1:]]
    try:
        module.main()
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except Exception:
        traceback.print_exc()
        return 1
    finally:
        sys.argv = before
    return 0


@contextlib.contextmanager
def printing_to(path: Path) -> Iterator[None]:
    """Add to the end of a file what this process and those it starts print meanwhile."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", errors="backslashreplace", buffering=1) as log:
        _flush()
        before = [os.dup(number) for number in (1, 2)]
        try:
            for number in (1, 2):  # for libraries in C and for other processes
                os.dup2(log.fileno(), number)
            with contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
                yield
        finally:
            for number, handle in zip((1, 2), before, strict=True):
                os.dup2(handle, number)
                os.close(handle)


@contextlib.contextmanager
def wait_for(lock: Callable[[], Any], patience: float) -> Iterator[None]:
    """Hold a lock, which a process that was just killed may still have for a moment.

    Args:
        lock: makes the context manager that holds the lock, or raises ``UserError``.
        patience: for how many seconds to try.

    Raises:
        UserError: when another process still has it then.
    """
    deadline = time.monotonic() + patience
    with contextlib.ExitStack() as held:
        while True:
            try:
                held.enter_context(lock())
                break
            except UserError as problem:
                if "another command" not in str(problem) or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield


def _complaint(log: Path, start: int, code: int) -> str:
    """What a command that failed said, in one line: its error, or else the last thing that it printed."""
    _flush()
    with log.open("rb") as file:
        file.seek(start)
        lines = [line for line in file.read().decode("utf-8", "replace").splitlines() if line.strip()]
    errors = [line.removeprefix("error: ") for line in lines if line.startswith("error: ")]
    said = errors or lines[1:]  # the first line is the command
    return _one_line(said[-1]) if said else f"the command ended with exit code {code}"


def _size(log: Path) -> int:
    _flush()
    return log.stat().st_size


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _one_line(text: str) -> str:
    return " ".join(text.split())[:400]
