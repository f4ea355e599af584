"""Greedy decoding with a repetition penalty over a fixed number of slots, refilled as answers end.

The device holds one ``Slots`` state; two compiled programs change it: ``read`` (prefill prompts into free
slots) and ``write`` (a ``lax.while_loop`` that lengthens every answer until enough have ended). Both donate
the state, so that the caches are updated in place. Nothing about an answer depends on its neighbours.

Array dimensions as in ``llama.py``; B slots, R prompts read at once, M most new tokens, V' padded vocabulary.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from xltjax.attention import write_prompts
from xltjax.errors import UserError
from xltjax.llama import Cache, Llama, parameters
from xltjax.mesh import BATCH, batch_size, sharding, used_spec

ROWS = P(BATCH)  # [B] or [R]
SMALLEST_PROMPT = 64  # tokens; prompts are padded to this times a power of two
STEPS_PER_CALL = 128  # decoding steps after which the host looks at what has ended


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Slots:
    """What decoding carries from token to token.

    Attributes:
        cache: keys and values of each layer.
        seen: [B, V'] bool, ids that stand in the prompt or the answer so far.
        token: [B] int32, the newest token of each answer, not yet in the cache.
        position: [B] int32, its position.
        answer: [B, M] int32, the tokens chosen so far.
        count: [B] int32, how many they are.
        live: [B] bool, whether the answer goes on.
    """

    cache: Cache
    seen: Array
    token: Array
    position: Array
    answer: Array
    count: Array
    live: Array


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer, EOS excluded, and whether it ended by itself (``stop``) or was cut (``length``)."""

    ids: list[int]
    finish_reason: str


@dataclass
class Meter:
    """What decoding did so far: for throughput and occupancy."""

    prompts: int = 0
    prompt_tokens: int = 0
    new_tokens: int = 0
    slot_steps: int = 0  # decoding steps times slots, idle slots included
    prefill_seconds: float = 0.0
    decode_seconds: float = 0.0
    programs: set[tuple[str, int, int]] = field(default_factory=set)  # (kind, prompt length, cache length)

    def occupancy(self) -> float:
        """Share of slot steps that lengthened an answer."""
        return (self.new_tokens - self.prompts) / self.slot_steps if self.slot_steps else 1.0


def penalize(logits: Array, seen: Array, penalty: float) -> Array:
    """Hugging Face's repetition penalty on float32 logits [B, V']: seen ids * p below zero, / p otherwise.

    XLA turns a division by a constant into a multiplication by its reciprocal, which differs in the
    last bit for 17 % of values; the barrier keeps the IEEE division.
    """
    if penalty == 1.0:
        return logits
    divisor = jax.lax.optimization_barrier(jnp.full_like(logits, penalty))
    return jnp.where(seen, jnp.where(logits < 0, logits * penalty, logits / divisor), logits)


class Decoder:
    """Answers a stream of prompts with a fixed number of slots."""

    def __init__(
        self,
        model: Llama,
        mesh: Mesh,
        *,
        slots: int,
        max_new_tokens: int,
        repetition_penalty: float,
        eos: Sequence[int],
        refill: bool = True,
    ):
        """Lay the model out for decoding.

        Args:
            model: its parameters are gathered over the mesh's ``data`` axis.
            mesh: on which the model lies.
            slots: answers written at once, over the whole mesh.
            max_new_tokens: most tokens of an answer, EOS included.
            repetition_penalty: 1.0 for none.
            eos: ids that end an answer.
            refill: give a slot a new prompt when its answer ends; otherwise wait until all have ended.

        Raises:
            UserError: when the mesh does not divide the slots.
        """
        self.parts = batch_size(mesh)
        if slots % self.parts:
            raise UserError(
                f"batch size {slots} cannot be split over {self.parts} data devices; "
                f"use {max(slots // self.parts, 1) * self.parts}"
            )
        self.mesh, self.slots, self.max_new_tokens = mesh, slots, max_new_tokens
        self.refill, self.eos = refill, tuple(eos)
        self.meter = Meter()
        # Few enough that no slot idles long, enough that reading prompts is not done one by one.
        self.read_rows = max(slots // self.parts // 8, 1) * self.parts
        for variable in parameters(model).values():
            target = sharding(mesh, *used_spec(variable.axes))
            variable.set_value(jax.device_put(variable[...], target))
        self._model = model
        options = {"penalty": repetition_penalty, "eos": self.eos}
        self._read = jax.jit(partial(_read, **options), donate_argnums=1)
        self._write = jax.jit(partial(_write, **options), donate_argnums=1)

    def answer_all(self, prompts: Iterable[tuple[Hashable, Sequence[int]]]) -> Iterator[tuple[Any, Answer]]:
        """Answer (key, token ids) pairs; yields (key, answer) as answers end, in no promised order.

        Prompts are taken shortest first, so that padding is small and the cache grows only once.
        """
        queue = deque(sorted(prompts, key=lambda item: len(item[1])))
        with jax.set_mesh(self.mesh):
            state = None
            owners: list[Any] = [None] * self.slots  # the key of each slot's prompt
            busy = np.zeros(self.slots, bool)
            while queue or busy.any():
                free = np.flatnonzero(~busy) if self.refill or not busy.any() else np.array([], int)
                while queue and len(free):
                    taken, free = self._take(queue, free)
                    state = self._with_length(state, self._cache_length(len(taken[-1][1][1])))
                    state = self._read_prompts(state, taken)
                    for slot, (key, _) in taken:
                        owners[slot], busy[slot] = key, True
                assert state is not None
                waiting = bool(queue) and self.refill
                enough = min(self.read_rows, int(busy.sum())) if waiting else 1 << 30
                state, ended = self._write_answers(state, busy, enough)
                for slot, answer in ended:
                    busy[slot] = False
                    yield owners[slot], answer

    def _take(
        self, queue: deque[tuple[Any, Sequence[int]]], free: np.ndarray
    ) -> tuple[list[tuple[int, tuple[Any, Sequence[int]]]], np.ndarray]:
        """Up to ``read_rows`` prompts, each with a free slot; no part of the batch gets more than its share."""
        share = self.read_rows // self.parts
        taken, used = [], []
        per_part = self.slots // self.parts
        room = dict.fromkeys(range(self.parts), share)
        for slot in free:
            if not queue:
                break
            if room[slot // per_part]:
                room[slot // per_part] -= 1
                taken.append((int(slot), queue.popleft()))
                used.append(slot)
        return taken, np.setdiff1d(free, used)

    def _cache_length(self, prompt: int) -> int:
        """Cache positions for prompts up to ``prompt`` tokens: few sizes, so few compilations."""
        padded = _padded_prompt(prompt)
        roomy = SMALLEST_PROMPT * 2 * 4 ** max(0, math.ceil(math.log(padded / SMALLEST_PROMPT / 2, 4)))
        return roomy + self.max_new_tokens

    def _with_length(self, state: Slots | None, length: int) -> Slots:
        """``state`` with a cache of at least ``length`` positions."""
        if state is None:
            vocab = self._model.embed.weight.shape[0]

            def zeros(*shape: int, dtype: Any = jnp.int32) -> Array:
                return jnp.zeros(shape, dtype, out_sharding=P(BATCH, *[None] * (len(shape) - 1)))

            return Slots(
                cache=self._model.empty_cache(self.slots, length),
                seen=zeros(self.slots, vocab, dtype=bool),
                token=zeros(self.slots),
                position=zeros(self.slots),
                answer=zeros(self.slots, self.max_new_tokens),
                count=zeros(self.slots),
                live=zeros(self.slots, dtype=bool),
            )
        held = state.cache[0][0].shape[2]
        return state if held >= length else _grow(state, length - held)

    def _read_prompts(self, state: Slots, taken: list[tuple[int, tuple[Any, Sequence[int]]]]) -> Slots:
        """Prefill ``taken`` into their slots."""
        began = time.perf_counter()
        length = _padded_prompt(max(len(ids) for _, (_, ids) in taken))
        tokens = np.zeros((self.read_rows, length), np.int32)
        lengths = np.ones(self.read_rows, np.int32)
        per_part, share = self.slots // self.parts, self.read_rows // self.parts
        slots = np.full(self.read_rows, per_part, np.int32)  # beyond the rows: dropped
        filled = [0] * self.parts
        for slot, (_, ids) in taken:
            part = slot // per_part
            row = part * share + filled[part]
            filled[part] += 1
            tokens[row, : len(ids)] = ids
            lengths[row] = len(ids)
            slots[row] = slot % per_part
            self.meter.prompt_tokens += len(ids)
        rows = sharding(self.mesh, BATCH)
        state = self._read(
            self._model,
            state,
            jax.device_put(tokens, sharding(self.mesh, BATCH, None)),
            jax.device_put(lengths, rows),
            jax.device_put(slots, rows),
        )
        state.live.block_until_ready()
        self.meter.prompts += len(taken)
        self.meter.programs.add(("read", length, state.cache[0][0].shape[2]))
        self.meter.prefill_seconds += time.perf_counter() - began
        return state

    def _write_answers(
        self, state: Slots, busy: np.ndarray, enough: int
    ) -> tuple[Slots, list[tuple[int, Answer]]]:
        """Decode until ``enough`` of the busy slots have ended, and collect those."""
        began = time.perf_counter()
        state, steps = self._write(self._model, state, int(busy.sum()) - enough, STEPS_PER_CALL)
        live = np.asarray(state.live)
        ended = np.flatnonzero(busy & ~live)
        answers = []
        if len(ended):
            counts, texts = np.asarray(state.count), np.asarray(state.answer)
            for slot in ended:
                ids = texts[slot, : counts[slot]].tolist()
                stopped = ids[-1] in self.eos
                answers.append(
                    (int(slot), Answer(ids[:-1] if stopped else ids, "stop" if stopped else "length"))
                )
                self.meter.new_tokens += len(ids)
        self.meter.slot_steps += int(steps) * self.slots
        self.meter.programs.add(("write", 0, state.cache[0][0].shape[2]))
        self.meter.decode_seconds += time.perf_counter() - began
        return state, answers


def _padded_prompt(length: int) -> int:
    return SMALLEST_PROMPT * 2 ** max(0, math.ceil(math.log2(length / SMALLEST_PROMPT)))


@partial(jax.jit, static_argnums=1)
def _grow(state: Slots, more: int) -> Slots:
    """``state`` with ``more`` empty positions at the end of its caches."""
    widths = ((0, 0), (0, 0), (0, more), (0, 0))
    cache = [(jnp.pad(k, widths), jnp.pad(v, widths)) for k, v in state.cache]
    return Slots(cache, state.seen, state.token, state.position, state.answer, state.count, state.live)


def _read(
    model: Llama,
    state: Slots,
    tokens: Array,
    lengths: Array,
    slots: Array,
    *,
    penalty: float,
    eos: tuple[int, ...],
) -> Slots:
    """Read prompts [R, T] of ``lengths`` [R] and choose the first token of each answer."""
    hidden, new_cache = model.prefill(tokens)
    last = jnp.take_along_axis(hidden, (lengths - 1)[:, None, None], axis=1)
    within = jnp.arange(tokens.shape[1]) < lengths[:, None]
    seen = _mark(tokens, within, state.seen.shape[1])
    token = _choose(model.logits(last)[:, 0], seen, penalty)
    cache = [write_prompts(old, *new, slots) for old, new in zip(state.cache, new_cache, strict=True)]
    answer = jnp.zeros((len(slots), state.answer.shape[1]), jnp.int32, out_sharding=P(BATCH, None))
    fresh = (
        seen | _one_hot(token, seen.shape[1]),
        token,
        lengths,
        answer.at[:, 0].set(token),
        jnp.ones_like(token),
        ~_is_any(token, eos) & (state.answer.shape[1] > 1),
    )
    old = (state.seen, state.token, state.position, state.answer, state.count, state.live)
    return Slots(cache, *_put(old, fresh, slots))


def _write(
    model: Llama, state: Slots, leave: Array, most_steps: Array, *, penalty: float, eos: tuple[int, ...]
) -> tuple[Slots, Array]:
    """Lengthen every live answer until at most ``leave`` are live, or ``most_steps`` are done."""

    def go_on(carry: tuple[Slots, Array]) -> Array:
        state, steps = carry
        living = state.live.sum()
        return (living > jnp.maximum(leave, 0)) & (steps < most_steps)

    def lengthen(carry: tuple[Slots, Array]) -> tuple[Slots, Array]:
        state, steps = carry
        logits, cache = model.decode(state.token, state.cache, state.position)
        token = _choose(logits, state.seen, penalty)
        token = jnp.where(state.live, token, state.token)
        place = (jnp.arange(state.answer.shape[1]) == state.count[:, None]) & state.live[:, None]
        count = state.count + state.live
        new = Slots(
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


def _choose(logits: Array, seen: Array, penalty: float) -> Array:
    """The likeliest token [B] after the penalty; ties go to the lowest id."""
    whole = jax.sharding.reshard(logits, P(BATCH, None))
    return jnp.argmax(penalize(whole, seen, penalty), axis=-1).astype(jnp.int32)


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
