"""Causal attention within segments by the splash kernel that comes with jax, on TPUs.

Array dimensions as in ``llama.py``: B batch, T length, N heads, K key-value heads, H head dim.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from xltjax.attention.problem import ATTENTION_OUTPUT, Device, Problem

LANES = 128  # blocks are multiples of it
WIDEST_BLOCK = 512


def splash_obstacle(problem: Problem, device: Device) -> str:
    """Why the splash kernel cannot run; empty when it can."""
    return "" if device.platform == "tpu" else "it needs a TPU"


def splash_attention(
    q: Array,
    k: Array,
    v: Array,
    segment_ids: Array | None,
    window: int | None,
    *,
    interpret: bool = False,
) -> Array:
    """Causal attention in which a token sees only its own segment; a kernel for inside ``jax.shard_map``.

    Causality and window are a mask that is never in memory, of which empty blocks are skipped. Neither keys nor
    values are repeated for grouped queries.

    Args:
        q: queries [B, T, N, H].
        k: keys [B, T, K, H].
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; tokens with different ids do not see each other. None when all do.
        window: a token sees at most the last ``window`` tokens, itself included.
        interpret: run on any platform, slowly.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_kernel as splash
    from jax.experimental.pallas.ops.tpu.splash_attention import splash_attention_mask as masks

    _, given, heads, head_dim = q.shape
    # The kernel takes whole lanes. No token sees what is added behind it, which is a segment of its own.
    length = -(-given // LANES) * LANES
    q, k, v = (jnp.pad(x, ((0, 0), (0, length - given), (0, 0), (0, 0))) for x in (q, k, v))
    if segment_ids is not None:
        segment_ids = jnp.pad(segment_ids, ((0, 0), (0, length - given)), constant_values=-1)
    shape = (length, length)
    mask = masks.CausalMask(shape) if window is None else masks.LocalMask(shape, (window - 1, 0), 0)
    block = next(size for size in range(min(WIDEST_BLOCK, length), 0, -LANES) if length % size == 0)
    kernel = splash.make_splash_mha_single_device(
        masks.MultiHeadMask([mask] * heads),
        block_sizes=splash.BlockSizes(
            block_q=block, block_kv=block, block_q_dkv=block, block_kv_dkv=block, block_q_dq=block,
            block_kv_dq=block,
        ),
        residual_checkpoint_name=ATTENTION_OUTPUT,
        interpret=interpret,
    )  # fmt: skip

    def one_row(q: Array, k: Array, v: Array, ids: Array | None) -> Array:
        out: Array = kernel(q, k, v, segment_ids=None if ids is None else splash.SegmentIds(ids, ids))
        return out

    # The kernel scales nothing, and takes heads first.
    scaled = (q * head_dim**-0.5).swapaxes(1, 2)
    out = jax.vmap(one_row, in_axes=(0, 0, 0, None if segment_ids is None else 0))(
        scaled, k.swapaxes(1, 2), v.swapaxes(1, 2), segment_ids
    )
    return out.swapaxes(1, 2)[:, :given]
