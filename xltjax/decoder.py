"""Answers to a stream of prompts from a fixed number of slots, refilled as answers end.

The device holds one ``Slots`` state, which two compiled programs change in place: ``read`` puts prompts
into free slots, ``write`` lengthens every answer until enough have ended. Nothing about an answer depends
on its neighbours.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from xltjax import slots as programs
from xltjax.choose import Choice, item_seed
from xltjax.errors import UserError
from xltjax.llama import Llama, parameters
from xltjax.lora import linears
from xltjax.mesh import BATCH, batch_size, sharding, used_spec
from xltjax.meter import Meter
from xltjax.slots import Slots

SMALLEST_PROMPT = 64  # tokens; prompts are padded to this times a power of two
SMALLEST_CACHE = 128  # positions for prompts; caches hold this times a power of eight, and the answers
STEPS_PER_CALL = 128  # decoding steps after which the host looks at what has ended


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer, EOS excluded, and whether it ended by itself (``stop``) or was cut (``length``)."""

    ids: list[int]
    finish_reason: str


Prompt = tuple[Any, Sequence[int]]  # key, token ids


class Decoder:
    """Answers a stream of prompts with a fixed number of slots."""

    def __init__(
        self,
        model: Llama,
        mesh: Mesh,
        *,
        slots: int,
        max_new_tokens: int,
        choice: Choice,
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
            choice: how tokens are chosen.
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
        self.meter = Meter()
        # Few enough that no slot idles long, enough that reading prompts is not done one by one.
        self.read_rows = max(slots // self.parts // 16, 1) * self.parts
        self.options: dict[str, Any] = {"choice": choice, "eos": tuple(eos)}
        self._model = _laid_out(model, mesh)
        self._weight_bytes = _weight_bytes(self._model)

    def answer_all(self, prompts: Iterable[tuple[Hashable, Sequence[int]]]) -> Iterator[tuple[Any, Answer]]:
        """Answer (key, token ids) pairs; yields (key, answer) as answers end, in no promised order.

        Prompts are taken shortest first, so that padding is small and the cache grows only once.
        """
        queue = deque(sorted(prompts, key=lambda item: len(item[1])))
        with jax.set_mesh(self.mesh):
            state: Slots | None = None
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

    def _take(self, queue: deque[Prompt], free: np.ndarray) -> tuple[list[tuple[int, Prompt]], np.ndarray]:
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
        return _padded(prompt, SMALLEST_CACHE, 8) + self.max_new_tokens

    def _with_length(self, state: Slots | None, length: int) -> Slots:
        """``state`` with a cache of at least ``length`` positions."""
        if state is None:
            return programs.empty(self._model, self.slots, length, self.max_new_tokens)
        held = _length(state)
        if held >= length:
            return state
        self.meter.programs.add(("grow", 0, length))
        return replace(state, cache=programs.grow(state.cache, length - held))

    def _read_prompts(self, state: Slots, taken: list[tuple[int, Prompt]]) -> Slots:
        """Prefill ``taken`` into their slots."""
        began = time.perf_counter()
        length = _padded(max(len(ids) for _, (_, ids) in taken), SMALLEST_PROMPT, 2)
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
            self.meter.prompt_tokens += len(ids)
        rows = sharding(self.mesh, BATCH)
        state = programs.read(
            self._model,
            state,
            jax.device_put(tokens, sharding(self.mesh, BATCH, None)),
            *(jax.device_put(array, rows) for array in (lengths, slots, seeds)),
            **self.options,
        )
        state.live.block_until_ready()
        self.meter.prompts += len(taken)
        self.meter.programs.add(("read", length, _length(state)))
        self.meter.prefill_seconds += time.perf_counter() - began
        return state

    def _write_answers(
        self, state: Slots, busy: np.ndarray, enough: int
    ) -> tuple[Slots, list[tuple[int, Answer]]]:
        """Decode until ``enough`` of the busy slots have ended, and collect those."""
        began = time.perf_counter()
        leave = int(busy.sum()) - enough
        state, steps = programs.write(self._model, state, leave, STEPS_PER_CALL, **self.options)
        live = np.asarray(state.live)
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
                self.meter.new_tokens += len(ids)
        self.meter.slot_steps += int(steps) * self.slots
        cache_bytes = self._model.cache_bytes(self.slots, _length(state))
        self.meter.bytes_read += int(steps) * (self._weight_bytes + cache_bytes)
        self.meter.programs.add(("write", 0, _length(state)))
        self.meter.decode_seconds += time.perf_counter() - began
        return state, answers


def _padded(length: int, smallest: int, ratio: int) -> int:
    """The least ``smallest * ratio^n`` that is not below ``length``."""
    size = smallest
    while size < length:
        size *= ratio
    return size


def _length(state: Slots) -> int:
    return int(state.cache[0][0].shape[2])


def _laid_out(model: Llama, mesh: Mesh) -> Llama:
    """``model`` with its parameters gathered over ``data``, and as the platform multiplies them fastest."""
    copy: Llama = nnx.merge(*nnx.split(model))
    for variable in parameters(copy).values():
        variable.set_value(jax.device_put(variable[...], sharding(mesh, *used_spec(variable.axes))))
    if mesh.devices.flat[0].platform == "cpu":
        with jax.set_mesh(mesh):
            for linear in [linear for _, linear in linears(copy)] + ([copy.head] if copy.head else []):
                linear.store_inputs_first()
    return copy


def _weight_bytes(model: Llama) -> int:
    """Bytes of the weights that a decoding step reads: all but the table of tokens, unless it is also the head."""
    table = 0 if model.head is None else model.embed.weight[...].nbytes
    return sum(int(v[...].nbytes) for v in parameters(model).values()) - int(table)
