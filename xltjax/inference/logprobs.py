"""Log-probabilities of given continuations of prompts.

Array dimensions as in ``llama.py``; R rows of a batch, L tokens of a continuation, C continuations of a row.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from xltjax.llama import Llama
from xltjax.mesh import BATCH, sharding
from xltjax.mesh import batch_size as batch_parts

SMALLEST_ROW = 64  # tokens; rows are padded to this times a power of two
NO_TOKEN = -1  # pads continuations


def sequence_logprobs(
    model: Llama,
    mesh: Mesh,
    prompts: Sequence[Sequence[int]],
    continuations: Sequence[Sequence[int]],
    *,
    batch_size: int,
) -> np.ndarray:
    """log P(continuation | prompt) of each pair: the sum over the continuation's tokens, in nats.

    Pairs of one prompt whose continuations differ in the last token only ("▁0", "▁1") share one row of a
    forward pass. Besides the model, R L V float32 logits are in memory at a time.

    Args:
        model: its parameters lie on ``mesh``.
        mesh: the devices.
        prompts: token ids [N], BOS included.
        continuations: token ids [N] of what follows each prompt; an empty continuation has probability 1.
        batch_size: rows of one forward pass over the whole mesh, rounded up to a multiple that the mesh divides.

    Returns:
        [N] float64, in the order of the pairs. No value depends on the other pairs.

    Raises:
        ValueError: for a prompt without tokens, or a pair longer than the model's positions.
    """
    logprobs = np.empty(len(prompts))
    parts = batch_parts(mesh)
    size = math.ceil(batch_size / parts) * parts
    rows = _rows(prompts, continuations, model.config.max_positions)
    with jax.set_mesh(mesh):
        for batch in _batches(rows, size):
            arrays = [jax.device_put(array, sharding(mesh, BATCH)) for array in _pad(batch, size)]
            found = np.asarray(_token_logprobs(model, *arrays), np.float64).sum(axis=1)
            for row, values in zip(batch, found, strict=False):  # the batch may end in padding
                logprobs[row.owners] = values[: len(row.owners)]
    return logprobs


@dataclass
class _Row:
    """A prompt, and continuations of it that differ in the last token only.

    Attributes:
        tokens: the prompt and the tokens that the continuations share.
        start: length of the prompt.
        continuations: token ids.
        owners: the pair that each continuation belongs to.
    """

    tokens: tuple[int, ...]
    start: int
    continuations: list[Sequence[int]] = field(default_factory=list)
    owners: list[int] = field(default_factory=list)

    def shape(self) -> tuple[int, int, int]:
        """Padded T, L and C. There are few sizes, so few compilations, and a row's size ignores other rows."""
        return (
            SMALLEST_ROW * _power(2, len(self.tokens) / SMALLEST_ROW),
            _power(4, max(len(self.continuations[0]), 1)),
            _power(2, len(self.owners)),
        )


def _power(base: int, size: float) -> int:
    """The smallest power of ``base`` that is at least ``size``, and 1 at least."""
    return base ** max(0, math.ceil(math.log(size, base)))


def _rows(
    prompts: Sequence[Sequence[int]], continuations: Sequence[Sequence[int]], max_positions: int
) -> list[_Row]:
    rows: dict[tuple[tuple[int, ...], int], _Row] = {}
    for owner, (prompt, continuation) in enumerate(zip(prompts, continuations, strict=True)):
        length = len(prompt) + len(continuation)
        if not len(prompt) or length > max_positions:
            raise ValueError(
                f"pair {owner} has {len(prompt)} + {len(continuation)} tokens of {max_positions}"
            )
        tokens = (*prompt, *continuation[:-1])
        row = rows.setdefault((tokens, len(prompt)), _Row(tokens, len(prompt)))
        row.continuations.append(continuation)
        row.owners.append(owner)
    return list(rows.values())


def _batches(rows: Sequence[_Row], size: int) -> Iterator[list[_Row]]:
    """Rows of one shape at a time, the largest first, so that a batch that does not fit the memory fails at once."""
    by_shape: dict[tuple[int, int, int], list[_Row]] = {}
    for row in rows:
        by_shape.setdefault(row.shape(), []).append(row)
    for _, alike in sorted(by_shape.items(), reverse=True):
        for first in range(0, len(alike), size):
            yield alike[first : first + size]


def _pad(batch: Sequence[_Row], size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens [R, T], starts [R] and continuations [R, L, C] of a batch, filled up to ``size`` rows."""
    length, longest, most = batch[0].shape()
    tokens = np.zeros((size, length), np.int32)
    starts = np.ones(size, np.int32)
    targets = np.full((size, longest, most), NO_TOKEN, np.int32)
    for index, row in enumerate(batch):
        tokens[index, : len(row.tokens)] = row.tokens
        starts[index] = row.start
        for column, continuation in enumerate(row.continuations):
            targets[index, : len(continuation), column] = continuation
    return tokens, starts, targets


@jax.jit
def _token_logprobs(model: Llama, tokens: Array, starts: Array, targets: Array) -> Array:
    """Log-probability [R, L, C] of each token of each continuation; 0 where there is none."""
    hidden, _ = model.prefill(tokens)
    places = jnp.minimum(starts[:, None] - 1 + jnp.arange(targets.shape[1]), tokens.shape[1] - 1)
    before = jnp.take_along_axis(hidden, places[:, :, None], axis=1)
    logits = jax.sharding.reshard(model.logits(before), P(BATCH, None, None))
    chosen = jnp.take_along_axis(logits, jnp.maximum(targets, 0), axis=-1)
    found = chosen - jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    return jnp.where(targets == NO_TOKEN, 0.0, found)
