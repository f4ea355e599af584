"""Causal attention within segments, and attention to a cache, as kernels inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, T query length, S key length, N heads, K key-value heads,
H head dim. Scores and softmax are float32 whatever the inputs, as in the reference implementation.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.mesh import BATCH

HEADS = P(BATCH, None, "tensor", None)  # queries, keys, values: [B, T, N, H]
CACHE = P(BATCH, "tensor", None, None)  # cached keys and values: [B, K, S, H]


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

    def kernel(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
        length = q.shape[1]
        index = jnp.arange(length)
        causal = _visible(index[:, None], index[None, :], window)
        mask = causal & (segment_ids[:, :, None] == segment_ids[:, None, :])
        return _attend(q, k.swapaxes(1, 2), v.swapaxes(1, 2), mask)

    return jax.shard_map(kernel, in_specs=(HEADS, HEADS, HEADS, P(BATCH, None)), out_specs=HEADS)(
        q, k, v, segment_ids
    )


def cached_attention(
    q: Array, k: Array, v: Array, cache: tuple[Array, Array], positions: Array, *, window: int | None = None
) -> tuple[Array, tuple[Array, Array]]:
    """Write one new key and value per row into the cache, then attend to everything up to it.

    Args:
        q: queries [B, 1, N, H].
        k: new keys [B, 1, K, H].
        v: new values [B, 1, K, H].
        cache: keys and values, each [B, K, S, H]; entry s belongs to position s of its row.
        positions: [B] int32, the position of each row's new token.
        window: a token sees at most the last ``window`` tokens, itself included.

    Returns:
        The attention output [B, 1, N, H], and the cache with the new entries.
    """

    def kernel(
        q: Array, k: Array, v: Array, keys: Array, values: Array, positions: Array
    ) -> tuple[Array, Array, Array]:
        rows = jnp.arange(q.shape[0])
        keys = keys.at[rows, :, positions].set(k[:, 0].astype(keys.dtype))
        values = values.at[rows, :, positions].set(v[:, 0].astype(values.dtype))
        seen = _visible(positions[:, None], jnp.arange(keys.shape[2])[None, :], window)
        return _attend(q, keys, values, seen[:, None, :]), keys, values

    out, keys, values = jax.shard_map(
        kernel,
        in_specs=(HEADS, HEADS, HEADS, CACHE, CACHE, P(BATCH)),
        out_specs=(HEADS, CACHE, CACHE),
    )(q, k, v, *cache, positions)
    return out, (keys, values)


def write_prompts(cache: tuple[Array, Array], k: Array, v: Array, slots: Array) -> tuple[Array, Array]:
    """Put the keys and values of freshly read prompts into rows of the cache.

    Args:
        cache: keys and values, each [B, K, S, H].
        k: keys [R, T, K, H] of R prompts; T is at most S.
        v: values [R, T, K, H].
        slots: [R] int32, the row of each prompt among those of its own part of the batch; a number
            beyond them drops the prompt.

    Returns:
        The cache with those rows begun anew.
    """

    def kernel(keys: Array, values: Array, k: Array, v: Array, slots: Array) -> tuple[Array, Array]:
        length = k.shape[1]
        return tuple(
            old.at[slots, :, :length].set(new.swapaxes(1, 2).astype(old.dtype), mode="drop")
            for old, new in ((keys, k), (values, v))
        )  # type: ignore[return-value]

    return jax.shard_map(kernel, in_specs=(CACHE, CACHE, HEADS, HEADS, P(BATCH)), out_specs=(CACHE, CACHE))(
        *cache, k, v, slots
    )


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
