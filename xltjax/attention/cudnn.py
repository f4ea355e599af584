"""Causal attention within segments by cuDNN's flash kernel, on NVIDIA GPUs: with a mask, or in its packed layout.

Array dimensions as in ``llama.py``: B batch, T query length, N heads, K key-value heads, H head dim; M segments.
"""

from __future__ import annotations

import inspect

import jax
import jax.numpy as jnp
from jax import Array

from xltjax.attention.problem import Device, Problem

WIDEST_HEAD = {8: 128, 9: 256}  # by compute capability; later ones are taken to be like 9
PACKED_CAPABILITY = (9, 0)
PACKED_CUDNN = 90600  # the first version for which jax tests the packed layout
# Time and memory of the backward pass grow with the segments that are declared: with 64 of them and 8 rows of 2048 it
# needed 15 GiB, and one of its kernels took two thirds of the time of attention (an H200, cuDNN 9.19).
MOST_SEGMENTS = 32
GROUPED_JAX = (0, 12)  # earlier ones step through keys as far as through queries (jax#39521)
CUDNN_FORWARD = (
    "dot_product_attention_fwd_wrapper"  # jax's name of the forward pass, for activation checkpointing
)


def cudnn_obstacle(problem: Problem, device: Device) -> str:
    """Why cuDNN's kernel and its gradient cannot run; empty when they can."""
    widest = WIDEST_HEAD.get(min(device.capability[0], max(WIDEST_HEAD)), 0)
    if device.platform != "nvidia":
        return "it needs an NVIDIA GPU"
    if not widest:
        return "it needs compute capability 8.0 or later"
    if problem.dtype not in ("bfloat16", "float16"):
        return f"it computes bfloat16 and float16, not {problem.dtype}"
    if problem.head_dim % 8 or problem.head_dim > widest:
        return f"it takes heads of a multiple of 8 up to {widest}, not {problem.head_dim}"
    if problem.length % 2:
        return f"its gradient needs even lengths, not {problem.length}"
    return ""


def cudnn_packed_obstacle(problem: Problem, device: Device) -> str:
    """Why cuDNN's packed layout cannot be used; empty when it can."""
    if problem_of_all := cudnn_obstacle(problem, device):
        return problem_of_all
    if device.capability < PACKED_CAPABILITY:
        return "it needs compute capability 9.0 or later"
    if device.cudnn and device.cudnn < PACKED_CUDNN:
        return "it needs cuDNN 9.6 or later"
    if not problem.segments:
        return "it needs the number of segments in a row"
    if problem.segments > MOST_SEGMENTS:
        return f"it is slow and needs much memory for more than {MOST_SEGMENTS} segments in a row"
    if problem.window is not None:
        return "it has no sliding window within segments"
    if problem.grouped and jax.__version_info__ < GROUPED_JAX:
        return f"with grouped queries it needs jax 0.12 or later, not {jax.__version__}"
    try:
        from jax._src.cudnn.fused_attention_stablehlo import MaskType, dot_product_attention
    except ImportError:
        return f"jax {jax.__version__} does not have it"
    known = inspect.signature(dot_product_attention).parameters
    if not {"q_seqlen", "kv_seqlen", "q_offsets", "kv_offsets"} <= {*known} or not hasattr(
        MaskType, "PADDING_CAUSAL"
    ):
        return f"jax {jax.__version__} does not have it"
    return ""


def cudnn_attention(q: Array, k: Array, v: Array, segment_ids: Array | None, window: int | None) -> Array:
    """Causal attention in which a token sees only its own segment; a kernel for inside ``jax.shard_map``.

    Causality is left to cuDNN, which skips scores above the diagonal. Segments and window are passed as a mask
    of the full shape [B, 1, T, T], the only shape that cuDNN takes: it becomes an additive bias so low that
    weights across a boundary are exactly 0. The window is part of the mask because cuDNN refuses its own window
    beside a bias. The mask is boolean, for which jax 0.11 computes no gradient of the bias (0.10 still does).
    Rows of one segment need no mask.

    Args:
        q: queries [B, T, N, H], bfloat16 or float16.
        k: keys [B, T, K, H]; N is a multiple of K, and keys are not repeated.
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; tokens with different ids do not see each other. None when all do.
        window: a token sees at most the last ``window`` tokens, itself included.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    mask, own_window = None, None
    if segment_ids is not None:
        mask = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
        if window is not None:
            index = jnp.arange(q.shape[1])
            mask &= index[None, :] > index[:, None] - window
    elif window is not None:
        own_window = (window - 1, 0)
    return jax.nn.dot_product_attention(
        q, k, v, mask=mask, is_causal=True, local_window_size=own_window, implementation="cudnn"
    )


def cudnn_packed_attention(q: Array, k: Array, v: Array, segment_ids: Array, segments: int) -> Array:
    """The same by cuDNN's layout for packed rows, without a mask: it is told where segments start and end.

    The call is private in jax. Its backward pass takes time for every declared segment.

    Args:
        q: as ``cudnn_attention`` takes it, like ``k``, ``v`` and ``segment_ids``.
        k: keys.
        v: values.
        segment_ids: runs of equal ids are segments, padding included.
        segments: the most runs of a row. A row with more of them would be computed wrongly.
    """
    from jax._src.cudnn.fused_attention_stablehlo import MaskType, dot_product_attention

    lengths, starts = segment_table(segment_ids, max(segments, 2))  # one alone is not the packed layout
    out: Array = dot_product_attention(
        q, k, v, q_seqlen=lengths, kv_seqlen=lengths, q_offsets=starts, kv_offsets=starts,
        scale=q.shape[-1] ** -0.5, mask_type=MaskType.PADDING_CAUSAL,
    )  # fmt: skip
    return out


def segment_table(segment_ids: Array, most: int) -> tuple[Array, Array]:
    """Lengths [B, M] and starts [B, M + 1] of the runs in segment_ids [B, T], -1 where there is none.

    Padding counts as a run like any other, so that every position of the result is written.
    """
    before = jnp.pad(segment_ids[:, :-1], ((0, 0), (1, 0)), constant_values=-1)
    run = jnp.cumsum(segment_ids != before, axis=1) - 1
    lengths = (run[:, :, None] == jnp.arange(most)).sum(axis=1, dtype=jnp.int32)
    starts = jnp.cumsum(lengths, axis=1, dtype=jnp.int32) - lengths
    starts, lengths = (jnp.where(lengths > 0, x, -1) for x in (starts, lengths))
    return lengths, jnp.pad(starts, ((0, 0), (0, 1)), constant_values=-1)
