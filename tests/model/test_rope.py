"""Scalings of rotary positions for longer contexts, against ``transformers``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import make_hf_model
from helpers.logits import LOGIT_ERROR, logits_of

from xltjax.converters import load_hf, save_hf
from xltjax.converters.hf_config import hf_config, llama_config
from xltjax.mesh import make_mesh
from xltjax.rope import DynamicScaling, YarnScaling

SCALINGS: dict[str, tuple[str, dict[str, Any]]] = {
    "linear": ("llama-2-7b", {"rope_type": "linear", "factor": 4.0}),
    "dynamic": ("llama-2-7b", {"rope_type": "dynamic", "factor": 2.0}),
    "yarn": ("qwen2", {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}),
    "yarn-attention": (
        "llama-2-7b",
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 16, "attention_factor": 0.7,
         "beta_fast": 8, "beta_slow": 0.5, "truncate": False},
    ),
    "yarn-mscale": (
        "mistral",
        {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 32, "mscale": 1.5,
         "mscale_all_dim": 0.5},
    ),
    "yarn-one-dimension": (
        "llama-2-7b", {"rope_type": "yarn", "factor": 2.0, "original_max_position_embeddings": 6}
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SCALINGS)
def test_logits_are_those_of_transformers_also_beyond_the_original_length(
    name: str, tmp_path: Path, tokens: np.ndarray
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    family, rope = SCALINGS[name]
    longest = 16 if name == "dynamic" else 64
    rope = {"rope_theta": 10000.0, **rope}
    reference = make_hf_model(family, tmp_path / "in", rope_parameters=rope, max_position_embeddings=longest)
    mesh = make_mesh("1x1")
    model = load_hf(tmp_path / "in", mesh, dtype=jnp.float32)
    plain = json.loads((tmp_path / "in" / "config.json").read_text()) | {"rope_parameters": None}
    for length in (40, 12):
        with torch.no_grad():
            expected = reference(torch.tensor(tokens[:, :length]).long()).logits.numpy()
        got = logits_of(model, tokens[:, :length], mesh)
        np.testing.assert_allclose(got, expected, atol=LOGIT_ERROR, rtol=0)
        if length == 40:  # and the scaling matters there
            scaled, model.config = model.config, llama_config(plain)
            assert np.abs(logits_of(model, tokens, mesh) - expected).max() > 0.02
            model.config = scaled
    # The config survives an export, with a base and without.
    save_hf(model, tmp_path / "with", base=tmp_path / "in")
    save_hf(model, tmp_path / "without")
    for directory in ("with", "without"):
        again = AutoModelForCausalLM.from_pretrained(tmp_path / directory)
        with torch.no_grad():
            np.testing.assert_allclose(
                again(torch.tensor(tokens[:, :12]).long()).logits, expected, atol=LOGIT_ERROR
            )
        values = json.loads((tmp_path / directory / "config.json").read_text())
        assert llama_config(values) == model.config
    assert llama_config(hf_config(model.config)) == model.config


def test_rows_of_a_dynamic_model_do_not_change_each_other(tmp_path: Path, tokens: np.ndarray) -> None:
    rope = {"rope_theta": 10000.0, "rope_type": "dynamic", "factor": 2.0}
    make_hf_model("llama-2-7b", tmp_path, rope_parameters=rope, max_position_embeddings=16)
    mesh = make_mesh("2x1")
    model = load_hf(tmp_path, mesh, dtype=jnp.float32)
    positions = np.tile(np.arange(40, dtype=np.int32), (4, 1))
    positions[1] %= 10  # four short segments in a row
    segments = np.ones_like(positions)
    segments[1] += np.arange(40, dtype=np.int32) // 10
    short = tokens[[1, 1], :10], np.ones((2, 10), np.int32), positions[[1, 1], :10]

    with jax.set_mesh(mesh):
        run = jax.jit(lambda m, *fields: m(*fields))
        together = np.asarray(run(model, tokens, segments, positions))
        alone = np.asarray(run(model, tokens[[1, 1]], segments[[1, 1]], positions[[1, 1]]))
        first = np.asarray(run(model, *short))
    np.testing.assert_allclose(together[1], alone[0], atol=LOGIT_ERROR, rtol=0)
    np.testing.assert_allclose(alone[0, :10], first[0], atol=LOGIT_ERROR, rtol=0)


def test_the_forms_that_configs_give_to_a_scaling_read_the_same() -> None:
    base = {"model_type": "qwen2", "vocab_size": 9, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 128}  # fmt: skip
    published = {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}  # as Qwen2.5 says
    expected = YarnScaling(4.0, 32, 0.1 * np.log(4.0) + 1)
    for rope in (
        published, {**published, "finetuned": True}, {**published, "factor": None}, {**published, "beta_fast": 0},
        {**published, "truncate": True},
    ):  # fmt: skip
        assert llama_config({**base, "rope_scaling": rope}).rope_scaling == expected
    dynamic = {"rope_scaling": {"type": "dynamic", "factor": 2}, "rope_theta": 5e5}
    assert llama_config({**base, **dynamic}).rope_scaling == DynamicScaling(2.0, 128)
    assert llama_config({**base, **dynamic}).rope_theta == 5e5
