"""Where jobs run: on devices of their own, in one process on a CPU, and in jobs of SLURM that come again."""

from __future__ import annotations

import dataclasses
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from xltjax.study.launch import pool as processes
from xltjax.study.launch.devices import gpus
from xltjax.study.launch.jobs import Job
from xltjax.study.launch.slurm import Chain
from xltjax.study.stage import Stage

TRAIN = Stage(
    "m/d/ft/lr-1/seed-0/train", "train", "1", {"steps": 1}, {}, (), (), ("weights",), ("train",), devices=2
)


class FakeWorker:
    """Stands for a process."""

    def __init__(self, environment: Mapping[str, str], gpus: Sequence[str] = ()) -> None:
        self.environment, self.gpus, self.devices, self.job = environment, tuple(gpus), 0, None

    def begin(self, job: Any) -> None:
        self.job, self.devices = job, job.devices or self.devices

    def end(self) -> None:
        pass


@pytest.fixture(autouse=True)
def no_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "Worker", FakeWorker)
    monkeypatch.setattr(processes, "has_tpu", lambda environment: False)


def job(devices: int) -> Job:
    return Job((dataclasses.replace(TRAIN, devices=devices),), "root")


def test_gpus_are_those_that_the_user_shows() -> None:
    assert gpus({"CUDA_VISIBLE_DEVICES": "2, 5"}) == ["2", "5"]
    assert gpus({"CUDA_VISIBLE_DEVICES": ""}) == gpus({"CUDA_VISIBLE_DEVICES": "-1"}) == []
    assert gpus({"CUDA_VISIBLE_DEVICES": "0", "JAX_PLATFORMS": "cpu"}) == []


def test_jobs_on_gpus_run_side_by_side_on_devices_of_their_own() -> None:
    pool = processes.Pool({"CUDA_VISIBLE_DEVICES": "0,1,2,3,4"})
    assert (pool.slots(1), pool.slots(2), pool.slots(8)) == (5, 2, 1)
    assert pool.begin(job(2))
    assert pool.begin(job(2))
    assert not pool.begin(job(2))  # one device is left
    assert pool.begin(job(0))  # a stage that scores needs none, and sees none
    assert not pool.begin(job(0))
    first, second, scoring = pool.busy
    assert [first.environment["CUDA_VISIBLE_DEVICES"], second.environment["CUDA_VISIBLE_DEVICES"]] == [
        "0,1",
        "2,3",
    ]
    assert scoring.environment["JAX_PLATFORMS"] == "cpu"
    pool.ended(second, alive=True)
    assert pool.begin(job(3))  # devices that are free need not be neighbors
    assert pool.busy[-1].gpus == ("2", "3", "4")
    assert pool.busy[-1] is not second  # the memory of a device is free when its process has ended


def test_a_job_for_more_devices_than_there_are_begins_and_can_say_so() -> None:
    pool = processes.Pool({"CUDA_VISIBLE_DEVICES": "7"})
    assert pool.begin(job(2))
    assert pool.busy[0].gpus == ("7",)


def test_on_a_cpu_one_process_runs_job_after_job_unless_the_mesh_changes() -> None:
    pool = processes.Pool({"JAX_PLATFORMS": "cpu"})
    seen = []
    for devices in (0, 1, 0, 2, 1):
        assert pool.begin(job(devices))
        assert not pool.begin(job(1))
        (worker,) = pool.busy
        seen.append(worker)
        pool.ended(worker, alive=True)
    assert seen[0] is seen[1] is seen[2] is seen[4]
    assert seen[3] is not seen[0]
    pool.begin(job(1))
    pool.ended(pool.busy[0], alive=False)
    assert pool.begin(job(0))  # in the other one, since the first has died
    assert pool.busy[0] is seen[3]


def test_what_waits_in_a_job_imports_no_jax() -> None:
    code = "import sys, xltjax.study.launch.chain, xltjax.study.launch.slurm; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_job_whose_time_is_up_lets_its_stage_save_and_comes_again_with_its_command_alone() -> None:
    command = ["sh", "-c", "trap 'exit 143' TERM; while true; do sleep 0.05; done"]
    chain, failures = Chain(command), []

    def call() -> None:
        try:
            chain()
        except RuntimeError as problem:
            failures.append(str(problem))

    thread = threading.Thread(target=call)
    thread.start()
    while not hasattr(chain, "_process"):
        time.sleep(0.01)
    time.sleep(0.2)
    again = chain.checkpoint()
    thread.join(timeout=30)
    assert failures == ["the stages ended with exit code 143; see the log above"]
    assert vars(pickle.loads(pickle.dumps(again.function))) == {"command": command}
