"""What is known about accelerators, from their makers' data sheets, and how a mesh of devices is written."""

from __future__ import annotations

import math
import os
import re
import resource
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from xltjax.common.errors import UserError

GIB = 1 << 30
USABLE_MEMORY = 0.92  # share of a device's memory that a program can allocate

# The kernels of attention (see ``attention.choice``), and what a user may ask for.
Kernel = Literal["cudnn-packed", "tokamax", "cudnn", "splash", "portable"]
WantedKernel = Literal["auto", Kernel]


@dataclass(frozen=True)
class Accelerator:
    """One kind of device.

    Attributes:
        memory: in GiB.
        platform: ``nvidia`` or ``tpu``.
        capability: NVIDIA's compute capability.
        peak: dense bfloat16 arithmetic in FLOP/s.
        bandwidths: peak memory bandwidth in bytes/s, or None where it is not known, of each variant of the
            device. A variant is named by the beginning of ``jax.Device.device_kind``; the first that fits
            counts.
    """

    memory: int
    peak: float
    bandwidths: Mapping[str, float | None]
    platform: str = "tpu"
    capability: tuple[int, int] = (0, 0)


AMPERE, HOPPER = ("nvidia", (8, 0)), ("nvidia", (9, 0))  # platform and compute capability

# By the names that people use. The first kind that fits counts: "TPU v5 lite" is not "TPU v5".
ACCELERATORS = {
    "a100-40g": Accelerator(
        40, 312e12, {"NVIDIA A100-SXM4-40GB": 1.555e12, "NVIDIA A100-PCIE-40GB": 1.555e12}, *AMPERE
    ),
    "a100-80g": Accelerator(
        80, 312e12, {"NVIDIA A100-SXM4-80GB": 2.039e12, "NVIDIA A100 80GB PCIe": 1.935e12}, *AMPERE
    ),
    "h100": Accelerator(
        80,
        989e12,
        {"NVIDIA H100 80GB HBM3": 3.35e12, "NVIDIA H100 PCIe": 2.0e12, "NVIDIA H100": None},
        *HOPPER,
    ),
    "h200": Accelerator(141, 989e12, {"NVIDIA H200": 4.8e12}, *HOPPER),
    "v4": Accelerator(32, 275e12, {"TPU v4": 1.228e12}),
    "v5e": Accelerator(16, 197e12, {"TPU v5 lite": 0.819e12, "TPU v5e": 0.819e12}),
    "v5p": Accelerator(95, 459e12, {"TPU v5p": 2.765e12, "TPU v5": 2.765e12}),
    "v6e": Accelerator(32, 918e12, {"TPU v6 lite": 1.64e12, "TPU v6e": 1.64e12}),
}


def peak_flops(kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device by JAX's name for it; None when it is not known."""
    return next((accelerator.peak for accelerator, _ in _variants(kind)), None)


def accelerator_of(kind: str) -> str:
    """The name in ``ACCELERATORS`` of a device by JAX's name for it; empty when it is none of them."""
    return next((n for n, each in ACCELERATORS.items() if any(map(kind.startswith, each.bandwidths))), "")


def peak_bandwidth(kind: str) -> float | None:
    """Peak memory bandwidth of a device in bytes/s by JAX's name for it; None when it is not known."""
    return next((accelerator.bandwidths[variant] for accelerator, variant in _variants(kind)), None)


def _variants(kind: str) -> Iterator[tuple[Accelerator, str]]:
    """The accelerators and their variants that JAX's name for a device fits."""
    for accelerator in ACCELERATORS.values():
        yield from ((accelerator, variant) for variant in accelerator.bandwidths if kind.startswith(variant))


def device_memory() -> float:
    """Bytes that a program may allocate on this process's first device; on CPU its share of what is free."""
    import jax

    devices = jax.local_devices()
    statistics = devices[0].memory_stats()
    if statistics and "bytes_limit" in statistics:
        return float(statistics["bytes_limit"])
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    return free * USABLE_MEMORY / len(devices)


def free_memory() -> float:
    """Bytes that are free on this process's first device; without limit where that is not known, as on CPU."""
    import jax

    statistics = jax.local_devices()[0].memory_stats() or {}
    return float(statistics.get("bytes_limit", math.inf)) - float(statistics.get("bytes_in_use", 0))


def peak_memory() -> int:
    """The most bytes that were in use so far on this process's first device; on CPU, by this process."""
    import jax

    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024  # kilobytes everywhere else


def parse_mesh(spec: str) -> tuple[int, int, int]:
    """``"2x1"`` -> (1, 2, 1); ``"2x2x1"`` -> (2, 2, 1): sizes of (replica, data, tensor).

    Raises:
        UserError: when ``spec`` is not two or three positive whole numbers joined by ``x``.
    """
    if not re.fullmatch(r"[1-9]\d*x[1-9]\d*(x[1-9]\d*)?", spec):
        raise UserError(f"mesh {spec!r} is not of the form DxT or RxDxT, such as 2x1 (data x tensor)")
    *replicas, data, tensor = map(int, spec.split("x"))
    return (replicas[0] if replicas else 1, data, tensor)
