"""Draws, adapters of one base, and compilations on prompts of real lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_hf_model
from jax.sharding import PartitionSpec as P

from xltjax.common.errors import UserError
from xltjax.converters import load_hf, save_peft
from xltjax.generate import GenerateConfig, generate
from xltjax.inference import decode as programs
from xltjax.inference.engine import Engine
from xltjax.inference.sampling import SamplingParams, item_seed, sample
from xltjax.lora import add_lora, lora_linears
from xltjax.mesh import make_mesh, sharding


def sample_rows(
    logits: np.ndarray, seeds: np.ndarray, sampling: SamplingParams, spec: str = "1x1"
) -> np.ndarray:
    mesh = make_mesh(spec)
    rows = sharding(mesh, ("replica", "data"))
    arrays = (
        jax.device_put(logits, sharding(mesh, ("replica", "data"), None)),
        jax.device_put(np.zeros(logits.shape, bool), sharding(mesh, ("replica", "data"), None)),
        jax.device_put(seeds.astype(np.uint32), rows),
        jax.device_put(np.zeros(len(seeds), np.int32), rows),
    )
    with jax.set_mesh(mesh):
        return np.asarray(jax.jit(sample, static_argnums=4)(*arrays, sampling))


def test_greedy_sampling_is_numpys_argmax_and_ties_go_to_the_lowest_id() -> None:
    logits = np.random.default_rng(0).integers(-3, 4, (64, 50)).astype(np.float32)
    got = sample_rows(logits, np.zeros(64), SamplingParams())
    np.testing.assert_array_equal(got, logits.argmax(axis=1))


def test_draws_follow_the_softmax_at_the_temperature() -> None:
    logits = np.array([2.0, 1.0, 0.0, -1.0], np.float32)
    count, temperature = 20_000, 0.7
    got = sample_rows(np.tile(logits, (count, 1)), np.arange(count), SamplingParams(temperature=temperature))
    expected = np.exp(logits / temperature) / np.exp(logits / temperature).sum()
    np.testing.assert_allclose(np.bincount(got, minlength=4) / count, expected, atol=0.015)


@pytest.mark.parametrize(
    "sampling",
    [SamplingParams(1.0, 0.8, 5, 1.0), SamplingParams(1.0, 0.8, 0, 0.6), SamplingParams(1.0, 0.8, 12, 0.8)],
)
def test_draws_come_from_the_tokens_that_transformers_keeps(sampling: SamplingParams) -> None:
    import torch
    from transformers import TemperatureLogitsWarper, TopKLogitsWarper, TopPLogitsWarper

    logits = np.random.default_rng(3).normal(0, 2, 40).astype(np.float32)
    scores = TemperatureLogitsWarper(sampling.temperature)(None, torch.tensor(logits[None]))
    if sampling.top_k:
        scores = TopKLogitsWarper(sampling.top_k)(None, scores)
    if sampling.top_p < 1:
        scores = TopPLogitsWarper(sampling.top_p)(None, scores)
    kept = set(torch.isfinite(scores[0]).nonzero()[:, 0].tolist())
    got = sample_rows(np.tile(logits, (5000, 1)), np.arange(5000), sampling)
    assert set(got.tolist()) == kept


def test_parameters_that_contradict_themselves_are_refused() -> None:
    for values in ((1.0, 0.0, 5), (1.0, -1.0), (0.0,), (1.0, 1.0, 0, 0.0)):
        with pytest.raises(UserError):
            SamplingParams(*values)


@pytest.fixture(scope="module")
def one_block(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of one block with 101 words, which no mesh divides."""
    directory = tmp_path_factory.mktemp("one-block")
    make_hf_model("llama-with-biases", directory, num_hidden_layers=1)
    return directory


def draws(directory: Path, spec: str, slots: int, order: Sequence[int], seed: int) -> dict[str, list[int]]:
    """Answers to ten items drawn in the given order."""
    mesh = make_mesh(spec)
    engine = Engine(
        load_hf(directory, mesh, dtype=jnp.float32), mesh, slots=slots, max_new_tokens=12,
        sampling=SamplingParams(1.1, 0.9, 20, 0.95), eos=(2,), seed=seed,
    )  # fmt: skip
    asked = [(f"item-{n}", [1, 5 + n, 9]) for n in order]
    return {key: answer.ids for key, answer in engine.generate(asked)}


@pytest.fixture(scope="module")
def eight_at_once(one_block: Path) -> dict[str, list[int]]:
    return draws(one_block, "1x1", 8, range(10), seed=7)


@pytest.mark.parametrize(("spec", "slots"), [("1x1", 1), ("1x1", 5), ("2x1", 4), ("1x2", 4)])
def test_an_items_draws_do_not_depend_on_its_neighbors_or_the_mesh(
    spec: str, slots: int, one_block: Path, eight_at_once: dict[str, list[int]]
) -> None:
    assert draws(one_block, spec, slots, range(9, -1, -1), seed=7) == eight_at_once


def test_an_items_draws_depend_on_the_seed(one_block: Path, eight_at_once: dict[str, list[int]]) -> None:
    assert draws(one_block, "1x1", 8, range(10), seed=8) != eight_at_once
    assert item_seed(7, "item-0") != item_seed(7, "item-1")


def test_452_prompts_of_real_lengths_compile_at_most_8_programs(one_block: Path) -> None:
    """Lengths as in the paper's set with LLaMA-2's tokenizer: quartiles 24, 35, 57, the longest 707."""
    random = np.random.default_rng(0)
    lengths = np.clip(np.exp(random.normal(np.log(35), 0.75, 447)), 13, 500).astype(int).tolist()
    asked = [[1, *random.integers(3, 101, n - 1).tolist()] for n in [*lengths, 150, 300, 564, 600, 707]]
    mesh = make_mesh("1x1")
    engine = Engine(
        load_hf(one_block, mesh, dtype=jnp.float32), mesh, slots=64, max_new_tokens=2,
        sampling=SamplingParams(1.1), eos=(2,),
    )  # fmt: skip
    compiled = (programs.prefill, programs.decode)
    before = sum(program._cache_size() for program in compiled)
    assert len(dict(engine.generate(enumerate(asked)))) == 452
    assert 0 < sum(program._cache_size() for program in compiled) - before <= 8
    assert len(engine.throughput.programs) <= 8


# Adapters


def write_adapter(base: Path, directory: Path, seed: int) -> Path:
    mesh = make_mesh("1x1")
    model = load_hf(base, mesh, dtype=jnp.float32)
    add_lora(model, mesh, jax.random.key(seed), rank=2, alpha=4)
    for index, (_, linear) in enumerate(lora_linears(model)):
        key = jax.random.fold_in(jax.random.key(seed + 100), index)
        spec = P(*jax.typeof(linear.lora_b[...]).sharding.spec)
        with jax.set_mesh(mesh):
            linear.lora_b.set_value(jax.random.normal(key, linear.lora_b.shape, out_sharding=spec))
    save_peft(model, directory, base_name=str(base))
    return directory


def settings(chat_model: Path, tmp_path: Path, **changes: Any) -> GenerateConfig:
    rows = [{"id": f"p{n}", "language": "en", "instruction": "Name " + "three " * n} for n in range(4)]
    (tmp_path / "prompts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values: dict[str, Any] = {
        "model": str(chat_model), "prompts": str(tmp_path / "prompts.jsonl"),
        "out": str(tmp_path / "responses.jsonl"), "max_new_tokens": 8, "batch_size": 4, "dtype": "float32",
    }  # fmt: skip
    return GenerateConfig(**{**values, **changes})


def test_several_adapters_of_one_base_answer_as_each_does_alone(chat_model: Path, tmp_path: Path) -> None:
    adapters = [str(write_adapter(chat_model, tmp_path / name, seed)) for seed, name in enumerate(("a", "b"))]
    both = generate(settings(chat_model, tmp_path, adapter=tuple(adapters)))
    rows = [json.loads(line) for line in both.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"{name}/p{n}" for name in "ab" for n in range(4)]
    for name, adapter in zip("ab", adapters, strict=True):
        alone = generate(
            settings(chat_model, tmp_path, adapter=(adapter,), out=str(tmp_path / f"{name}.jsonl"))
        )
        expected = [json.loads(line) for line in alone.read_text().splitlines()]
        assert [row["response"] for row in rows if row["model"] == name] == [r["response"] for r in expected]
    answers = {name: [row["response"] for row in rows if row["model"] == name] for name in "ab"}
    assert answers["a"] != answers["b"]
    base = generate(settings(chat_model, tmp_path, out=str(tmp_path / "base.jsonl")))
    assert [json.loads(line)["response"] for line in base.read_text().splitlines()] != answers["a"]


def test_an_adapter_that_is_not_there_leaves_nothing_behind(chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        generate(settings(chat_model, tmp_path, adapter=(str(tmp_path / "nowhere"),)))
    assert not (tmp_path / "responses.jsonl").exists()


def test_two_adapters_of_one_name_are_refused(chat_model: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="have the same name"):
        settings(chat_model, tmp_path, adapter=(str(tmp_path / "x" / "a"), str(tmp_path / "y" / "a")))


def test_duplicate_ids_are_refused(chat_model: Path, tmp_path: Path) -> None:
    config = settings(chat_model, tmp_path)
    path = Path(config.prompts)
    path.write_text(path.read_text() + path.read_text())
    with pytest.raises(UserError, match="twice"):
        generate(config)
