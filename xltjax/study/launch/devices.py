"""The accelerators of this machine, found without starting JAX, which would take their memory."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path


def gpus(environment: Mapping[str, str]) -> list[str]:
    """What $CUDA_VISIBLE_DEVICES calls each NVIDIA GPU that a process with this environment may use."""
    if _on_cpu(environment):
        return []
    visible = environment.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return re.findall(r"^GPU (\d+):", listed.stdout, re.MULTILINE)


def has_tpu(environment: Mapping[str, str]) -> bool:
    """Whether there are TPUs, all of which a process takes at once."""
    if _on_cpu(environment):
        return False
    from xltjax.common.distributed import TPU_DEVICES  # which imports JAX

    return any(Path(file).exists() for file in TPU_DEVICES)


def _on_cpu(environment: Mapping[str, str]) -> bool:
    return environment.get("JAX_PLATFORMS", "").split(",")[0] == "cpu"
