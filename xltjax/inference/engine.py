"""Answers to a stream of prompts by continuous batching: a fixed number of slots, refilled as answers end.

The device holds one ``DecodeState``, which two compiled programs change in place: ``prefill`` puts prompts into
free slots, and ``decode`` runs the decode loop until enough answers have ended. No answer depends on the others.
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
from jax.sharding import Mesh

from xltjax.common.errors import UserError
from xltjax.inference import decode as programs
from xltjax.inference.decode import DecodeState
from xltjax.inference.layout import decode_layout
from xltjax.inference.sampling import item_seed
from xltjax.inference.sampling_params import SamplingParams
from xltjax.inference.throughput import Throughput
from xltjax.llama import Llama, parameters
from xltjax.mesh import BATCH, batch_size, sharding

SMALLEST_PROMPT = 32  # tokens; prompts are padded to this times a power of two
LONG_SHARE = 8  # one prompt in so many may be long, and one slot in so many has a cache for it
LONG_CACHE = 256  # positions; caches for long prompts hold a multiple of it
STREAMED_STEPS = 4  # decoding steps after which a streamed answer is shown
STEPS_PER_CALL = 128  # decoding steps after which the host collects the answers that have ended


@dataclass(frozen=True)
class Answer:
    """Token ids of one answer, EOS excluded, and whether it ended with EOS (``stop``) or was cut (``length``)."""

    ids: list[int]
    finish_reason: str


Prompt = tuple[Any, Sequence[int]]  # key, token ids


def check_slots(slots: int, mesh: Mesh) -> None:
    """Refuse a number of slots that the mesh does not divide.

    Raises:
        UserError: naming one that works.
    """
    parts = batch_size(mesh)
    if slots % parts:
        raise UserError(
            f"batch size {slots} cannot be split over {parts} data devices; use {max(slots // parts, 1) * parts}"
        )


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
            model: left unchanged; its arrays are shared where the layout is the same.
            mesh: on which the model lies.
            slots: answers that are decoded at once, over the whole mesh.
            max_new_tokens: most tokens of an answer, EOS included.
            sampling: how tokens are sampled.
            eos: ids that end an answer.
            seed: of draws, together with each prompt's key.
            refill: give a slot a new prompt when its answer ends; otherwise wait until all have ended.

        Raises:
            UserError: when the mesh does not divide the slots.
        """
        check_slots(slots, mesh)
        self.parts = batch_size(mesh)
        self.mesh, self.slots, self.max_new_tokens = mesh, slots, max_new_tokens
        self.refill, self.seed = refill, seed
        self.throughput = Throughput()
        # Few enough that no slot idles for long, enough that prompts are not prefilled one by one.
        self.prefill_rows = max(slots // self.parts // 16, 1) * self.parts
        self._long_slots = max(slots // self.parts // LONG_SHARE, 1)  # of each part
        self.options: dict[str, Any] = {"sampling": sampling, "eos": tuple(eos)}
        self._model = decode_layout(model, mesh)
        self._weight_bytes = _weight_bytes(self._model)

    def generate(self, prompts: Iterable[tuple[Hashable, Sequence[int]]]) -> Iterator[tuple[Any, Answer]]:
        """Answer (key, token ids) pairs; yields (key, answer) as answers end, in no particular order.

        Prompts are taken longest first. Where a few are much longer than the others, only some slots have
        a cache for them, and those slots answer them.

        Raises:
            ValueError: for a prompt without tokens.
        """
        waiting = sorted(prompts, key=lambda item: -len(item[1]))
        if not waiting:
            return
        if not len(waiting[-1][1]):
            raise ValueError(f"the prompt of {waiting[-1][0]!r} has no tokens")
        short = self._short([len(ids) for _, ids in waiting])
        queue = _Queue(waiting, short)
        with jax.set_mesh(self.mesh):
            state = programs.empty(self._model, self._chunks(short, len(waiting[0][1])), self.max_new_tokens)
            keys: list[Any] = [None] * self.slots  # of each slot's prompt
            lengths = np.zeros(self.slots, int)  # of each slot's prompt; 0 where the slot is free
            while queue or lengths.any():
                may_fill = self.refill or not lengths.any()
                free = np.flatnonzero(lengths == 0) if may_fill else np.array([], int)
                while taken := self._take(queue, free):
                    state = self._prefill(state, taken)
                    for slot, (key, ids) in taken:
                        keys[slot], lengths[slot] = key, len(ids)
                    free = free[lengths[free] == 0]
                busy = int((lengths > 0).sum())
                leave = max(busy - self.prefill_rows, 0) if queue and self.refill else 0
                state, ended = self._decode(state, lengths, leave)
                for slot, answer in ended:
                    lengths[slot] = 0
                    yield keys[slot], answer

    def stream(self, key: Hashable, ids: Sequence[int], steps: int = STREAMED_STEPS) -> Iterator[Answer]:
        """Answer one prompt, as ``generate`` does, and yield the answer so far after every few tokens.

        Args:
            key: as in ``generate``: with the seed, it decides the draws.
            ids: the prompt.
            steps: how many tokens come at once; another number compiles nothing anew.

        Yields:
            The answer so far; its ``finish_reason`` is empty until it has ended.

        Raises:
            ValueError: for a prompt without tokens.
        """
        if not len(ids):
            raise ValueError(f"the prompt of {key!r} has no tokens")
        with jax.set_mesh(self.mesh):
            chunks = self._chunks(self._short([len(ids)]), len(ids))
            state = programs.empty(self._model, chunks, self.max_new_tokens)
            state = self._prefill(state, [(0, (key, ids))])
            first = np.zeros(1, int)
            while np.asarray(state.active)[0]:
                token_ids = np.asarray(state.answer)[0, : int(np.asarray(state.count)[0])]
                yield Answer(token_ids.tolist(), "")
                state, _ = programs.decode(self._model, state, 0, steps, **self.options)
            yield self._answers(state, first)[0]

    def _short(self, lengths: Sequence[int]) -> int:
        """The padded length that at most one prompt in ``LONG_SHARE`` exceeds; ``lengths`` are descending."""
        return _padded(lengths[len(lengths) // LONG_SHARE], SMALLEST_PROMPT)

    def _chunks(self, short: int, longest: int) -> list[tuple[int, int]]:
        """The cache's chunks, (rows, positions): one for every slot, and one for the slots of long prompts."""
        chunks = [(self.slots, short + self.max_new_tokens)]
        if longest > short:
            more = math.ceil((longest - short) / LONG_CACHE) * LONG_CACHE
            chunks.append((self._long_slots * self.parts, more))
        return chunks

    def _take(self, queue: _Queue, free: np.ndarray) -> list[tuple[int, Prompt]]:
        """Up to ``prefill_rows`` prompts, each with a free slot; no part of the batch gets more than its share."""
        per_part = self.slots // self.parts
        room = dict.fromkeys(range(self.parts), self.prefill_rows // self.parts)
        taken = []
        for slot in free:
            part, row = divmod(int(slot), per_part)
            prompt = queue.pop(row < self._long_slots) if room[part] else None
            if prompt is not None:
                room[part] -= 1
                taken.append((int(slot), prompt))
        return taken

    def _prefill(self, state: DecodeState, taken: list[tuple[int, Prompt]]) -> DecodeState:
        """Put the prompts of ``taken`` into their slots and sample their first tokens."""
        began = time.perf_counter()
        longest = max(len(ids) for _, (_, ids) in taken)
        length = _padded(longest, SMALLEST_PROMPT)
        tokens = np.zeros((self.prefill_rows, length), np.int32)
        lengths = np.ones(self.prefill_rows, np.int32)
        per_part, share = self.slots // self.parts, self.prefill_rows // self.parts
        slots = np.full(self.prefill_rows, per_part, np.int32)  # beyond the rows: dropped
        seeds = np.zeros(self.prefill_rows, np.uint32)
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
        chunks = state.cache.chunks_for(longest + self.max_new_tokens)
        rest = state.cache.rest(chunks)
        state = programs.prefill(
            self._model,
            replace(state, cache=state.cache.first(chunks)),
            jax.device_put(tokens, sharding(self.mesh, BATCH, None)),
            *(jax.device_put(array, rows) for array in (lengths, slots, seeds)),
            **self.options,
        )
        state.active.block_until_ready()
        self.throughput.prompts += len(taken)
        self.throughput.programs.add(("prefill", length, chunks))
        self.throughput.prefill_seconds += time.perf_counter() - began
        return replace(state, cache=state.cache.join(rest))

    def _decode(
        self, state: DecodeState, lengths: np.ndarray, leave: int
    ) -> tuple[DecodeState, list[tuple[int, Answer]]]:
        """Decode until at most ``leave`` slots are active; returns the answers that have ended by slot.

        ``lengths`` are those of the slots' prompts, 0 for a free slot. Chunks of the cache that hold none of
        these prompts are not read.
        """
        began = time.perf_counter()
        active = np.asarray(state.active)
        if active.sum() > leave:  # answers of one token have ended already
            chunks = state.cache.chunks_for(int(lengths.max()) + self.max_new_tokens)
            rest = state.cache.rest(chunks)
            state, steps = programs.decode(
                self._model,
                replace(state, cache=state.cache.first(chunks)),
                leave,
                STEPS_PER_CALL,
                **self.options,
            )
            self._count(int(steps), state)
            state, active = replace(state, cache=state.cache.join(rest)), np.asarray(state.active)
        ended = np.flatnonzero((lengths > 0) & ~active)
        answers = [
            (int(slot), answer) for slot, answer in zip(ended, self._answers(state, ended), strict=True)
        ]
        self.throughput.decode_seconds += time.perf_counter() - began
        return state, answers

    def _answers(self, state: DecodeState, slots: np.ndarray) -> list[Answer]:
        """The answers of ``slots``."""
        if not len(slots):
            return []
        counts, tokens = np.asarray(state.count), np.asarray(state.answer)
        answers = []
        for slot in slots:
            ids = tokens[slot, : counts[slot]].tolist()
            stopped = ids[-1] in self.options["eos"]
            answers.append(Answer(ids[:-1] if stopped else ids, "stop" if stopped else "length"))
            self.throughput.new_tokens += len(ids)
        return answers

    def _count(self, steps: int, state: DecodeState) -> None:
        """Add ``steps`` of decoding with the chunks of ``state`` to the measurements."""
        self.throughput.slot_steps += steps * self.slots
        self.throughput.bytes_read += steps * (self._weight_bytes + state.cache.nbytes)
        self.throughput.programs.add(("decode", 0, state.cache.num_chunks))


class _Queue:
    """Waiting prompts, longest first; those longer than ``short`` wait for a slot with room for them."""

    def __init__(self, prompts: Sequence[Prompt], short: int):
        """``prompts`` are sorted by descending length."""
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


def _weight_bytes(model: Llama) -> int:
    """Bytes of the weights that a decoding step reads: all but the embedding, unless it is also the head."""
    table = 0 if model.head is None else model.embed.weight[...].nbytes
    return sum(int(v[...].nbytes) for v in parameters(model).values()) - int(table)
