"""Medians of timed calls, for work that a device does behind the host's back."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import jax


def median_seconds(run: Callable[[], Any], repeats: int = 5, calls: int = 5) -> float:
    """Seconds of one call, after a first that is not counted: ``calls`` are queued before a wait."""
    jax.block_until_ready(run())
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        for _ in range(calls):
            out = run()
        jax.block_until_ready(out)
        times.append((time.perf_counter() - began) / calls)
    return statistics.median(times)
