"""From logits to the next token: repetition penalty, then the likeliest token or a draw that only the item decides.

Array dimensions as in ``llama.py``; B rows, V' padded vocabulary.
"""

from __future__ import annotations

import hashlib

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.inference.sampling_params import SamplingParams
from xltjax.mesh import BATCH

ROWS = P(BATCH)
TABLE = P(BATCH, None)


def item_seed(seed: int, item: str) -> int:
    """The 32-bit seed of one item's draws, which does not depend on the other items."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{item}".encode()).digest()[:4], "big")


def sample(logits: Array, seen: Array, seeds: Array, count: Array, sampling: SamplingParams) -> Array:
    """The next token [B] int32 of each row; ties go to the lowest id.

    Args:
        logits: [B, V'] float32, split over ``tensor`` or not.
        seen: [B, V'] bool, ids of the prompt and the answer so far.
        seeds: [B] uint32, from ``item_seed``.
        count: [B] int32, how many tokens the answer has; with the seed it decides the draw.
        sampling: the parameters.
    """

    def kernel(logits: Array, seen: Array, seeds: Array, count: Array) -> Array:
        scores = penalize(logits, seen, sampling.repetition_penalty)
        if sampling.temperature:
            scores = _truncated(scores / sampling.temperature, sampling)
            scores = scores + jax.vmap(_noise, in_axes=(0, 0, None))(seeds, count, scores.shape[1])
        return _first_largest(scores)

    whole = jax.sharding.reshard(logits, TABLE)
    return jax.shard_map(kernel, in_specs=(TABLE, TABLE, ROWS, ROWS), out_specs=ROWS)(
        whole, seen, seeds, count
    )


def penalize(logits: Array, seen: Array, penalty: float) -> Array:
    """Hugging Face's repetition penalty on float32 logits [B, V']: seen ids * p below zero, / p otherwise.

    XLA turns a division by a constant into a multiplication by its reciprocal, which differs in the
    last bit for 17 % of values; the barrier keeps the IEEE division.
    """
    if penalty == 1.0:
        return logits
    divisor = jax.lax.optimization_barrier(jnp.full_like(logits, penalty))
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / divisor), logits)


def _first_largest(scores: Array) -> Array:
    """``argmax`` over the last axis, as two plain reductions: XLA's own is 20 times slower on CPU."""
    index = jnp.arange(scores.shape[1], dtype=jnp.int32)
    largest = jnp.where(scores == scores.max(axis=1, keepdims=True), index, scores.shape[1] - 1)
    return largest.min(axis=1)


def _truncated(scores: Array, sampling: SamplingParams) -> Array:
    """``scores`` [B, V'] with what top-k and top-p leave out at -inf."""
    if sampling.top_k:
        least = jax.lax.top_k(scores, min(sampling.top_k, scores.shape[1]))[0][:, -1:]
        scores = jnp.where(scores < least, -jnp.inf, scores)
    if sampling.top_p < 1:
        ordered = -jnp.sort(-scores, axis=1)
        shares = jax.nn.softmax(ordered, axis=1)
        kept = jnp.cumsum(shares, axis=1) - shares < sampling.top_p  # what is likelier holds less than p
        least = jnp.where(kept, ordered, jnp.inf).min(axis=1, keepdims=True)
        scores = jnp.where(scores < least, -jnp.inf, scores)
    return scores


def _noise(seed: Array, count: Array, vocab: int) -> Array:
    """Gumbel noise [V']: the largest of scores plus noise is a draw from their softmax."""
    return jax.random.gumbel(jax.random.fold_in(jax.random.key(seed), count), (vocab,))
