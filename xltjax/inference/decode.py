"""The state of decoding on the device, and the two compiled programs that change it: ``prefill`` and ``decode``.

Decoding is continuous batching: the state has a fixed number of slots, ``prefill`` puts new prompts into free
slots, and ``decode`` adds tokens to the answers of all active slots in a loop.

Array dimensions as in ``llama.py``; B slots, R prompts of a prefill, M most new tokens, V' padded vocabulary.
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

from xltjax.attention.cached import write_prompts
from xltjax.inference.sampling import sample
from xltjax.inference.sampling_params import SamplingParams
from xltjax.kv_cache import KVCache
from xltjax.llama import Llama
from xltjax.mesh import BATCH

ROWS = P(BATCH)  # [B] or [R]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DecodeState:
    """What decoding carries from token to token.

    Attributes:
        cache: keys and values of all layers.
        seen: [B, V'] bool, ids that occur in the prompt or in the answer so far.
        token: [B] int32, the newest token of each answer, not yet in the cache.
        position: [B] int32, its position.
        answer: [B, M] int32, the tokens of the answer so far.
        count: [B] int32, how many they are.
        active: [B] bool, whether the answer has not ended.
        seed: [B] uint32, of the item's draws.
    """

    cache: KVCache
    seen: Array
    token: Array
    position: Array
    answer: Array
    count: Array
    active: Array
    seed: Array


def empty(model: Llama, chunks: Sequence[tuple[int, int]], new_tokens: int) -> DecodeState:
    """Inactive slots, as many as the first of the cache's ``chunks`` (rows, positions) has rows."""
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
        active=zeros(slots, dtype=bool),
        seed=zeros(slots, dtype=jnp.uint32),
    )


_write_prompts = jax.jit(write_prompts)  # under ``jit`` layers of equal shapes are traced once


@partial(jax.jit, static_argnames=("sampling", "eos"), donate_argnums=1)
def prefill(
    model: Llama,
    state: DecodeState,
    tokens: Array,
    lengths: Array,
    slots: Array,
    seed: Array,
    *,
    sampling: SamplingParams,
    eos: tuple[int, ...],
) -> DecodeState:
    """Compute the keys and values of prompts, put them into slots, and sample the first token of each answer.

    Args:
        model: in the layout of ``layout.decode_layout``.
        state: donated.
        tokens: [R, T] int32, padded on the right.
        lengths: [R] int32, of the prompts.
        slots: [R] int32, see ``attention.cached.write_prompts``.
        seed: [R] uint32.
        sampling: how tokens are sampled.
        eos: ids that end an answer.
    """
    hidden, keys_and_values = model.prefill(tokens)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
    within = jnp.arange(tokens.shape[1]) < lengths[:, None]
    seen = _ids_of(tokens, within, state.seen.shape[1])
    none = jnp.zeros_like(lengths)
    token = sample(model.logits(last)[:, 0], seen, seed, none, sampling)
    answer = jnp.zeros((len(slots), state.answer.shape[1]), jnp.int32, out_sharding=P(BATCH, None))
    new = (
        seen | _one_hot(token, seen.shape[1]),
        token,
        lengths,
        answer.at[:, 0].set(token),
        none + 1,
        ~_is_any(token, eos) & (state.answer.shape[1] > 1),
        seed,
    )
    old = (state.seen, state.token, state.position, state.answer, state.count, state.active, state.seed)
    layers = zip(state.cache.layers, keys_and_values, strict=True)
    cache = KVCache(tuple(_write_prompts(layer, *written, slots) for layer, written in layers))
    return DecodeState(cache, *_put(old, new, slots))


@partial(jax.jit, static_argnames=("sampling", "eos"), donate_argnums=1)
def decode(
    model: Llama,
    state: DecodeState,
    leave: Array,
    most_steps: Array,
    *,
    sampling: SamplingParams,
    eos: tuple[int, ...],
) -> tuple[DecodeState, Array]:
    """The decode loop: one token for every active slot per step, until few are active.

    Args:
        model: in the layout of ``layout.decode_layout``.
        state: donated.
        leave: the loop ends when at most so many slots are active.
        most_steps: the loop ends after so many steps in any case.
        sampling: how tokens are sampled.
        eos: ids that end an answer.

    Returns:
        The state, and the number of steps.
    """

    def goes_on(carry: tuple[DecodeState, Array]) -> Array:
        state, steps = carry
        return (state.active.sum() > leave) & (steps < most_steps)

    def step(carry: tuple[DecodeState, Array]) -> tuple[DecodeState, Array]:
        state, steps = carry
        logits, cache = model.decode(state.token, state.cache, state.position)
        token = sample(logits, state.seen, state.seed, state.count, sampling)
        token = jnp.where(state.active, token, state.token)
        place = (jnp.arange(state.answer.shape[1]) == state.count[:, None]) & state.active[:, None]
        count = state.count + state.active
        new = replace(
            state,
            cache=cache,
            seen=state.seen | _one_hot(token, state.seen.shape[1]),
            token=token,
            position=state.position + state.active,
            answer=jnp.where(place, token[:, None], state.answer),
            count=count,
            active=state.active & ~_is_any(token, eos) & (count < state.answer.shape[1]),
        )
        return new, steps + 1

    return jax.lax.while_loop(goes_on, step, (state, jnp.int32(0)))


def _one_hot(token: Array, vocab: int) -> Array:
    return jnp.arange(vocab) == token[:, None]


def _is_any(token: Array, ids: tuple[int, ...]) -> Array:
    return jnp.isin(token, jnp.array(ids, jnp.int32))


def _ids_of(tokens: Array, within: Array, vocab: int) -> Array:
    """[R, V'] bool: the ids of each prompt [R, T], where ``within`` [R, T] is true."""

    def kernel(tokens: Array, within: Array) -> Array:
        rows = jnp.arange(tokens.shape[0])[:, None]
        ids = jnp.where(within, tokens, vocab)
        return jnp.zeros((tokens.shape[0], vocab), bool).at[rows, ids].set(True, mode="drop")

    return jax.shard_map(kernel, in_specs=(P(BATCH, None), P(BATCH, None)), out_specs=P(BATCH, None))(
        tokens, within
    )


def _put(old: tuple[Array, ...], new: tuple[Array, ...], slots: Array) -> tuple[Array, ...]:
    """Rows ``new`` [R, ...] written to rows ``slots`` of ``old`` [B, ...], in each part of the batch."""

    def kernel(old: tuple[Array, ...], new: tuple[Array, ...], slots: Array) -> tuple[Array, ...]:
        return tuple(o.at[slots].set(n, mode="drop") for o, n in zip(old, new, strict=True))

    def specs(arrays: tuple[Array, ...]) -> tuple[P, ...]:
        return tuple(P(BATCH, *[None] * (array.ndim - 1)) for array in arrays)

    return jax.shard_map(kernel, in_specs=(specs(old), specs(new), ROWS), out_specs=specs(old))(
        old, new, slots
    )
