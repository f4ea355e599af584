"""What a person sees of a run: ``metrics.jsonl``, the progress bar, TensorBoard and Weights & Biases."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import append, atomic_write, json_line
from xltjax.common.hardware import GIB, peak_memory
from xltjax.common.progress import progress
from xltjax.training.trackers import Tracker

log = logging.getLogger("xltjax")

MEASURED = ("seconds", "tokens_per_second", "mfu", "memory_gib")  # differ from run to run; all else is exact


class MetricsLog:
    """The record of one run, from update ``start`` on. A full disk delays it and stops nothing.

    Args:
        path: of ``metrics.jsonl``.
        start: updates done; what an earlier, killed run recorded of later ones is forgotten.
        steps: updates in all.
        every: updates between lines of ``metrics.jsonl``.
        positions: tokens that an update computes, padding included.
        flops_per_token: model FLOPs, see docs/training.md.
        peak_flops: of all devices together, per second; None when it is not known.
        trackers: where else metrics go.
        quiet: write and show nothing (in all processes but the first).
    """

    def __init__(
        self, path: Path, start: int, steps: int, *, every: int, positions: int, flops_per_token: float,
        peak_flops: float | None, trackers: list[Tracker], quiet: bool = False,
    ):  # fmt: skip
        self._path, self._steps, self._every, self._positions = path, steps, every, positions
        self._flops_per_token, self._peak_flops = flops_per_token, peak_flops
        self._trackers, self._quiet = trackers, quiet
        self._unwritten = ""
        if not quiet:
            _forget_after(self._path, start)
        self._bar = progress("training", steps, start, quiet=quiet)
        self._advance: Callable[..., None] = lambda *_: None

    def __enter__(self) -> MetricsLog:
        self._advance = self._bar.__enter__()
        self.restart_clock()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.__exit__(kind, problem, trace)
        for tracker in self._trackers:
            tracker.close()
        if self._unwritten and kind is None:
            raise UserError(f"{self._path} could not be written to its end; make room")

    def restart_clock(self) -> None:
        """Leave out of the next update's seconds what was done since the last one."""
        self._began = time.perf_counter()

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Record the metrics of update ``step``; seconds are those since the last record."""
        seconds, self._began = time.perf_counter() - self._began, time.perf_counter()
        rate = values["tokens"] / seconds
        row: dict[str, Any] = {
            "step": step, **values, "useful_share": values["tokens"] / self._positions,
            "seconds": round(seconds, 4), "tokens_per_second": round(rate, 1),
        }  # fmt: skip
        note = f"loss {values['loss']:.3f}  lr {values['learning_rate']:.2e}  {rate:,.0f} tokens/s"
        if self._peak_flops:
            row["mfu"] = round(rate * self._flops_per_token / self._peak_flops, 4)
            note += f"  MFU {row['mfu']:.0%}"
        row["memory_gib"] = round(peak_memory() / GIB, 2)
        if step % self._every == 0 or step in (1, self._steps):
            self.record(row)
        self._advance(1, f"{note}  {row['memory_gib']:.1f} GiB")

    def record(self, row: Mapping[str, Any]) -> None:
        """Write one line of metrics, with its ``step``."""
        if self._quiet:
            return
        before, self._unwritten = self._unwritten, self._unwritten + json_line(row)
        try:
            append(self._path, self._unwritten)
            self._unwritten = ""
        except OSError as problem:
            if not before:
                log.warning("warning: %s waits to be written: %s", self._path, problem.strerror)
        values = {name: value for name, value in row.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(row["step"], values)


def _forget_after(path: Path, step: int) -> None:
    """Drop metrics of updates that a kill lost, so that every update stands once."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # a line that the kill cut short
    with atomic_write(path) as file:
        file.writelines(kept)
