"""Checksums of arrays that do not depend on the mesh: they tell whether a checkpoint still holds what was saved."""

from __future__ import annotations

from collections.abc import Mapping

import jax
import jax.numpy as jnp
from jax import Array

UNSIGNED = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def bit_sums(arrays: Mapping[str, Array]) -> dict[str, int]:
    """For each array, the sum of its elements' bit patterns modulo 2**32.

    Any single changed bit changes the sum, and rows of zeros, with which tables are padded, do not. Integer sums are
    exact, so every layout on devices gives the same. The sums are computed where the arrays are.

    Args:
        arrays: arrays of elements of 1, 2 or 4 bytes, on devices or in host memory.
    """
    # Each is awaited: on the CPU, sums over several devices that run at once can wait for each other for ever.
    return {key: int(_bit_sum(_on_device(array))) for key, array in arrays.items()}


@jax.jit
def _bit_sum(x: Array) -> Array:
    bits = jax.lax.bitcast_convert_type(x, UNSIGNED[x.dtype.itemsize])
    return jnp.sum(bits, dtype=jnp.uint32)


def _on_device(x: Array) -> Array:
    """``x`` in the device's memory, one array at a time where the optimizer's state is kept in host memory."""
    kind = x.sharding.memory_kind
    return jax.device_put(x, x.sharding.with_memory_kind("device")) if kind == "pinned_host" else x
