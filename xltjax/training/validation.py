"""Loss on validation examples."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from jax import Array
from jax.sharding import Mesh

from xltjax.data.packing import Batch, BatchShape, declared_segments, fill, pack_once
from xltjax.data.tokenizer import Tokens
from xltjax.partition import Rebuild, Weights
from xltjax.training.loss import summed_loss
from xltjax.training.step import place, rows_here


class Validation:
    """A fixed set of examples, packed once."""

    def __init__(
        self,
        examples: Sequence[Tokens],
        shape: BatchShape,
        rebuild: Rebuild,
        mesh: Mesh,
        *,
        count_segments: bool = False,
    ):
        """Pack ``examples`` into batches of the size of one forward pass of training, and put them on ``mesh``.

        ``count_segments``: see ``PackedData``.
        """
        rows = pack_once(examples, shape.length)
        count = shape.rows * shape.joined
        rows += [[] for _ in range(-len(rows) % count)]  # rows of padding only
        here = rows_here(mesh, count)
        segments = declared_segments(rows) if count_segments else 0
        self._batches = [
            place(fill([rows[start : start + count][here]], shape.length, segments), mesh, count)
            for start in range(0, len(rows), count)
        ]

        @jax.jit
        def summed(trainable: Weights, frozen: Weights, batch: Batch) -> tuple[Array, Array]:
            micro: Batch = jax.tree.map(lambda x: x[0], batch)
            return summed_loss(rebuild(trainable, frozen), micro), micro.loss_mask.sum()

        self._summed = summed

    def loss(self, trainable: Weights, frozen: Weights) -> float:
        """Cross entropy per learned token, the mean over all examples. Under ``jax.set_mesh``."""
        parts = [self._summed(trainable, frozen, batch) for batch in self._batches]
        loss, learned = (sum(map(float, column)) for column in zip(*parts, strict=True))
        return loss / learned
