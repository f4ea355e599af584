"""Causal attention within segments by tokamax, an optional library of kernels; on NVIDIA GPUs from Hopper on.

Array dimensions as in ``llama.py``: B batch, T length, N heads, K key-value heads, H head dim.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from xltjax.attention.problem import Device, Problem

CAPABILITIES = (9, 10)  # Hopper and the first Blackwell, for which its Mosaic kernels are written


def tokamax_obstacle(problem: Problem, device: Device) -> str:
    """Why tokamax's kernel cannot run; empty when it can."""
    if device.platform != "nvidia" or device.capability[0] not in CAPABILITIES:
        return "it needs an NVIDIA GPU of compute capability 9.0 or 10.0"
    if problem.dtype not in ("bfloat16", "float16"):
        return f"it computes bfloat16 and float16, not {problem.dtype}"
    if importlib.util.find_spec("tokamax") is None:
        return "tokamax is not installed (pip install 'xltjax[tokamax]')"
    return ""


def tokamax_attention(
    q: Array,
    k: Array,
    v: Array,
    segment_ids: Array | None,
    window: int | None,
    *,
    implementation: str = "mosaic",
) -> Array:
    """Causal attention in which a token sees only its own segment; a kernel for inside ``jax.shard_map``.

    A segment is a window that reaches back to the segment's first token, so it differs from token to token:
    memory is O(T), and blocks before it are skipped.

    Args:
        q: queries [B, T, N, H].
        k: keys [B, T, K, H].
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; runs of equal ids are segments. None when a row is one.
        window: a token sees at most the last ``window`` tokens, itself included.
        implementation: which of tokamax's.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    import tokamax
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()  # else tokamax reads the arguments of our command as its own
    before: Any = None if window is None else window - 1  # how many tokens before itself a token sees
    if segment_ids is not None:
        index = jnp.arange(q.shape[1])
        begins = segment_ids != jnp.pad(segment_ids[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
        within = index - jax.lax.cummax(jnp.where(begins, index, 0), axis=1)
        before = (within if window is None else jnp.minimum(within, before))[:, None]  # [B, 1, T]
    out: Array = tokamax.dot_product_attention(
        q, k, v, is_causal=True, local_window_size=None if before is None else (before, 0),
        implementation=implementation,
    )  # fmt: skip
    return out
