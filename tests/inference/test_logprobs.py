"""Log-probabilities of continuations against ``transformers``, at any batch size, order and mesh."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HfModel

from xltjax.converters import load_hf
from xltjax.inference import logprobs
from xltjax.inference.logprobs import sequence_logprobs
from xltjax.llama import Llama
from xltjax.mesh import make_mesh

Pairs = tuple[list[list[int]], list[list[int]]]


def pairs(longest: int = 100) -> Pairs:
    """Prompts and continuations of random tokens and lengths, some of no tokens, in no order."""
    count = 24
    random = np.random.default_rng(3)
    prompts = [[1, *random.integers(3, 101, n).tolist()] for n in random.integers(0, longest, count)]
    continuations = [random.integers(3, 101, n).tolist() for n in random.integers(0, 5, count)]
    return prompts, continuations


def reference(model: Any, prompt: list[int], continuation: list[int]) -> float:
    """The sum of the continuation's log-softmax values, one pair at a time."""
    import torch

    with torch.no_grad():
        logits = model(torch.tensor([prompt + continuation])).logits[0, len(prompt) - 1 : -1]
    chosen = torch.log_softmax(logits, -1).gather(1, torch.tensor(continuation, dtype=int)[:, None])
    return float(chosen.double().sum())


def load(directory: Path, spec: str = "1x1") -> tuple[Llama, Any]:
    mesh = make_mesh(spec)
    return load_hf(directory, mesh, dtype=jnp.float32), mesh


@pytest.mark.parametrize("name", ["llama-with-biases", "mistral", "llama-3.2-tied"])
def test_logprobs_are_the_log_softmax_sums_of_transformers(name: str, hf_model: HfModel) -> None:
    directory, hf = hf_model(name)
    prompts, continuations = pairs()
    expected = [reference(hf, p, c) for p, c in zip(prompts, continuations, strict=True)]
    np.testing.assert_allclose(
        sequence_logprobs(*load(directory), prompts, continuations, batch_size=4), expected, atol=1e-4
    )


@pytest.mark.parametrize(
    ("spec", "batch_size"),
    [("1x1", 7), ("1x1", 64), ("2x1", 5), ("1x2", 4)],
)
def test_logprobs_do_not_depend_on_batch_size_order_or_mesh(
    spec: str, batch_size: int, hf_model: HfModel
) -> None:
    # A vocabulary of 103, which two devices do not divide.
    directory, hf = hf_model("tower-7b")
    prompts, continuations = pairs(60)
    expected = np.array([reference(hf, p, c) for p, c in zip(prompts, continuations, strict=True)])
    order = np.random.default_rng(batch_size).permutation(len(prompts))
    found = sequence_logprobs(
        *load(directory, spec),
        [prompts[i] for i in order],
        [continuations[i] for i in order],
        batch_size=batch_size,
    )
    np.testing.assert_allclose(found, expected[order], atol=1e-4)


def test_a_logprob_is_bit_for_bit_the_same_beside_any_others(hf_model: HfModel) -> None:
    model, mesh = load(hf_model("llama-2-7b")[0])
    prompts, continuations = pairs()
    together = sequence_logprobs(model, mesh, prompts, continuations, batch_size=8)
    alone = [
        sequence_logprobs(model, mesh, [p], [c], batch_size=8)[0]
        for p, c in zip(prompts, continuations, strict=True)
    ]
    np.testing.assert_array_equal(together, alone)


def test_continuations_that_differ_in_the_last_token_share_one_row(
    hf_model: HfModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, hf = hf_model("llama-2-7b")
    prompts = [[1, 5, 9], [1, 5, 9], [1, 5, 9], [1, 7], [1, 7], [1, 5]]
    continuations = [[20, 30], [20, 31], [20, 30], [20, 30], [21, 30], [9, 20, 30]]
    read = []
    inner = logprobs._token_logprobs
    monkeypatch.setattr(
        logprobs, "_token_logprobs", lambda *a: read.append(int((a[2] > 1).sum())) or inner(*a)
    )
    found = sequence_logprobs(*load(directory), prompts, continuations, batch_size=8)
    assert sum(read) == 4  # rows: [1 5 9] 20, [1 7] 20, [1 7] 21, [1 5] 9 20
    expected = [reference(hf, p, c) for p, c in zip(prompts, continuations, strict=True)]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    assert found[0] == found[2]


def test_probabilities_of_every_possible_token_sum_to_one(hf_model: HfModel) -> None:
    model, mesh = load(hf_model("tower-7b")[0], "1x2")
    found = sequence_logprobs(model, mesh, [[1, 5, 9]] * 103, [[token] for token in range(103)], batch_size=1)
    assert np.exp(found).sum() == pytest.approx(1, abs=1e-5)


def test_few_programs_are_compiled_however_many_prompts(
    hf_model: HfModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, mesh = load(hf_model("llama-2-7b")[0])
    random = np.random.default_rng(0)
    prompts = [[1, *random.integers(3, 101, n).tolist()] for n in random.integers(10, 500, 200)]
    shapes = set()

    def note(_: Llama, *arrays: Any) -> np.ndarray:
        shapes.add(tuple(array.shape for array in arrays))
        return np.zeros(arrays[2].shape)

    monkeypatch.setattr(logprobs, "_token_logprobs", note)
    sequence_logprobs(
        model, mesh, [p for p in prompts for _ in range(2)], [[8, 5], [8, 6]] * 200, batch_size=16
    )
    assert len(shapes) == 4  # 64, 128, 256 and 512 tokens


def test_no_pairs_give_no_logprobs(hf_model: HfModel) -> None:
    assert sequence_logprobs(*load(hf_model("llama-2-7b")[0]), [], [], batch_size=4).shape == (0,)


@pytest.mark.parametrize("prompt", [[], [1] * 513])
def test_prompts_of_no_tokens_or_too_many_are_refused(prompt: list[int], hf_model: HfModel) -> None:
    with pytest.raises(ValueError, match="pair 1 has"):
        sequence_logprobs(*load(hf_model("llama-2-7b")[0]), [[1], prompt], [[5], [5]], batch_size=4)
