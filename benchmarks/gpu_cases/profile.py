"""Which kernels take the time of a step, from JAX's profiler: where every improvement begins."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
from jax.profiler import ProfileData

MOST = 20


def top_kernels(run: Callable[[], Any], most: int = MOST) -> list[tuple[str, float, int]]:
    """The name, milliseconds and calls of the kernels that take the most time in one call of ``run``.

    ``run`` must have been called before, so that nothing is compiled. Kernels that differ in a number at the end of
    their names are one. On CPU, what the threads of XLA do takes the place of kernels.
    """
    with tempfile.TemporaryDirectory() as folder:
        with jax.profiler.trace(folder):
            jax.block_until_ready(run())
        (file,) = Path(folder).rglob("*.xplane.pb")
        totals = _totals(ProfileData.from_file(str(file)))
    ranked = sorted(totals.items(), key=lambda item: -item[1][0])
    return [(name, nanoseconds / 1e6, calls) for name, (nanoseconds, calls) in ranked[:most]]


def _totals(profile: ProfileData) -> dict[str, tuple[float, int]]:
    """Nanoseconds and calls of each kernel."""
    planes = [plane for plane in profile.planes if plane.name.startswith("/device:")]
    lines = [line for plane in planes for line in plane.lines if line.name.startswith(("Stream", "XLA Ops"))]
    if not lines:
        host = (line for plane in profile.planes for line in plane.lines)
        lines = [line for line in host if "XLA" in line.name]
    totals: dict[str, tuple[float, int]] = {}
    for line in lines:
        for event in line.events:
            if event.name.startswith("ThunkExecutor"):  # on CPU, what runs the others
                continue
            name = re.sub(r"[._]\d+$", "", event.name)
            nanoseconds, calls = totals.get(name, (0.0, 0))
            totals[name] = nanoseconds + event.duration_ns, calls + 1
    return totals
