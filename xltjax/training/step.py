"""One update: summed losses over micro-batches, one token mean, AdamW. Jitted once, state donated."""

from __future__ import annotations

import dataclasses
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
from xltjax.llama import Llama
from xltjax.lora import drop_adapter_inputs
from xltjax.mesh import BATCH, sharding
from xltjax.partition import Weights
from xltjax.training.loss import summed_loss
from xltjax.training.optimizer import Schedule, apply_updates

Metrics = dict[str, Array]  # by name


def make_train_step(
    rebuild: Callable[[Weights, Weights], Llama],
    transform: optax.GradientTransformation,
    schedule: Schedule,
    *,
    seed: int = 0,
    lora_dropout: float = 0.0,
    stochastic_rounding: bool = False,
    offload: bool = False,
) -> Callable[[TrainState, Weights, Batch, Any], tuple[TrainState, Metrics]]:
    """A jitted ``(state, frozen, batch, peak learning rate) -> (state, metrics)``; the state's buffers are reused.

    The gradient is that of the token mean over all micro-batches of the update, however they are split.
    Metrics: loss, grad_norm, learning_rate, learned_tokens, tokens.

    Args:
        rebuild: see ``partition``.
        transform: from ``optimizer.adamw``.
        schedule: from ``optimizer.make_schedule``.
        seed: of dropout and rounding, which depend on it and the update's number alone.
        lora_dropout: share of the adapters' inputs that is dropped.
        stochastic_rounding: of bfloat16 weights, see ``optimizer.round_stochastically``.
        offload: the moments lie in the host's memory, see ``fresh_state``.
    """

    def loss_of(weights: Weights, frozen: Weights, micro: Batch, key: Array) -> Array:
        model = rebuild(weights, frozen)
        if lora_dropout:
            drop_adapter_inputs(model, lora_dropout, key)
        return summed_loss(model, micro)

    def gradient(state: TrainState, frozen: Weights, batch: Batch, key: Array) -> tuple[Array, Weights]:
        """Summed loss and its gradient, over the micro-batches in turn."""
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
    """``fresh_state`` of copies, which leave the model's own arrays alive."""
    with jax.set_mesh(mesh):
        return fresh_state(jax.tree.map(jnp.copy, weights), transform, mesh)


def fresh_state(
    weights: Weights, transform: optax.GradientTransformation, mesh: Mesh, *, offload: bool = False
) -> TrainState:
    """Step 0 from ``weights``, which the first update uses up; the moments lie where their weights lie.

    With ``offload`` the moments are kept in the host's memory, and visit the device in each update.
    """
    with jax.set_mesh(mesh):
        optimizer = jax.jit(transform.init)(weights)
        if offload:
            optimizer = jax.tree.map(in_host_memory, optimizer)
        return TrainState(jax.device_put(jnp.int32(0), sharding(mesh)), weights, optimizer)


def in_host_memory(x: Array) -> Array:
    """``x``, sharded as it is, in memory of the hosts."""
    return jax.device_put(x, x.sharding.with_memory_kind("pinned_host"))


def rows_here(mesh: Mesh, rows: int) -> slice:
    """Which of the ``rows`` of a batch lie on devices of this process, and need to be built by it."""
    placed = sharding(mesh, BATCH).addressable_devices_indices_map((rows,)).values()
    spans = [index[0].indices(rows) for index in placed if index is not None]
    return slice(min(span[0] for span in spans), max(span[1] for span in spans))


def place(batch: Batch, mesh: Mesh, rows: int | None = None) -> Batch:
    """The host's batch [A, B, T] on the mesh, rows split over the batch axes.

    Args:
        batch: arrays of NumPy; only the rows of ``rows_here`` when ``rows`` is given.
        mesh: on which it is to lie.
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

    return Batch(*(placed(getattr(batch, field.name)) for field in dataclasses.fields(batch)))
