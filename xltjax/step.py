"""One update: summed losses over micro-batches, one token mean, AdamW. Jitted once, state donated."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jax import Array
from jax.sharding import Mesh

from xltjax.data import Batch
from xltjax.llama import Llama, parameters
from xltjax.loss import summed_loss
from xltjax.mesh import BATCH, sharding
from xltjax.optimizer import Schedule, apply_updates

Weights = dict[str, Array]  # by dotted path


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What an update changes: the number of updates done (int32), trained weights, optimizer state."""

    step: Array
    weights: Weights
    optimizer: Any


class Bound:
    """A model taken apart into trained and frozen weights, and put together again inside a jitted function."""

    def __init__(self, model: Llama):
        """Adapters are trained where there are any, otherwise everything."""
        self._graph, state = nnx.split(model)
        self._variables = dict(nnx.to_flat_state(state))
        kind = (
            nnx.LoRAParam
            if any(isinstance(v, nnx.LoRAParam) for v in self._variables.values())
            else nnx.Param
        )
        named = parameters(model)
        self.trained: Weights = {k: v[...] for k, v in named.items() if isinstance(v, kind)}
        self.frozen: Weights = {k: v[...] for k, v in named.items() if not isinstance(v, kind)}
        # Shapes instead of arrays, so that no weight is baked into a compiled program.
        self._variables = {
            path: v.replace(jax.ShapeDtypeStruct(v.shape, v.dtype)) for path, v in self._variables.items()
        }

    def model(self, trained: Weights, frozen: Weights) -> Llama:
        """The model with these weights."""
        values = {**frozen, **trained}
        flat = [(path, v.replace(values[".".join(map(str, path))])) for path, v in self._variables.items()]
        return nnx.merge(self._graph, nnx.from_flat_state(flat))


def make_train_step(
    bound: Bound, transform: optax.GradientTransformation, schedule: Schedule
) -> Callable[[TrainState, Weights, Batch], tuple[TrainState, dict[str, Array]]]:
    """A jitted ``(state, frozen, batch) -> (state, metrics)``; the state's buffers are reused.

    The gradient is that of the token mean over all micro-batches of the update, however they are split.
    Metrics: loss, grad_norm, learning_rate, learned_tokens, tokens.
    """

    def loss_of(weights: Weights, frozen: Weights, micro: Batch) -> Array:
        return summed_loss(bound.model(weights, frozen), micro)

    def gradient(state: TrainState, frozen: Weights, batch: Batch) -> tuple[Array, Weights]:
        """Summed loss and its gradient, over the micro-batches in turn."""
        if batch.tokens.shape[0] == 1:  # nothing to accumulate: no second copy of the gradient
            return jax.value_and_grad(loss_of)(state.weights, frozen, jax.tree.map(lambda x: x[0], batch))

        def add(total: tuple[Array, Weights], micro: Batch) -> tuple[tuple[Array, Weights], None]:
            loss, grads = jax.value_and_grad(loss_of)(state.weights, frozen, micro)
            return (total[0] + loss, jax.tree.map(lambda s, g: s + g.astype(s.dtype), total[1], grads)), None

        zeros = jax.tree.map(lambda w: jnp.zeros_like(w, jnp.float32), state.weights)
        total, _ = jax.lax.scan(add, (jnp.zeros(()), zeros), batch)
        return total

    @partial(jax.jit, donate_argnums=0)
    def train_step(state: TrainState, frozen: Weights, batch: Batch) -> tuple[TrainState, dict[str, Array]]:
        loss, grads = gradient(state, frozen, batch)
        learned = batch.loss_mask.sum()
        grads = jax.tree.map(lambda g: g / learned, grads)
        updates, optimizer = transform.update(grads, state.optimizer, state.weights)
        learning_rate = schedule(state.step + 1)
        new = TrainState(state.step + 1, apply_updates(state.weights, updates, learning_rate), optimizer)
        metrics = {
            "loss": loss / learned,
            "grad_norm": optax.tree.norm(grads),
            "learning_rate": learning_rate,
            "learned_tokens": learned,
            "tokens": (batch.segment_ids > 0).sum(),
        }
        return new, metrics

    return train_step


def start_state(bound: Bound, transform: optax.GradientTransformation, mesh: Mesh) -> TrainState:
    """Step 0; the moments lie where their weights lie."""
    with jax.set_mesh(mesh):
        # The state is donated at every step; copies keep the model's own arrays alive.
        weights = jax.tree.map(jnp.copy, bound.trained)
        optimizer = jax.jit(transform.init)(weights)
        return TrainState(jax.device_put(jnp.int32(0), sharding(mesh)), weights, optimizer)


def place(batch: Batch, mesh: Mesh) -> Batch:
    """The host's batch [A, B, T] on the mesh, rows split over the batch axes."""
    target = sharding(mesh, None, BATCH, None)
    return Batch(*(jax.device_put(getattr(batch, f.name), target) for f in dataclasses.fields(batch)))
