"""What a run records: metrics through a full disk, TensorBoard, Weights & Biases, known hardware."""

from __future__ import annotations

import errno
import json
import struct
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from xltjax.common.errors import UserError
from xltjax.common.hardware import ACCELERATORS, peak_bandwidth, peak_flops, peak_memory
from xltjax.training import metrics
from xltjax.training.metrics import MetricsLog
from xltjax.training.trackers import TensorBoard, Tracker, WeightsAndBiases


def values(loss: float, tokens: float = 100.0) -> dict[str, float]:
    return {"loss": loss, "learning_rate": 1e-4, "tokens": tokens, "grad_norm": 1.0}


def record(out: Path, start: int = 0, trackers: list[Tracker] | None = None, **changes: Any) -> MetricsLog:
    settings: dict[str, Any] = {
        "every": 1, "positions": 200, "flops_per_token": 50.0, "peak_flops": None, **changes,
    }  # fmt: skip
    return MetricsLog(out / "metrics.jsonl", start, 5, trackers=trackers or [], **settings)


def rows(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_full_disk_delays_metrics_and_loses_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append, full = metrics.append, True

    def maybe(path: Path, text: str) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        append(path, text)

    monkeypatch.setattr(metrics, "append", maybe)
    with record(tmp_path) as log:
        log.update(1, values(3.0))
        log.update(2, values(2.0))
        full = False
        log.update(3, values(1.0))
    assert [(row["step"], row["loss"]) for row in rows(tmp_path)] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    full = True
    with pytest.raises(UserError, match="lacks its last lines"), record(tmp_path, 3) as log:
        log.update(4, values(1.0))


def test_metrics_say_what_was_useful_and_what_share_of_the_peak(tmp_path: Path) -> None:
    with record(tmp_path, peak_flops=1e4) as log:
        log.update(1, values(3.0))
    (row,) = rows(tmp_path)
    assert row["useful_share"] == 0.5
    assert row["mfu"] == pytest.approx(row["tokens_per_second"] * 50 / 1e4, rel=1e-3)
    assert row["memory_gib"] > 0


def test_what_a_kill_lost_is_forgotten(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3}\n{"step": 4, "lo')
    with record(tmp_path, 2) as log:
        log.update(3, values(1.0))
    assert [row["step"] for row in rows(tmp_path)] == [1, 2, 3]


def test_quiet_processes_write_nothing(tmp_path: Path) -> None:
    with record(tmp_path, quiet=True) as log:
        log.update(1, values(3.0))
    assert list(tmp_path.iterdir()) == []


def events(directory: Path) -> Iterator[Any]:
    """Events of a TensorBoard file: length, its checksum, an Event message, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    (file,) = directory.iterdir()
    data = file.read_bytes()
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        yield Event.FromString(data[12 : 12 + length])
        data = data[12 + length + 4 :]


def test_tensorboard_gets_the_metrics_of_each_update(tmp_path: Path) -> None:
    with record(tmp_path, trackers=[TensorBoard(tmp_path / "board", 0)]) as log:
        log.update(1, values(3.0))
        log.record({"step": 1, "validation_loss": 2.5})
    found = {
        value.tag: (event.step, value.simple_value)
        for event in events(tmp_path / "board")
        for value in event.summary.value
    }
    assert found["loss"] == (1, 3.0)
    assert found["validation_loss"] == (1, 2.5)


def test_weights_and_biases_goes_on_with_the_run_that_the_directory_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[dict[str, Any]] = []
    logged: list[tuple[int, dict[str, float]]] = []

    class Run:
        def log(self, values: dict[str, float], step: int) -> None:
            logged.append((step, values))

        def finish(self) -> None:
            logged.append((-1, {}))

    def init(**settings: Any) -> Run:
        begun.append(settings)
        return Run()

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    for _ in range(2):
        tracker = WeightsAndBiases("study", tmp_path, {"learning_rate": 1e-5})
        tracker.log(1, {"loss": 3.0})
        tracker.close()
    assert begun[0]["id"] == begun[1]["id"]
    assert begun[0]["project"] == "study"
    assert begun[0]["config"] == {"learning_rate": 1e-5}
    assert logged == [(1, {"loss": 3.0}), (-1, {})] * 2


@pytest.mark.parametrize(
    ("name", "tracker"), [("tensorboardX", "TensorBoard"), ("wandb", "WeightsAndBiases")]
)
def test_a_tracker_that_is_not_installed_is_named(
    name: str, tracker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=r"pip install 'xltjax\[track\]'"):
        TensorBoard(tmp_path, 0) if tracker == "TensorBoard" else WeightsAndBiases("p", tmp_path, {})


def test_peaks_are_known_by_the_names_of_jax() -> None:
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_flops("NVIDIA H200") == 989e12
    assert peak_flops("TPU v5 lite") == 197e12
    assert peak_flops("TPU v5") == 459e12
    assert peak_flops("cpu") is None
    assert all(peak_flops(kind) == each.peak for each in ACCELERATORS.values() for kind in each.bandwidths)
    assert 1 << 26 < peak_memory() < 1 << 40


@pytest.mark.parametrize(
    ("kind", "bandwidth"),
    [
        ("NVIDIA A100-SXM4-40GB", 1.555e12),
        ("NVIDIA A100-PCIE-40GB", 1.555e12),
        ("NVIDIA A100-SXM4-80GB", 2.039e12),
        ("NVIDIA A100 80GB PCIe", 1.935e12),
        ("NVIDIA H100 80GB HBM3", 3.35e12),
        ("NVIDIA H100 PCIe", 2.0e12),
        ("NVIDIA H100 NVL", None),
        ("NVIDIA H200", 4.8e12),
        ("TPU v4", 1.228e12),
        ("TPU v5 lite", 0.819e12),
        ("TPU v5p", 2.765e12),
        ("TPU v6 lite", 1.64e12),
        ("cpu", None),
    ],
)
def test_variants_of_a_device_differ_in_bandwidth(kind: str, bandwidth: float | None) -> None:
    assert peak_bandwidth(kind) == bandwidth
