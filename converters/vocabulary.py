"""Room for more tokens in a model: new rows of the embedding and of the head."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from xltjax.llama import Llama
from xltjax.mesh import stored_spec


def resize_vocabulary(model: Llama, mesh: Mesh, size: int) -> None:
    """Give ``model`` rows for ``size`` tokens; each new row is the mean of the rows that were there, in float32.

    A model that has as many already stays as it is. A tied head stays tied.

    Args:
        model: changed in place.
        mesh: on which it lies.
        size: the new number of tokens.
    """
    old = model.config.vocab_size
    if size <= old:
        return
    model.config = dataclasses.replace(model.config, vocab_size=size)
    rows = model.config.padded_vocab(mesh.shape["data"] * mesh.shape["tensor"])
    for weight in [model.embed.weight, *([] if model.head is None else [model.head.weight])]:
        spec = stored_spec(weight.axes)
        with jax.set_mesh(mesh):
            resized = jax.jit(
                lambda table, spec=spec: jax.sharding.reshard(grown(table, old, size, rows), spec)
            )(weight[...])
        weight.set_value(resized)


def grown(table: Array, old: int, size: int, rows: int) -> Array:
    """The first ``old`` rows of a table [V', D], new ones up to ``size``, and rows of zeros up to ``rows``."""
    table = jax.sharding.reshard(table, P(None, None))[:old]
    mean = table.astype(jnp.float32).mean(axis=0).astype(table.dtype)
    new = jnp.broadcast_to(mean, (size - old, table.shape[1]))
    padding = jnp.zeros((rows - size, table.shape[1]), table.dtype)
    return jnp.concatenate([table, new, padding])
