"""The metrics of a run: ``metrics.jsonl``, the progress bar, and trackers."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import append, atomic_write, json_line
from xltjax.common.hardware import GIB, peak_memory
from xltjax.common.progress import progress
from xltjax.training.trackers import Tracker

log = logging.getLogger("xltjax")

# Metrics that differ between two runs with the same settings; all others are exact.
MEASURED = ("seconds", "tokens_per_second", "mfu", "memory_gib")


class MetricsLog:
    """Records the metrics of one run from update ``start`` on. On a full disk they are kept and written later.

    Args:
        path: the file ``metrics.jsonl``.
        start: the number of updates done; lines of later updates, which a killed run has left, are removed.
        steps: the number of updates of the whole run.
        every: the number of updates between lines of ``metrics.jsonl``.
        positions: the number of tokens that an update computes, padding included.
        flops_per_token: model FLOPs, see docs/training.md.
        peak_flops: the peak FLOP/s of all devices together; None when it is not known.
        trackers: further places that metrics are sent to.
        quiet: write and show nothing, in every process but the first.
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
            forget_after(self._path, start)
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
            raise UserError(f"{self._path} lacks its last lines, because the disk is full; free some space")

    def restart_clock(self) -> None:
        """Start the next update's seconds now, so that work between two updates does not count."""
        self._began = time.perf_counter()

    def update(self, step: int, values: Mapping[str, float]) -> None:
        """Record the metrics of update ``step``, which took the time since the last update."""
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
        """Write one line of metrics, which holds its ``step``, and send it to the trackers."""
        if self._quiet:
            return
        before, self._unwritten = self._unwritten, self._unwritten + json_line(row)
        try:
            append(self._path, self._unwritten)
            self._unwritten = ""
        except OSError as problem:
            if not before:
                log.warning("warning: %s is written later: %s", self._path, problem.strerror)
        values = {name: value for name, value in row.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(row["step"], values)


@dataclass(frozen=True)
class FinalMetrics:
    """The last metrics of a run, complete or not.

    Attributes:
        step: the last update that was logged.
        loss: its loss.
        validation_loss: the last one; None when there is none.
        lowest: the lowest validation loss, and after which update.
    """

    step: int
    loss: float
    validation_loss: float | None = None
    lowest: tuple[float, int] | None = None

    @classmethod
    def of(cls, rows: Sequence[Mapping[str, Any]]) -> FinalMetrics | None:
        """Those in the rows of ``metrics.jsonl``; None where no update was logged."""
        updates = [row for row in rows if "loss" in row]
        measured = [(row["validation_loss"], row["step"]) for row in rows if "validation_loss" in row]
        if not updates:
            return None
        last = updates[-1]
        return cls(last["step"], last["loss"], *((measured[-1][0], min(measured)) if measured else ()))


def forget_after(path: Path, step: int) -> None:
    """Remove the lines of updates after ``step``, which will be done again, from a file of metrics or samples."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # a line that a kill left incomplete
    with atomic_write(path) as file:
        file.writelines(kept)
