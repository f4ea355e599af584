"""Logits of a model, to compare with those of others."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from xltjax.llama import Llama

# Of float32 logits of size 5 after two blocks: 300 units in the last place, of which other orders of summation use
# up to 30. What is wrong (a sum over devices left out, a scale, a rotation) changes them by 0.1 and more.
LOGIT_ERROR = 1e-4


def logits_of(model: Llama, tokens: np.ndarray, mesh: jax.sharding.Mesh) -> np.ndarray:
    positions = np.broadcast_to(np.arange(tokens.shape[1], dtype=np.int32), tokens.shape)
    with jax.set_mesh(mesh):
        return np.asarray(jax.jit(lambda m, t, p: m(t, jnp.ones_like(t), p))(model, tokens, positions))
