"""The launcher for SLURM: options and times, and a study on a SLURM that is started for it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from helpers.slurm_cluster import cluster, missing
from helpers.small_study import SmallStudy, command, results, write_study

from xltjax.common.errors import UserError
from xltjax.study.launch import slurm as launcher
from xltjax.study.launch.slurm import minutes, queued_jobs, read_options

LONGEST = 900.0  # seconds after which a test that waits fails


@pytest.mark.parametrize(
    ("text", "expected"),
    [("90", 90), ("90:30", 91), ("12:00:00", 720), ("1-12", 2160), ("1-00:30", 1470), ("0-00:00:01", 1)],
)
def test_times_are_those_of_sbatch(text: str, expected: int) -> None:
    assert minutes(text) == expected


@pytest.mark.parametrize("text", ["soon", "1:2:3:4", "1-", ""])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="is not a time"):
        minutes(text)


def test_options_are_those_of_sbatch() -> None:
    given = ["partition=gpu", "--gpus_per_node=2", "export=A=1"]
    assert read_options(given) == {"partition": "gpu", "gpus-per-node": "2", "export": "A=1"}
    with pytest.raises(UserError, match="--slurm gpu is not of the form KEY=VALUE"):
        read_options(["gpu"])


def test_a_copy_of_a_study_counts_no_jobs_of_another_folder_as_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "copy"):
        (tmp_path / name / "slurm").mkdir(parents=True)
        (tmp_path / name / "slurm" / "jobs.json").write_text('{"a/b": "7", "c/d": "8", "e/f": "9"}')
    script = f"{tmp_path}/one/slurm/submitit/submission_file_1.sh"
    listed = f"7 RUNNING {script}\n8 PENDING {tmp_path}/other.sh\n9 COMPLETING {script}\n"
    monkeypatch.setattr(launcher, "_run", lambda command: listed)
    monkeypatch.setattr("shutil.which", lambda name: name)
    assert queued_jobs(tmp_path / "one") == {"a/b": "7"}
    assert queued_jobs(tmp_path / "copy") == {}


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    if lost := missing():
        pytest.skip(lost)
    with cluster():
        yield


def wait_until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + LONGEST
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def submitted(file: Path, root: Path) -> tuple[int, str]:
    process = command(file, root, "--launcher", "slurm", "--slurm", "time=10", "--slurm", "cpus-per-task=1")
    said = process.communicate()[0]
    return process.returncode, said


def partition(state: str) -> None:
    """Let jobs begin (UP), or wait in the queue (DOWN)."""
    subprocess.run(["scontrol", "update", "PartitionName=all", f"State={state}"], check=True)


def test_jobs_that_were_canceled_or_killed_are_finished_by_the_same_command(
    slurm: None, chat_model: Path, tmp_path: Path
) -> None:
    adaptations = {"ft": {}, "reset": {"of": "ft", "reset_layers": "0"}}
    file, root = write_study(tmp_path, chat_model, adaptations=adaptations), tmp_path / "out"
    file.write_text(file.read_text().replace("modifiers: true", "modifiers: false"))
    killed, well, after_killed, canceled = cells = [
        f"tiny/dolly/{name}/lr-{rate}/seed-0" for name in ("ft", "reset") for rate in ("0.001", "0.01")
    ]
    partition("DOWN")
    code, said = submitted(file, root)
    assert code == 0, said
    assert "0 of 14 stages are done; 5 jobs submitted, 0 were in the queue" in said
    jobs = queued_jobs(root)
    assert list(jobs) == [*cells, "all-cells"]
    listed = subprocess.run(["squeue", "-h", "-o", "%i %E"], capture_output=True, text=True, check=True)
    waits = dict(line.split(" ", 1) for line in listed.stdout.splitlines())
    assert jobs[killed] in waits[jobs[after_killed]]
    assert all(job in waits[jobs["all-cells"]] for cell, job in jobs.items() if cell in cells)
    again = submitted(file, root)[1]
    assert "0 jobs submitted, 5 were in the queue" in again
    local = command(file, root)
    assert "jobs of this study are in SLURM's queue" in local.communicate()[0]
    assert local.returncode == 2

    subprocess.run(["scancel", jobs[canceled]], check=True)
    partition("UP")
    wait_until(lambda: (root / killed / "train" / "config.yaml").exists())
    _kill_stage_of(jobs[killed])
    wait_until(lambda: not queued_jobs(root))
    states = SmallStudy(file, root).states()
    assert {str(states[f"{well}/{kind}"]) for kind in ("train", "generate", "surface")} == {"done"}
    assert states[f"{canceled}/combine"].kind == "to do"
    assert states[f"{after_killed}/surface"].kind == states[f"{killed}/surface"].kind == "blocked"

    code, said = submitted(file, root)
    assert code == 0, said
    assert "4 jobs submitted, 0 were in the queue" in said  # the three cells, and the one over all
    wait_until(lambda: not queued_jobs(root))
    assert {str(state) for state in SmallStudy(file, root).states().values()} == {"done"}
    whole = SmallStudy(file, tmp_path / "whole")
    whole.finish()
    assert results(root) == results(tmp_path / "whole")


def test_train_under_srun_has_the_losses_of_one_process(
    slurm: None, chat_model: Path, tmp_path: Path
) -> None:
    write_study(tmp_path, chat_model)  # for its data
    flags = [
        "--model", str(chat_model), "--data", str(tmp_path / "dolly.jsonl"), "--precision", "float32", "--steps", "4",
        "--sequence-length", "128", "--tokens-per-batch", "256", "--accumulation", "1", "--learning-rate", "1e-3",
        "--mesh", "2x1",
    ]  # fmt: skip
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "1"}
    train = [sys.executable, "-m", "xltjax.train", *flags]
    many = subprocess.run(
        ["srun", "-n", "2", *train, "--out", str(tmp_path / "many")],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert many.returncode == 0, many.stderr
    subprocess.run([*train, "--out", str(tmp_path / "one")], check=True, capture_output=True)
    losses = [
        [json.loads(line)["loss"] for line in (tmp_path / name / "metrics.jsonl").open()]
        for name in ("many", "one")
    ]
    assert len(losses[0]) == 4
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)


def _kill_stage_of(job: str) -> None:
    """Kill every process of a job in its node, as when memory runs out."""
    listed = subprocess.run(["scontrol", "listpids", job], capture_output=True, text=True, check=True)
    for line in listed.stdout.splitlines()[1:]:
        process = int(line.split()[0])
        if process > 1:
            try:
                os.kill(process, signal.SIGKILL)
            except ProcessLookupError:
                continue
