"""The state of decoding on the device, and the two compiled programs that change it: ``read`` and ``write``.

Array dimensions as in ``llama.py``; B slots, R prompts read at once, M most new tokens, V' padded vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.cached_attention import write_prompts
from xltjax.inference.sampling import SamplingParams, choose
from xltjax.llama import Cache, Llama
from xltjax.mesh import BATCH

ROWS = P(BATCH)  # [B] or [R]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DecodeState:
    """What decoding carries from token to token.

    Attributes:
        cache: keys and values of each layer.
        seen: [B, V'] bool, ids that stand in the prompt or the answer so far.
        token: [B] int32, the newest token of each answer, not yet in the cache.
        position: [B] int32, its position.
        answer: [B, M] int32, the tokens chosen so far.
        count: [B] int32, how many they are.
        live: [B] bool, whether the answer goes on.
        seed: [B] uint32, of the item's draws.
    """

    cache: Cache
    seen: Array
    token: Array
    position: Array
    answer: Array
    count: Array
    live: Array
    seed: Array


def empty(model: Llama, chunks: Sequence[tuple[int, int]], new_tokens: int) -> DecodeState:
    """Idle slots, as many as the first of the cache's ``chunks`` (rows, positions) has rows."""
    slots = chunks[0][0]

    def zeros(*shape: int, dtype: Any = jnp.int32) -> Array:
        return jnp.zeros(shape, dtype, out_sharding=P(BATCH, *[None] * (len(shape) - 1)))

    return DecodeState(
        cache=model.empty_cache(*chunks),
        seen=zeros(slots, model.embed.weight.shape[0], dtype=bool),
        token=zeros(slots),
        position=zeros(slots),
        answer=zeros(slots, new_tokens),
        count=zeros(slots),
        live=zeros(slots, dtype=bool),
        seed=zeros(slots, dtype=jnp.uint32),
    )


_write_prompts = jax.jit(write_prompts)  # like layers are traced once


@partial(jax.jit, static_argnames=("choice", "eos"), donate_argnums=1)
def read(
    model: Llama,
    state: DecodeState,
    tokens: Array,
    lengths: Array,
    slots: Array,
    seed: Array,
    *,
    choice: SamplingParams,
    eos: tuple[int, ...],
) -> DecodeState:
    """Read prompts into slots and choose the first token of each answer.

    Args:
        model: the model.
        state: donated.
        tokens: [R, T] int32, padded on the right.
        lengths: [R] int32, of the prompts.
        slots: [R] int32, see ``cached_attention.write_prompts``.
        seed: [R] uint32.
        choice: how tokens are chosen.
        eos: ids that end an answer.
    """
    hidden, new_cache = model.prefill(tokens)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
    within = jnp.arange(tokens.shape[1]) < lengths[:, None]
    seen = _mark(tokens, within, state.seen.shape[1])
    none = jnp.zeros_like(lengths)
    token = choose(model.logits(last)[:, 0], seen, seed, none, choice)
    answer = jnp.zeros((len(slots), state.answer.shape[1]), jnp.int32, out_sharding=P(BATCH, None))
    fresh = (
        seen | _one_hot(token, seen.shape[1]),
        token,
        lengths,
        answer.at[:, 0].set(token),
        none + 1,
        ~_is_any(token, eos) & (state.answer.shape[1] > 1),
        seed,
    )
    old = (state.seen, state.token, state.position, state.answer, state.count, state.live, state.seed)
    cache = [_write_prompts(old, *new, slots) for old, new in zip(state.cache, new_cache, strict=True)]
    return DecodeState(cache, *_put(old, fresh, slots))


@partial(jax.jit, static_argnames=("choice", "eos"), donate_argnums=1)
def write(
    model: Llama,
    state: DecodeState,
    leave: Array,
    most_steps: Array,
    *,
    choice: SamplingParams,
    eos: tuple[int, ...],
) -> tuple[DecodeState, Array]:
    """Lengthen every live answer until at most ``leave`` are live, or ``most_steps`` are done.

    Returns:
        The state (the old one is donated), and the number of steps.
    """

    def go_on(carry: tuple[DecodeState, Array]) -> Array:
        state, steps = carry
        return (state.live.sum() > leave) & (steps < most_steps)

    def lengthen(carry: tuple[DecodeState, Array]) -> tuple[DecodeState, Array]:
        state, steps = carry
        logits, cache = model.decode(state.token, state.cache, state.position)
        token = choose(logits, state.seen, state.seed, state.count, choice)
        token = jnp.where(state.live, token, state.token)
        place = (jnp.arange(state.answer.shape[1]) == state.count[:, None]) & state.live[:, None]
        count = state.count + state.live
        new = replace(
            state,
            cache=cache,
            seen=state.seen | _one_hot(token, state.seen.shape[1]),
            token=token,
            position=state.position + state.live,
            answer=jnp.where(place, token[:, None], state.answer),
            count=count,
            live=state.live & ~_is_any(token, eos) & (count < state.answer.shape[1]),
        )
        return new, steps + 1

    return jax.lax.while_loop(go_on, lengthen, (state, jnp.int32(0)))


def _one_hot(token: Array, vocab: int) -> Array:
    return jnp.arange(vocab) == token[:, None]


def _is_any(token: Array, ids: tuple[int, ...]) -> Array:
    return jnp.isin(token, jnp.array(ids, jnp.int32))


def _mark(tokens: Array, within: Array, vocab: int) -> Array:
    """[R, V'] bool: the ids of each prompt."""

    def kernel(tokens: Array, within: Array) -> Array:
        rows = jnp.arange(tokens.shape[0])[:, None]
        ids = jnp.where(within, tokens, vocab)
        return jnp.zeros((tokens.shape[0], vocab), bool).at[rows, ids].set(True, mode="drop")

    return jax.shard_map(kernel, in_specs=(P(BATCH, None), P(BATCH, None)), out_specs=P(BATCH, None))(
        tokens, within
    )


def _put(old: tuple[Array, ...], fresh: tuple[Array, ...], slots: Array) -> tuple[Array, ...]:
    """Rows ``fresh`` [R, ...] put into rows ``slots`` of ``old`` [B, ...], each part of the batch its own."""

    def kernel(old: tuple[Array, ...], fresh: tuple[Array, ...], slots: Array) -> tuple[Array, ...]:
        return tuple(o.at[slots].set(f, mode="drop") for o, f in zip(old, fresh, strict=True))

    def specs(arrays: tuple[Array, ...]) -> tuple[P, ...]:
        return tuple(P(BATCH, *[None] * (array.ndim - 1)) for array in arrays)

    return jax.shard_map(kernel, in_specs=(specs(old), specs(fresh), ROWS), out_specs=specs(old))(
        old, fresh, slots
    )
