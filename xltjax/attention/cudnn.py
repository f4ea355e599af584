"""Causal attention within segments by cuDNN's flash kernel, on NVIDIA GPUs.

Array dimensions as in ``llama.py``: B batch, T query length, N heads, K key-value heads, H head dim.
"""

from __future__ import annotations

import os
import re

import jax
import jax.numpy as jnp
from jax import Array

WIDEST_HEAD = {8: 128, 9: 256}  # by compute capability; later ones are taken to be like 9


def suits_cudnn(q: Array) -> bool:
    """Whether cuDNN's kernel and its gradient run on the present devices for queries [B, T, N, H].

    ``XLTJAX_ATTENTION=portable`` in the environment says no, in case cuDNN refuses nonetheless.
    """
    if os.environ.get("XLTJAX_ATTENTION") == "portable":
        return False
    # "9.0" on NVIDIA, "gfx90a" on AMD, not there on CPU and TPU.
    capability = getattr(jax.devices()[0], "compute_capability", "")
    if not re.fullmatch(r"\d+\.\d+", capability):
        return False
    widest = WIDEST_HEAD.get(min(int(capability.split(".")[0]), max(WIDEST_HEAD)), 0)
    _, length, _, head_dim = q.shape
    return (
        q.dtype in (jnp.bfloat16, jnp.float16)
        and head_dim % 8 == 0
        and head_dim <= widest
        and length % 2 == 0  # the gradient with a mask needs even lengths
    )


def cudnn_attention(q: Array, k: Array, v: Array, segment_ids: Array, window: int | None = None) -> Array:
    """Causal attention in which a token sees only its own segment; a kernel for inside ``jax.shard_map``.

    Causality is left to cuDNN, which skips scores above the diagonal. Segments and window are passed as a mask
    of the full shape [B, 1, T, T], the only shape that cuDNN takes: it becomes an additive bias so low that
    weights across a boundary are exactly 0. The window is part of the mask because cuDNN refuses its own window
    beside a bias. The mask is boolean, for which jax 0.11 computes no gradient of the bias (0.10 still does).

    Args:
        q: queries [B, T, N, H], bfloat16 or float16.
        k: keys [B, T, K, H]; N is a multiple of K, and keys are not repeated.
        v: values [B, T, K, H].
        segment_ids: [B, T] int32; tokens with different ids do not see each other.
        window: a token sees at most the last ``window`` tokens, itself included.

    Returns:
        [B, T, N, H] in the dtype of ``q``.
    """
    mask = segment_ids[:, None, :, None] == segment_ids[:, None, None, :]
    if window is not None:
        index = jnp.arange(q.shape[1])
        mask &= index[None, :] > index[:, None] - window
    return jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=True, implementation="cudnn")
