"""One update: gradient accumulation over micro-batches, the mean over tokens, AdamW. Jitted once, state donated."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.sharding import Mesh

from xltjax.checkpoint import TrainState
from xltjax.data.packing import Batch
from xltjax.lora import with_dropout
from xltjax.mesh import BATCH, sharding
from xltjax.partition import Rebuild, Weights
from xltjax.training.loss import summed_loss
from xltjax.training.optimizer import Schedule, apply_updates

Metrics = dict[str, Array]  # by name


def make_train_step(
    rebuild: Rebuild,
    transform: optax.GradientTransformation,
    schedule: Schedule,
    *,
    seed: int = 0,
    lora_dropout: float = 0.0,
    stochastic_rounding: bool = False,
    offload: bool = False,
) -> Callable[[TrainState, Weights, Batch, Any], tuple[TrainState, Metrics]]:
    """A jitted ``(state, frozen, batch, peak learning rate) -> (state, metrics)``; the state is donated.

    The gradient is that of the token mean over all micro-batches of the update, however they are split.
    Metrics: loss, grad_norm, learning_rate, learned_tokens, tokens.

    Args:
        rebuild: from ``partition``.
        transform: from ``optimizer.adamw``.
        schedule: from ``optimizer.make_schedule``.
        seed: of dropout and rounding, which depend only on it and the number of the update.
        lora_dropout: share of the adapters' inputs that is dropped.
        stochastic_rounding: of bfloat16 weights, see ``optimizer.round_stochastically``.
        offload: the moments are kept in host memory, see ``fresh_state``.
    """

    def loss_of(weights: Weights, frozen: Weights, micro: Batch, key: Array) -> Array:
        model = rebuild(weights, frozen)
        return summed_loss(with_dropout(model, lora_dropout, key) if lora_dropout else model, micro)

    def gradient(state: TrainState, frozen: Weights, batch: Batch, key: Array) -> tuple[Array, Weights]:
        """Summed loss and its gradient, accumulated over the micro-batches."""
        count = batch.tokens.shape[0]
        if count == 1:  # nothing to accumulate: no second copy of the gradient
            micro = jax.tree.map(lambda x: x[0], batch)
            return jax.value_and_grad(loss_of)(state.weights, frozen, micro, key)

        def add(
            total: tuple[Array, Weights], item: tuple[Batch, Array]
        ) -> tuple[tuple[Array, Weights], None]:
            micro, index = item
            loss, grads = jax.value_and_grad(loss_of)(
                state.weights, frozen, micro, jax.random.fold_in(key, index)
            )
            return (total[0] + loss, jax.tree.map(lambda s, g: s + g.astype(s.dtype), total[1], grads)), None

        zeros = jax.tree.map(lambda w: jnp.zeros_like(w, jnp.float32), state.weights)
        total, _ = jax.lax.scan(add, (jnp.zeros(()), zeros), (batch, jnp.arange(count)))
        return total

    def moved(moments: Any, space: Any) -> Any:
        return jax.device_put(moments, space) if offload else moments

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, frozen: Weights, batch: Batch, peak: Any) -> tuple[TrainState, Metrics]:
        dropping, rounding = jax.random.split(jax.random.fold_in(jax.random.key(seed), state.step))
        loss, grads = gradient(state, frozen, batch, dropping)
        learned = batch.loss_mask.sum()
        grads = jax.tree.map(lambda g: g / learned, grads)
        moments = moved(state.optimizer, jax.memory.Space.Device)
        updates, moments = transform.update(grads, moments, state.weights)
        learning_rate = schedule(state.step + 1, peak)
        weights = apply_updates(
            state.weights, updates, learning_rate, rounding if stochastic_rounding else None
        )
        metrics = {
            "loss": loss / learned,
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": learning_rate,
            "learned_tokens": learned,
            "tokens": (batch.segment_ids > 0).sum(),
        }
        return TrainState(state.step + 1, weights, moved(moments, jax.memory.Space.Host)), metrics

    return train_step


def start_state(weights: Weights, transform: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """``fresh_state`` of copies of ``weights``, which stay valid after the first update."""
    with jax.set_mesh(mesh):
        return fresh_state(jax.tree.map(jnp.copy, weights), transform, mesh)


def fresh_state(
    weights: Weights, transform: optax.GradientTransformation, mesh: Mesh, *, offload: bool = False
) -> TrainState:
    """Step 0 from ``weights``, which the first update donates; moments are sharded as their weights are.

    With ``offload`` the moments are kept in host memory and are moved to the device for each update.
    """
    with jax.set_mesh(mesh):
        optimizer = jax.jit(transform.init)(weights)
        if offload:
            optimizer = jax.tree.map(in_host_memory, optimizer)
        return TrainState(jax.device_put(jnp.int32(0), sharding(mesh)), weights, optimizer)


def in_host_memory(x: Array) -> Array:
    """``x`` with the same sharding in host memory."""
    return jax.device_put(x, x.sharding.with_memory_kind("pinned_host"))


def rows_here(mesh: Mesh, rows: int) -> slice:
    """Which of the ``rows`` of a batch lie on devices of this process, which therefore builds them."""
    placed = sharding(mesh, BATCH).addressable_devices_indices_map((rows,)).values()
    spans = [index[0].indices(rows) for index in placed if index is not None]
    return slice(min(span[0] for span in spans), max(span[1] for span in spans))


def place(batch: Batch, mesh: Mesh, rows: int | None = None) -> Batch:
    """The host's batch [A, B, T] on the mesh, rows split over the batch axes.

    Args:
        batch: NumPy arrays; only the rows of ``rows_here`` when ``rows`` is given.
        mesh: the devices.
        rows: B over all processes.
    """
    target = sharding(mesh, None, BATCH, None)

    def placed(local: Any) -> Array:
        count, held, length = local.shape
        first = rows_here(mesh, rows).start if rows else 0

        def part(index: Any) -> Any:
            start, stop, _ = index[1].indices(rows or held)
            return local[index[0], start - first : stop - first, index[2]]

        return jax.make_array_from_callback((count, rows or held, length), target, part)

    return jax.tree.map(placed, batch)
