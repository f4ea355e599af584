"""Models taken apart into trainable and frozen weights, and rebuilt."""

from __future__ import annotations

import gc
import weakref

import jax
import numpy as np
import pytest
from helpers.logits import logits_of

from xltjax.llama import Llama, LlamaConfig, initialize, parameters
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh
from xltjax.partition import partition

CONFIG = LlamaConfig(50, 16, 32, 2, 2, 1, 8, 64, qkv_bias=True)


def make_model(lora: bool) -> Llama:
    mesh = make_mesh("1x1")
    model = initialize(Llama(CONFIG), mesh, jax.random.key(0))
    if lora:
        add_lora(model, mesh, jax.random.key(1), rank=2, alpha=4)
    return model


@pytest.mark.parametrize("lora", [False, True])
def test_adapters_are_trainable_where_there_are_any_and_otherwise_everything(lora: bool) -> None:
    model = make_model(lora)
    trainable, frozen, _ = partition(model)
    assert trainable.keys() | frozen.keys() == parameters(model).keys()
    assert {name for name in trainable if "lora_" not in name} == (set() if lora else trainable.keys())
    assert not any("lora_" in name for name in frozen)
    assert bool(frozen) == lora


@pytest.mark.parametrize("lora", [False, True])
def test_the_rebuilt_model_is_the_same_with_variables_of_its_own(lora: bool, tokens: np.ndarray) -> None:
    model, mesh = make_model(lora), make_mesh("1x1")
    trainable, frozen, rebuild = partition(model)
    rebuilt = rebuild(trainable, frozen)
    ids = tokens % CONFIG.vocab_size
    before = logits_of(model, ids, mesh)
    np.testing.assert_array_equal(logits_of(rebuilt, ids, mesh), before)
    for variable in parameters(rebuilt).values():
        variable.set_value(0 * variable[...])
    np.testing.assert_array_equal(logits_of(model, ids, mesh), before)


def test_rebuild_keeps_no_weight_alive() -> None:
    model = make_model(lora=True)
    trainable, frozen, rebuild = partition(model)
    held = [weakref.ref(array) for array in (trainable | frozen).values()]
    del model, trainable, frozen
    gc.collect()
    assert callable(rebuild)
    assert not any(reference() is not None for reference in held)
