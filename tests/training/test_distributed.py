"""Several processes: when they start, which rows each builds, and that two equal one."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest

from xltjax import train
from xltjax.common import distributed
from xltjax.common.distributed import LAUNCHED, join_processes
from xltjax.common.errors import UserError
from xltjax.common.settings import to_yaml
from xltjax.data.corpora import Corpus
from xltjax.data.packing import BatchShape, PackedData
from xltjax.data.tokenizer import Tokens
from xltjax.mesh import make_mesh
from xltjax.miniature.text import instruction_rows
from xltjax.training.config import TrainConfig
from xltjax.training.step import place, rows_here


@pytest.fixture
def joined(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What ``jax.distributed.initialize`` was called with."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(jax.distributed, "initialize", lambda *arguments: calls.append(arguments))
    for name in LAUNCHED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(distributed, "TPU_DEVICES", ())
    return calls


def test_a_run_of_one_joins_nobody(joined: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    assert join_processes("", None, None) == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert join_processes("", None, None) == 1
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "8")
    assert join_processes("", None, 1) == 1
    assert joined == []
    assert join_processes("", None, None) == 8


@pytest.mark.parametrize(
    "environment",
    [
        {"SLURM_STEP_NUM_TASKS": "8"},
        {"OMPI_COMM_WORLD_SIZE": "2"},
        {"KUBERNETES_SERVICE_HOST": "10.0.0.1", "JOB_COMPLETION_INDEX": "0"},
    ],
)
def test_launchers_are_recognized(
    environment: dict[str, str], joined: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    join_processes("", None, None)
    assert joined == [(None, None, None)]  # JAX finds them out


def test_processes_named_by_hand_join_at_the_coordinator(joined: list[Any]) -> None:
    assert join_processes("host:1234", 1, 2) == 2
    assert joined == [("host:1234", 2, 1)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("host:1", None, 2), "go together"),
        (("", 0, 2), "go together"),
        (("host:1", 2, 2), "from 0 to 1"),
        (("host", 0, 2), "host:port"),
    ],
)
def test_processes_that_do_not_fit_are_refused(
    arguments: tuple[Any, ...], message: str, joined: list[Any]
) -> None:
    with pytest.raises(UserError, match=message):
        join_processes(*arguments)
    assert joined == []


def test_processes_that_cannot_connect_are_a_mistake_in_one_line(
    joined: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def alone(*_: Any) -> None:
        raise RuntimeError("DEADLINE_EXCEEDED: barrier timed out\nmore")

    monkeypatch.setattr(jax.distributed, "initialize", alone)
    with pytest.raises(UserError, match=r"could not connect: DEADLINE_EXCEEDED: barrier timed out; "):
        join_processes("host:1", 0, 2)


def test_rows_built_apart_make_the_batch_that_one_process_builds() -> None:
    random = np.random.default_rng(0)
    examples = [Tokens(random.integers(3, 99, n).astype(np.int32), np.ones(n, bool)) for n in range(4, 40)]
    shape = BatchShape(2, 4, 64, 256)
    whole = PackedData([Corpus(examples, 1.0)], shape, seed=5).batch_at(3)
    parts = [
        PackedData([Corpus(examples, 1.0)], shape, seed=5).batch_at(3, rows)
        for rows in (slice(0, 2), slice(2, 4))
    ]
    for name in ("tokens", "targets", "loss_mask", "segment_ids", "positions"):
        joined = np.concatenate([getattr(part, name) for part in parts], axis=1)
        np.testing.assert_array_equal(joined, getattr(whole, name))
    mesh = make_mesh("2x2")
    assert rows_here(mesh, 4) == slice(0, 4)
    np.testing.assert_array_equal(place(whole, mesh).tokens, whole.tokens)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("localhost", 0))
        return int(listening.getsockname()[1])


def test_two_processes_of_two_devices_equal_one_of_four(chat_model: Path, tmp_path: Path) -> None:
    data = tmp_path / "dolly.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:40]))
    config = TrainConfig(
        model=str(chat_model), data=(str(data),), mesh="4x1", precision="float32", sequence_length=64,
        tokens_per_batch=256, accumulation=2, steps=2, learning_rate=1e-3, validation_rows=6,
        out=str(tmp_path / "one"),
    )  # fmt: skip
    (tmp_path / "config.yaml").write_text(to_yaml(config))
    environment = {name: value for name, value in os.environ.items() if name != "JAX_NUM_CPU_DEVICES"}
    command = [
        sys.executable, "-m", "xltjax.train", "--config", str(tmp_path / "config.yaml"),
        "--coordinator", f"localhost:{free_port()}", "--processes", "2", "--out", str(tmp_path / "two"),
    ]  # fmt: skip
    running = [
        subprocess.Popen(
            [*command, "--process-id", str(number)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, env=environment,
        )
        for number in range(2)
    ]  # fmt: skip
    train.fit(config)
    printed = [process.communicate(timeout=240)[0] for process in running]
    assert [process.returncode for process in running] == [0, 0], printed
    assert "trained:" in printed[0]
    assert "trained:" not in printed[1]
    one, two = (
        [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("one", "two")
    )
    assert [row["step"] for row in one] == [row["step"] for row in two] == [1, 2, 2]
    for single, double in zip(one, two, strict=True):
        for name in single.keys() & {"tokens", "learned_tokens", "useful_share"}:
            assert double[name] == single[name]
        for name in single.keys() & {"loss", "grad_norm", "validation_loss"}:
            assert double[name] == pytest.approx(single[name], rel=1e-6)
