"""The model against ``transformers``, and against itself on other meshes and other packings."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import FAMILY, HfModel
from helpers.logits import LOGIT_ERROR, logits_of

from xltjax import llama
from xltjax.common.errors import UserError
from xltjax.converters import load_hf
from xltjax.llama import Llama, LlamaConfig, initialize, parameters
from xltjax.mesh import make_mesh


@pytest.mark.parametrize("name", FAMILY)
def test_float32_logits_equal_transformers(name: str, hf_model: HfModel, tokens: np.ndarray) -> None:
    import torch

    directory, reference = hf_model(name)
    with torch.no_grad():
        expected = reference(torch.tensor(tokens).long()).logits.numpy()
    mesh = make_mesh("1x1")
    got = logits_of(load_hf(directory, mesh, dtype=jnp.float32), tokens, mesh)
    assert got.dtype == np.float32
    assert np.abs(expected).max() > 1  # weights large enough for the comparison to mean something
    np.testing.assert_allclose(got, expected, atol=LOGIT_ERROR, rtol=0)


@pytest.mark.parametrize("spec", ["2x1", "1x2", "2x2", "2x2x1"])
def test_logits_are_the_same_on_every_mesh_also_where_it_does_not_divide_the_vocabulary(
    spec: str, hf_model: HfModel, tokens: np.ndarray
) -> None:
    directory, _ = hf_model("llama-with-biases")  # 101 words: no mesh above divides them
    one, many = make_mesh("1x1"), make_mesh(spec)
    expected = logits_of(load_hf(directory, one, dtype=jnp.float32), tokens, one)
    got = logits_of(load_hf(directory, many, dtype=jnp.float32), tokens, many)
    assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, atol=LOGIT_ERROR, rtol=0)


def test_a_token_sees_nothing_of_other_segments(hf_model: HfModel) -> None:
    directory, _ = hf_model("mistral")
    mesh = make_mesh("1x1")
    model = load_hf(directory, mesh, dtype=jnp.float32)
    random = np.random.default_rng(1)
    lengths = [9, 5, 14]
    pieces = [random.integers(3, 101, n).astype(np.int32) for n in lengths]
    packed = np.zeros((1, 32), np.int32)
    segments, positions, targets = np.zeros_like(packed), np.zeros_like(packed), np.zeros_like(packed)
    start = 0
    for number, piece in enumerate(pieces, start=1):
        place = (0, slice(start, start + len(piece)))
        packed[place], segments[place], positions[place] = piece, number, np.arange(len(piece))
        targets[place] = np.roll(piece, -1)
        start += len(piece)

    def losses(
        tokens: np.ndarray, targets: np.ndarray, segments: np.ndarray, positions: np.ndarray
    ) -> np.ndarray:
        with jax.set_mesh(mesh):
            logits = np.asarray(jax.jit(lambda m, *fields: m(*fields))(model, tokens, segments, positions))
        return -np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), targets[..., None], -1)[..., 0]

    together = losses(packed, targets, segments, positions)[0]
    start = 0
    for piece in pieces:
        row, here = piece[None], np.arange(len(piece), dtype=np.int32)[None]
        alone = losses(row, np.roll(row, -1, axis=1), np.ones_like(row), here)[0]
        np.testing.assert_allclose(together[start : start + len(piece)], alone, atol=LOGIT_ERROR, rtol=0)
        start += len(piece)


def test_mesh_that_does_not_divide_the_heads_is_refused_with_the_reason(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-70b")  # one key-value head
    with pytest.raises(UserError, match="1 key-value heads cannot be split over 2 tensor devices"):
        load_hf(directory, make_mesh("1x2"))


def test_every_parameter_states_one_logical_axis_per_dimension() -> None:
    model = Llama(LlamaConfig(50, 16, 32, 2, 2, 2, 8, 64, qkv_bias=True, mlp_bias=True))
    for name, variable in parameters(model).items():
        assert len(variable.axes) == len(variable.shape), name


def test_number_of_parameters_and_flops_of_llama_2_7b_are_the_published_ones() -> None:
    model = Llama(LlamaConfig(32000, 4096, 11008, 32, 32, 32, 128, 4096), vocab_multiple=24)
    assert model.num_parameters() == 6_738_415_616
    # 6 per weight of the linear layers, plus 12 layers * width * length for attention.
    weights = 6_738_415_616 - 32000 * 4096
    assert model.flops_per_token(4096) == 6 * weights + 12 * 32 * 4096 * 4096


def test_random_weights_compile_one_program_for_each_shape_however_deep_the_model() -> None:
    mesh = make_mesh("2x1")

    def fill(layers: int) -> Llama:
        config = LlamaConfig(96, 24, 40, layers, 3, 3, 8, 64)
        return initialize(Llama(config, vocab_multiple=2), mesh, jax.random.key(0))

    before = llama._initial_value._cache_size()
    fill(2)
    compiled = llama._initial_value._cache_size() - before
    # The embedding, the head, norms, projections in and out of attention, and in and out of the feed-forward.
    assert compiled == 7
    deep = fill(5)
    assert llama._initial_value._cache_size() - before == compiled
    keys = jax.random.split(jax.random.key(0), len(parameters(deep)))
    for key, (name, variable) in zip(keys, parameters(deep).items(), strict=True):
        expected = 1.0 if "norm" in name else 0.02 * jax.random.normal(key, variable.shape)
        np.testing.assert_allclose(variable[...], expected, rtol=1e-6, err_msg=name)
