"""Cross entropy of the learned tokens, with logits made in chunks."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.data import Batch
from xltjax.llama import Llama

LOGIT_BYTES = 1 << 29  # logits of one device are made in chunks of at most this size


def summed_loss(model: Llama, batch: Batch) -> Array:
    """Cross entropy summed over the learned tokens of a micro-batch (fields [B, T]): a float32 scalar."""
    return (token_losses(model, batch) * batch.loss_mask).sum()


def token_losses(model: Llama, batch: Batch) -> Array:
    """Cross entropy [B, T] float32 of each target of a micro-batch (fields [B, T]), learned or not."""
    hidden = model.hidden(batch.tokens, batch.segment_ids, batch.positions)
    (rows, length), vocab = batch.tokens.shape, model.embed.weight.shape[0]
    mesh = jax.sharding.get_abstract_mesh()
    logit_bytes = 4 * rows * length * vocab // max(mesh.size, 1)
    chunks = 1
    while logit_bytes > chunks * LOGIT_BYTES and length % (2 * chunks) == 0:
        chunks *= 2
    if chunks == 1:
        return _cross_entropy(model, hidden, batch.targets)

    def split(x: Array) -> Array:
        return x.reshape(rows, chunks, length // chunks, *x.shape[2:]).swapaxes(0, 1)

    # Recomputing a chunk's logits in the backward pass keeps only one chunk alive.
    one = jax.checkpoint(partial(_cross_entropy, model))
    losses = jax.lax.map(lambda chunk: one(*chunk), (split(hidden), split(batch.targets)))
    return losses.swapaxes(0, 1).reshape(rows, length)


def _cross_entropy(model: Llama, hidden: Array, targets: Array) -> Array:
    """logsumexp(logits) - logit of the target; the vocabulary may be split over ``tensor``."""
    logits = model.logits(hidden)
    index = jnp.arange(logits.shape[-1], out_sharding=P("tensor"))
    chosen = jnp.where(index == targets[..., None], logits, 0.0).sum(axis=-1)
    return jax.nn.logsumexp(logits, axis=-1) - chosen
