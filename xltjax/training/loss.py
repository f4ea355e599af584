"""Cross entropy of the learned tokens in chunks, so that logits exist for one chunk at a time.

Only learned tokens reach the output layer: they are moved to the front, and the loop ends with the last of
them. The forward pass also computes the gradient of each chunk while its logits exist, so that they are
computed once; that of the output layer only where it is trained.

Array dimensions: R parts of the batch (one row for each), L positions, D model width, V vocabulary.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_derivatives import CustomVJPPrimal
from jax.sharding import PartitionSpec as P

from xltjax.data.packing import Batch
from xltjax.layers import ACTIVATIONS, Embedding, Linear, vocabulary_logits
from xltjax.llama import Llama
from xltjax.mesh import BATCH

LOGIT_BYTES = 1 << 29  # most memory for the logits of a chunk on one device
CPU_LOGIT_BYTES = 1 << 26  # on CPU small chunks stay in the cache, and allocating memory is slow

OutputLayer = Linear | Embedding
# The output layer, its gradient (None where it is frozen), and the gradient of the hidden states.
Saved = tuple[OutputLayer, OutputLayer | None, Array]


def summed_loss(model: Llama, batch: Batch) -> Array:
    """Cross entropy summed over the learned tokens of a micro-batch (fields [B, T]): a float32 scalar."""
    hidden = model.hidden(batch.tokens, batch.segment_ids, batch.positions, batch.segments)
    hidden, targets, mask = _learned_first(hidden, batch.targets, batch.loss_mask)
    chunk = _chunk_length(hidden.shape[1], model.embed.weight.shape[0])
    return _chunked_loss(model.config.vocab_size, chunk, model.output_layer, hidden, targets, mask)


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def _chunked_loss(
    vocab_size: int, chunk: int, output_layer: OutputLayer, hidden: Array, targets: Array, mask: Array
) -> Array:
    """The summed loss of hidden states [R, L, D], targets and mask [R, L], ``chunk`` positions at a time."""

    def add_chunk(index: Array, loss: Array) -> Array:
        x, ids, learned = _chunk(index, chunk, hidden, targets, mask)
        return loss + _cross_entropy(vocabulary_logits(output_layer, x, vocab_size), ids, learned)[0]

    return jax.lax.fori_loop(0, _chunk_count(mask, chunk), add_chunk, jnp.zeros(()))


def _forward(vocab_size: int, chunk: int, *given: Any) -> tuple[Array, Saved]:
    """The loss, and its gradients for the output layer (float32) and the hidden states.

    ``given`` is the output layer, the hidden states, targets and mask; each array comes with a flag that
    says whether its gradient is needed (``symbolic_zeros``).
    """
    frozen = not any(each.perturbed for each in jax.tree.leaves(given[0], is_leaf=_is_primal))
    output_layer, hidden, targets, mask = jax.tree.map(lambda each: each.value, given, is_leaf=_is_primal)

    def logits_of(layer: OutputLayer | None, x: Array) -> Array:
        return vocabulary_logits(output_layer if layer is None else layer, x, vocab_size)

    def add_chunk(
        index: Array, carry: tuple[Array, OutputLayer | None, Array]
    ) -> tuple[Array, OutputLayer | None, Array]:
        loss, d_layer, d_hidden = carry
        x, ids, learned = _chunk(index, chunk, hidden, targets, mask)
        logits, vjp = jax.vjp(logits_of, None if frozen else output_layer, x)
        more, d_logits = _cross_entropy(logits, ids, learned)
        for_layer, for_x = vjp(d_logits)
        d_layer = jax.tree.map(lambda total, d: total + d.astype(total.dtype), d_layer, for_layer)
        return (
            loss + more,
            d_layer,
            jax.lax.dynamic_update_slice_in_dim(d_hidden, for_x, index * chunk, axis=1),
        )

    zeros = None if frozen else jax.tree.map(lambda w: jnp.zeros_like(w, jnp.float32), output_layer)
    start = jnp.zeros(()), zeros, jnp.zeros_like(hidden)
    loss, d_layer, d_hidden = jax.lax.fori_loop(0, _chunk_count(mask, chunk), add_chunk, start)
    return loss, (output_layer, d_layer, d_hidden)


def _backward(
    vocab_size: int, chunk: int, saved: Saved, scale: Array
) -> tuple[OutputLayer | None, Array, None, None]:
    """The gradients of the forward pass times that of the loss."""
    output_layer, d_layer, d_hidden = saved
    if d_layer is not None:
        d_layer = jax.tree.map(lambda w, d: (d * scale).astype(w.dtype), output_layer, d_layer)
    return d_layer, d_hidden * scale.astype(d_hidden.dtype), None, None


_chunked_loss.defvjp(_forward, _backward, symbolic_zeros=True)


def _is_primal(each: Any) -> bool:
    """Whether ``each`` is an array with the flag that says whether its gradient is needed."""
    return isinstance(each, CustomVJPPrimal)


def _chunk(index: Array, chunk: int, *arrays: Array) -> list[Array]:
    """The positions of chunk number ``index`` of arrays [R, L, ...]."""
    return [jax.lax.dynamic_slice_in_dim(x, index * chunk, chunk, axis=1) for x in arrays]


def _chunk_count(mask: Array, chunk: int) -> Array:
    """How many chunks have a learned token on any device; devices must agree on the length of the loop."""
    return -(-(mask > 0).sum(axis=1).max() // chunk)


def _cross_entropy(logits: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
    """Sum of logsumexp(logits) - logit of the target where ``mask`` is 1, and its gradient for the logits.

    The vocabulary of ``logits`` [B, T, V] may be split over ``tensor``.
    """
    chosen = jnp.arange(logits.shape[-1], out_sharding=P("tensor")) == targets[..., None]
    lse = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    losses = lse[..., 0] - jnp.where(chosen, logits, 0.0).sum(axis=-1)
    return (losses * mask).sum(), (jnp.exp(logits - lse) - chosen) * mask[..., None]


def _learned_first(hidden: Array, targets: Array, mask: Array) -> tuple[Array, Array, Array]:
    """The rows of each part of the batch joined into one, with its learned positions first: [R, L, ...]."""
    mesh = jax.sharding.get_abstract_mesh()
    parts = math.prod(mesh.shape[axis] for axis in BATCH)

    def joined(x: Array, spec: P) -> Array:
        return jnp.reshape(x, (parts, -1, *x.shape[2:]), out_sharding=spec)

    def kernel(hidden: Array, targets: Array, mask: Array) -> tuple[Array, Array, Array]:
        order = jnp.argsort(mask <= 0, axis=1, stable=True)
        return tuple(x[:, order[0]] for x in (hidden, targets, mask))  # type: ignore[return-value]

    rows = P(BATCH, None)
    specs = (ACTIVATIONS, rows, rows)
    return jax.shard_map(kernel, in_specs=specs, out_specs=specs)(
        joined(hidden, ACTIVATIONS), joined(targets, rows), joined(mask, rows)
    )


def _chunk_length(length: int, vocabulary: int) -> int:
    """``length`` halved until the logits of a chunk fit their memory on one device, or until it is odd."""
    mesh = jax.sharding.get_abstract_mesh()
    position_bytes = 4 * vocabulary // mesh.shape["tensor"]
    most = CPU_LOGIT_BYTES if jax.default_backend() == "cpu" else LOGIT_BYTES
    while length * position_bytes > most and length % 2 == 0:
        length //= 2
    return length
