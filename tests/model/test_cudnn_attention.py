"""cuDNN's attention as far as a machine without a GPU can tell: what is asked of cuDNN, and when.

The numbers are those of the same call with jax's portable implementation; only ``benchmarks/gpu.py`` runs cuDNN.
"""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from jax import Array
from jax.sharding import PartitionSpec as P

import xltjax.attention.packed
from xltjax.attention.cudnn import cudnn_attention, suits_cudnn
from xltjax.attention.packed import HEADS, attention
from xltjax.data.packing import Batch
from xltjax.llama import Llama, LlamaConfig, initialize
from xltjax.mesh import BATCH, make_mesh
from xltjax.partition import partition
from xltjax.training.loss import summed_loss

SEGMENTS = np.array([[1] * 5 + [2] * 1 + [3] * 8 + [0] * 2, [1] * 16, [4, 4, 9, 9, 9, 9] + [5] * 10])


@pytest.fixture
def portable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same calls computed by XLA instead of cuDNN."""
    call = jax.nn.dot_product_attention

    def elsewhere(*arrays: Array, implementation: str, **options: Any) -> Array:
        assert implementation == "cudnn"
        return call(*arrays, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", elsewhere)


def sharded(mesh: jax.sharding.Mesh, window: int | None) -> Any:
    """The kernel where it is called from: inside ``shard_map``, on arrays of the mesh."""
    kernel = partial(cudnn_attention, window=window)
    return jax.shard_map(kernel, mesh=mesh, in_specs=(HEADS, HEADS, HEADS, P(BATCH, None)), out_specs=HEADS)


@pytest.mark.parametrize(("kv_heads", "window"), [(4, None), (2, None), (1, 3)])
def test_packed_rows_and_their_gradients_equal_those_of_torch(
    portable: None, kv_heads: int, window: int | None
) -> None:
    draw = np.random.default_rng(0)
    rows, length = SEGMENTS.shape
    q, out_gradient = draw.normal(size=(2, rows, length, 4, 8)).astype(np.float32)
    k, v = draw.normal(size=(2, rows, length, kv_heads, 8)).astype(np.float32)
    index = np.arange(length)
    distance = index[:, None] - index[None, :]
    seen = (SEGMENTS[:, :, None] == SEGMENTS[:, None, :]) & (distance >= 0)
    if window is not None:
        seen &= distance < window
    theirs = [torch.tensor(x, requires_grad=True) for x in (q, k, v)]
    expected = torch.nn.functional.scaled_dot_product_attention(
        *(x.transpose(1, 2) for x in theirs), attn_mask=torch.tensor(seen[:, None]), enable_gqa=True
    ).transpose(1, 2)
    expected.backward(torch.tensor(out_gradient))

    mesh = make_mesh("1x1")
    with jax.set_mesh(mesh):
        ours = [jax.device_put(x, jax.NamedSharding(mesh, HEADS)) for x in (q, k, v)]
        ids = jax.device_put(SEGMENTS.astype(np.int32), jax.NamedSharding(mesh, P(BATCH, None)))

        @jax.jit
        def run(d_out: Array, *arrays: Array) -> tuple[Array, tuple[Array, ...]]:
            out, backward = jax.vjp(lambda q, k, v: sharded(mesh, window)(q, k, v, ids), *arrays)
            return out, backward(d_out)

        got, gradients = run(jax.device_put(out_gradient, ours[0].sharding), *ours)
    np.testing.assert_allclose(got, expected.detach().numpy(), atol=2e-6)
    for gradient, their in zip(gradients, theirs, strict=True):
        assert their.grad is not None
        np.testing.assert_allclose(gradient, their.grad.numpy(), atol=5e-6)


def test_cudnn_is_asked_for_causal_attention_with_a_mask_and_keys_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91500)
    mesh = make_mesh("2x2")

    def loss(q: Array, k: Array, v: Array, ids: Array) -> Array:
        return sharded(mesh, 5)(q, k, v, ids).astype(jnp.float32).sum()

    with jax.set_mesh(mesh):
        q = jnp.zeros((4, 64, 8, 16), jnp.bfloat16, out_sharding=HEADS)
        k = jnp.zeros((4, 64, 4, 16), jnp.bfloat16, out_sharding=HEADS)
        ids = jnp.ones((4, 64), jnp.int32, out_sharding=P(BATCH, None))
        traced = jax.jit(jax.grad(loss, (0, 1, 2))).trace(q, k, k, ids)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = [line for line in text.splitlines() if "stablehlo.custom_call @__cudnn$fmha" in line]
    assert [call.split("@__cudnn$")[1].split("(")[0] for call in calls] == [
        "fmhaScaleBiasSoftmax",
        "fmhaScaleBiasSoftmaxBackward",
    ]
    for call in calls:
        assert r"mask_type\22: \22CAUSAL" in call
        assert r"sliding_window_length\22: 0" in call  # refused beside a mask
        operands = call.split(" : (")[1]
        # A device's part of the batch and of the heads: queries, keys, values.
        assert operands.startswith(", ".join(["tensor<2x64x4x16xbf16>", *["tensor<2x64x2x16xbf16>"] * 2]))
        assert "tensor<2x1x64x64xbf16>" in operands


@pytest.mark.parametrize(("spec", "checkpointing"), [("1x1", "none"), ("1x1", "dots"), ("2x2", "block")])
def test_a_training_step_lowers_for_cuda_with_one_kernel_of_each_kind_in_a_layer(
    monkeypatch: pytest.MonkeyPatch, spec: str, checkpointing: Any
) -> None:
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91500)
    monkeypatch.setattr(xltjax.attention.packed, "suits_cudnn", lambda q: True)
    mesh = make_mesh(spec)
    model = Llama(LlamaConfig(64, 64, 96, 1, 4, 2, 16, 64), compute_dtype=jnp.bfloat16)
    model.activation_checkpointing = checkpointing
    weights, frozen, rebuild = partition(initialize(model, mesh, jax.random.key(0), jnp.bfloat16))
    rows = np.ones((2, 32), np.int32)
    batch = Batch(rows, rows, rows.astype(np.float32), rows, rows)

    def loss(weights: Any, batch: Batch) -> Array:
        return summed_loss(rebuild(weights, frozen), batch)

    with jax.set_mesh(mesh):
        placed = jax.tree.map(lambda x: jax.device_put(x, jax.NamedSharding(mesh, P(BATCH, None))), batch)
        traced = jax.jit(jax.grad(loss)).trace(weights, placed)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    calls = [
        line.split("@__cudnn$")[1].split("(")[0] for line in text.splitlines() if "@__cudnn$fmha" in line
    ]
    assert calls.count("fmhaScaleBiasSoftmaxBackward") == 1
    assert calls.count("fmhaScaleBiasSoftmax") == (1 if checkpointing == "none" else 2)  # recomputed


@pytest.mark.parametrize(
    ("capability", "dtype", "length", "head_dim", "suits"),
    [
        ("9.0", jnp.bfloat16, 2048, 128, True),
        ("8.0", jnp.float16, 2, 64, True),
        ("9.0", jnp.bfloat16, 2048, 256, True),
        ("12.0", jnp.bfloat16, 2048, 256, True),
        ("8.9", jnp.bfloat16, 2048, 256, False),
        ("9.0", jnp.bfloat16, 2048, 100, False),
        ("9.0", jnp.bfloat16, 2047, 128, False),
        ("9.0", jnp.float32, 2048, 128, False),
        ("7.5", jnp.float16, 2048, 128, False),
        ("gfx942", jnp.bfloat16, 2048, 128, False),
        (None, jnp.bfloat16, 2048, 128, False),
    ],
)
def test_cudnn_is_used_where_its_kernel_and_gradient_run(
    monkeypatch: pytest.MonkeyPatch,
    capability: str | None,
    dtype: Any,
    length: int,
    head_dim: int,
    suits: bool,
) -> None:
    device = SimpleNamespace(**({} if capability is None else {"compute_capability": capability}))
    monkeypatch.setattr(jax, "devices", lambda: [device])
    queries: Any = jax.ShapeDtypeStruct((1, length, 4, head_dim), dtype)
    assert suits_cudnn(queries) is suits
    monkeypatch.setenv("XLTJAX_ATTENTION", "portable")
    assert not suits_cudnn(queries)


def test_attention_takes_cudnns_kernel_where_it_suits_and_its_own_elsewhere(
    monkeypatch: pytest.MonkeyPatch, portable: None
) -> None:
    calls = []

    def counted(*arguments: Any, **options: Any) -> Array:
        calls.append(options)
        return cudnn_attention(*arguments, **options)

    monkeypatch.setattr(xltjax.attention.packed, "cudnn_attention", counted)
    mesh = make_mesh("1x1")
    with jax.set_mesh(mesh):
        q, k, v = jax.random.normal(jax.random.key(0), (3, 3, 16, 4, 8))
        q, k, v = (jax.device_put(x, jax.NamedSharding(mesh, HEADS)) for x in (q, k, v))
        ids = jax.device_put(SEGMENTS.astype(np.int32), jax.NamedSharding(mesh, P(BATCH, None)))
        own = jax.jit(partial(attention, window=4))(q, k, v, ids)
        assert calls == []
        monkeypatch.setattr(xltjax.attention.packed, "suits_cudnn", lambda q: True)
        cudnns = jax.jit(partial(attention, window=4))(q, k, v, ids)
    assert calls == [{"window": 4}]
    np.testing.assert_allclose(cudnns, own, atol=2e-6)
