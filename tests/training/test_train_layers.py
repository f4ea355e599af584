"""Training of some layers alone: the rest stays bit for bit, costs no optimizer state, and is not saved."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from helpers.logits import logits_of
from helpers.short_training import fit, settings

from xltjax import train
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.converters import save_peft
from xltjax.converters.models import load_model
from xltjax.llama import Llama, LlamaConfig, initialize, parameters
from xltjax.lora import merge
from xltjax.mesh import make_mesh
from xltjax.miniature.text import instruction_rows
from xltjax.partition import partition
from xltjax.train import fitting
from xltjax.training.config import TrainConfig
from xltjax.training.optimizer import adamw
from xltjax.training.plan import make_plan
from xltjax.training.run import CHECKPOINTS, Run
from xltjax.training.step import start_state


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dolly.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:80]))
    return path


def weights_of(path: Path, dtype: Any = None, base: str = "") -> dict[str, np.ndarray]:
    model = load_model(path, make_mesh("1x1"), dtype=dtype, base=base)
    return {name: np.asarray(variable[...]) for name, variable in parameters(model).items()}


def saved(out: Path, step: int) -> dict[str, dict[str, Any]]:
    from orbax.checkpoint import v1 as ocp

    return ocp.load_checkpointables(out.absolute() / CHECKPOINTS / str(step))


def losses(out: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(chat_model: Path, instructions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers, of which the last is trained in mixed precision."""
    out = tmp_path_factory.mktemp("trained") / "run"
    return fit(settings(chat_model, instructions, out, train_layers=("last-1",), precision="mixed"))


def test_only_the_named_layers_change_and_only_they_are_saved(chat_model: Path, trained: Path) -> None:
    before, after = weights_of(chat_model), weights_of(trained)
    assert before.keys() == after.keys()
    for name, weight in after.items():
        same = weight.tobytes() == before[name].tobytes()
        assert same != name.startswith("layers.1."), name
    parts = saved(trained, 4)
    ours = {name for name in after if name.startswith("layers.1.")}
    assert parts["weights"].keys() == ours
    assert all(weight.dtype == np.float32 for weight in parts["weights"].values())
    moments = [name for name, value in parts["optimizer"].items() if value.ndim]
    assert len(moments) == 2 * len(ours)
    assert all("layers.1." in name for name in moments)


def test_the_run_says_which_layers_and_any_spelling_of_them_resumes_it(
    chat_model: Path, instructions: Path, trained: Path, tmp_path: Path
) -> None:
    assert Run.open(trained).config.train_layers == ("1",)
    again = settings(
        chat_model, instructions, tmp_path / "run", precision="mixed", steps=2, train_layers=("-1",)
    )
    out = fit(again)
    fit(settings(chat_model, instructions, out, precision="mixed", train_layers=("1",)))
    assert losses(out) == losses(trained)
    assert {k: v.tobytes() for k, v in weights_of(out).items()} == {
        k: v.tobytes() for k, v in weights_of(trained).items()
    }
    for other in (("0",), ("all",), ()):
        with pytest.raises(UserError, match=r"train_layers \(was \('1',\)"):
            fit(settings(chat_model, instructions, out, precision="mixed", train_layers=other))


def test_frozen_weights_are_stored_as_they_compute(
    chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []

    class Stopped(Exception):
        pass

    def stop(config: TrainConfig, setup: Any, run: Run) -> None:
        seen.append(setup)
        raise Stopped

    monkeypatch.setattr(fitting, "Trainer", stop)
    config = settings(chat_model, instructions, tmp_path, precision="mixed", train_layers=("0", "norm"))
    with pytest.raises(Stopped):
        train.fit(config)
    (setup,) = seen
    assert {array.dtype for array in setup.start.values()} == {jnp.dtype(jnp.float32)}
    assert {array.dtype for array in setup.frozen.values()} == {jnp.dtype(jnp.bfloat16)}
    assert {name.split(".")[0] for name in setup.frozen} == {"embed", "layers", "head"}


def test_a_base_that_moved_or_changed_is_noticed(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    base = shutil.copytree(chat_model, tmp_path / "base")
    out = fit(settings(base, instructions, tmp_path / "run", steps=1, train_layers=("0",)))
    expected = weights_of(out)
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(UserError, match="give --base DIR"):
        weights_of(out)
    found = weights_of(out, base=str(moved))
    assert {k: v.tobytes() for k, v in found.items()} == {k: v.tobytes() for k, v in expected.items()}
    (moved / "config.json").write_text((moved / "config.json").read_text() + " ")
    with pytest.raises(UserError, match="does not hold the weights that the layers of"):
        weights_of(out, base=str(moved))
    # A run can begin with one that trained some layers: all of it is the new base.
    shutil.copyfile(chat_model / "config.json", moved / "config.json")
    second = fit(
        settings(out, instructions, tmp_path / "second", steps=1, train_layers=("1",), base=str(moved))
    )
    moved.rename(base)
    ends = weights_of(second)
    assert all(ends[name].tobytes() == w.tobytes() for name, w in expected.items() if "layers.1." not in name)
    assert any(ends[name].tobytes() != w.tobytes() for name, w in expected.items())


def test_adapters_lie_on_the_named_layers_alone_and_peft_puts_them_there(
    chat_model: Path, instructions: Path, tmp_path: Path, tokens: np.ndarray
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    out = fit(settings(chat_model, instructions, tmp_path / "run", train_layers=("1",), lora_rank=4))
    assert {name.split(".")[1] for name in saved(out, 4)["weights"]} == {"1"}
    mesh = make_mesh("1x1")
    model = load_model(out, mesh, dtype=jnp.float32)
    ours = logits_of(model, tokens, mesh)
    assert (
        np.abs(ours - logits_of(load_model(chat_model, mesh, dtype=jnp.float32), tokens, mesh)).max() > 1e-3
    )
    save_peft(model, tmp_path / "peft", base_name=str(chat_model))
    written = json.loads((tmp_path / "peft/adapter_config.json").read_text())
    assert written["layers_to_transform"] == [1]
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(chat_model), tmp_path / "peft")
    assert {name.split(".")[4] for name, _ in theirs.named_parameters() if "lora_" in name} == {"1"}
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens).long()).logits.numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    merge(model)
    assert weights_of(chat_model)["layers.0.mlp.up_proj.weight"].tobytes() == np.asarray(
        model.layers[0].mlp.up_proj.weight[...]
    ).tobytes()  # fmt: skip


@pytest.mark.parametrize("spec", ["1x1", "2x2"])
def test_the_plan_counts_what_is_trained(spec: str) -> None:
    llama = LlamaConfig(128, 64, 128, 8, 4, 4, 16, 64)
    values: dict[str, Any] = {"mesh": spec, "sequence_length": 64, "tokens_per_batch": 256}
    whole = make_plan(TrainConfig(**values), llama)
    config = TrainConfig(**values, train_layers=("last-2",))
    plan = make_plan(config, llama)
    mesh = make_mesh(spec)
    model = initialize(Llama(llama), mesh, jax.random.key(0))
    weights, frozen, _ = partition(model, {"layers.6", "layers.7"})
    frozen = jax.tree.map(lambda x: x.astype(jnp.bfloat16), frozen)
    transform = adamw(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0)
    state = start_state(weights, transform, mesh)

    def on_first_device(tree: object) -> int:
        device = mesh.devices.flat[0]
        shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    norms = 17 * 64 * 4  # which lie on every tensor device: the formula spreads them
    assert on_first_device((state.weights, frozen)) == pytest.approx(plan.weights, abs=norms)
    assert on_first_device(state.optimizer) == pytest.approx(plan.moments, abs=2 * norms + 8)
    assert plan.moments == pytest.approx(whole.moments / 4, rel=0.1)
    assert plan.total() < whole.total()
    # One forward pass, and a backward pass through the head and the last two layers, which alone have two.
    layer = 2 * (4 * 64 * 64 + 3 * 64 * 128 + 2 * 64) + 4 * 4 * 16 * 64
    around = 2 * 64 + 2 * 128 * 64
    assert plan.flops == (8 * layer + around + (2 * 2 * layer + around)) * plan.tokens
    assert whole.flops == 3 * (8 * layer + around) * plan.tokens


def test_layers_are_given_by_flag_or_as_a_list_in_yaml(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "cell.yaml").write_text("train_layers: [0, 1-1, norm]\n")
    for arguments, found in (
        (["--train-layers", "-2--1"], ["-2--1"]),
        (["--config", str(tmp_path / "cell.yaml")], ["0", "1-1", "norm"]),
    ):
        with pytest.raises(SystemExit) as ended:
            execute(train.COMMAND, ["--model", str(chat_model), *arguments, "--print-config"])
        assert ended.value.code == 0
        assert yaml.safe_load(capsys.readouterr().out)["train_layers"] == found


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as ended:
        execute(train.COMMAND, list(arguments))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (("--train-layers", "0-3"), "train_layers: layer 3 is out of range: the model has 2 layers, 0 to 1"),
        (("--train-layers", "0-3", "--plan"), "layer 3 is out of range"),
        (("--train-layers", "last"), "'last' names no part of a model"),
        (("--train-layers", "1,head", "--lora-rank", "4"), "head gets no adapter"),
    ],
)
def test_layers_that_cannot_be_trained_are_refused_before_anything_is_written(
    flags: tuple[str, ...], reason: str, chat_model: Path, instructions: Path, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    out = tmp_path / "run"
    common = ("--model", str(chat_model), "--data", str(instructions), "--out", str(out),
              "--sequence-length", "128")  # fmt: skip
    assert reason in refused(capsys, *common, *flags)
    assert not out.exists() or not [path for path in out.iterdir() if path.name != ".lock"]


def test_a_paper_model_that_is_not_there_yet_is_checked_too(
    instructions: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = (
        "--model",
        "meta-llama/Llama-2-7b-hf",
        "--data",
        str(instructions),
        "--out",
        str(tmp_path / "run"),
    )
    assert "the model has 32 layers" in refused(capsys, *known, "--train-layers", "32")


def test_learning_rates_share_a_start_in_which_nothing_but_the_layers_moves(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    config = settings(
        chat_model, instructions, tmp_path / "sweep", train_layers=("0",), learning_rates=(1e-3, 1e-2), steps=2,
        save_every=2,
    )  # fmt: skip
    first, second = train.fit(config)
    alone = fit(
        settings(
            chat_model, instructions, tmp_path / "alone", train_layers=("0",), learning_rate=1e-2, steps=2
        )
    )
    assert losses(second) == losses(alone)
    assert losses(first)[0] == losses(second)[0]
    assert losses(first)[1] != losses(second)[1]


def test_a_loader_gets_a_dtype_for_each_weight(hf_model: Callable[[str], tuple[Path, Any]]) -> None:
    directory, _ = hf_model("llama-2-7b")
    names = weights_of(directory)
    wanted = {name: jnp.float32 if name.startswith("layers.0.") else jnp.bfloat16 for name in names}
    model = load_model(directory, make_mesh("2x1"), dtype=wanted, compute_dtype=jnp.bfloat16)
    assert {name: v[...].dtype for name, v in parameters(model).items()} == wanted
    assert model.compute_dtype == jnp.bfloat16
