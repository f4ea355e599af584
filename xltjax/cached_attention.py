"""Attention of one new token per row to a cache of keys and values, as kernels inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, S cache length, N heads, K key-value heads, H head dim, R prompts
read at once, T their length. Scores and softmax are float32 whatever the inputs.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.attention import HEADS
from xltjax.mesh import BATCH

CACHE = P(BATCH, "tensor", None, None)  # cached keys and values: [B, K, S, H]


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
        return _attend(q, keys, values, _visible(positions, keys.shape[2], window)), keys, values

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


def _visible(positions: Array, length: int, window: int | None) -> Array:
    """[B, S] bool: the cache entries that the token at ``positions`` [B] sees."""
    entries = jnp.arange(length)
    causal = entries <= positions[:, None]
    return causal if window is None else causal & (entries > positions[:, None] - window)


def _attend(q: Array, k: Array, v: Array, seen: Array) -> Array:
    """Softmax attention of q [B, 1, N, H] over k, v [B, K, S, H] where seen [B, S] is true."""
    batch, _, heads, head_dim = q.shape
    grouped = q.reshape(batch, k.shape[1], heads // k.shape[1], head_dim)
    dot = partial(jnp.einsum, preferred_element_type=jnp.float32)
    scores = dot("bkgh,bksh->bkgs", grouped, k) * head_dim**-0.5
    scores = jnp.where(seen[:, None, None], scores, -jnp.inf)
    weights = jax.nn.softmax(scores, axis=-1).astype(q.dtype)
    return dot("bkgs,bksh->bkgh", weights, v.astype(q.dtype)).reshape(q.shape).astype(q.dtype)
