"""Attention of one new token per row to the cached keys and values, as kernels inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, S positions of a chunk, N heads, K key-value heads, H head dim,
R prompts of a prefill, T their length. Scores and softmax are float32 whatever the inputs.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.attention.packed import HEADS
from xltjax.kv_cache import CACHE, LayerCache
from xltjax.mesh import BATCH


def cached_attention(
    q: Array, k: Array, v: Array, cache: LayerCache, positions: Array, *, window: int | None = None
) -> tuple[Array, LayerCache]:
    """Write one new key and value per row into the cache, then attend to everything up to it.

    Args:
        q: queries [B, 1, N, H].
        k: new keys [B, 1, K, H].
        v: new values [B, 1, K, H].
        cache: a layer's chunks; positions are counted across them.
        positions: [B] int32, the position of each row's new token, within the chunks that hold the row.
        window: a token sees at most the last ``window`` tokens, itself included.

    Returns:
        The attention output [B, 1, N, H], and the cache with the new entries.
    """

    def kernel(q: Array, k: Array, v: Array, cache: LayerCache, positions: Array) -> tuple[Array, LayerCache]:
        written, seen, first = [], [], 0
        for keys, values in cache:
            rows, _, length, _ = keys.shape
            entries = positions[:rows] - first
            written.append((_write(keys, k[:rows, 0], entries), _write(values, v[:rows, 0], entries)))
            seen.append(_visible(entries, length, window))
            first += length
        return _attend(q, tuple(written), seen), tuple(written)

    chunks = tuple((CACHE, CACHE) for _ in cache)
    return jax.shard_map(kernel, in_specs=(HEADS, HEADS, HEADS, chunks, P(BATCH)), out_specs=(HEADS, chunks))(
        q, k, v, cache, positions
    )


def write_prompts(cache: LayerCache, k: Array, v: Array, slots: Array) -> LayerCache:
    """Write the keys and values of new prompts into rows of the cache.

    Args:
        cache: a layer's chunks.
        k: keys [R, T, K, H] of R prompts; T is at most the positions of all chunks.
        v: values [R, T, K, H].
        slots: [R] int32, the row of each prompt among those of its own part of the batch; a number
            beyond them drops the prompt. Positions in a chunk that does not hold the row are dropped.

    Returns:
        The cache with those rows overwritten.
    """

    def kernel(cache: LayerCache, k: Array, v: Array, slots: Array) -> LayerCache:
        written, first = [], 0
        for chunk in cache:
            length = min(chunk[0].shape[2], k.shape[1] - first)
            if length > 0:
                new = (x[:, first : first + length].swapaxes(1, 2) for x in (k, v))
                keys, values = (
                    old.at[slots, :, :length].set(x.astype(old.dtype), mode="drop")
                    for old, x in zip(chunk, new, strict=True)
                )
                chunk = (keys, values)
            written.append(chunk)
            first += chunk[0].shape[2]
        return tuple(written)

    chunks = tuple((CACHE, CACHE) for _ in cache)
    return jax.shard_map(kernel, in_specs=(chunks, HEADS, HEADS, P(BATCH)), out_specs=chunks)(
        cache, k, v, slots
    )


def _write(old: Array, new: Array, entries: Array) -> Array:
    """``old`` [B, K, S, H] with ``new`` [B, K, H] at ``entries`` [B]; entries outside 0 to S - 1 are dropped."""
    rows, heads, length, _ = old.shape
    entries = jnp.where(entries < 0, length, entries)  # negative indices would count from the end
    # One index per vector: XLA:CPU copies the whole cache when a single row is written as a slice.
    index = (jnp.arange(rows)[:, None], jnp.arange(heads), entries[:, None])
    return old.at[index].set(new.astype(old.dtype), mode="drop", unique_indices=True)


def _visible(entries: Array, length: int, window: int | None) -> Array:
    """[B, S] bool: the entries of a chunk that the token at ``entries`` [B] sees."""
    index = jnp.arange(length)
    causal = index <= entries[:, None]
    return causal if window is None else causal & (index > entries[:, None] - window)


def _attend(q: Array, cache: LayerCache, seen: list[Array]) -> Array:
    """Softmax attention of q [B, 1, N, H] over the visible entries of all chunks; ``seen`` is [B, S] for each."""
    batch, _, heads, head_dim = q.shape
    kv_heads = cache[0][0].shape[1]
    grouped = q.reshape(batch, kv_heads, heads // kv_heads, head_dim)
    dot = partial(jnp.einsum, preferred_element_type=jnp.float32)
    scores = [
        jnp.where(
            mask[:, None, None],
            dot("bkgh,bksh->bkgs", grouped[: len(keys)], keys) * head_dim**-0.5,
            -jnp.inf,
        )
        for (keys, _), mask in zip(cache, seen, strict=True)
    ]
    largest = scores[0].max(axis=-1)
    for more in scores[1:]:
        largest = largest.at[: len(more)].max(more.max(axis=-1))
    total = out = jnp.zeros((), jnp.float32)
    for some, (_, values) in zip(scores, cache, strict=True):
        weights = jnp.exp(some - largest[: len(some), ..., None])
        part = dot("bkgs,bksh->bkgh", weights.astype(q.dtype), values.astype(q.dtype))
        total = total + _with_rows(weights.sum(axis=-1), batch)
        out = out + _with_rows(part, batch)
    return (out / total[..., None]).reshape(q.shape).astype(q.dtype)


def _with_rows(x: Array, rows: int) -> Array:
    """``x`` padded with rows of zeros to ``rows`` rows."""
    return jnp.pad(x, [(0, rows - len(x))] + [(0, 0)] * (x.ndim - 1))
