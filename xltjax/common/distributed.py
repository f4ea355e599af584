"""Several processes as one run: start them, and agree among them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import jax
import numpy as np

from xltjax.common.errors import UserError, first_line

# Set by srun and mpirun to the number of processes they started.
LAUNCHED = ("SLURM_STEP_NUM_TASKS", "OMPI_COMM_WORLD_SIZE")
# Set in the pods of an indexed Kubernetes job, which may have a single one.
KUBERNETES = ("KUBERNETES_SERVICE_HOST", "JOB_COMPLETION_INDEX")
# Device files of TPU hosts, each of which may be one of a pod's.
TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def join_processes(coordinator: str, process_id: int | None, processes: int | None) -> int:
    """Join the other processes of this run; does nothing for a run of one. Before anything else of JAX.

    Args:
        coordinator: ``host:port`` of process 0; empty to let JAX find out from SLURM, Open MPI, Kubernetes
            or the TPU's metadata.
        process_id: of this one, from 0.
        processes: how many there are; 1 alone says that there are no others, whatever the launcher says.

    Returns:
        How many there are as far as is known without asking JAX, which would start it: at least 1.

    Raises:
        UserError: when the three do not fit together, or the processes do not find one another.
    """
    if processes == 1:
        return 1
    if not coordinator and process_id is None and processes is None:
        launched = max(int(os.environ.get(name, "1")) for name in LAUNCHED)
        if launched > 1 or _may_have_others():
            _join()
        return launched
    if not coordinator or process_id is None or processes is None:
        raise UserError("--coordinator, --process-id and --processes go together")
    if not 0 <= process_id < processes:
        raise UserError(f"process_id must be from 0 to {processes - 1}, not {process_id}")
    if ":" not in coordinator:
        raise UserError(f"coordinator {coordinator!r} is not of the form host:port")
    _join(coordinator, processes, process_id)
    return processes


def _may_have_others() -> bool:
    """Whether this may be one pod of a Kubernetes job, or one host of a TPU slice."""
    on_tpu = find_spec("libtpu") is not None and any(Path(file).exists() for file in TPU_DEVICES)
    return on_tpu or all(name in os.environ for name in KUBERNETES)


def _join(*arguments: object) -> None:
    try:
        jax.distributed.initialize(*arguments)  # type: ignore[arg-type]
    except (RuntimeError, ValueError) as problem:
        raise UserError(
            f"the processes of this run did not find one another: {first_line(problem)}; "
            "give --coordinator, --process-id and --processes, or --processes 1 for a run of one"
        ) from None


def is_first() -> bool:
    """Whether this is the process that writes logs and results."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is true in any process; all of them must ask at the same point."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental.multihost_utils import process_allgather

    return bool(process_allgather(np.array(flag)).any())


def wait_for_all(name: str) -> None:
    """Go on when every process has come to the point called ``name``."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)
