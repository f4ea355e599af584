"""Time and memory of the bootstrap: 168 cells (7 models x 4 languages x 6 criteria) x 10,000 draws.

    python benchmarks/evaluation/bootstrap.py

The intervals of all cells should take less than a second. The cells are ratings of 113 instructions in 25 tasks
with 0, 1 or 2 stars, a fifth of them missing.
"""

from __future__ import annotations

import statistics
import time
import tracemalloc
from collections.abc import Callable

import numpy as np

from xltjax.eval.stats.coefficients import agreement
from xltjax.eval.stats.comparisons import compare
from xltjax.eval.stats.intervals import mean_intervals, resample

CELLS, DRAWS, REPEATS = 168, 10_000, 7


def report(name: str, work: Callable[[], object]) -> None:
    """Print the median time of ``work`` and the most memory that it held beyond what was there before."""
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - start)
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    print(f"{name}: median {statistics.median(seconds):.3f} s of {REPEATS}, peak {peak / 2**20:.0f} MiB")


def main() -> None:
    """Run the three measurements."""
    generator = np.random.default_rng(0)
    units = [f"instruction-{number:03d}" for number in range(113)]
    resamples = resample(units, {unit: f"task-{k % 25}" for k, unit in enumerate(units)}, draws=DRAWS)

    def cell() -> dict[str, float | None]:
        stars = generator.integers(0, 3, len(units))
        missing = generator.random(len(units)) < 0.2
        return {u: None if m else float(s) for u, s, m in zip(units, stars, missing, strict=True)}

    cells = {number: cell() for number in range(CELLS)}
    pairs = {number: (cells[number], cells[0]) for number in range(1, CELLS)}
    report(f"intervals of {CELLS} cells x {DRAWS} draws", lambda: mean_intervals(cells, resamples))
    report(f"{len(pairs)} paired comparisons x {DRAWS} draws", lambda: compare(pairs, resamples))
    report(f"agreement of two raters x {DRAWS} draws", lambda: agreement([cells[0], cells[1]], resamples))


if __name__ == "__main__":
    main()
