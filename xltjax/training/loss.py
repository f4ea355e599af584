"""Cross entropy of the learned tokens, chunk by chunk: logits exist for one chunk at a time.

Only learned tokens reach the head: they are moved to the front, and the loop ends with the last of them.
The gradient of a chunk is computed while its logits are at hand, so that they are made once.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.data.packing import Batch
from xltjax.llama import ACTIVATIONS, Llama
from xltjax.mesh import BATCH

LOGIT_BYTES = 1 << 29  # logits of one device are made in chunks of at most this size
CPU_LOGIT_BYTES = 1 << 26  # small chunks stay near the processor, and new memory is dear there


def summed_loss(model: Llama, batch: Batch) -> Array:
    """Cross entropy summed over the learned tokens of a micro-batch (fields [B, T]): a float32 scalar."""
    hidden = model.hidden(batch.tokens, batch.segment_ids, batch.positions)
    hidden, targets, mask = _learned_first(hidden, batch.targets, batch.loss_mask)
    chunk = _chunk_length(hidden.shape[1], model.embed.weight.shape[0])
    name = "embed" if model.head is None else "head"
    graph, head, rest = nnx.split(model, lambda path, _: path[0] == name, ...)  # type: ignore[misc]
    rest = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), rest)

    def logits_of(head: nnx.State, hidden: Array) -> Array:
        return nnx.merge(graph, head, rest).logits(hidden)

    def chunks(step: Any, start: Any, *arrays: Array) -> Any:
        """``step(carry, offset, *chunk)`` over all chunks with a learned token; the same number on every device."""
        count = -(-(mask > 0).sum(axis=1).max() // chunk)

        def body(index: Array, carry: Any) -> Any:
            at = index * chunk
            return step(carry, at, *(jax.lax.dynamic_slice_in_dim(x, at, chunk, axis=1) for x in arrays))

        return jax.lax.fori_loop(0, count, body, start)

    @jax.custom_vjp
    def total(head: nnx.State, hidden: Array, targets: Array, mask: Array) -> Array:
        def add(loss: Array, _: Array, hidden: Array, targets: Array, mask: Array) -> Array:
            return loss + _cross_entropy(logits_of(head, hidden), targets, mask)[0]

        return chunks(add, jnp.zeros(()), hidden, targets, mask)

    def forward(head: nnx.State, hidden: Array, targets: Array, mask: Array) -> tuple[Array, Any]:
        def add(carry: Any, at: Array, chunk_hidden: Array, targets: Array, mask: Array) -> Any:
            loss, head_gradient, hidden_gradient = carry
            logits, pull = jax.vjp(logits_of, head, chunk_hidden)
            more, gradient = _cross_entropy(logits, targets, mask)
            for_head, for_hidden = pull(gradient)
            head_gradient = jax.tree.map(lambda s, g: s + g.astype(s.dtype), head_gradient, for_head)
            hidden_gradient = jax.lax.dynamic_update_slice_in_dim(hidden_gradient, for_hidden, at, axis=1)
            return loss + more, head_gradient, hidden_gradient

        zeros = jax.tree.map(lambda w: jnp.zeros_like(w, jnp.float32), head)
        loss, *gradients = chunks(add, (jnp.zeros(()), zeros, jnp.zeros_like(hidden)), hidden, targets, mask)
        return loss, (head, *gradients)

    def backward(saved: Any, scale: Array) -> Any:
        head, head_gradient, hidden_gradient = saved
        head_gradient = jax.tree.map(lambda w, g: (g * scale).astype(w.dtype), head, head_gradient)
        return head_gradient, hidden_gradient * scale.astype(hidden_gradient.dtype), None, None

    total.defvjp(forward, backward)
    return total(head, hidden, targets, mask)


def _cross_entropy(logits: Array, targets: Array, mask: Array) -> tuple[Array, Array]:
    """Sum of logsumexp(logits) - logit of the target where ``mask`` is 1, and its gradient for the logits.

    The vocabulary of ``logits`` [B, T, V] may be split over ``tensor``.
    """
    chosen = jnp.arange(logits.shape[-1], out_sharding=P("tensor")) == targets[..., None]
    normalizer = jax.nn.logsumexp(logits, axis=-1, keepdims=True)
    losses = normalizer[..., 0] - jnp.where(chosen, logits, 0.0).sum(axis=-1)
    return (losses * mask).sum(), (jnp.exp(logits - normalizer) - chosen) * mask[..., None]


def _learned_first(hidden: Array, targets: Array, mask: Array) -> tuple[Array, Array, Array]:
    """Each device's rows in one, learned positions first: [R, L, ...] for R parts of the batch of L positions."""
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
    """``length`` halved as often as it takes, and as it can be, for the logits of one device to be small."""
    mesh = jax.sharding.get_abstract_mesh()
    position_bytes = 4 * vocabulary // mesh.shape["tensor"]
    most = CPU_LOGIT_BYTES if jax.default_backend() == "cpu" else LOGIT_BYTES
    while length * position_bytes > most and length % 2 == 0:
        length //= 2
    return length
