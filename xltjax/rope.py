"""Rotary position embeddings in the rotate-half layout of Hugging Face, and their scalings for longer contexts."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import DTypeLike


@dataclass(frozen=True)
class LinearScaling:
    """All positions divided by ``factor`` (``rope_type: linear``)."""

    factor: float

    def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        """The scaled frequencies [H/2] of plain ones; their base ``theta`` does not matter."""
        return frequencies / np.float32(self.factor)


@dataclass(frozen=True)
class DynamicScaling:
    """A base that grows with the length of a row beyond ``max_positions`` (``rope_type: dynamic``).

    ``factor`` says how fast it grows. Rows of up to ``max_positions`` are rotated as without scaling.
    """

    factor: float
    max_positions: int


@dataclass(frozen=True)
class Llama3Scaling:
    """Llama 3.1's stretching of low rotary frequencies (``rope_type: llama3``)."""

    factor: float
    low_freq_factor: float
    high_freq_factor: float
    original_max_positions: int

    def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        """The scaled frequencies [H/2] of plain ones; their base ``theta`` does not matter."""
        wavelengths = 2 * np.pi / frequencies
        low = self.original_max_positions / self.low_freq_factor
        high = self.original_max_positions / self.high_freq_factor
        smooth = (self.original_max_positions / wavelengths - self.low_freq_factor) / (
            self.high_freq_factor - self.low_freq_factor
        )
        between = (1 - smooth) * frequencies / self.factor + smooth * frequencies
        stretched = np.where(wavelengths > low, frequencies / self.factor, frequencies)
        return np.where((wavelengths <= low) & (wavelengths >= high), between, stretched).astype(np.float32)


@dataclass(frozen=True)
class YarnScaling:
    """YaRN (``rope_type: yarn``): low frequencies are divided by ``factor``, high ones kept, with a ramp between.

    The ramp is where a pair of dimensions turns ``beta_slow`` to ``beta_fast`` times in ``original_max_positions``;
    ``truncate`` rounds its ends to whole dimensions. Cosines and sines are multiplied by ``attention_factor``.
    """

    factor: float
    original_max_positions: int
    attention_factor: float
    beta_fast: float = 32.0
    beta_slow: float = 1.0
    truncate: bool = True

    def stretch(self, frequencies: np.ndarray, theta: float) -> np.ndarray:
        """The scaled frequencies [H/2] of plain ones with the base ``theta``."""
        size = 2 * len(frequencies)
        low, high = (self._dimension(turns, size, theta) for turns in (self.beta_fast, self.beta_slow))
        if self.truncate:
            low, high = math.floor(low), math.ceil(high)
        low, high = max(low, 0), min(high, size - 1)
        if low == high:
            high += 0.001
        ramp = np.clip((np.arange(len(frequencies), dtype=np.float32) - low) / (high - low), 0, 1)
        return (frequencies / self.factor * ramp + frequencies * (1 - ramp)).astype(np.float32)

    def _dimension(self, turns: float, size: int, theta: float) -> float:
        """The dimension whose pair makes so many ``turns`` in the original context."""
        return size * math.log(self.original_max_positions / (turns * 2 * math.pi)) / (2 * math.log(theta))


RopeScaling = LinearScaling | DynamicScaling | Llama3Scaling | YarnScaling


def rope_tables(
    positions: Array, head_dim: int, theta: float, scaling: RopeScaling | None, dtype: DTypeLike
) -> tuple[Array, Array]:
    """Cosines and sines [B, T, 1, H] of the rotary angles at ``positions`` [B, T].

    Args:
        positions: of the tokens.
        head_dim: H.
        theta: the base of the frequencies.
        scaling: how they are scaled.
        dtype: of the result; angles are computed in float32.
    """
    frequencies: Array | np.ndarray = inverse_frequencies(head_dim, theta, scaling)
    if isinstance(scaling, DynamicScaling):
        frequencies = _growing(positions, head_dim, theta, scaling)
    angles = positions[..., None].astype(jnp.float32) * frequencies
    angles = jnp.concatenate([angles, angles], axis=-1)[:, :, None]
    size = scaling.attention_factor if isinstance(scaling, YarnScaling) else 1.0
    return (jnp.cos(angles) * size).astype(dtype), (jnp.sin(angles) * size).astype(dtype)


def inverse_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None = None) -> np.ndarray:
    """Rotary frequencies [H/2] float32: theta^(-2i/H), stretched as ``scaling`` says.

    Those of ``DynamicScaling`` are the ones up to its ``max_positions``.
    """
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    frequencies = (1.0 / np.float32(theta) ** exponents).astype(np.float32)
    if scaling is None or isinstance(scaling, DynamicScaling):
        return frequencies
    return scaling.stretch(frequencies, theta)


def _growing(positions: Array, head_dim: int, theta: float, scaling: DynamicScaling) -> Array:
    """Frequencies [B, 1, H/2] that follow from the longest position of each row."""
    length = jnp.maximum(positions.max(axis=1, keepdims=True) + 1, scaling.max_positions)
    growth = scaling.factor * length.astype(jnp.float32) / scaling.max_positions - (scaling.factor - 1)
    base = theta * growth ** (head_dim / (head_dim - 2))
    exponents = np.arange(0, head_dim, 2, dtype=np.float32) / np.float32(head_dim)
    return 1.0 / base[..., None] ** exponents


def rotate(x: Array, cos: Array, sin: Array) -> Array:
    """Rotary embedding of x [B, T, heads, H] in the rotate-half layout of Hugging Face."""
    first, second = jnp.split(x, 2, axis=-1)
    return x * cos + jnp.concatenate([-second, first], axis=-1) * sin
