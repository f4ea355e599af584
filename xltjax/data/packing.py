"""Packs tokenized examples into batches of a static shape.

The batch of an update is a pure function of the data, the seed and the step. There is no loader state, so
resuming needs only the step, and every process can build its own rows.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import jax
import numpy as np

from xltjax.data.corpora import Corpus
from xltjax.data.tokenizer import Tokens

log = logging.getLogger("xltjax")

LOOKAHEAD = 256  # how many examples wait, among which the packer looks for one that fits


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Batch:
    """The rows of one update. Every array is [A, B, T]: A micro-batches of B rows of T tokens.

    The arrays are NumPy arrays on the host, and JAX arrays once they are placed on devices.

    Attributes:
        tokens: int32, the inputs.
        targets: int32, the token that follows each input.
        loss_mask: float32, 1 where the target is learned.
        segment_ids: int32, which example of its row a token belongs to, counted from 1; 0 is padding.
        positions: int32, the position of a token in its example, counted from 0.
        segments: a number that no row's segments exceed, padding counted as one; 0 when it is not given. Attention
            may depend on it, so that a program is compiled for each such number.
    """

    tokens: Any
    targets: Any
    loss_mask: Any
    segment_ids: Any
    positions: Any
    segments: int = dataclasses.field(default=0, metadata={"static": True})


@dataclass(frozen=True)
class BatchShape:
    """The static shape of an update.

    A micro-batch is what one forward and backward pass takes; an update accumulates the gradients of several.
    Where the mesh needs more rows than a micro-batch has, ``joined`` consecutive micro-batches are stacked
    and take one forward and backward pass together. Which examples an update has does not depend on this.

    Attributes:
        micro_batches: how many micro-batches are accumulated into one update, before any are joined.
        rows: the rows of a micro-batch.
        length: T, the tokens of a row.
        tokens: the largest number of tokens, without padding, in a micro-batch; at most rows * length.
        joined: how many micro-batches one forward and backward pass takes; it divides ``micro_batches``.
    """

    micro_batches: int
    rows: int
    length: int
    tokens: int
    joined: int = 1


class PackedData:
    """An endless sequence of batches of shuffled examples.

    Each example comes from a corpus that is drawn by weight. In each epoch of a corpus, all of its examples
    come once, in a new random order.

    Attributes:
        shape: of an update.
        count_segments: whether batches say how many segments a row has at most (``Batch.segments``); it can be set
            when the kernel of attention is known.
    """

    def __init__(self, corpora: Sequence[Corpus], shape: BatchShape, seed: int, *, even: bool = False):
        """Pack the examples of ``corpora`` in the order that ``seed`` gives.

        Args:
            corpora: the examples.
            shape: of an update.
            seed: of the order.
            even: let no more examples wait than there are, so that of few ones the short do not come more often.

        Raises:
            ValueError: when an example does not fit into a row.
        """
        self.shape = shape
        self.count_segments = False
        self._examples = [example for corpus in corpora for example in corpus.examples]
        self._names = [name for corpus in corpora for name in corpus.names]
        self._sizes = [len(example.ids) - 1 for example in self._examples]
        if max(self._sizes) > min(shape.length, shape.tokens):
            raise ValueError(f"an example of {max(self._sizes)} tokens does not fit {shape}")
        waiting = min(LOOKAHEAD, len(self._examples)) if even else LOOKAHEAD
        self._packer = _pack(_stream(corpora, seed), self._sizes, shape, waiting)
        self._packed: list[list[list[int]]] = []  # the micro-batches so far: rows of example indices

    def examples_at(self, step: int) -> list[list[list[int]]]:
        """Which examples are in each row of each micro-batch of update ``step``, counted from 0.

        Micro-batches that are joined come as one.
        """
        count, joined = self.shape.micro_batches, self.shape.joined
        while len(self._packed) < (step + 1) * count:
            self._packed.append(next(self._packer))
        starts = range(step * count, (step + 1) * count, joined)
        return [[row for rows in self._packed[start : start + joined] for row in rows] for start in starts]

    @property
    def rows(self) -> int:
        """How many examples there are."""
        return len(self._examples)

    @property
    def longest(self) -> int:
        """The tokens of the longest example."""
        return max(self._sizes)

    @property
    def tokens(self) -> int:
        """The tokens of one pass over the examples."""
        return sum(self._sizes)

    def steps_for(self, epochs: float) -> int:
        """How many updates see ``epochs`` times as many examples as there are; at least one."""
        wanted = epochs * self.rows * (1 - 1e-12)  # 0.7 * 10 is more than 7
        seen = step = 0
        while not step or seen < wanted:
            seen += self.seen_at(step)
            step += 1
        return step

    def tokens_of(self, examples: Sequence[int]) -> int:
        """The tokens of examples, which may come several times."""
        return sum(self._sizes[index] for index in examples)

    def seen_at(self, step: int) -> int:
        """How many examples update ``step`` has, counted from 0."""
        return sum(len(row) for micro_batch in self.examples_at(step) for row in micro_batch)

    def batch_at(self, step: int, rows: slice = slice(None)) -> Batch:
        """The batch of update ``step``, counted from 0.

        Args:
            step: which update.
            rows: which rows of each micro-batch, joined or not, to build: those of this process.
        """
        micro_batches = self.examples_at(step)
        # The same number in every process, though each builds only some of the rows.
        segments = (
            declared_segments(row for rows in micro_batches for row in rows) if self.count_segments else 0
        )
        here = [[[self._examples[i] for i in row] for row in found[rows]] for found in micro_batches]
        return fill(here, self.shape.length, segments)

    def names_at(self, step: int) -> list[str]:
        """Where the examples of update ``step`` come from (see ``Corpus.names``)."""
        return [self._names[i] for micro_batch in self.examples_at(step) for row in micro_batch for i in row]


def declared_segments(rows: Iterable[Sequence[Any]]) -> int:
    """A power of two that no row's segments exceed, padding counted as one: so there are few such numbers."""
    return 1 << max(len(row) for row in rows).bit_length()


def fill(micro_batches: Sequence[Sequence[Sequence[Tokens]]], length: int, segments: int = 0) -> Batch:
    """Write micro-batches of rows of examples into arrays [A, B, T] with T = ``length``.

    ``segments``: see ``Batch``.
    """
    shape = (len(micro_batches), len(micro_batches[0]), length)
    batch = Batch(
        tokens=np.zeros(shape, np.int32),
        targets=np.zeros(shape, np.int32),
        loss_mask=np.zeros(shape, np.float32),
        segment_ids=np.zeros(shape, np.int32),
        positions=np.zeros(shape, np.int32),
        segments=segments,
    )
    for a, micro_batch in enumerate(micro_batches):
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
    """Pack every example once into rows of at most ``length`` tokens.

    The longest examples come first, and each goes into the fullest row that has room for it.
    """
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
    """An endless sequence of example indices, which count through all corpora."""
    sizes = [len(corpus.examples) for corpus in corpora]
    starts = accumulate(sizes[:-1], initial=0)
    walks = [_walk(n, start, (seed, i)) for i, (n, start) in enumerate(zip(sizes, starts, strict=True))]
    weights = np.array([corpus.weight for corpus in corpora])
    draw = np.random.default_rng((seed, len(corpora)))
    while True:
        for chosen in draw.choice(len(corpora), size=1024, p=weights / weights.sum()):
            yield next(walks[chosen])


def _walk(count: int, start: int, seed: tuple[int, int]) -> Iterator[int]:
    """The indices from ``start`` to ``start + count``, again and again, each time in a new random order."""
    random = np.random.default_rng((*seed, 1))
    while True:
        yield from (start + random.permutation(count)).tolist()


def _pack(
    stream: Iterator[int], sizes: Sequence[int], shape: BatchShape, lookahead: int
) -> Iterator[list[list[int]]]:
    """Pack the examples of ``stream`` into micro-batches, each of which is a list of rows of example indices.

    So many examples wait as ``lookahead`` says.

    The oldest waiting example that fits goes into the fullest row that has room for it. So the oldest
    example never waits for longer than one micro-batch.
    """
    waiting: list[int] = []
    while True:
        rows: list[list[int]] = [[] for _ in range(shape.rows)]
        space = [shape.length] * shape.rows
        budget = shape.tokens
        position = 0
        while True:
            while len(waiting) < lookahead:
                waiting.append(next(stream))
            room = min(budget, max(space))
            position = next((p for p in range(position, lookahead) if sizes[waiting[p]] <= room), lookahead)
            if position == lookahead:
                break
            index = waiting.pop(position)
            size = sizes[index]
            row = min((r for r in range(shape.rows) if space[r] >= size), key=lambda r: space[r])
            rows[row].append(index)
            space[row] -= size
            budget -= size
        yield rows
