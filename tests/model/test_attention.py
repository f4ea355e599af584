"""Attention within segments against torch, in blocks and in parts of the batch, with its gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import xltjax.attention.portable
from xltjax.attention.portable import portable_attention

ROWS, LENGTH, HEADS, KV_HEADS, HEAD_DIM = 3, 53, 4, 2, 16


def inputs(dtype: str = "float32") -> tuple[list[np.ndarray], np.ndarray]:
    """Queries, keys, values and a gradient of the output; and segments that begin again and again."""
    random = np.random.default_rng(0)
    arrays = [
        random.normal(size=(ROWS, LENGTH, heads, HEAD_DIM)).astype(np.float32)
        for heads in (HEADS, KV_HEADS, KV_HEADS, HEADS)
    ]
    lengths = [20, 1, 25, 7], [53, 0, 0, 0], [7, 30, 5, 11]
    segments = np.stack([np.repeat([1, 2, 3, 0], of_row) for of_row in lengths])
    return [np.asarray(jnp.asarray(x, dtype)) for x in arrays], segments.astype(np.int32)


def torch_attention(
    arrays: list[np.ndarray], segments: np.ndarray, window: int | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    """The same by ``scaled_dot_product_attention`` in float64, and the gradients of q, k and v."""
    import torch

    *qkv, gradient = (torch.tensor(x.astype(np.float64)).transpose(1, 2) for x in arrays)
    for x in qkv:
        x.requires_grad_()
    index = np.arange(LENGTH)
    seen = (index[:, None] >= index) & (segments[:, :, None] == segments[:, None, :])
    if window is not None:
        seen &= index[:, None] - index < window
    out = torch.nn.functional.scaled_dot_product_attention(
        *qkv, attn_mask=torch.tensor(seen)[:, None], enable_gqa=True
    )
    out.backward(gradient)
    return out.detach().transpose(1, 2).numpy(), [x.grad.transpose(1, 2).numpy() for x in qkv]


def ours(
    arrays: list[np.ndarray], segments: np.ndarray, window: int | None
) -> tuple[np.ndarray, list[np.ndarray]]:
    @jax.jit
    def run(q: jax.Array, k: jax.Array, v: jax.Array, gradient: jax.Array, segments: jax.Array) -> tuple:
        out, pull = jax.vjp(lambda q, k, v: portable_attention(q, k, v, segments, window), q, k, v)
        return out, pull(gradient)

    out, gradients = run(*(jnp.asarray(x) for x in arrays), segments)
    return np.asarray(out), [np.asarray(x) for x in gradients]


FOUR_SEQUENCES = 4 * 2 * 2 * LENGTH**2  # bytes of their scores: six sequences are computed as four, then two


@pytest.mark.parametrize(
    ("window", "block", "score_bytes"),
    [
        (None, 256, 1 << 24),
        (None, 16, FOUR_SEQUENCES),
        (1, 16, 1 << 24),
        (9, 256, FOUR_SEQUENCES),
        (9, 16, 1 << 24),
    ],
)
def test_output_and_gradients_equal_torch_whatever_the_blocks(
    window: int | None, block: int, score_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Of 53 queries: the last block is a short one.
    monkeypatch.setattr(xltjax.attention.portable, "BLOCK", block)
    monkeypatch.setattr(xltjax.attention.portable, "CPU_SCORE_BYTES", score_bytes)
    arrays, segments = inputs()
    out, gradients = ours(arrays, segments, window)
    expected, expected_gradients = torch_attention(arrays, segments, window)
    np.testing.assert_allclose(out, expected, atol=2e-6)
    for got, right in zip(gradients, expected_gradients, strict=True):
        np.testing.assert_allclose(got, right, atol=1e-5)


def test_bfloat16_is_as_near_to_torch_as_its_mantissa_allows() -> None:
    arrays, segments = inputs("bfloat16")
    out, gradients = ours(arrays, segments, None)
    expected, expected_gradients = torch_attention(arrays, segments, None)
    assert out.dtype == jnp.bfloat16
    for got, right in zip((out, *gradients), (expected, *expected_gradients), strict=True):
        np.testing.assert_allclose(got.astype(np.float64), right, atol=0.02 * np.abs(right).max())


def test_the_memory_of_a_gradient_grows_with_the_length_and_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(xltjax.attention.portable, "CPU_SCORE_BYTES", 1 << 22)

    def temporary_bytes(length: int) -> int:
        q = jax.ShapeDtypeStruct((4, length, 8, 16), jnp.float32)
        segments = jax.ShapeDtypeStruct((4, length), jnp.int32)

        def total(q: jax.Array, segments: jax.Array) -> jax.Array:
            return portable_attention(q, q, q, segments).sum()

        return jax.jit(jax.grad(total)).lower(q, segments).compile().memory_analysis().temp_size_in_bytes

    once, twice = temporary_bytes(512), temporary_bytes(1024)
    assert twice < 3 * once
    assert twice < 4 * 8 * 1024**2 * 4 / 4  # a quarter of one array of all scores
