"""Answers to a stream of prompts from a fixed number of slots, refilled as answers end.

The device holds one ``DecodeState`` state, which two compiled programs change in place: ``read`` puts prompts
into free slots, ``write`` lengthens every answer until enough have ended. Nothing about an answer depends
on its neighbours.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from xltjax.cached_attention import LayerCache
from xltjax.common.errors import UserError
from xltjax.inference import decode as programs
from xltjax.inference.decode import DecodeState
from xltjax.inference.sampling import SamplingParams, item_seed
from xltjax.inference.throughput import Throughput
from xltjax.llama import Llama, parameters, store_inputs_first
from xltjax.lora import linears
from xltjax.mesh import BATCH, batch_size, sharding, used_spec

SMALLEST_PROMPT = 32  # tokens; prompts are padded to this times a power of two
LONG_SHARE = 8  # one prompt in so many may be long, and one slot in so many has a cache for it
LONG_CACHE = 256  # positions; caches for long prompts hold a multiple of it
STEPS_PER_CALL = 128  # decoding steps after which the host looks at what has ended


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer, EOS excluded, and whether it ended by itself (``stop``) or was cut (``length``)."""

    ids: list[int]
    finish_reason: str


Prompt = tuple[Any, Sequence[int]]  # key, token ids


class Engine:
    """Answers a stream of prompts with a fixed number of slots."""

    def __init__(
        self,
        model: Llama,
        mesh: Mesh,
        *,
        slots: int,
        max_new_tokens: int,
        sampling: SamplingParams,
        eos: Sequence[int],
        seed: int = 0,
        refill: bool = True,
    ):
        """Lay a model out for decoding.

        Args:
            model: stays as it is; its arrays are shared where the layout is the same.
            mesh: on which the model lies.
            slots: answers written at once, over the whole mesh.
            max_new_tokens: most tokens of an answer, EOS included.
            sampling: how tokens are chosen.
            eos: ids that end an answer.
            seed: of draws, together with each prompt's key.
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
        self.refill, self.seed = refill, seed
        self.throughput = Throughput()
        # Few enough that no slot idles long, enough that reading prompts is not done one by one.
        self.read_rows = max(slots // self.parts // 16, 1) * self.parts
        self._long_slots = max(slots // self.parts // LONG_SHARE, 1)  # of each part
        self.options: dict[str, Any] = {"choice": sampling, "eos": tuple(eos)}
        self._model = _laid_out(model, mesh)
        self._weight_bytes = _weight_bytes(self._model)

    def generate(self, prompts: Iterable[tuple[Hashable, Sequence[int]]]) -> Iterator[tuple[Any, Answer]]:
        """Answer (key, token ids) pairs; yields (key, answer) as answers end, in no promised order.

        Prompts are taken longest first. Where a few are much longer than the others, only some slots have
        a cache for them, and they are answered by those.
        """
        waiting = sorted(prompts, key=lambda item: -len(item[1]))
        if not waiting:
            return
        short = self._short([len(ids) for _, ids in waiting])
        queue = _Queue(waiting, short)
        with jax.set_mesh(self.mesh):
            state = programs.empty(self._model, self._chunks(short, len(waiting[0][1])), self.max_new_tokens)
            owners: list[Any] = [None] * self.slots  # the key of each slot's prompt
            busy, long = np.zeros(self.slots, bool), np.zeros(self.slots, bool)
            while queue or busy.any():
                free = np.flatnonzero(~busy) if self.refill or not busy.any() else np.array([], int)
                while taken := self._take(queue, free):
                    state = self._read_prompts(state, taken)
                    for slot, (key, ids) in taken:
                        owners[slot], busy[slot], long[slot] = key, True, len(ids) > short
                    free = free[~busy[free]]
                enough = min(self.read_rows, int(busy.sum())) if queue and self.refill else 1 << 30
                state, ended = self._write_answers(state, busy, enough, 1 + int((busy & long).any()))
                for slot, answer in ended:
                    busy[slot] = False
                    yield owners[slot], answer

    def _short(self, lengths: Sequence[int]) -> int:
        """The padded length that at most one prompt in ``LONG_SHARE`` exceeds; ``lengths`` fall."""
        return _padded(lengths[len(lengths) // LONG_SHARE], SMALLEST_PROMPT)

    def _chunks(self, short: int, longest: int) -> list[tuple[int, int]]:
        """The cache's chunks: (rows, positions) for every slot, and of those for long prompts."""
        chunks = [(self.slots, short + self.max_new_tokens)]
        if longest > short:
            more = math.ceil((longest - short) / LONG_CACHE) * LONG_CACHE
            chunks.append((self._long_slots * self.parts, more))
        return chunks

    def _take(self, queue: _Queue, free: np.ndarray) -> list[tuple[int, Prompt]]:
        """Up to ``read_rows`` prompts, each with a free slot; no part of the batch gets more than its share."""
        per_part = self.slots // self.parts
        room = dict.fromkeys(range(self.parts), self.read_rows // self.parts)
        taken = []
        for slot in free:
            part, row = divmod(int(slot), per_part)
            prompt = queue.pop(row < self._long_slots) if room[part] else None
            if prompt is not None:
                room[part] -= 1
                taken.append((int(slot), prompt))
        return taken

    def _read_prompts(self, state: DecodeState, taken: list[tuple[int, Prompt]]) -> DecodeState:
        """Prefill ``taken`` into their slots."""
        began = time.perf_counter()
        longest = max(len(ids) for _, (_, ids) in taken)
        length = _padded(longest, SMALLEST_PROMPT)
        tokens = np.zeros((self.read_rows, length), np.int32)
        lengths = np.ones(self.read_rows, np.int32)
        per_part, share = self.slots // self.parts, self.read_rows // self.parts
        slots = np.full(self.read_rows, per_part, np.int32)  # beyond the rows: dropped
        seeds = np.zeros(self.read_rows, np.uint32)
        filled = [0] * self.parts
        for slot, (key, ids) in taken:
            part = slot // per_part
            row = part * share + filled[part]
            filled[part] += 1
            tokens[row, : len(ids)] = ids
            lengths[row] = len(ids)
            slots[row] = slot % per_part
            seeds[row] = item_seed(self.seed, str(key))
            self.throughput.prompt_tokens += len(ids)
        rows = sharding(self.mesh, BATCH)
        held, rest = _split(state, 1 + (longest > state.cache[0][0][0].shape[2] - self.max_new_tokens))
        held = programs.read(
            self._model,
            held,
            jax.device_put(tokens, sharding(self.mesh, BATCH, None)),
            *(jax.device_put(array, rows) for array in (lengths, slots, seeds)),
            **self.options,
        )
        held.live.block_until_ready()
        self.throughput.prompts += len(taken)
        self.throughput.programs.add(("read", length, len(held.cache[0])))
        self.throughput.prefill_seconds += time.perf_counter() - began
        return _joined(held, rest)

    def _write_answers(
        self, state: DecodeState, busy: np.ndarray, enough: int, chunks: int
    ) -> tuple[DecodeState, list[tuple[int, Answer]]]:
        """Decode until ``enough`` of the busy slots have ended, and collect those.

        The first ``chunks`` of the cache hold all busy slots; the others are left alone.
        """
        began = time.perf_counter()
        leave = max(int(busy.sum()) - enough, 0)
        live = np.asarray(state.live)
        if live.sum() > leave:  # answers of one token have ended already
            held, rest = _split(state, chunks)
            held, steps = programs.write(self._model, held, leave, STEPS_PER_CALL, **self.options)
            state, live = _joined(held, rest), np.asarray(held.live)
            self._count(int(steps), held)
        ended = np.flatnonzero(busy & ~live)
        answers = []
        if len(ended):
            counts, texts = np.asarray(state.count), np.asarray(state.answer)
            for slot in ended:
                ids = texts[slot, : counts[slot]].tolist()
                stopped = ids[-1] in self.options["eos"]
                answers.append(
                    (int(slot), Answer(ids[:-1] if stopped else ids, "stop" if stopped else "length"))
                )
                self.throughput.new_tokens += len(ids)
        self.throughput.decode_seconds += time.perf_counter() - began
        return state, answers

    def _count(self, steps: int, state: DecodeState) -> None:
        """Add what ``steps`` of decoding did to the throughput."""
        self.throughput.slot_steps += steps * self.slots
        cache_bytes = sum(array.nbytes for array in jax.tree.leaves(state.cache))
        self.throughput.bytes_read += steps * (self._weight_bytes + cache_bytes)
        self.throughput.programs.add(("write", 0, len(state.cache[0])))


class _Queue:
    """Prompts that wait, longest first; those longer than ``short`` wait for a slot with room for them."""

    def __init__(self, prompts: Sequence[Prompt], short: int):
        """``prompts`` are sorted by length, falling."""
        self.long = deque(prompt for prompt in prompts if len(prompt[1]) > short)
        self.short = deque(prompt for prompt in prompts if len(prompt[1]) <= short)

    def __bool__(self) -> bool:
        return bool(self.long or self.short)

    def pop(self, room: bool) -> Prompt | None:
        """The next prompt for a slot, with ``room`` for a long one or not; None when none fits."""
        waiting = self.long if room and self.long else self.short
        return waiting.popleft() if waiting else None


def _padded(length: int, smallest: int) -> int:
    """The least ``smallest * 2^n`` that is not below ``length``."""
    size = smallest
    while size < length:
        size *= 2
    return size


def _split(state: DecodeState, chunks: int) -> tuple[DecodeState, list[LayerCache]]:
    """``state`` with the first ``chunks`` of each layer's cache, and the others."""
    return (
        replace(state, cache=[layer[:chunks] for layer in state.cache]),
        [layer[chunks:] for layer in state.cache],
    )


def _joined(state: DecodeState, rest: list[LayerCache]) -> DecodeState:
    """What ``_split`` took apart."""
    return replace(state, cache=[a + b for a, b in zip(state.cache, rest, strict=True)])


def _laid_out(model: Llama, mesh: Mesh) -> Llama:
    """``model`` with its parameters gathered over ``data``, and as the platform multiplies them fastest."""
    copy: Llama = nnx.merge(*nnx.split(model))
    for variable in parameters(copy).values():
        variable.set_value(jax.device_put(variable[...], sharding(mesh, *used_spec(variable.axes))))
    if mesh.devices.flat[0].platform == "cpu":
        with jax.set_mesh(mesh):
            store_inputs_first([linear for _, linear in linears(copy)] + ([copy.head] if copy.head else []))
    return copy


def _weight_bytes(model: Llama) -> int:
    """Bytes of the weights that a decoding step reads: all but the table of tokens, unless it is also the head."""
    table = 0 if model.head is None else model.embed.weight[...].nbytes
    return sum(int(v[...].nbytes) for v in parameters(model).values()) - int(table)
