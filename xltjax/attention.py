"""Causal attention within segments, as a kernel inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, T query length, S key length, N heads, K key-value heads,
H head dim. Scores and softmax are float32 whatever the inputs, as in the reference implementation.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.cudnn_attention import cudnn_attention, suits_cudnn
from xltjax.mesh import BATCH

HEADS = P(BATCH, None, "tensor", None)  # queries, keys, values: [B, T, N, H]


def attention(q: Array, k: Array, v: Array, segment_ids: Array, *, window: int | None = None) -> Array:
    """Causal attention in which a token sees only its own segment.

    Args:
        q: queries [B, T, N, H].
        k: keys [B, T, K, H]; N is a multiple of K (grouped-query attention).
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; tokens with different ids do not see each other. 0 is padding.
        window: a token sees at most the last ``window`` tokens, itself included.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    kernel = partial(cudnn_attention if suits_cudnn(q) else portable_attention, window=window)
    return jax.shard_map(kernel, in_specs=(HEADS, HEADS, HEADS, P(BATCH, None)), out_specs=HEADS)(
        q, k, v, segment_ids
    )


def portable_attention(q: Array, k: Array, v: Array, segment_ids: Array, window: int | None = None) -> Array:
    """The kernel for every platform; arguments as ``attention``."""
    index = jnp.arange(q.shape[1])
    causal = _visible(index[:, None], index[None, :], window)
    mask = causal & (segment_ids[:, :, None] == segment_ids[:, None, :])
    return _attend(q, k.swapaxes(1, 2), v.swapaxes(1, 2), mask)


def _visible(query: Array, key: Array, window: int | None) -> Array:
    """Whether the token at position ``key`` is seen from position ``query``."""
    causal = key <= query
    return causal if window is None else causal & (key > query - window)


def _attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Softmax attention of q [B, T, N, H] over k, v [B, K, S, H] where mask [B, T, S] is true."""
    batch, length, heads, head_dim = q.shape
    kv_heads = k.shape[1]
    grouped = q.reshape(batch, length, kv_heads, heads // kv_heads, head_dim)
    dot = partial(jnp.einsum, preferred_element_type=jnp.float32)
    scores = dot("btkgh,bksh->bkgts", grouped, k) * head_dim**-0.5
    # A finite floor: a row of padding that sees nothing gives an average, not NaN.
    scores = jnp.where(mask[:, None, None], scores, jnp.finfo(jnp.float32).min)
    weights = jax.nn.softmax(scores, axis=-1).astype(q.dtype)
    out = dot("bkgts,bksh->btkgh", weights, v.astype(q.dtype))
    return out.reshape(batch, length, heads, head_dim).astype(q.dtype)
