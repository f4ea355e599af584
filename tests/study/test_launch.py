"""The command as processes: killed at any instant, interrupted, called twice, and asked how it stands."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
from helpers.small_study import SmallStudy, command, kill, results

from xltjax.common.locks import holder
from xltjax.study.launch import pool

CELLS = ("tiny/dolly/ft/lr-0.001/seed-0", "tiny/dolly/ft/lr-0.01/seed-0")
LONGEST = 120.0  # seconds after which a test that waits fails


def wait_until(holds: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    """Wait until ``holds`` says so, or the process has ended."""
    deadline = time.monotonic() + LONGEST
    while not holds() and (process is None or process.poll() is None):
        assert time.monotonic() < deadline
        time.sleep(0.002)


def worker_of(root: Path) -> int:
    """The process that runs a stage now, as the stages' locks say; 0 when there is none."""
    for lock in root.glob("*/*/*/*/*/.*.lock"):
        if found := re.match(r"process (\d+)", holder(lock)):
            return int(found[1])
    return 0


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def test_killed_parents_and_workers_leave_what_the_same_command_finishes_bit_for_bit(
    finished_study: Path, tmp_path: Path
) -> None:
    file, root = finished_study / "small.yaml", tmp_path / "out"
    first = command(file, root)
    wait_until(lambda: worker_of(root), first)
    worker = worker_of(root)
    second = command(file, root)  # two at once
    said = second.communicate()[0]
    assert second.returncode == 2
    assert re.fullmatch(rf"error: {re.escape(str(root))} is being written by another command \(.*\n", said)
    kill(first.pid)
    first.communicate()
    wait_until(lambda: not alive(worker))  # no stage outlives its parent

    third = command(file, root)
    wait_until(lambda: (root / CELLS[0] / "generate" / "identity.json").exists() and worker_of(root), third)
    kill(worker_of(root))
    said = third.communicate()[0]
    assert third.returncode == 1
    failures = re.findall(r"^failed: (\S+): its process was ended by SIGKILL.*$", said, re.MULTILINE)
    assert len(set(failures)) == 1
    assert "stages are done" in said

    SmallStudy(file, root).finish()  # in this process, with the same result
    assert results(root) == results(finished_study / "out")


@pytest.mark.slow
def test_ten_kills_at_random_instants_change_no_bit(finished_study: Path, tmp_path: Path) -> None:
    file, expected = finished_study / "small.yaml", results(finished_study / "out")
    draw, kills, studies = random.Random(0), 0, 1
    began = time.monotonic()
    assert command(file, tmp_path / "0").wait() == 0
    assert results(tmp_path / "0") == expected
    takes = time.monotonic() - began
    while kills < 10:
        root = tmp_path / str(studies)
        process = command(file, root)
        of_worker = kills % 2 == 1
        if of_worker:
            wait_until(partial(worker_of, root), process)
        time.sleep(draw.uniform(0, 0.3 if of_worker else 0.8) * takes)
        target = worker_of(root) if of_worker else process.pid
        if target and process.poll() is None:
            kill(target)
            kills += 1
        if process.wait() == 0:  # it was faster than the kill, and the next one begins another study
            assert results(root) == expected
            studies += 1
    process = command(file, tmp_path / str(studies))
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert results(tmp_path / str(studies)) == expected


def test_a_process_that_hangs_does_not_keep_the_study_from_ending(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "GRACE", 0.1)
    worker = pool.Worker(os.environ)
    worker.signal(signal.SIGSTOP)
    worker.end()
    assert worker.code() == -signal.SIGKILL


def test_a_signal_ends_the_study_and_leaves_the_rest_to_do(finished_study: Path, tmp_path: Path) -> None:
    root = tmp_path / "out"
    process = command(finished_study / "small.yaml", root)
    wait_until(lambda: worker_of(root), process)
    worker = worker_of(root)
    process.send_signal(signal.SIGINT)
    said = process.communicate()[0]
    assert process.returncode == 130
    assert "the same command continues" in said.splitlines()[-1]
    assert not alive(worker)
    assert {state.kind for state in SmallStudy(finished_study / "small.yaml", root).states().values()} >= {
        "to do"
    }
