"""Tokenized examples packed into static shapes; ``batch_at(step)`` is a pure function of (data, seed, step).

There is no loader state: resuming needs only the step, and every process can build its own rows.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import numpy as np

from xltjax.data.corpora import Corpus
from xltjax.data.tokenizer import Tokens

log = logging.getLogger("xltjax")

LOOKAHEAD = 256  # examples among which the packer seeks one that fits


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """One update's rows, every array [A, B, T]: A micro-batches of B rows of T tokens.

    The arrays are numpy's on the host and JAX's once they are placed.

    Attributes:
        tokens: int32 inputs.
        targets: int32, the token that follows each input.
        loss_mask: float32, 1 where the target is learned.
        segment_ids: int32, counted from 1 in each row; 0 is padding.
        positions: int32, counted from 0 in each segment.
    """

    tokens: Any
    targets: Any
    loss_mask: Any
    segment_ids: Any
    positions: Any


@dataclass(frozen=True)
class BatchShape:
    """Static shape of an update: how examples are dealt, and how the mini-batches are then computed.

    Attributes:
        micro_batches: mini-batches accumulated into one update.
        rows: of a mini-batch.
        length: T, tokens of a row.
        tokens: most tokens a mini-batch holds; at most rows * length.
        joined: mini-batches computed as one, where the mesh needs more rows; what is dealt stays the same.
    """

    micro_batches: int
    rows: int
    length: int
    tokens: int
    joined: int = 1


class PackedData:
    """Endless shuffled examples, packed.

    Each corpus is walked in a fresh permutation per epoch; the next corpus is drawn by weight.
    """

    def __init__(self, corpora: Sequence[Corpus], shape: BatchShape, seed: int):
        """Deal ``corpora`` in the order that ``seed`` gives.

        Raises:
            ValueError: when an example fits no row.
        """
        self.shape = shape
        self._examples = [example for corpus in corpora for example in corpus.examples]
        self._names = [name for corpus in corpora for name in corpus.names]
        self._sizes = [len(example.ids) - 1 for example in self._examples]
        if max(self._sizes) > min(shape.length, shape.tokens):
            raise ValueError(f"an example of {max(self._sizes)} tokens does not fit {shape}")
        self._packer = _pack(_stream(corpora, seed), self._sizes, shape)
        self._dealt: list[list[list[int]]] = []  # mini-batches so far

    def examples_at(self, step: int) -> list[list[list[int]]]:
        """Indices of the examples in each row of each (joined) mini-batch of update ``step``, from 0."""
        count, joined = self.shape.micro_batches, self.shape.joined
        while len(self._dealt) < (step + 1) * count:
            self._dealt.append(next(self._packer))
        starts = range(step * count, (step + 1) * count, joined)
        return [[row for rows in self._dealt[start : start + joined] for row in rows] for start in starts]

    def batch_at(self, step: int, rows: slice = slice(None)) -> Batch:
        """The batch of update ``step``, counted from 0.

        Args:
            step: which update.
            rows: which rows of each micro-batch to build (those of this process).
        """
        dealt = [micro_batch[rows] for micro_batch in self.examples_at(step)]
        return fill(
            [[[self._examples[index] for index in row] for row in micro_batch] for micro_batch in dealt],
            self.shape.length,
        )

    def names_at(self, step: int) -> list[str]:
        """Where the examples of update ``step`` come from, see ``Corpus.names``."""
        return [self._names[i] for micro_batch in self.examples_at(step) for row in micro_batch for i in row]


def fill(dealt: Sequence[Sequence[Sequence[Tokens]]], length: int) -> Batch:
    """Lay examples out: micro-batches of rows of examples -> arrays [A, B, T] with T = ``length``."""
    shape = (len(dealt), len(dealt[0]), length)
    batch = Batch(
        tokens=np.zeros(shape, np.int32),
        targets=np.zeros(shape, np.int32),
        loss_mask=np.zeros(shape, np.float32),
        segment_ids=np.zeros(shape, np.int32),
        positions=np.zeros(shape, np.int32),
    )
    for a, micro_batch in enumerate(dealt):
        for b, row in enumerate(micro_batch):
            start = 0
            for segment, example in enumerate(row, start=1):
                size = len(example.ids) - 1
                place = (a, b, slice(start, start + size))
                batch.tokens[place] = example.ids[:-1]
                batch.targets[place] = example.ids[1:]
                batch.loss_mask[place] = example.loss_mask[1:]
                batch.segment_ids[place] = segment
                batch.positions[place] = np.arange(size)
                start += size
    return batch


def pack_once(examples: Sequence[Tokens], length: int) -> list[list[Tokens]]:
    """Every example once, in rows of at most ``length`` tokens: the longest first, each where it fits best."""
    rows: list[list[Tokens]] = []
    space: list[int] = []
    for example in sorted(examples, key=lambda example: -len(example.ids)):
        size = len(example.ids) - 1
        fitting = [row for row, free in enumerate(space) if free >= size]
        if not fitting:
            fitting = [len(rows)]
            rows.append([])
            space.append(length)
        best = min(fitting, key=lambda row: space[row])
        rows[best].append(example)
        space[best] -= size
    return rows


def _stream(corpora: Sequence[Corpus], seed: int) -> Iterator[int]:
    """Example indices without end, over all corpora counted through."""
    sizes = [len(corpus.examples) for corpus in corpora]
    starts = accumulate(sizes[:-1], initial=0)
    walks = [_walk(n, start, (seed, i)) for i, (n, start) in enumerate(zip(sizes, starts, strict=True))]
    weights = np.array([corpus.weight for corpus in corpora])
    draw = np.random.default_rng((seed, len(corpora)))
    while True:
        for chosen in draw.choice(len(corpora), size=1024, p=weights / weights.sum()):
            yield next(walks[chosen])


def _walk(count: int, start: int, seed: tuple[int, int]) -> Iterator[int]:
    """Indices start .. start + count in a fresh permutation per epoch."""
    random = np.random.default_rng((*seed, 1))
    while True:
        yield from (start + random.permutation(count)).tolist()


def _pack(stream: Iterator[int], sizes: Sequence[int], shape: BatchShape) -> Iterator[list[list[int]]]:
    """Deal examples into micro-batches: rows of example indices.

    The oldest waiting example that fits goes into the fullest row that holds it, so none waits longer
    than one micro-batch once it is the oldest.
    """
    waiting: list[int] = []
    while True:
        rows: list[list[int]] = [[] for _ in range(shape.rows)]
        space = [shape.length] * shape.rows
        budget = shape.tokens
        position = 0
        while True:
            while len(waiting) < LOOKAHEAD:
                waiting.append(next(stream))
            room = min(budget, max(space))
            position = next((p for p in range(position, LOOKAHEAD) if sizes[waiting[p]] <= room), LOOKAHEAD)
            if position == LOOKAHEAD:
                break
            index = waiting.pop(position)
            size = sizes[index]
            row = min((r for r in range(shape.rows) if space[r] >= size), key=lambda r: space[r])
            rows[row].append(index)
            space[row] -= size
            budget -= size
        yield rows
