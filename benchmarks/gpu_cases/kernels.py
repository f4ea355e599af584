"""Attention kernels that can stand in for one another on packed rows, and their comparison on the device."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from gpu_cases.cases import Kernels, packed_rows
from gpu_cases.timing import median_seconds
from xltjax.attention.kernels import run_kernel
from xltjax.attention.portable import portable_attention
from xltjax.common.hardware import Kernel as KernelName
from xltjax.data.packing import declared_segments

TOLERANCE = 0.03  # of bfloat16 outputs and gradients of about unit size

Kernel = Callable[..., Array]


def kernels(segments: int) -> dict[str, Kernel]:
    """Every kernel of the rule by name: (q, k, v, segment ids) -> output. ``segments`` are those of a row at most."""
    return {name: partial(run_kernel, name, segments=segments) for name in get_args(KernelName)}


def compare(case: Kernels) -> dict[str, Any]:
    """Milliseconds and errors of every kernel; a kernel that cannot run says why.

    Largest differences are from float32 attention on the same bfloat16 inputs. ``packed - alone`` compares a
    packed row with each of its segments in a row of its own. ``across`` is what changes in other segments,
    values and gradients, when the first segment of a row does: it must be exactly 0.
    """
    ids, _ = packed_rows(case.rows, case.length)
    segments = declared_segments([*map(np.unique, ids)])
    inputs = _Inputs(case, ids)
    reference = inputs.results(portable_attention, jnp.float32)
    measures: dict[str, Any] = {}
    for name, kernel in kernels(segments).items():
        try:
            measures |= {f"{name}: {what}": value for what, value in inputs.judge(kernel, reference).items()}
        except Exception as error:
            measures[f"{name}: absent"] = f"{type(error).__name__}: {error}".splitlines()[0][:150]
    return measures


class _Inputs:
    """Random queries, keys, values and a gradient of the output, for packed rows with these segment ids."""

    def __init__(self, case: Kernels, ids: np.ndarray):
        draw = np.random.default_rng(0)
        self.ids = ids

        def normal(heads: int) -> np.ndarray:
            return draw.normal(size=(case.rows, case.length, heads, case.head_dim)).astype(np.float32)

        self.arrays = [normal(case.heads), normal(case.kv_heads), normal(case.kv_heads), normal(case.heads)]

    def results(self, kernel: Kernel, dtype: Any) -> list[np.ndarray]:
        """Output and gradients of q, k and v in float32."""
        return _numpy(_both(kernel)(*_arguments(self.arrays, self.ids, dtype)))

    def judge(self, kernel: Kernel, reference: list[np.ndarray]) -> dict[str, Any]:
        """All measures of a kernel."""
        both, arguments = _both(kernel), _arguments(self.arrays, self.ids, jnp.bfloat16)
        found = _numpy(both(*arguments))
        error = max(_largest(x, y) for x, y in zip(found, reference, strict=True))
        across, alone = self._across(both, found), self._alone(both, found[0])
        forward = jax.jit(lambda q, k, v, _, ids: kernel(q, k, v, ids))
        return {
            "forward ms": 1e3 * median_seconds(lambda: forward(*arguments)),
            "forward and backward ms": 1e3 * median_seconds(lambda: both(*arguments)),
            "largest relative difference": error,
            "packed - alone": alone,
            "across": across,
            "right": float(error < TOLERANCE and alone < TOLERANCE and across == 0),
        }

    def _across(self, both: Kernel, found: list[np.ndarray]) -> float:
        """The largest change outside the first segment of each row when that segment changes."""
        first = self.ids == 1
        changed = [np.where(first[..., None, None], 10 * x + 1, x) for x in self.arrays]
        after = _numpy(both(*_arguments(changed, self.ids, jnp.bfloat16)))
        return max(float(np.abs(x - y)[~first].max()) for x, y in zip(found, after, strict=True))

    def _alone(self, both: Kernel, packed: np.ndarray) -> float:
        """The largest relative difference of the first row's output from that of its segments alone."""
        count = int(self.ids[0].max())
        within = [self.ids[0] == n + 1 for n in range(count)]
        length = -(-max(int(w.sum()) for w in within) // 64) * 64
        alone = [np.zeros((count, length, *x.shape[2:]), np.float32) for x in self.arrays]
        own = np.zeros((count, length), np.int32)
        for n, segment in enumerate(within):
            own[n, : segment.sum()] = 1
            for target, source in zip(alone, self.arrays, strict=True):
                target[n, : segment.sum()] = source[0, segment]
        apart = _numpy(both(*_arguments(alone, own, jnp.bfloat16)))[0]
        return _largest(np.concatenate([apart[n, own[n] == 1] for n in range(count)]), packed[0])


def _arguments(arrays: list[np.ndarray], ids: np.ndarray, dtype: Any) -> list[Array]:
    # Rounded to bfloat16 whatever the dtype, so that all kernels see the same numbers.
    return [*(jnp.asarray(x, jnp.bfloat16).astype(dtype) for x in arrays), jnp.asarray(ids)]


def _both(kernel: Kernel) -> Kernel:
    """Compiled forward and backward pass: (q, k, v, gradient, ids) -> output and gradients of q, k, v."""

    def both(q: Array, k: Array, v: Array, gradient: Array, ids: Array) -> tuple[Array, ...]:
        out, backward = jax.vjp(lambda q, k, v: kernel(q, k, v, ids), q, k, v)
        return (out, *backward(gradient))

    return jax.jit(both)


def _numpy(arrays: Any) -> list[np.ndarray]:
    return [np.asarray(x.astype(jnp.float32)) for x in arrays]


def _largest(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found - expected).max() / np.abs(expected).max())
