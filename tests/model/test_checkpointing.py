"""What activation checkpointing keeps, in bytes, against the plan; and gradients that do not depend on it."""

from __future__ import annotations

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from xltjax.data.packing import Batch
from xltjax.layers import Checkpointing
from xltjax.llama import Llama, LlamaConfig, initialize
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh
from xltjax.partition import Weights, partition
from xltjax.training.config import TrainConfig
from xltjax.training.loss import summed_loss
from xltjax.training.plan import make_plan

CONFIG = LlamaConfig(64, 64, 160, 2, 4, 2, 16, 256)
ROWS, LENGTH, RANK = 2, 128, 4
KINDS: tuple[Checkpointing, ...] = get_args(Checkpointing)


def loss_of(kind: Checkpointing, *, lora: bool) -> tuple[Any, Weights, Weights]:
    """``loss(trainable, frozen)`` of two packed rows, and the weights."""
    mesh = make_mesh("1x1")
    model = initialize(Llama(CONFIG, compute_dtype=jnp.bfloat16), mesh, jax.random.key(0), jnp.bfloat16)
    model.activation_checkpointing = kind
    if lora:
        add_lora(model, mesh, jax.random.key(1), rank=RANK, alpha=8.0)
    trainable, frozen, rebuild = partition(model)
    ids = np.tile(np.arange(LENGTH, dtype=np.int32) % CONFIG.vocab_size, (ROWS, 1))
    segments = np.where(np.arange(LENGTH) < 50, 1, 2).astype(np.int32) + np.zeros_like(ids)
    batch = Batch(ids, ids, np.ones_like(ids, np.float32), segments, ids)

    def loss(trainable: Weights, frozen: Weights) -> Array:
        return summed_loss(rebuild(trainable, frozen), batch)

    return loss, trainable, frozen


def kept_numbers(kind: Checkpointing, *, lora: bool) -> float:
    """Bfloat16 numbers that a layer keeps of each token between the passes, by the types that JAX gives them."""
    loss, trainable, frozen = loss_of(kind, lora=lora)
    with jax.set_mesh(make_mesh("1x1")):
        pull = jax.eval_shape(lambda w, f: jax.vjp(lambda w: loss(w, f), w)[1], trainable, frozen)
    weights = {x.shape for x in jax.tree.leaves((trainable, frozen))}
    kept = [x for x in jax.tree.leaves(pull) if x.shape not in weights]
    return sum(x.size * x.dtype.itemsize for x in kept) / 2 / CONFIG.num_layers / ROWS / LENGTH


def test_what_is_kept_is_what_the_plan_says_and_no_more_with_adapters() -> None:
    def planned(kind: Checkpointing) -> float:
        config = TrainConfig(
            remat=kind, precision="bfloat16", sequence_length=LENGTH, tokens_per_batch=ROWS * LENGTH
        )
        return make_plan(config, CONFIG).activations / 2 / CONFIG.num_layers / ROWS / LENGTH

    full = {kind: kept_numbers(kind, lora=False) for kind in KINDS}
    lora = {kind: kept_numbers(kind, lora=True) for kind in ("attention", "dots", "block")}
    lse = 2 * CONFIG.num_heads  # float32, which the plan does not count
    assert full["dots"] - full["block"] == planned("dots") - planned("block")
    assert full["attention"] - full["dots"] == planned("attention") - planned("dots") + lse
    assert full["none"] > full["attention"]
    # With adapters the sum of both products is kept, once. Their inner activations are RANK numbers each.
    assert lora["dots"] - lora["block"] == full["dots"] - full["block"] + 7 * RANK
    assert lora["attention"] - lora["dots"] == full["attention"] - full["dots"]


def test_gradients_are_the_same_though_attention_is_not_computed_again() -> None:
    def gradients(kind: Checkpointing) -> Weights:
        loss, trainable, frozen = loss_of(kind, lora=True)
        with jax.set_mesh(make_mesh("1x1")):
            found: Weights = jax.jit(jax.grad(loss))(trainable, frozen)
        return found

    expected = gradients("none")
    for name, gradient in gradients("attention").items():
        assert np.abs(expected[name]).max() > 0 or "lora_a" in name  # B is zero at first
        np.testing.assert_allclose(gradient, expected[name], atol=0.02 * float(np.abs(expected[name]).max()))
