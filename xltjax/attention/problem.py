"""What is known before a kernel of attention is chosen: the shapes it is asked for, and the device."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import jax

ATTENTION_OUTPUT = (
    "attention"  # of what a kernel keeps for its backward pass, in policies of activation checkpointing
)


@dataclass(frozen=True)
class Problem:
    """Attention of packed rows on one device.

    Attributes:
        dtype: of queries, keys and values.
        length: of a row.
        head_dim: size of a head.
        grouped: whether several heads of queries share one of keys and values.
        window: a token sees at most so many tokens, itself included; None when it sees its whole segment.
        segments: the most segments of a row, padding counted as one; 0 when that is not known.
    """

    dtype: str
    length: int
    head_dim: int
    grouped: bool = False
    window: int | None = None
    segments: int = 0


@dataclass(frozen=True)
class Device:
    """One device as far as kernels depend on it.

    Attributes:
        platform: ``nvidia``, ``tpu``, or anything else.
        capability: NVIDIA's compute capability.
        cudnn: cuDNN's version as it counts (9.19.0 is 91900); 0 when it is not known.
    """

    platform: str
    capability: tuple[int, int] = (0, 0)
    cudnn: int = 0

    @classmethod
    def present(cls) -> Device:
        """The first device of this process."""
        device = jax.devices()[0]
        # "9.0" on NVIDIA, "gfx90a" on AMD, not there on CPU and TPU.
        found = re.fullmatch(r"(\d+)\.(\d+)", str(getattr(device, "compute_capability", "")))
        if found:
            return cls("nvidia", (int(found[1]), int(found[2])), _cudnn_version())
        return cls(str(device.platform))


def _cudnn_version() -> int:
    """0 where jax does not say it."""
    try:
        from jax._src.lib import cuda_versions
    except ImportError:
        return 0
    version: Any = getattr(cuda_versions, "cudnn_get_version", lambda: 0)
    return int(version())
