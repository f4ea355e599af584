"""The key-value cache of decoding: a pytree of layers, each a tuple of chunks along positions.

The first chunk holds the first positions of every row. The next ones continue where it ends, for the first
rows of each part of the batch only. So a few long prompts do not make every row long, neither in memory nor in
what each decoding step reads.

Array dimensions as in ``llama.py``: B batch, S positions of a chunk, K key-value heads, H head dim.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P
from jax.typing import DTypeLike

from xltjax.mesh import BATCH

CACHE = P(BATCH, "tensor", None, None)  # cached keys and values: [B, K, S, H]

Chunk = tuple[Array, Array]  # keys and values, each [B, K, S, H]; B at most that of the chunk before
LayerCache = tuple[Chunk, ...]


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class KVCache:
    """Keys and values of all layers; every layer has chunks of the same shapes."""

    layers: tuple[LayerCache, ...]

    @classmethod
    def empty(
        cls,
        num_layers: int,
        num_kv_heads: int,
        head_dim: int,
        chunks: Sequence[tuple[int, int]],
        dtype: DTypeLike,
    ) -> KVCache:
        """A cache of zeros; ``chunks`` are (rows, positions). Call it under ``jax.set_mesh``."""

        def zeros(rows: int, positions: int) -> Array:
            return jnp.zeros((rows, num_kv_heads, positions, head_dim), dtype, out_sharding=CACHE)

        return cls(tuple(tuple((zeros(*c), zeros(*c)) for c in chunks) for _ in range(num_layers)))

    @property
    def num_chunks(self) -> int:
        """Chunks of each layer."""
        return len(self.layers[0])

    @property
    def nbytes(self) -> int:
        """Bytes of all keys and values, over all devices."""
        return sum(array.nbytes for array in jax.tree.leaves(self.layers))

    def chunks_for(self, positions: int) -> int:
        """The fewest chunks that hold so many positions of a row; all of them when none do."""
        held = 0
        for count, (keys, _) in enumerate(self.layers[0], start=1):
            held += keys.shape[2]
            if positions <= held:
                return count
        return self.num_chunks

    def first(self, count: int) -> KVCache:
        """The first ``count`` chunks of every layer."""
        return KVCache(tuple(layer[:count] for layer in self.layers))

    def rest(self, count: int) -> KVCache:
        """The chunks after the first ``count`` of every layer."""
        return KVCache(tuple(layer[count:] for layer in self.layers))

    def join(self, rest: KVCache) -> KVCache:
        """These chunks followed by those of ``rest``."""
        return KVCache(tuple(a + b for a, b in zip(self.layers, rest.layers, strict=True)))
