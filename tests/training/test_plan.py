"""The plan against arrays on devices, and the paper's configs against the paper's hardware."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import jax
import pytest
from helpers.odd_data import read_conversations

from xltjax import miniature, train
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.common.hardware import GIB
from xltjax.common.settings import build, read_config_files, shipped_configs
from xltjax.converters.models import known_architecture
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, LlamaConfig, initialize
from xltjax.mesh import make_mesh
from xltjax.miniature.build import VERSION
from xltjax.miniature.text import instruction_rows
from xltjax.partition import partition
from xltjax.training.config import TrainConfig
from xltjax.training.optimizer import adamw
from xltjax.training.plan import fitting_settings, least_recomputation, make_plan
from xltjax.training.step import start_state

PAPER = [name for name in shipped_configs() if name.startswith("paper/")]


@pytest.mark.parametrize("name", PAPER)
def test_every_model_of_the_paper_fits_two_a100_80g(name: str) -> None:
    config = build(TrainConfig, read_config_files(TrainConfig, [name]))
    assert config.mesh == "2x1"
    assert make_plan(config, known_architecture(config.model)).fits("a100-80g")


@pytest.mark.parametrize("spec", ["2x1", "2x2"])
def test_weights_and_moments_are_what_lies_on_a_device(spec: str) -> None:
    llama = LlamaConfig(128, 64, 128, 2, 4, 4, 16, 64)
    config = TrainConfig(mesh=spec, precision="float32", sequence_length=64, tokens_per_batch=256)
    plan = make_plan(config, llama)
    mesh = make_mesh(spec)
    weights, _, _ = partition(initialize(Llama(llama), mesh, jax.random.key(0)))
    transform = adamw(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0)
    state = start_state(weights, transform, mesh)

    def on_first_device(tree: object) -> int:
        device = mesh.devices.flat[0]
        shards = [shard for leaf in jax.tree.leaves(tree) for shard in leaf.addressable_shards]
        return sum(shard.data.nbytes for shard in shards if shard.device == device)

    # Norm weights lie on every tensor device: the formula spreads them.
    norms = 5 * 64 * 4
    assert on_first_device(state.weights) == pytest.approx(plan.weights, abs=norms)
    assert on_first_device(state.optimizer) == pytest.approx(plan.moments, abs=2 * norms + 8)


def test_the_published_flops_of_an_update_and_what_lora_saves() -> None:
    config = build(TrainConfig, read_config_files(TrainConfig, ["paper/llama2-7b-dolly-en-ft"]))
    full = make_plan(config, known_architecture(config.model))
    per_token = 6 * (6_738_415_616 - 32000 * 4096) + 12 * 32 * 4096 * 2048
    assert full.flops == per_token * 16000
    lora = build(
        TrainConfig, {**read_config_files(TrainConfig, ["paper/llama2-7b-dolly-en-ft"]), "lora_rank": 16}
    )
    adapters = make_plan(lora, known_architecture(lora.model))
    assert adapters.flops == pytest.approx(full.flops * 2 / 3)
    assert adapters.moments < full.moments / 50


def test_an_accelerator_that_is_too_small_gets_settings_that_fit() -> None:
    config = TrainConfig(model="meta-llama/Llama-2-13b-hf", mesh="1x1")
    llama = known_architecture(config.model)
    assert not make_plan(config, llama).fits("a100-80g")
    nearest = fitting_settings(config, llama, "a100-80g")
    assert nearest is not None
    assert make_plan(nearest, llama).fits("a100-80g")


def printed(capsys: pytest.CaptureFixture[str], *flags: str) -> str:
    with pytest.raises(SystemExit) as ended:
        execute(train.COMMAND, ["--plan", *flags])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_the_plan_of_a_small_model_has_units_that_show_it(
    tmp_path: Path, chat_model: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLTJAX_CACHE", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "120")
    out = printed(capsys)
    sizes = re.findall(r"│ (weights|moments|total) +│ +(\S+) +│", out)
    config = build(TrainConfig, read_config_files(TrainConfig, ["miniature"]))
    plan = make_plan(config, miniature.architecture())
    assert [(name, float(size)) for name, size in sizes] == [
        ("weights", round(plan.weights / 2**20, 2)), ("moments", round(plan.moments / 2**20, 2)),
        ("total", round(plan.total() / 2**20, 2)),
    ]  # fmt: skip
    assert "MiB" in out
    assert f"{plan.flops / 1e9:,.1f} GFLOP" in out
    assert "less than 1 s" in out
    assert "0.0" not in out
    assert "one epoch: not known until the miniature is built" in out
    # Once it is built, the number of epochs is known.
    built = tmp_path / f"miniature-v{VERSION}"
    shutil.copytree(chat_model, built / "model")
    (built / "instructions").mkdir()
    rows = instruction_rows(0)[:40]
    (built / "instructions" / "en.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = ChatTokenizer(chat_model).examples(read_conversations(str(built / "instructions")))
    tokens = sum(len(example.ids) - 1 for example in examples)
    said = printed(capsys)
    assert f"40 rows with {tokens:,} tokens; " in said
    epochs = float(re.search(r"100 updates: ([\d.e+]+) epochs", said)[1])  # type: ignore[index]
    assert epochs == pytest.approx(100 * 1024 / tokens, rel=0.1)  # rows are not quite full
    said = printed(capsys, "--epochs", "2")
    updates, epochs = re.search(r"(\d+) updates: ([\d.]+) epochs", said).groups()  # type: ignore[union-attr]
    assert float(epochs) >= 2
    assert int(updates) == pytest.approx(2 * tokens / 1024, abs=1.1)
    assert f"{updates} updates at 40% of peak" in " ".join(re.sub("[│\n]", " ", said).split())


def test_a_plan_without_data_has_no_epochs(chat_model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "one update" in (out := printed(capsys, "--model", str(chat_model)))
    assert "epoch" not in out


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="no architecture is known"):
        known_architecture("someone/something")


def seven_billion(**changes: object) -> tuple[TrainConfig, LlamaConfig]:
    """The settings of the measured updates in benchmarks/RESULTS.md: 8 rows of 2048, everything in bfloat16."""
    config = TrainConfig(
        model="meta-llama/Llama-2-7b-hf", precision="bfloat16", moments="bfloat16", tokens_per_batch=16384,
        accumulation=1,
    )  # fmt: skip
    return dataclasses.replace(config, **changes), known_architecture(config.model)  # type: ignore[arg-type]


def test_the_plan_is_near_the_peak_that_was_measured_and_not_below_it() -> None:
    masked = make_plan(*seven_billion(remat="dots", attention="cudnn"))
    assert masked.attention["h200"][0] == "cudnn"
    assert 81.9 <= masked.total("h200") / GIB <= 1.05 * 81.9
    # With adapters the activations are those of full training, where both products of a layer were once kept.
    adapters = make_plan(*seven_billion(remat="dots", attention="cudnn", lora_rank=16))
    assert adapters.activations == masked.activations


def test_a_mask_is_planned_where_one_is_used_alone() -> None:
    plan = make_plan(*seven_billion())
    kernels = {name: kernel for name, (kernel, _) in plan.attention.items()}
    assert kernels["a100-80g"] == "cudnn"
    assert kernels["h100"] == "cudnn-packed"
    assert kernels["v4"] == "splash"
    assert plan.attention["a100-80g"][1] == 4 * 8 * 2048**2
    assert plan.attention["v4"][1] == 0


def test_the_least_recomputation_that_fits_is_taken() -> None:
    config, llama = seven_billion(remat="auto")
    chosen = {name: least_recomputation(config, llama, memory * GIB, "h200") for name, memory in
              {"all": 1000, "h200": 141 * 0.92, "90": 92, "60": 65, "little": 1}.items()}  # fmt: skip
    assert chosen == {"all": "none", "h200": "attention", "90": "dots", "60": "block", "little": "block"}
    for kind in ("none", "attention"):
        plan = make_plan(dataclasses.replace(config, remat=kind), llama)
        assert plan.fits("h200") == (kind == "attention")
