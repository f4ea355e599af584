"""Updates against PyTorch, on any mesh and any split of the batch; runs that stop anywhere and go on exactly."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from xltjax.training.optimizer import adamw, inverse_sqrt
from xltjax.training.step import Bound, make_train_step, place, start_state

HfModel = Callable[[str], tuple[Path, Any]]
RATE = 3e-3
OPTIMIZER = {"beta1": 0.9, "beta2": 0.95, "eps": 1e-8, "weight_decay": 0.1, "clip_norm": 1.0}


def examples(count: int = 200) -> list[Tokens]:
    random = np.random.default_rng(3)
    return [
        Tokens(random.integers(3, 101, n).astype(np.int32), np.arange(n) >= n // 3)
        for n in random.integers(4, 24, count)
    ]


def batches(steps: int, micro_batches: int = 2, rows: int = 4) -> list[Batch]:
    shape = BatchShape(micro_batches, rows, 48, rows * 48)
    data = PackedData([Corpus(examples(), 1.0)], shape, seed=0)
    return [data.batch_at(step) for step in range(steps)]


def regrouped(batch: Batch, micro_batches: int) -> Batch:
    """The same rows in another number of micro-batches."""
    return jax.tree.map(lambda x: x.reshape(micro_batches, -1, x.shape[-1]), batch)


def run(
    model: Llama, spec: str, made: Sequence[Batch], **changes: Any
) -> tuple[list[dict[str, float]], dict[str, np.ndarray], Any]:
    """Metrics of each update, trained weights after the last, and the jitted step."""
    mesh = make_mesh(spec)
    bound = Bound(model)
    transform = adamw(**{**OPTIMIZER, **changes})
    state = start_state(bound, transform, mesh)
    step = make_train_step(bound, transform, inverse_sqrt())
    metrics = []
    with jax.set_mesh(mesh):
        for batch in made:
            state, values = step(state, bound.frozen, place(batch, mesh), RATE)
            metrics.append({key: float(value) for key, value in values.items()})
    return metrics, {key: np.asarray(value) for key, value in state.weights.items()}, step


def torch_reference(model: Any, made: Sequence[Batch]) -> list[float]:
    """The same updates with ``torch.optim.AdamW``, one example at a time; returns losses, changes ``model``."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)
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
                logits = model(inputs).logits[0].float()
                loss = (torch.nn.functional.cross_entropy(logits, targets, reduction="none") * mask).sum()
                (loss / learned).backward()
                total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        losses.append(total / learned)
    return losses


def test_five_full_updates_equal_pytorch(tmp_path: Path) -> None:
    reference = make_hf_model("llama-with-biases", tmp_path)
    model = load_hf(tmp_path, make_mesh("1x1"), dtype=jnp.float32)
    model.remat = "block"
    made = batches(5)
    metrics, weights, _ = run(model, "1x1", made)
    expected = torch_reference(reference, made)
    np.testing.assert_allclose([m["loss"] for m in metrics], expected, rtol=1e-5)
    assert expected[-1] < expected[0]
    theirs = dict(reference.named_parameters())
    for name, weight in weights.items():
        np.testing.assert_allclose(weight, theirs[hf_name(name)].detach().numpy(), atol=1e-5, err_msg=name)


def test_five_lora_updates_equal_peft(tmp_path: Path) -> None:
    import torch
    from peft import LoraConfig, get_peft_model

    base = make_hf_model("llama-2-7b", tmp_path)
    config = LoraConfig(r=4, lora_alpha=8, target_modules=list(TARGETS), task_type="CAUSAL_LM")
    reference = get_peft_model(base, config)
    mesh = make_mesh("1x1")
    model = load_hf(tmp_path, mesh, dtype=jnp.float32)
    add_lora(model, mesh, jax.random.key(0), rank=4, alpha=8)
    bound = Bound(model)
    theirs = dict(reference.named_parameters())
    for name, start in bound.trained.items():
        parameter = theirs[peft_name(name).replace(".weight", ".default.weight")]
        parameter.data = torch.tensor(np.asarray(start))
    made = batches(5)
    metrics, weights, _ = run(model, "1x1", made)
    expected = torch_reference(reference, made)
    np.testing.assert_allclose([m["loss"] for m in metrics], expected, rtol=1e-5)
    assert len(weights) == 2 * 2 * len(TARGETS)
    for name, weight in weights.items():
        trained = theirs[peft_name(name).replace(".weight", ".default.weight")].detach().numpy()
        np.testing.assert_allclose(weight, trained, atol=1e-5, err_msg=name)


@pytest.mark.parametrize(
    ("spec", "micro_batches"),
    [("2x1", 2), ("1x2", 2), ("2x2", 2), ("2x2x2", 2), ("1x1", 1), ("1x1", 4), ("2x2", 1)],
)
def test_losses_are_the_same_on_every_mesh_and_every_split(
    spec: str, micro_batches: int, hf_model: HfModel
) -> None:
    directory, _ = hf_model("llama-with-biases")
    made = batches(3)
    expected, _, _ = run(load_hf(directory, make_mesh("1x1"), dtype=jnp.float32), "1x1", made)
    model = load_hf(directory, make_mesh(spec), dtype=jnp.float32)
    got, _, _ = run(model, spec, [regrouped(batch, micro_batches) for batch in made])
    for ours, theirs in zip(got, expected, strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)
        assert ours["grad_norm"] == pytest.approx(theirs["grad_norm"], rel=1e-4)


def test_one_compilation_serves_all_updates(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-7b")
    _, _, step = run(load_hf(directory, make_mesh("2x1"), dtype=jnp.float32), "2x1", batches(4))
    assert step._cache_size() == 1
