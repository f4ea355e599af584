"""The plan against arrays on devices, and the paper's configs against the paper's hardware."""

from __future__ import annotations

import jax
import pytest

from xltjax.common.errors import UserError
from xltjax.common.settings import build, read_config_files, shipped_configs
from xltjax.llama import Llama, LlamaConfig, initialize
from xltjax.mesh import make_mesh
from xltjax.partition import partition
from xltjax.training.config import TrainConfig
from xltjax.training.optimizer import adamw
from xltjax.training.plan import architecture, fitting_settings, make_plan
from xltjax.training.step import start_state

PAPER = [name for name in shipped_configs() if name.startswith("paper/")]


@pytest.mark.parametrize("name", PAPER)
def test_every_model_of_the_paper_fits_two_a100_80g(name: str) -> None:
    config = build(TrainConfig, read_config_files([name]))
    assert config.mesh == "2x1"
    assert make_plan(config, architecture(config.model)).fits("a100-80g")


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
    config = build(TrainConfig, read_config_files(["paper/llama2-7b-dolly-en-ft"]))
    full = make_plan(config, architecture(config.model))
    per_token = 6 * (6_738_415_616 - 32000 * 4096) + 12 * 32 * 4096 * 2048
    assert full.flops == per_token * 16000
    lora = build(TrainConfig, {**read_config_files(["paper/llama2-7b-dolly-en-ft"]), "lora_rank": 16})
    adapters = make_plan(lora, architecture(lora.model))
    assert adapters.flops == pytest.approx(full.flops * 2 / 3)
    assert adapters.moments < full.moments / 50


def test_an_accelerator_that_is_too_small_gets_settings_that_fit() -> None:
    config = TrainConfig(model="meta-llama/Llama-2-13b-hf", mesh="1x1")
    llama = architecture(config.model)
    assert not make_plan(config, llama).fits("a100-80g")
    nearest = fitting_settings(config, llama, "a100-80g")
    assert nearest is not None
    assert make_plan(nearest, llama).fits("a100-80g")


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(UserError, match="no architecture is known"):
        architecture("someone/something")
