"""Kernels of attention on a machine without an accelerator: what they are asked for, computed by something else."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import Array

import xltjax.attention.kernels as kernels
from xltjax.attention.splash import splash_attention
from xltjax.attention.tokamax_kernel import tokamax_attention


def run_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every kernel run on CPU: cuDNN's by what it documents, splash interpreted, tokamax's by its XLA form."""
    from jax._src.cudnn import fused_attention_stablehlo

    call: Callable[..., Array] = jax.nn.dot_product_attention

    def masked(*arrays: Array, implementation: str, **options: Any) -> Array:
        assert implementation == "cudnn"
        return call(*arrays, implementation="xla", **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", masked)
    monkeypatch.setattr(fused_attention_stablehlo, "dot_product_attention", partial(_packed_layout, call))
    monkeypatch.setattr(kernels, "splash_attention", partial(splash_attention, interpret=True))
    monkeypatch.setattr(kernels, "tokamax_attention", partial(tokamax_attention, implementation="xla"))


def _packed_layout(
    call: Callable[..., Array], q: Array, k: Array, v: Array, *, q_seqlen: Array, kv_seqlen: Array,
    q_offsets: Array, kv_offsets: Array, scale: float, mask_type: Any,
) -> Array:  # fmt: skip
    """cuDNN's packed layout as jax documents it: segment m of a row has ``seqlen`` tokens from ``offsets`` on.

    -1 stands for no segment. What lies in no segment is never written, which is shown as NaN.
    """
    assert mask_type.name == "PADDING_CAUSAL"
    assert q_seqlen.dtype == q_offsets.dtype == jnp.int32
    assert q_offsets.shape == (len(q), q_seqlen.shape[1] + 1)
    index = jnp.arange(q.shape[1])[:, None]

    def inside(lengths: Array, starts: Array) -> Array:
        """[B, T, M]: whether a position lies in a segment."""
        starts, lengths = starts[:, None, :-1], lengths[:, None]
        return (starts >= 0) & (index >= starts) & (index < starts + lengths)

    of_query, of_key = inside(q_seqlen, q_offsets), inside(kv_seqlen, kv_offsets)
    together = (of_query[:, :, None] & of_key[:, None]).any(-1)  # [B, T, T]
    out = call(q, k, v, mask=together[:, None], is_causal=True, scale=scale, implementation="xla")
    return jnp.where(of_query.any(-1)[..., None, None], out, jnp.nan)


def ready_for_cudnn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let jax lower calls of cuDNN's attention, packed ones too, though there is no GPU."""
    from jax._src.cudnn import fused_attention_stablehlo

    monkeypatch.setattr(fused_attention_stablehlo, "check_cudnn_version", lambda: 91900)
    monkeypatch.setattr(fused_attention_stablehlo, "check_compute_capability", lambda capability: True)
