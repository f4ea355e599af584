"""Updates against PyTorch in float64, and on any mesh and any split of the batch."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_hf_model

from xltjax.converters import load_hf
from xltjax.converters.names import hf_name, peft_name
from xltjax.data.corpora import Corpus
from xltjax.data.packing import Batch, BatchShape, PackedData
from xltjax.data.tokenizer import Tokens
from xltjax.llama import Llama
from xltjax.lora import TARGETS, add_lora
from xltjax.mesh import make_mesh
from xltjax.partition import partition
from xltjax.training.optimizer import adamw, inverse_sqrt
from xltjax.training.step import make_train_step, place, start_state

RATE = 3e-3
# At the usual 1e-8 the first updates are +-RATE by the sign of a gradient, however small: not comparable in float32
# where a gradient is as small as its rounding error. The size of this EPS is that of the smaller gradients, which
# makes the update a well-conditioned function of them: with m / (sqrt(v) + EPS) and |m| at most about 2 sqrt(v), an
# error e of every gradient moves it by at most 3 e / EPS. Gradients are clipped to a norm of 1, and float32 computes
# them to within 1e-7 of it (against float64), so that weights are off by at most
# RATE * (1 + 1/sqrt(2) + ... + 1/sqrt(5)) * 3 * 1e-7 / EPS = 3e-6 after five updates.
EPS = 1e-3
WEIGHT_ERROR = 1e-5
OPTIMIZER = {"beta1": 0.9, "beta2": 0.95, "eps": EPS, "weight_decay": 0.1, "clip_norm": 1.0}


def examples(count: int = 200) -> list[Tokens]:
    random = np.random.default_rng(3)
    return [
        Tokens(random.integers(3, 101, n).astype(np.int32), np.arange(n) >= n // 3)
        for n in random.integers(4, 24, count)
    ]


def batches(steps: int, rows: int) -> list[Batch]:
    """Batches of two micro-batches with ``rows`` packed rows each."""
    data = PackedData([Corpus(examples(), 1.0)], BatchShape(2, rows, 48, rows * 48), seed=0)
    return [data.batch_at(step) for step in range(steps)]


def regrouped(batch: Batch, micro_batches: int) -> Batch:
    """The same rows in another number of micro-batches."""
    return jax.tree.map(lambda x: x.reshape(micro_batches, -1, x.shape[-1]), batch)


def run(
    model: Llama, spec: str, made: Sequence[Batch], parts: Collection[str] = ()
) -> tuple[list[dict[str, float]], dict[str, np.ndarray], Any]:
    """Metrics of each update, trained weights after the last, and the jitted step."""
    mesh = make_mesh(spec)
    weights, frozen, rebuild = partition(model, parts)
    transform = adamw(**OPTIMIZER)
    state = start_state(weights, transform, mesh)
    step = make_train_step(rebuild, transform, inverse_sqrt())
    metrics = []
    with jax.set_mesh(mesh):
        for batch in made:
            state, values = step(state, frozen, place(batch, mesh), RATE)
            metrics.append({key: float(value) for key, value in values.items()})
    return metrics, {key: np.asarray(value) for key, value in state.weights.items()}, step


def float64_norm(module: Any, x: Any) -> Any:
    """What transformers computes in float32 whatever the dtype of the model."""
    return module.weight * x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt()


def torch_reference(model: Any, made: Sequence[Batch]) -> list[float]:
    """The same updates with ``torch.optim.AdamW`` in float64, one example at a time; changes ``model``.

    Returns:
        The losses.
    """
    import torch

    torch.set_num_threads(1)  # a tiny model: threads would wait for each other
    model.double()
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = partial(float64_norm, module)
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=EPS, weight_decay=0.1)
    losses = []
    for number, batch in enumerate(made, start=1):
        for group in optimizer.param_groups:
            group["lr"] = RATE / number**0.5
        optimizer.zero_grad()
        learned, total = float(batch.loss_mask.sum()), 0.0
        for a, b in np.ndindex(batch.tokens.shape[:2]):
            for segment in range(1, batch.segment_ids[a, b].max() + 1):
                where = batch.segment_ids[a, b] == segment
                inputs = torch.tensor(batch.tokens[a, b, where]).long()[None]
                targets = torch.tensor(batch.targets[a, b, where]).long()
                mask = torch.tensor(batch.loss_mask[a, b, where])
                logits = model(inputs).logits[0]
                assert logits.dtype == torch.float64
                loss = (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * mask).sum()
                (loss / learned).backward()
                total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(total / learned)
    return losses


def assert_weights_equal(
    weights: dict[str, np.ndarray], expected: dict[str, Any], start: dict[str, jax.Array]
) -> None:
    """The updates are those of PyTorch, and large against what they may differ by."""
    assert weights.keys() == expected.keys()
    for name, weight in weights.items():
        right = expected[name].detach().numpy()
        np.testing.assert_allclose(weight, right, atol=WEIGHT_ERROR, rtol=0, err_msg=name)
        assert np.abs(right - start[name]).max() > 100 * WEIGHT_ERROR, name


def test_five_full_updates_equal_pytorch(tmp_path: Path) -> None:
    reference = make_hf_model("llama-with-biases", tmp_path)
    model = load_hf(tmp_path, make_mesh("1x1"), dtype=jnp.float32)
    model.activation_checkpointing = "block"
    made = batches(5, rows=2)
    metrics, weights, _ = run(model, "1x1", made)
    expected = torch_reference(reference, made)
    np.testing.assert_allclose([m["loss"] for m in metrics], expected, rtol=1e-5)
    theirs = dict(reference.named_parameters())
    assert_weights_equal(weights, {name: theirs[hf_name(name)] for name in weights}, partition(model)[0])


def test_five_updates_of_some_layers_equal_pytorch_with_the_rest_frozen(tmp_path: Path) -> None:
    reference = make_hf_model("llama-with-biases", tmp_path)
    for name, parameter in reference.named_parameters():
        parameter.requires_grad = name.startswith(("model.layers.1.", "model.norm."))
    model = load_hf(tmp_path, make_mesh("1x1"), dtype=jnp.float32)
    model.activation_checkpointing = "block"
    made = batches(5, rows=2)
    parts = ("layers.1", "norm")
    start, _, _ = partition(model, parts)
    metrics, weights, _ = run(model, "1x1", made, parts)
    expected = torch_reference(reference, made)
    np.testing.assert_allclose([m["loss"] for m in metrics], expected, rtol=1e-5)
    theirs = {name: p for name, p in reference.named_parameters() if p.requires_grad}
    assert {hf_name(name) for name in weights} == theirs.keys()
    assert_weights_equal(weights, {name: theirs[hf_name(name)] for name in weights}, start)


def test_five_lora_updates_equal_peft(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base = make_hf_model("llama-2-7b", tmp_path)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    reference = get_peft_model(base, config)
    mesh = make_mesh("1x1")
    model = load_hf(tmp_path, mesh, dtype=jnp.float32)
    add_lora(model, mesh, jax.random.key(0), rank=4, alpha=8)
    start, _, _ = partition(model)
    assert len(start) == 2 * 2 * len(TARGETS)
    named = dict(reference.named_parameters())
    theirs = {name: named[peft_name(name).replace(".weight", ".default.weight")] for name in start}
    for name, array in start.items():
        theirs[name].data = torch.tensor(np.asarray(array))
    made = batches(5, rows=2)
    metrics, weights, _ = run(model, "1x1", made)
    expected = torch_reference(reference, made)
    np.testing.assert_allclose([m["loss"] for m in metrics], expected, rtol=1e-5)
    assert_weights_equal(weights, theirs, start)


@pytest.fixture(scope="module")
def on_one_device(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Path, list[Batch], list[dict[str, float]]]:
    """A model of one block with 101 words, three batches, and the metrics of their updates on one device."""
    directory = tmp_path_factory.mktemp("one-block")
    make_hf_model("llama-with-biases", directory, num_hidden_layers=1)
    made = batches(3, rows=4)
    return directory, made, run(load_hf(directory, make_mesh("1x1"), dtype=jnp.float32), "1x1", made)[0]


@pytest.mark.parametrize(("spec", "micro_batches"), [("1x1", 1), ("2x1", 4), ("1x2", 2), ("2x2x2", 2)])
def test_losses_are_the_same_on_every_mesh_and_every_split_with_one_compilation(
    spec: str, micro_batches: int, on_one_device: tuple[Path, list[Batch], list[dict[str, float]]]
) -> None:
    directory, made, expected = on_one_device
    model = load_hf(directory, make_mesh(spec), dtype=jnp.float32)
    got, _, step = run(model, spec, [regrouped(batch, micro_batches) for batch in made])
    for ours, theirs in zip(got, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)
    assert step._cache_size() == 1
