"""Programs for accelerators that are not here: lowered for CUDA and TPU on the CPU, and what is in them.

Lowering writes the whole program, its kernels included, and executes nothing.
"""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers.kernels import ready_for_cudnn
from jax import Array
from jax.sharding import PartitionSpec as P

from xltjax.attention.packed import HEADS, attention
from xltjax.common.hardware import WantedKernel
from xltjax.data.packing import Batch
from xltjax.inference import decode as programs
from xltjax.inference.sampling import SamplingParams
from xltjax.llama import Llama, LlamaConfig, initialize, use_attention
from xltjax.lora import add_lora
from xltjax.mesh import BATCH, make_mesh, sharding
from xltjax.partition import partition
from xltjax.training.optimizer import inverse_sqrt
from xltjax.training.step import fresh_state, make_train_step, place

# One layer has a window, the other none; queries are grouped.
CONFIG = LlamaConfig(64, 64, 96, 2, 4, 2, 16, 512, sliding_window=40, window_layers=1)


def model_on(spec: str, wanted: WantedKernel, checkpointing: Any = "none") -> tuple[Llama, jax.sharding.Mesh]:
    mesh = make_mesh(spec)
    model = initialize(Llama(CONFIG, compute_dtype=jnp.bfloat16), mesh, jax.random.key(0), jnp.bfloat16)
    model.activation_checkpointing = checkpointing
    use_attention(model, wanted)
    return model, mesh


def lowered_update(model: Llama, mesh: jax.sharding.Mesh, platform: str, segments: int = 0) -> str:
    """The text of one update of packed rows."""
    weights, frozen, rebuild = partition(model)
    rows = np.ones((1, 4, 256), np.int32)
    transform = optax.sgd(0.1)
    with jax.set_mesh(mesh):
        batch = place(Batch(rows, rows, rows.astype(np.float32), rows, rows, segments), mesh)
        state = fresh_state(weights, transform, mesh)
        traced = make_train_step(rebuild, transform, inverse_sqrt()).trace(state, frozen, batch, 1e-5)
    return str(traced.lower(lowering_platforms=(platform,)).as_text())


def calls(text: str, marker: str) -> Counter[str]:
    """How often each custom call of a kernel is in a program."""
    found = [line.split(marker)[1] for line in text.splitlines() if marker in line]
    return Counter(rest[: min(rest.find(c) for c in '("' if c in rest)] for rest in found)


@pytest.mark.parametrize(
    ("wanted", "checkpointing", "name", "forward_passes"),
    [
        ("cudnn", "none", "ScaleBiasSoftmax", 1),
        ("cudnn", "dots", "ScaleBiasSoftmax", 2),
        ("cudnn", "attention", "ScaleBiasSoftmax", 1),
        ("cudnn-packed", "block", "Softmax", 2),
        ("cudnn-packed", "attention", "Softmax", 1),
    ],
)
def test_an_update_lowers_for_cuda_and_attention_is_computed_again_only_where_its_output_is_not_kept(
    wanted: WantedKernel, checkpointing: Any, name: str, forward_passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready_for_cudnn(monkeypatch)
    model, mesh = model_on("2x2", wanted, checkpointing)
    text = lowered_update(model, mesh, "cuda", segments=8)
    # Each kernel once: blocks of equal shapes are one function. The packed layout is that of the first layer alone.
    layers = 1 if wanted == "cudnn-packed" else 2
    found = calls(text, "@__cudnn$fmha")
    assert found[f"{name}Backward"] == layers
    assert found[name] == layers * forward_passes


def test_cudnn_is_told_where_segments_are_and_that_there_are_no_more_than_the_batch_has(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ready_for_cudnn(monkeypatch)
    mesh = make_mesh("2x2")

    def loss(q: Array, k: Array, ids: Array, wanted: WantedKernel, window: int | None) -> Array:
        return attention(q, k, k, ids, wanted=wanted, window=window, segments=8).astype(jnp.float32).sum()

    def lowered(wanted: WantedKernel, window: int | None, packed: bool) -> list[str]:
        given = (q, k, ids if packed else None)
        traced = jax.jit(jax.grad(loss, (0, 1)), static_argnums=(3, 4)).trace(*given, wanted, window)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
        return [line for line in text.splitlines() if "stablehlo.custom_call @__cudnn$fmha" in line]

    with jax.set_mesh(mesh):
        q = jnp.zeros((4, 64, 8, 16), jnp.bfloat16, out_sharding=HEADS)
        k = jnp.zeros((4, 64, 4, 16), jnp.bfloat16, out_sharding=HEADS)
        ids = jnp.ones((4, 64), jnp.int32, out_sharding=P(BATCH, None))
        packed = lowered("cudnn-packed", None, True)
        masked = lowered("cudnn", 5, True)
        alone = lowered("cudnn", 5, False)
    # A device's part of the batch and of the heads: queries, keys, values, which are not repeated.
    own = ", ".join(["tensor<2x64x4x16xbf16>", *["tensor<2x64x2x16xbf16>"] * 2])
    for call in packed:
        assert r"mask_type\22: \22PADDING_CAUSAL" in call
        assert r"max_seg_per_batch\22: 8" in call
        assert call.split(" : (")[1].startswith(own)
        assert "64x64x" not in call  # no mask
    assert "tensor<2x8xi32>, tensor<2x8xi32>, tensor<2x9xi32>, tensor<2x9xi32>" in packed[0]
    for call in masked:
        assert r"mask_type\22: \22CAUSAL" in call
        assert r"sliding_window_length\22: 0" in call  # refused beside a mask
        assert call.split(" : (")[1].startswith(own)
        assert "tensor<2x1x64x64xbf16>" in call
    for call in alone:
        assert r"sliding_window_length\22: 5" in call
        assert "64x64x" not in call
    assert [len(each) for each in (packed, masked, alone)] == [2, 2, 2]


def test_tokamaxs_kernels_for_hopper_lower_for_cuda_with_starts_of_segments_and_no_mask(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from jax.extend import backend

    class Hopper(SimpleNamespace):
        __hash__ = object.__hash__

    hopper = Hopper(
        platform="gpu", compute_capability="9.0", device_kind="NVIDIA H100 80GB HBM3", core_count=132,
        client=SimpleNamespace(platform_version="cuda"),
    )  # fmt: skip
    monkeypatch.setattr(backend, "get_default_device", lambda: hopper)
    mesh = make_mesh("2x1")

    def loss(q: Array, k: Array, ids: Array) -> Array:
        return attention(q, k, k, ids, wanted="tokamax", window=100).astype(jnp.float32).sum()

    with jax.set_mesh(mesh):
        q = jnp.zeros((2, 256, 4, 64), jnp.bfloat16, out_sharding=HEADS)
        k = jnp.zeros((2, 256, 2, 64), jnp.bfloat16, out_sharding=HEADS)
        ids = jnp.ones((2, 256), jnp.int32, out_sharding=P(BATCH, None))
        traced = jax.jit(jax.grad(loss, (0, 1))).trace(q, k, ids)
        text = traced.lower(lowering_platforms=("cuda",)).as_text()
    kernels = [line for line in text.splitlines() if "custom_call @mosaic_gpu" in line]
    assert len(kernels) == 3  # forward, and the gradients of queries, and of keys and values
    assert "256x256x" not in text
    # The first and the last key of each query.
    assert all("tensor<1x256xi32>, tensor<1x256xi32>" in line for line in kernels)


@pytest.mark.parametrize("lora", [False, True])
def test_an_update_lowers_for_a_mesh_of_tpus_with_splash_attention(
    lora: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    model, mesh = model_on("2x2", "splash", "attention")
    if lora:
        add_lora(model, mesh, jax.random.key(1), rank=4, alpha=8.0)
    text = lowered_update(model, mesh, "tpu")
    found = calls(text, 'kernel_name = "')
    # Once for the layer with a window and once for that without; nothing is computed twice.
    assert found == {
        f"splash_mha_{part}": 2
        for part in ("fwd_segmented_residuals", "dq_segmented_no_residuals", "dkv_segmented_no_residuals")
    }
    assert "sdy.mesh" in text or "num_partitions = 4" in text


def test_prefill_and_the_decode_loop_lower_for_a_mesh_of_tpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    model, mesh = model_on("2x2", "splash")
    options: dict[str, Any] = {"sampling": SamplingParams(1.1), "eos": (2,)}
    with jax.set_mesh(mesh):
        state = programs.empty(model, [(4, 96)], 16)
        tokens = jax.device_put(np.ones((2, 64), np.int32), sharding(mesh, BATCH, None))
        row = jax.device_put(np.ones(2, np.int32), sharding(mesh, BATCH))
        seeds = jax.device_put(np.ones(2, np.uint32), sharding(mesh, BATCH))
        prefill = programs.prefill.trace(model, state, tokens, row, row, seeds, **options)
        decode = programs.decode.trace(model, state, 0, 16, **options)
        texts = [each.lower(lowering_platforms=("tpu",)).as_text() for each in (prefill, decode)]
    assert calls(texts[0], 'kernel_name = "') == {"splash_mha_fwd_no_residuals": 2}
    assert "stablehlo.while" in texts[1]
    assert all("num_partitions = 4" in text for text in texts)
