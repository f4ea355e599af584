"""Rotary position embeddings in the rotate-half layout of Hugging Face."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array


@dataclass(frozen=True)
class RopeScaling:
    """Llama 3.1's scaling of low rotary frequencies (``rope_type: llama3``); attributes as in its ``config.json``."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int


def rope_tables(positions: Array, frequencies: np.ndarray, dtype: Any) -> tuple[Array, Array]:
    """Cosines and sines [B, T, 1, H] of the angles positions [B, T] times ``frequencies`` [H/2]."""
    angles = positions[..., None].astype(jnp.float32) * frequencies
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None]
    return jnp.cos(angles).astype(dtype), jnp.sin(angles).astype(dtype)


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> np.ndarray:
    """Rotary frequencies [H/2] float32: theta^(-2i/H), the low ones divided as ``scaling`` says."""
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    if scaling is None:
        return frequencies
    wavelengths = 2 * np.pi / frequencies
    low = scaling.original_max_positions / scaling.low_freq_factor
    high = scaling.original_max_positions / scaling.high_freq_factor
    smooth = (scaling.original_max_positions / wavelengths - scaling.low_freq_factor) / (
        scaling.high_freq_factor - scaling.low_freq_factor
    )
    between = (1 - smooth) * frequencies / scaling.factor + smooth * frequencies
    scaled = np.where(wavelengths > low, frequencies / scaling.factor, frequencies)
    return np.where((wavelengths <= low) & (wavelengths >= high), between, scaled).astype(np.float32)


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotary embedding of x [B, T, heads, H] in the rotate-half layout of Hugging Face."""
    first, second = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-second, first], axis=-1) * sin
