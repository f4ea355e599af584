"""Causal attention within segments in plain JAX, for every platform; a kernel inside ``jax.shard_map``.

Array dimensions as in ``llama.py``: B batch, T query length, S key length, N heads, K key-value heads,
H head dim; G = N / K query heads share a key-value head. Scores and softmax are float32 whatever the
inputs, as in the reference implementation.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.ad_checkpoint import checkpoint_name

from xltjax.attention.problem import ATTENTION_OUTPUT

BLOCK = 256  # queries at once
SCORE_BYTES = 1 << 28  # most memory for scores on one device
CPU_SCORE_BYTES = 1 << 24  # on CPU scores should fit in the cache


def portable_attention(q: Array, k: Array, v: Array, segment_ids: Array, window: int | None = None) -> Array:
    """The kernel for every platform; arguments as ``packed.attention``.

    Each block of queries meets the keys up to the block's end, for a few heads at a time, so that scores
    above the diagonal are mostly not computed and never all scores are in memory. The forward pass saves the
    log-sum-exp of each query's scores; with it the backward pass computes the softmax weights again.
    """

    @jax.custom_vjp
    def kernel(q: Array, k: Array, v: Array, segment_ids: Array) -> Array:
        return forward(q, k, v, segment_ids)[0]

    def forward(q: Array, k: Array, v: Array, segment_ids: Array) -> tuple[Array, Any]:
        out, lse = _by_heads(partial(_forward, window=window), q, k, v, segment_ids)
        # With both kept, activation checkpointing need not run the forward pass again.
        out, lse = checkpoint_name(out, ATTENTION_OUTPUT), checkpoint_name(lse, ATTENTION_OUTPUT)
        return out, (q, k, v, segment_ids, out, lse)

    def backward(saved: Any, gradient: Array) -> tuple[Array, Array, Array, None]:
        return *_by_heads(partial(_backward, window=window), *saved, gradient), None

    kernel.defvjp(forward, backward)
    # One sequence per row and key-value head: [B K, G, T, H] and [B K, T, H].
    (rows, length, _, head_dim), kv_heads = q.shape, k.shape[2]
    q = q.reshape(rows, length, kv_heads, -1, head_dim).transpose(0, 2, 3, 1, 4)
    q, k, v = (x.reshape(-1, *x.shape[2:]) for x in (q, k.swapaxes(1, 2), v.swapaxes(1, 2)))
    out = kernel(q, k, v, jnp.repeat(segment_ids, kv_heads, axis=0))
    out = out.reshape(rows, kv_heads, -1, length, head_dim).transpose(0, 3, 1, 2, 4)
    return out.reshape(rows, length, -1, head_dim)


def _by_heads(function: Callable[..., Any], q: Array, *others: Array) -> Any:
    """``function`` of every sequence, of as many at once as the memory for their scores allows."""
    sequences, group, length, _ = q.shape
    most = CPU_SCORE_BYTES if jax.default_backend() == "cpu" else SCORE_BYTES
    at_once = max(1, most // (2 * group * length**2))  # XLA may hold the scores of all blocks, half of T x T
    if at_once >= sequences:
        return jax.vmap(function)(q, *others)
    return jax.lax.map(lambda sequence: function(*sequence), (q, *others), batch_size=at_once)


def _forward(q: Array, k: Array, v: Array, segment_ids: Array, window: int | None) -> tuple[Array, Array]:
    """One sequence: q [G, T, H], k and v [T, H] -> output [G, T, H], log-sum-exp of the scores [G, T, 1]."""
    outs, lses = [], []
    for block in _blocks(q):
        scores = _scores(q, k, segment_ids, block, window)
        highest = scores.max(axis=-1, keepdims=True)
        weights = jnp.exp(scores - highest)
        total = weights.sum(axis=-1, keepdims=True)
        outs.append(_dot("gts,sh->gth", weights.astype(v.dtype), v[: block.stop]) / total)
        lses.append(highest + jnp.log(total))
    return jnp.concatenate(outs, axis=1).astype(v.dtype), jnp.concatenate(lses, axis=1)


def _backward(
    q: Array, k: Array, v: Array, segment_ids: Array, out: Array, lse: Array, d_out: Array, window: int | None
) -> tuple[Array, Array, Array]:
    """One sequence: dO, the gradient of the output, -> dQ, dK and dV, with P = exp(S - lse).

    dV = P^T dO;  dP = dO V^T;  dS = P * (dP - rowsum(dO * O));  dQ = dS K / sqrt(H);  dK = dS^T Q / sqrt(H).
    """
    rowsum = (out.astype(jnp.float32) * d_out).sum(axis=-1, keepdims=True)
    d_q, d_k, d_v = [], jnp.zeros(()), jnp.zeros(())
    for block in _blocks(q):
        p = jnp.exp(_scores(q, k, segment_ids, block, window) - lse[:, block])
        d_p = _dot("gth,sh->gts", d_out[:, block], v[: block.stop])
        d_s = (p * (d_p - rowsum[:, block]) * q.shape[-1] ** -0.5).astype(q.dtype)
        d_q.append(_dot("gts,sh->gth", d_s, k[: block.stop]))
        later = ((0, 0), (0, k.shape[0] - block.stop))
        # In this order XLA transposes the narrow factor on CPU, not the scores.
        d_k += jnp.pad(_dot("gth,gts->hs", q[:, block], d_s), later)
        d_v += jnp.pad(_dot("gth,gts->hs", d_out[:, block], p.astype(q.dtype)), later)
    d_k, d_v = d_k.T.astype(q.dtype), d_v.T.astype(q.dtype)
    return jnp.concatenate(d_q, axis=1).astype(q.dtype), d_k, d_v


def _blocks(q: Array) -> list[slice]:
    """The blocks of queries [G, T, H]; the last one may be shorter."""
    length = q.shape[1]
    return [slice(start, min(start + BLOCK, length)) for start in range(0, length, BLOCK)]


def _scores(q: Array, k: Array, segment_ids: Array, block: slice, window: int | None) -> Array:
    """Scores [G, block, S] float32 of a block's queries for the keys up to its end, masked ones very low."""
    query, key = jnp.arange(block.start, block.stop)[:, None], jnp.arange(block.stop)
    seen = (key <= query) & (segment_ids[block, None] == segment_ids[: block.stop])
    if window is not None:
        seen &= key > query - window
    scores = _dot("gth,sh->gts", q[:, block], k[: block.stop]) * q.shape[-1] ** -0.5
    return jnp.where(seen, scores, jnp.finfo(jnp.float32).min)


def _dot(equation: str, a: Array, b: Array) -> Array:
    if jax.default_backend() == "cpu":  # XLA:CPU cannot multiply bfloat16 into float32 in every layout
        a, b = a.astype(jnp.float32), b.astype(jnp.float32)
    return jnp.einsum(equation, a, b, preferred_element_type=jnp.float32)
