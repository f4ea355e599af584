"""Runs: they stop anywhere and go on exactly, sweep, measure validation loss, and survive a full disk."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import resource
import shutil
import signal
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers.odd_data import read_conversations
from helpers.short_training import fit, settings

from xltjax import train
from xltjax.checkpoint import Checkpoints
from xltjax.common.errors import UserError
from xltjax.converters.models import load_model
from xltjax.data.corpora import Corpus, draw_rows, load_corpora, split_validation
from xltjax.data.packing import BatchShape, PackedData
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.lora import TARGETS, has_lora, merge
from xltjax.mesh import make_mesh
from xltjax.miniature.text import instruction_rows
from xltjax.partition import partition
from xltjax.training import setup
from xltjax.training.metrics import MEASURED
from xltjax.training.run import CHECKPOINTS
from xltjax.training.validation import Validation


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dolly.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:80]))
    return path


def exact_metrics(out: Path) -> list[dict[str, float]]:
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if k not in MEASURED} for row in rows]


def checkpoints_of(out: Path) -> list[int]:
    return sorted(int(path.name) for path in (out / CHECKPOINTS).iterdir())


def weights_of(out: Path) -> dict[str, bytes]:
    trainable, frozen, _ = partition(load_model(out, make_mesh("1x1"), dtype=None))
    return {name: np.asarray(value).tobytes() for name, value in (frozen | trainable).items()}


def optimizer_of(out: Path, step: int) -> dict[str, bytes]:
    from orbax.checkpoint import v1 as ocp

    loaded = ocp.load_checkpointables(out.absolute() / CHECKPOINTS / str(step))["optimizer"]
    return {name: np.asarray(value).tobytes() for name, value in loaded.items()}


def test_a_run_that_stops_and_goes_on_equals_one_that_does_not(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    whole = fit(settings(chat_model, instructions, tmp_path / "whole"))
    halves = fit(settings(chat_model, instructions, tmp_path / "halves", steps=2))
    fit(settings(chat_model, instructions, tmp_path / "halves"))
    assert exact_metrics(halves) == exact_metrics(whole)
    assert [row["step"] for row in exact_metrics(whole)] == [1, 2, 3, 4]
    assert weights_of(halves) == weights_of(whole)
    assert optimizer_of(halves, 4) == optimizer_of(whole, 4)
    # Where a kill fell between checkpoints, updates and metrics after the last one are done again.
    shutil.rmtree(halves / CHECKPOINTS / "4")
    (halves / "metrics.jsonl").open("a").write('{"step": 5, "lo')
    fit(settings(chat_model, instructions, tmp_path / "halves"))
    assert exact_metrics(halves) == exact_metrics(whole)
    assert weights_of(halves) == weights_of(whole)
    # A damaged checkpoint is passed over.
    for file in (halves / CHECKPOINTS / "4").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    fit(settings(chat_model, instructions, tmp_path / "halves"))
    assert exact_metrics(halves) == exact_metrics(whole)
    assert weights_of(halves) == weights_of(whole)
    # And it goes on upon another mesh.
    shutil.rmtree(halves / CHECKPOINTS / "4")
    fit(settings(chat_model, instructions, tmp_path / "halves", mesh="1x1"))
    for ours, theirs in zip(exact_metrics(halves), exact_metrics(whole), strict=True):
        assert ours["loss"] == pytest.approx(theirs["loss"], rel=1e-5)


def test_a_changed_setting_is_named_and_refused_on_resuming(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    out = fit(settings(chat_model, instructions, tmp_path / "run", steps=1))
    with pytest.raises(UserError, match=r"learning_rate \(was 0.001, now 0.01\)"):
        fit(settings(chat_model, instructions, out, learning_rate=1e-2))
    fit(settings(chat_model, instructions, out, learning_rate=1e-2, steps=2, force=True))
    assert [row["step"] for row in exact_metrics(out)] == [1, 2]


def test_lora_runs_keep_the_base_and_store_adapters_alone(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    config = settings(chat_model, instructions, tmp_path / "run", lora_rank=4, precision="mixed", steps=2)
    out = fit(config)
    size = sum(f.stat().st_size for f in (out / CHECKPOINTS / "2").rglob("*") if f.is_file())
    assert size < (chat_model / "model.safetensors").stat().st_size
    model = load_model(out, make_mesh("1x1"), dtype=None)
    moved = [name for name, value in partition(model)[0].items() if name.endswith("lora_b") and np.any(value)]
    assert len(moved) == 2 * len(TARGETS)
    assert fit(dataclasses.replace(config, steps=3)) == out


@pytest.mark.parametrize("precision", ["mixed", "bfloat16", "bfloat16-stochastic"])
def test_half_precision_policies_store_what_they_say_and_learn(
    precision: str, chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    out = fit(settings(chat_model, instructions, tmp_path / precision, precision=precision, steps=6))
    losses = [row["loss"] for row in exact_metrics(out)]
    assert losses[-1] < losses[0]
    stored = load_model(out, make_mesh("1x1"), dtype=None).embed.weight.dtype
    assert stored == (jnp.float32 if precision == "mixed" else jnp.bfloat16)


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_last_good_checkpoint(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    config = settings(chat_model, instructions, tmp_path / "run", learning_rate=1e30, save_every=1, steps=20)
    with pytest.raises(UserError, match="the loss of update"):
        fit(config)
    model = load_model(
        tmp_path / "run" / CHECKPOINTS / str(checkpoints_of(tmp_path / "run")[-1]),
        make_mesh("1x1"),
        dtype=None,
    )
    assert all(np.isfinite(np.asarray(value)).all() for value in partition(model)[0].values())
    written = json.loads((tmp_path / "run" / "not-finite.json").read_text())
    assert written["step"] == checkpoints_of(tmp_path / "run")[-1] + 1
    data = PackedData(
        load_corpora([str(instructions)], (), ChatTokenizer(chat_model), 129)[0], config.batch_shape(), 0
    )
    rows = [data._examples[i] for rows in data.examples_at(written["step"] - 1) for row in rows for i in row]
    tokenized = ChatTokenizer(chat_model).examples(read_conversations(str(instructions)))
    for name, example in zip(written["rows"], rows, strict=True):
        file, number = name.rsplit(", line ", 1)
        assert file == str(instructions)
        assert np.array_equal(tokenized[int(number) - 1].ids, example.ids)


def test_several_learning_rates_equal_separate_runs_and_compile_once(
    chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = []
    original = setup.make_train_step
    monkeypatch.setattr(setup, "make_train_step", lambda *a, **k: made.append(original(*a, **k)) or made[-1])
    config = settings(chat_model, instructions, tmp_path / "sweep", steps=2, learning_rates=(1e-3, 1e-2))
    low, high = train.fit(config)
    assert [step._cache_size() for step in made] == [1]
    assert (low.name, high.name) == ("lr-0.001", "lr-0.01")
    alone = fit(settings(chat_model, instructions, tmp_path / "alone", steps=2, learning_rate=1e-2))
    assert exact_metrics(high) == exact_metrics(alone)
    assert weights_of(high) == weights_of(alone)
    assert weights_of(low) != weights_of(alone)
    # Each is a run like any other: it goes on by itself.
    further = fit(settings(chat_model, instructions, high, steps=3, learning_rate=1e-2))
    assert [row["step"] for row in exact_metrics(further)] == [1, 2, 3]


def test_moments_in_host_memory_change_nothing(chat_model: Path, instructions: Path, tmp_path: Path) -> None:
    there = fit(settings(chat_model, instructions, tmp_path / "device"))
    halves = fit(settings(chat_model, instructions, tmp_path / "host", offload=True, steps=2))
    fit(settings(chat_model, instructions, halves, offload=True))
    assert exact_metrics(halves) == exact_metrics(there)
    assert weights_of(halves) == weights_of(there)


def test_adapters_learn_with_dropout_and_resume_exactly(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    lora = {"lora_rank": 4, "lora_dropout": 0.3, "learning_rate": 1e-2}
    whole = fit(settings(chat_model, instructions, tmp_path / "whole", **lora))
    halves = fit(settings(chat_model, instructions, tmp_path / "halves", steps=2, **lora))
    fit(settings(chat_model, instructions, halves, **lora))
    assert exact_metrics(halves) == exact_metrics(whole)
    assert weights_of(halves) == weights_of(whole)
    without = fit(settings(chat_model, instructions, tmp_path / "without", **{**lora, "lora_dropout": 0.0}))
    assert exact_metrics(without)[-1]["loss"] != exact_metrics(whole)[-1]["loss"]


def test_validation_loss_is_the_token_mean_that_transformers_gives(
    chat_model: Path, instructions: Path
) -> None:
    import torch
    import transformers

    examples = ChatTokenizer(chat_model).examples(read_conversations(str(instructions)))[:11]
    reference = transformers.LlamaForCausalLM.from_pretrained(chat_model)
    total = learned = 0.0
    for example in examples:
        labels = torch.tensor(np.where(example.loss_mask, example.ids, -100)).long()[None]
        ids = torch.tensor(example.ids).long()[None]
        count = int((labels[:, 1:] != -100).sum())
        total += float(reference(ids, labels=labels).loss.detach()) * count
        learned += count
    mesh = make_mesh("2x1")
    trainable, frozen, rebuild = partition(load_model(chat_model, mesh, dtype=jnp.float32))
    held = Validation(examples, BatchShape(2, 2, 64, 128), rebuild, mesh)
    with jax.set_mesh(mesh):
        assert held.loss(trainable, frozen) == pytest.approx(total / learned, rel=1e-5)


def test_validation_rows_are_set_aside_once_and_the_rest_is_learned() -> None:
    names = [[f"{file}:{row}" for row in range(1, n + 1)] for file, n in (("a", 9), ("b", 4))]
    corpora = [Corpus([object()] * len(each), 2.0, each) for each in names]  # type: ignore[list-item]
    left, held = split_validation(corpora, 5, seed=1)
    again, _ = split_validation(corpora, 5, seed=1)
    assert len(held) == 5
    assert [corpus.names for corpus in left] == [corpus.names for corpus in again]
    kept = [name for corpus in left for name in corpus.names]
    assert len(kept) == len(set(kept)) == 8
    assert set(kept) < {name for each in names for name in each}
    with pytest.raises(UserError, match="leaves nothing to learn"):
        split_validation(corpora, 13, seed=1)


def test_a_sample_of_the_rows_is_of_the_asked_size_and_follows_from_the_seed() -> None:
    names = [[f"{file}:{row}" for row in range(1, n + 1)] for file, n in (("a", 60), ("b", 30))]
    corpora = [Corpus([object()] * len(each), 2.0, each) for each in names]  # type: ignore[list-item]
    drawn, again, other = (draw_rows(corpora, 45, seed, weighted=False) for seed in (0, 0, 1))
    kept = [name for corpus in drawn for name in corpus.names]
    assert len(kept) == len(set(kept)) == 45
    assert [corpus.names for corpus in drawn] == [corpus.names for corpus in again]
    assert [corpus.names for corpus in drawn] != [corpus.names for corpus in other]
    assert [corpus.weight for corpus in drawn] == [len(corpus.examples) for corpus in drawn]
    assert [corpus.weight for corpus in draw_rows(corpora, 45, 0, weighted=True)] == [2.0, 2.0]
    with pytest.raises(UserError, match=r"rows: 91 requested, but the data have only 90 usable rows"):
        draw_rows(corpora, 91, 0, weighted=False)
    with pytest.raises(UserError, match=r"rows: 1 of 90 rows leave one of the data sources without any"):
        draw_rows(corpora, 1, 0, weighted=False)


def test_the_checkpoint_of_the_lowest_validation_loss_is_kept(
    chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    losses = iter([3.0, 1.0, 2.0, 2.5])
    monkeypatch.setattr(Validation, "loss", lambda *_: next(losses))
    out = fit(settings(chat_model, instructions, tmp_path / "run", save_every=1, keep=1, validation_rows=8))
    assert checkpoints_of(out) == [2, 4]
    checkpoints = Checkpoints(out / CHECKPOINTS)
    assert checkpoints.best() == (2, 1.0)
    checkpoints.close()
    rows = exact_metrics(out)
    assert [row["validation_loss"] for row in rows if "validation_loss" in row] == [3.0, 1.0, 2.0, 2.5]


def test_without_the_optimizers_state_at_the_end_a_run_resumes_until_then_and_not_after(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"mesh": "1x1", "keep": 3, "save_every": 1}
    whole = fit(
        settings(chat_model, instructions, tmp_path / "whole", **{**options, "save_every": 3}, steps=3)
    )
    run = fit(settings(chat_model, instructions, tmp_path / "run", **options, steps=2))
    last = settings(chat_model, instructions, run, **options, steps=3, keep_optimizer="no")
    fit(last)
    assert weights_of(run) == weights_of(whole)
    assert checkpoints_of(run) == [1, 2, 3]
    assert not list(run.glob("checkpoints/*/optimizer"))
    assert load_model(run / CHECKPOINTS / "2", make_mesh("1x1"), dtype=None)
    before = sorted(str(path) for path in run.rglob("*"))
    with pytest.raises(
        UserError, match=r"ended after update 3 without the state .*start a new run with --model"
    ):
        train.fit(dataclasses.replace(last, steps=4, keep_optimizer="yes"))
    assert sorted(str(path) for path in run.rglob("*")) == before
    assert train.fit(last) == [run]  # it is complete


def test_a_checkpoint_without_room_is_passed_over_with_a_warning_and_training_goes_on(
    chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    save = Checkpoints.save

    def cramped(self: Checkpoints, state: Any, loss: Any, **options: Any) -> None:
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        if int(state.step) == 2:
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
        save(self, state, loss, **options)
        self.finish()
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)

    monkeypatch.setattr(Checkpoints, "save", cramped)
    monkeypatch.setattr(logging.getLogger("xltjax"), "propagate", True)
    out = fit(settings(chat_model, instructions, tmp_path / "run", save_every=1, keep=9))
    assert checkpoints_of(out) == [1, 3, 4]
    assert "checkpoint 2 could not be written; training continues" in caplog.text
    assert [row["step"] for row in exact_metrics(out)] == [1, 2, 3, 4]


def test_a_last_checkpoint_without_room_is_an_error(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = settings(chat_model, instructions, tmp_path / "run", save_every=9)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
        with pytest.raises(UserError, match="checkpoint 4 could not be written"):
            fit(config)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert checkpoints_of(tmp_path / "run") == []
    assert checkpoints_of(fit(config)) == [4]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_stops_and_the_same_settings_go_on(
    number: int, chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(chat_model, instructions, tmp_path / "run", save_every=99)
    batch_at = PackedData.batch_at

    def signalled(self: PackedData, step: int, rows: slice) -> Any:
        if step == 1:
            os.kill(os.getpid(), number)
        return batch_at(self, step, rows)

    with monkeypatch.context() as patched:
        patched.setattr(PackedData, "batch_at", signalled)
        assert train.fit(config) == []
    assert checkpoints_of(tmp_path / "run") == [2]
    whole = fit(settings(chat_model, instructions, tmp_path / "whole"))
    assert exact_metrics(fit(config)) == exact_metrics(whole)


def test_a_run_goes_on_only_upon_the_weights_and_rows_it_began_with(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    base, data = tmp_path / "base", tmp_path / "data.jsonl"
    shutil.copytree(chat_model, base)
    shutil.copy(instructions, data)
    config = settings(base, data, tmp_path / "run", steps=1, lora_rank=2)
    out = fit(config)
    weights = bytearray((base / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (base / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match="does not hold the weights"):
        load_model(out, make_mesh("1x1"), dtype=None)
    data.write_text(data.read_text() * 2)
    further = dataclasses.replace(config, steps=2)
    with pytest.raises(UserError, match=f"the weights in {base}, the rows of {data}"):
        fit(further)
    assert fit(dataclasses.replace(further, force=True)) == out


def test_samples_answer_one_prompt_of_each_language(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    prompts = tmp_path / "prompts.jsonl"
    rows = [("a", "en", "Hello"), ("b", "en", "Bye"), ("c", "fr", "Salut")]
    keys = ("id", "language", "instruction")
    prompts.write_text("".join(json.dumps(dict(zip(keys, row, strict=True))) + "\n" for row in rows))
    config = settings(chat_model, instructions, tmp_path / "run", sample_every=2, sample_prompts=str(prompts))
    written = [json.loads(line) for line in (fit(config) / "samples.jsonl").read_text().splitlines()]
    assert [(row["step"], row["id"]) for row in written] == [(2, "a"), (2, "c"), (4, "a"), (4, "c")]
    assert all(isinstance(row["response"], str) for row in written)
    # Updates that are done again, because a kill fell after them, do not leave their samples twice.
    shutil.rmtree(tmp_path / "run" / CHECKPOINTS / "4")
    again = [json.loads(line) for line in (fit(config) / "samples.jsonl").read_text().splitlines()]
    assert again == written


def test_a_run_begun_from_a_lora_run_has_its_adapters_merged(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    lora = {"steps": 2, "lora_rank": 2, "learning_rate": 1e-2, "mesh": "1x1"}
    first = fit(settings(chat_model, instructions, tmp_path / "first", **lora))
    second = fit(settings(first, instructions, tmp_path / "second", **lora))
    expected = load_model(first, make_mesh("1x1"), dtype=None)
    base = np.asarray(expected.layers[0].mlp.up_proj.weight[...])
    merge(expected)
    merged = np.asarray(expected.layers[0].mlp.up_proj.weight[...])
    assert not np.array_equal(merged, base)
    upon = load_model(second, make_mesh("1x1"), dtype=None)
    np.testing.assert_array_equal(np.asarray(upon.layers[0].mlp.up_proj.weight[...]), merged)
    assert has_lora(upon)
    full = fit(
        settings(first, instructions, tmp_path / "full", steps=1, learning_rate=1e-30, weight_decay=0.0)
    )
    np.testing.assert_allclose(
        np.asarray(load_model(full, make_mesh("1x1"), dtype=None).layers[0].mlp.up_proj.weight[...]), merged
    )
