"""The rule by which a kernel of attention is chosen, and what it was chosen for.

The first kernel of ``ORDER`` that can run is taken: nothing known stands against it, and a small problem that it
computes at the start, values and gradients, agrees with the portable kernel. On platforms without kernels of their
own, the portable one is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from xltjax.attention.cudnn import cudnn_obstacle, cudnn_packed_obstacle
from xltjax.attention.probe import failure
from xltjax.attention.problem import Device, Problem
from xltjax.attention.splash import splash_obstacle
from xltjax.attention.tokamax_kernel import tokamax_obstacle
from xltjax.common.errors import UserError
from xltjax.common.hardware import Kernel, WantedKernel

# By platform, the fastest first: without a mask cuDNN's forward pass took 0.27 ms, with one 0.64 ms (an H200).
ORDER: dict[str, tuple[Kernel, ...]] = {"nvidia": ("cudnn-packed", "tokamax", "cudnn"), "tpu": ("splash",)}
# What is known to stand against a kernel before it is tried.
OBSTACLES: dict[Kernel, Callable[[Problem, Device], str]] = {
    "cudnn-packed": cudnn_packed_obstacle,
    "tokamax": tokamax_obstacle,
    "cudnn": cudnn_obstacle,
    "splash": splash_obstacle,
    "portable": lambda problem, device: "",
}


@dataclass(frozen=True)
class Choice:
    """A kernel, and why those before it in ``ORDER`` were not taken."""

    kernel: Kernel
    against: dict[Kernel, str]

    @property
    def needs_segments(self) -> bool:
        """Whether the kernel must be told the most segments of a row."""
        return self.kernel == "cudnn-packed"


def choose(problem: Problem, wanted: WantedKernel = "auto", device: Device | None = None) -> Choice:
    """The kernel for a problem.

    Args:
        problem: what is computed.
        wanted: ``auto`` for the rule, or the kernel to take whatever stands against it. The packed layout alone
            gives way to cuDNN's mask where it could not be right.
        device: on which it will be computed, as far as is known beforehand; the present one when not given, on
            which a kernel is also tried.
    """
    present = Device.present() if device is None else device
    if wanted == "cudnn-packed" and (problem.window is not None or not problem.segments):
        return Choice("cudnn", {"cudnn-packed": cudnn_packed_obstacle(problem, present)})
    if wanted != "auto":
        return Choice(wanted, {})
    against: dict[Kernel, str] = {}
    for kernel in ORDER.get(present.platform, ()):
        found = OBSTACLES[kernel](problem, present) or (failure(kernel, problem) if device is None else "")
        if not found:
            return Choice(kernel, against)
        against[kernel] = found
    return Choice("portable", against)


def check_kernel(problems: Sequence[Problem], wanted: WantedKernel) -> None:
    """Refuse a kernel that cannot compute the problems on the present device.

    Raises:
        UserError: saying why.
    """
    if wanted == "auto":
        return
    for problem in problems:
        found = OBSTACLES[wanted](problem, Device.present()) or failure(wanted, problem)
        if found:
            runs = choose(problem).kernel
            raise UserError(
                f"--attention {wanted} cannot be used here: {found}; {runs} can (--attention auto)"
            )


def record(problems: Sequence[Problem], wanted: WantedKernel) -> list[dict[str, Any]]:
    """For a record of a run: the kernel of each problem, and why not a faster one."""
    return [
        {"window": problem.window, "kernel": choice.kernel, "not": choice.against}
        for problem in problems
        for choice in [choose(problem, wanted)]
    ]
