"""Every kernel of attention's rule against torch in float64: values and gradients, and what crosses a boundary.

No accelerator is needed: see ``helpers.kernels``. ``benchmarks/gpu.py`` runs the same kernels on a device.
"""

from __future__ import annotations

from typing import Any, get_args

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from helpers.kernels import run_anywhere
from jax import Array

from xltjax.attention import probe
from xltjax.attention.cudnn import segment_table
from xltjax.attention.kernels import run_kernel
from xltjax.attention.probe import failure
from xltjax.attention.problem import Problem
from xltjax.common.hardware import Kernel

ROWS, LENGTH, HEADS, HEAD_DIM = 2, 130, 4, 16  # the splash kernel works in blocks of 128
SEGMENTS = np.array([np.repeat([1, 2, 3, 0], [50, 1, 60, 19]), np.repeat([1, 2, 3], [7, 120, 3])], np.int32)
KERNELS = get_args(Kernel)
Both = tuple[np.ndarray, ...]


def arrays(kv_heads: int) -> list[np.ndarray]:
    """Queries, keys, values and a gradient of the output."""
    draw = np.random.default_rng(0)
    heads = (HEADS, kv_heads, kv_heads, HEADS)
    return [draw.normal(size=(ROWS, LENGTH, n, HEAD_DIM)).astype(np.float32) for n in heads]


def torch_both(given: list[np.ndarray], ids: np.ndarray, window: int | None) -> Both:
    *qkv, gradient = (torch.tensor(x.astype(np.float64)).transpose(1, 2) for x in given)
    for x in qkv:
        x.requires_grad_()
    distance = np.arange(LENGTH)[:, None] - np.arange(LENGTH)
    seen = (distance >= 0) & (ids[:, :, None] == ids[:, None])
    if window is not None:
        seen &= distance < window
    mask = torch.tensor(seen)[:, None]
    out = torch.nn.functional.scaled_dot_product_attention(*qkv, attn_mask=mask, enable_gqa=True)
    out.backward(gradient)
    return tuple(x.detach().transpose(1, 2).numpy() for x in (out, *(x.grad for x in qkv)))


def ours(kernel: Kernel, window: int | None, segments: int) -> Any:
    """A compiled function: (q, k, v, gradient, segment ids) -> output and gradients of q, k and v."""

    @jax.jit
    def both(q: Array, k: Array, v: Array, gradient: Array, ids: Array | None) -> tuple[Array, ...]:
        out, pull = jax.vjp(
            lambda q, k, v: run_kernel(kernel, q, k, v, ids, window=window, segments=segments), q, k, v
        )
        return out, *pull(gradient)

    return both


CASES = [(kernel, 4, None) for kernel in KERNELS] + [(kernel, 2, 9) for kernel in KERNELS[1:]]


@pytest.mark.parametrize(("kernel", "kv_heads", "window"), [*CASES, ("cudnn-packed", 2, None)])
def test_packed_rows_equal_torch_and_nothing_crosses_a_boundary(
    kernel: Kernel, kv_heads: int, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_anywhere(monkeypatch)
    given = arrays(kv_heads)
    both = ours(kernel, window, 4)
    found = [np.asarray(x) for x in both(*given, SEGMENTS)]
    for got, right in zip(found, torch_both(given, SEGMENTS, window), strict=True):
        np.testing.assert_allclose(got, right, atol=5e-6)
    # Whatever stands in the first segment of a row, not a bit of the others changes, nor of their gradients.
    first = (SEGMENTS == 1)[..., None, None]
    changed = both(*(np.where(first, 100 * x + 1, x) for x in given), SEGMENTS)
    for got, again in zip(found, changed, strict=True):
        np.testing.assert_array_equal(got[SEGMENTS != 1], np.asarray(again)[SEGMENTS != 1])


@pytest.mark.parametrize(
    ("kernel", "window"), [("cudnn", 9), ("cudnn-packed", None), ("splash", None), ("tokamax", 9)]
)
def test_a_row_of_one_segment_needs_no_ids(
    kernel: Kernel, window: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_anywhere(monkeypatch)
    given = arrays(2)
    right = torch_both(given, np.ones((ROWS, LENGTH)), window)
    for got, expected in zip(ours(kernel, window, 0)(*given, None), right, strict=True):
        np.testing.assert_allclose(got, expected, atol=5e-6)


def test_the_table_of_segments_counts_padding_and_marks_what_is_not_there() -> None:
    lengths, starts = segment_table(jnp.asarray(SEGMENTS), 5)
    assert lengths.tolist() == [[50, 1, 60, 19, -1], [7, 120, 3, -1, -1]]
    assert starts.tolist() == [[0, 50, 51, 111, -1, -1], [0, 7, 127, -1, -1, -1]]


PACKED = Problem("float32", 2048, 16, grouped=True, segments=8)


@pytest.mark.parametrize("problem", [PACKED, Problem("float32", 64, 16, window=5, segments=1)])
def test_a_kernel_that_computes_the_small_problem_rightly_is_trusted(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_anywhere(monkeypatch)
    probe._failure.cache_clear()
    # Also while a model is traced, under whatever mesh.
    found = []
    jax.jit(lambda x: found.append(failure("cudnn", problem)) or x)(1)
    assert found == [""]
    probe._failure.cache_clear()


def test_a_kernel_that_fails_or_errs_or_leaks_is_not_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any, **__: Any) -> Array:
        raise NotImplementedError("no such engine\nand more")

    def errs(kernel: Kernel, *given: Any, **options: Any) -> Array:
        return run_kernel("portable", *given, **options) * (1 if kernel == "portable" else 1.1)

    def leaks(kernel: Kernel, q: Array, k: Array, v: Array, ids: Array, **options: Any) -> Array:
        out = run_kernel("portable", q, k, v, ids, **options)
        return out if kernel == "portable" else out + 1e-4 * v[:, :1].mean()

    said = []
    for wrong in (refuses, errs, leaks):
        probe._failure.cache_clear()
        monkeypatch.setattr(probe, "run_kernel", wrong)
        said.append(failure("cudnn", PACKED))
    probe._failure.cache_clear()
    assert said[0] == "it fails here (NotImplementedError: no such engine)"
    assert said[1].startswith("on a small problem it differs from the portable kernel by 0.")
    assert said[2] == "on a small problem a segment sees another one"
