"""The key-value cache: chunks that are taken apart and joined again."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from xltjax.kv_cache import KVCache
from xltjax.mesh import make_mesh

LAYERS, KV_HEADS, HEAD_DIM = 3, 2, 4
CHUNKS = [(8, 16), (4, 32), (2, 64)]  # rows, positions


@pytest.fixture
def cache() -> KVCache:
    """A cache whose every number is another."""
    with jax.set_mesh(make_mesh("1x1")):
        empty = KVCache.empty(LAYERS, KV_HEADS, HEAD_DIM, CHUNKS, jnp.float32)
        leaves, structure = jax.tree.flatten(empty)
        starts = np.cumsum([0, *(leaf.size for leaf in leaves)])
        filled = [
            leaf + jnp.arange(start, start + leaf.size).reshape(leaf.shape)
            for leaf, start in zip(leaves, starts, strict=False)
        ]
    return jax.tree.unflatten(structure, filled)


def test_every_layer_has_keys_and_values_of_every_chunk(cache: KVCache) -> None:
    assert cache.num_chunks == 3
    shapes = [[keys.shape, values.shape] for keys, values in cache.layers[2]]
    assert shapes == [[(rows, KV_HEADS, length, HEAD_DIM)] * 2 for rows, length in CHUNKS]
    entries = 8 * 16 + 4 * 32 + 2 * 64
    assert cache.nbytes == 2 * LAYERS * entries * KV_HEADS * HEAD_DIM * 4


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_the_first_chunks_and_the_rest_join_to_the_whole(cache: KVCache, count: int) -> None:
    first, rest = cache.first(count), cache.rest(count)
    assert (first.num_chunks, rest.num_chunks) == (count, 3 - count)
    joined = first.join(rest)
    assert jax.tree.structure(joined) == jax.tree.structure(cache)
    assert all(a is b for a, b in zip(jax.tree.leaves(joined), jax.tree.leaves(cache), strict=True))


@pytest.mark.parametrize(("positions", "chunks"), [(1, 1), (16, 1), (17, 2), (48, 2), (49, 3), (112, 3)])
def test_as_few_chunks_are_taken_as_hold_the_positions(cache: KVCache, positions: int, chunks: int) -> None:
    assert cache.chunks_for(positions) == chunks
