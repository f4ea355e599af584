"""Causal attention of packed rows by the kernel that suits the device, inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, T query length, N heads, K key-value heads, H head dim.
"""

from __future__ import annotations

from functools import partial

import jax
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.attention.choice import choose
from xltjax.attention.kernels import IN_PALLAS, run_kernel
from xltjax.attention.problem import Problem
from xltjax.common.hardware import WantedKernel
from xltjax.mesh import BATCH

HEADS = P(BATCH, None, "tensor", None)  # queries, keys, values: [B, T, N, H]


def attention(
    q: Array,
    k: Array,
    v: Array,
    segment_ids: Array | None,
    *,
    window: int | None = None,
    wanted: WantedKernel = "auto",
    segments: int = 0,
) -> Array:
    """Causal attention in which a token sees only its own segment.

    Args:
        q: queries [B, T, N, H].
        k: keys [B, T, K, H]; N is a multiple of K (grouped-query attention).
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; tokens with different ids do not see each other. 0 is padding. Equal ids are
            neighbors. None when every row is one segment.
        window: a token sees at most the last ``window`` tokens, itself included.
        wanted: a kernel, or ``auto`` for the first of the rule (see ``choice``) that runs here.
        segments: the most segments of a row, padding counted as one; 0 when that is not known.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    many = segments if segment_ids is not None else 1
    problem = Problem(q.dtype.name, q.shape[1], q.shape[3], q.shape[2] != k.shape[2], window, many)
    name = choose(problem, wanted).kernel
    kernel = partial(run_kernel, name, window=window, segments=segments)
    ids = None if segment_ids is None else P(BATCH, None)
    return jax.shard_map(
        kernel, in_specs=(HEADS, HEADS, HEADS, ids), out_specs=HEADS, check_vma=name not in IN_PALLAS
    )(q, k, v, segment_ids)
