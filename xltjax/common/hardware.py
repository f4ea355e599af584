"""What is known about accelerators: memory and peak arithmetic, by the names people use and by JAX's."""

from __future__ import annotations

import resource
import sys
from dataclasses import dataclass

import jax

GIB = 1 << 30


@dataclass(frozen=True)
class Accelerator:
    """One kind of device, by its maker's data sheet.

    Attributes:
        memory: in GiB.
        peak: dense bfloat16 arithmetic in TFLOP/s.
        kinds: beginnings of ``jax.Device.device_kind``.
    """

    memory: int
    peak: float
    kinds: tuple[str, ...]


ACCELERATORS = {
    "a100-40g": Accelerator(40, 312, ("NVIDIA A100-SXM4-40GB", "NVIDIA A100-PCIE-40GB")),
    "a100-80g": Accelerator(80, 312, ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 80GB PCIe")),
    "h100": Accelerator(80, 989, ("NVIDIA H100",)),
    "h200": Accelerator(141, 989, ("NVIDIA H200",)),
    "v4": Accelerator(32, 275, ("TPU v4",)),
    "v5e": Accelerator(16, 197, ("TPU v5 lite", "TPU v5e")),
    "v5p": Accelerator(95, 459, ("TPU v5p", "TPU v5")),
    "v6e": Accelerator(32, 918, ("TPU v6 lite", "TPU v6e")),
}

# Peak memory bandwidth in bytes per second, by the beginning of JAX's device kind (vendors' data sheets).
BANDWIDTH = {
    "NVIDIA A100-SXM4-40GB": 1.555e12,
    "NVIDIA A100-PCIE-40GB": 1.555e12,
    "NVIDIA A100-SXM4-80GB": 2.039e12,
    "NVIDIA A100 80GB PCIe": 1.935e12,
    "NVIDIA H100 80GB HBM3": 3.35e12,
    "NVIDIA H100 PCIe": 2.0e12,
    "NVIDIA H200": 4.8e12,
    "TPU v4": 1.228e12,
    "TPU v5 lite": 0.819e12,
    "TPU v5p": 2.765e12,
    "TPU v6 lite": 1.64e12,
}


def peak_flops(kind: str) -> float | None:
    """Peak bfloat16 FLOP/s of a device by JAX's name for it; None when it is not known."""
    for accelerator in ACCELERATORS.values():
        if kind.startswith(accelerator.kinds):
            return accelerator.peak * 1e12
    return None


def peak_bandwidth(kind: str) -> float | None:
    """Peak memory bandwidth of a device in bytes/s by JAX's name for it; None when it is not known."""
    return next((value for name, value in BANDWIDTH.items() if kind.startswith(name)), None)


def peak_memory() -> int:
    """Most bytes that were in use on this process's first device so far; on CPU, by this process."""
    statistics = jax.local_devices()[0].memory_stats()
    if statistics and "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return used if sys.platform == "darwin" else used * 1024  # kilobytes everywhere else
