"""The kernels of attention by name, called alike."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from xltjax.attention.cudnn import cudnn_attention, cudnn_packed_attention
from xltjax.attention.portable import portable_attention
from xltjax.attention.splash import splash_attention
from xltjax.attention.tokamax_kernel import tokamax_attention
from xltjax.common.hardware import Kernel

IN_PALLAS = ("splash", "tokamax")  # in which ``shard_map`` cannot check what differs between devices


def run_kernel(
    name: Kernel,
    q: Array,
    k: Array,
    v: Array,
    segment_ids: Array | None,
    *,
    window: int | None = None,
    segments: int = 0,
) -> Array:
    """Causal attention within segments by the kernel ``name``; arguments as ``packed.attention``, on one device."""
    if name == "cudnn-packed" and segment_ids is not None:
        assert window is None, "the packed layout has no window"
        assert segments, "the packed layout is told how many segments there are"
        return cudnn_packed_attention(q, k, v, segment_ids, segments)
    if name in ("cudnn", "cudnn-packed"):
        return cudnn_attention(q, k, v, segment_ids, window)
    if name == "tokamax":
        return tokamax_attention(q, k, v, segment_ids, window)
    if name == "splash":
        return splash_attention(q, k, v, segment_ids, window)
    ids = jnp.ones(q.shape[:2], jnp.int32) if segment_ids is None else segment_ids
    return portable_attention(q, k, v, ids, window)
