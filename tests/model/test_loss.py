"""The loss and its gradient against torch, in chunks, with few learned tokens, and on meshes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_hf_model

import xltjax.training.loss
from xltjax.converters import load_hf
from xltjax.converters.names import hf_name
from xltjax.data.packing import Batch
from xltjax.llama import parameters
from xltjax.mesh import make_mesh
from xltjax.partition import partition
from xltjax.training.loss import summed_loss
from xltjax.training.step import place

ROWS, LENGTH = 4, 16


def make_batch(learned: float) -> Batch:
    """Rows of one segment each, of whose tokens the share ``learned`` counts."""
    random = np.random.default_rng(0)
    tokens = random.integers(3, 101, (ROWS, LENGTH + 1)).astype(np.int32)
    positions = np.broadcast_to(np.arange(LENGTH, dtype=np.int32), (ROWS, LENGTH))
    mask = (random.random((ROWS, LENGTH)) < learned).astype(np.float32)
    mask[1] = 0  # a row of which nothing is learned
    return Batch(tokens[:, :-1], tokens[:, 1:], mask, np.ones_like(positions), positions)


def torch_loss(model: Any, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
    """Summed cross entropy and the gradient of every parameter."""
    import torch

    model.zero_grad()
    logits = model(torch.tensor(batch.tokens).long()).logits
    losses = torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), torch.tensor(batch.targets).long(), reduction="none"
    )
    loss = (losses * torch.tensor(batch.loss_mask)).sum()
    loss.backward()
    return float(loss.detach()), {name: p.grad.numpy() for name, p in model.named_parameters()}


def our_loss(directory: Path, batch: Batch, spec: str) -> tuple[float, dict[str, np.ndarray]]:
    mesh = make_mesh(spec)
    model = load_hf(directory, mesh, dtype=jnp.float32)
    weights, _, rebuild = partition(model)
    vocabulary = model.config.vocab_size

    @jax.jit
    def run(weights: dict[str, jax.Array], batch: Batch) -> Any:
        return jax.value_and_grad(lambda w: summed_loss(rebuild(w, {}), batch) / 2)(weights)

    with jax.set_mesh(mesh):
        placed = place(jax.tree.map(lambda x: x[None], batch), mesh)
        loss, gradients = run(weights, jax.tree.map(lambda x: x[0], placed))
        alone = jax.jit(lambda w, b: summed_loss(rebuild(w, {}), b))(
            weights, jax.tree.map(lambda x: x[0], placed)
        )
    assert float(alone) == pytest.approx(2 * float(loss), rel=1e-5)  # with and without a gradient
    unpadded = {
        hf_name(name): 2 * np.asarray(g)[:vocabulary]
        if "embed." in name or "head." in name
        else 2 * np.asarray(g)
        for name, g in gradients.items()
    }
    assert unpadded.keys() == {hf_name(name) for name in parameters(model)}
    return 2 * float(loss), unpadded


@pytest.mark.parametrize(
    ("name", "spec", "learned", "chunk"),
    [
        ("llama-with-biases", "1x1", 1.0, 64),
        ("llama-with-biases", "1x1", 0.3, 8),
        ("llama-3.2-tied", "1x1", 0.3, 16),
        ("llama-with-biases", "2x2", 0.3, 8),  # 101 words: the mesh does not divide the vocabulary
        ("llama-with-biases", "2x1", 0.0, 8),
    ],
)
def test_loss_and_gradients_equal_torch(
    name: str, spec: str, learned: float, chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xltjax.training.loss, "CPU_LOGIT_BYTES", chunk * 4 * 101)
    reference = make_hf_model(name, tmp_path, num_hidden_layers=1)
    batch = make_batch(learned)
    loss, gradients = our_loss(tmp_path, batch, spec)
    expected, expected_gradients = torch_loss(reference, batch)
    assert loss == pytest.approx(expected, rel=1e-5)
    for path, gradient in expected_gradients.items():
        np.testing.assert_allclose(gradients[path], gradient, atol=1e-4 * max(1, np.abs(gradient).max()))


def test_chunks_without_a_learned_token_are_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xltjax.training.loss, "CPU_LOGIT_BYTES", 8 * 4 * 101)
    made: list[int] = []
    original = xltjax.training.loss._cross_entropy

    def counted(logits: jax.Array, *others: jax.Array) -> Any:
        jax.debug.callback(lambda: made.append(logits.shape[1]))
        return original(logits, *others)

    monkeypatch.setattr(xltjax.training.loss, "_cross_entropy", counted)
    make_hf_model("llama-2-7b", tmp_path, num_hidden_layers=1)
    batch = make_batch(0.3)
    our_loss(tmp_path, batch, "1x1")
    jax.effects_barrier()
    learned = int(batch.loss_mask.sum())
    assert made == [8] * (2 * -(-learned // 8))  # 8 of 64 positions at once, in two passes


def test_a_frozen_output_layer_has_the_same_loss_and_no_gradient_is_computed_for_it(tmp_path: Path) -> None:
    make_hf_model("llama-with-biases", tmp_path, num_hidden_layers=1)
    mesh = make_mesh("1x1")
    model = load_hf(tmp_path, mesh, dtype=jnp.float32)
    batch = make_batch(0.3)
    products, hidden_gradients = [], []
    for parts in ((), ("layers.0",)):
        weights, frozen, rebuild = partition(model, parts)
        loss = jax.value_and_grad(lambda w, f, rebuild=rebuild: summed_loss(rebuild(w, f), batch))
        with jax.set_mesh(mesh):
            compiled = jax.jit(loss).lower(weights, frozen).compile()
            products.append(compiled.as_text().count(" dot("))
            hidden_gradients.append(compiled(weights, frozen))
    assert products[0] - products[1] == 1  # the head's; the embedding's is a sum of rows
    (one, all_gradients), (other, some) = hidden_gradients
    assert float(one) == pytest.approx(float(other), rel=1e-6)
    for name, gradient in some.items():
        np.testing.assert_allclose(gradient, all_gradients[name], rtol=1e-5, atol=1e-6)
