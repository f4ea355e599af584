"""A small problem on which a kernel of attention is tried before it is trusted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xltjax.attention.kernels import run_kernel
from xltjax.attention.problem import Problem
from xltjax.common.errors import first_line
from xltjax.common.hardware import Kernel

LENGTH, HEADS = 256, 4
WINDOW = 48
ENDS = ((100, 101, 230, LENGTH), (10, LENGTH, LENGTH, LENGTH))  # of the segments of each row; the last pads
TOLERANCE = 0.03  # of bfloat16 values and gradients, relative to the largest


def failure(kernel: Kernel, problem: Problem) -> str:
    """Why ``kernel`` is not to be trusted with ``problem`` on the present device; empty when it is.

    It computes two packed rows, values and gradients, which must agree with the portable kernel in float32. When the
    first segment of each row changes, no bit of the others' values may. Their gradients may: some kernels add
    them up in an order that varies.
    """
    if kernel == "portable":
        return ""
    # The length and the number of segments are those of the small problem.
    window = None if problem.window is None else WINDOW
    alike = replace(
        problem, length=LENGTH, window=window, segments=1 if problem.segments == 1 else len(ENDS[0])
    )
    # A model may just be being traced. Another thread begins with neither trace nor mesh.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_failure, kernel, alike).result()


@cache
def _failure(kernel: Kernel, problem: Problem) -> str:
    ids = _segment_ids() if problem.segments != 1 else None
    arrays = _inputs(problem)
    try:
        found = _results(kernel, problem, arrays, ids)
        right = _results("portable", replace(problem, dtype="float32"), arrays, ids)
        for got, expected in zip(found, right, strict=True):
            error = np.abs(got - expected).max() / np.abs(expected).max()
            if not error < TOLERANCE:
                return f"on a small problem it differs from the portable kernel by {error:.2g}"
        if ids is not None:
            others = ids != 1
            changed = [np.where(others[..., None, None], x, 4 * x + 1) for x in arrays]
            again = _results(kernel, problem, changed, ids)
            apart = [np.abs(x - y)[others].max() / np.abs(x).max() for x, y in zip(found, again, strict=True)]
            if apart[0] > 0 or max(apart) > TOLERANCE:
                return "on a small problem a segment sees another one"
    except Exception as problem_met:  # whatever a library or a driver refuses, another kernel can do
        return f"it fails here ({type(problem_met).__name__}: {first_line(problem_met)[:120]})"
    return ""


def _segment_ids() -> np.ndarray:
    """[2, LENGTH]: segments from 1, and padding."""
    ids = np.zeros((len(ENDS), LENGTH), np.int32)
    for row, ends in zip(ids, ENDS, strict=True):
        for segment, (start, end) in enumerate(zip((0, *ends[:-2]), ends[:-1], strict=True), start=1):
            row[start:end] = segment
    return ids


def _inputs(problem: Problem) -> list[np.ndarray]:
    """Queries, keys, values and a gradient of the output, numbers that bfloat16 holds."""
    draw = np.random.default_rng(0)
    kv_heads = HEADS // 2 if problem.grouped else HEADS
    shapes = [(len(ENDS), LENGTH, heads, problem.head_dim) for heads in (HEADS, kv_heads, kv_heads, HEADS)]
    return [np.asarray(draw.normal(size=shape).astype(jnp.bfloat16)) for shape in shapes]


def _results(
    kernel: Kernel, problem: Problem, arrays: list[np.ndarray], ids: np.ndarray | None
) -> list[np.ndarray]:
    """The output and the gradients of queries, keys and values, in float32."""

    @jax.jit
    def run(q: Array, k: Array, v: Array, gradient: Array) -> tuple[Array, ...]:
        def output(q: Array, k: Array, v: Array) -> Array:
            own = None if ids is None else jnp.asarray(ids)
            return run_kernel(kernel, q, k, v, own, window=problem.window, segments=problem.segments)

        out, pull = jax.vjp(output, q, k, v)
        return out, *pull(gradient)

    return [np.asarray(x, np.float32) for x in run(*(jnp.asarray(x, problem.dtype) for x in arrays))]
