"""Runs of several processes: how they find each other, and how they agree."""

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
# Device files of TPU hosts, each of which may be one of several in a pod.
TPU_DEVICES = ("/dev/accel0", "/dev/vfio/0")


def join_processes(coordinator: str, process_id: int | None, processes: int | None) -> int:
    """Connect this process with the others of its run. Call it before JAX is used for anything else.

    It does nothing for a run of one process.

    Args:
        coordinator: ``host:port`` of process 0. When it is empty, JAX finds it out from SLURM, Open MPI,
            Kubernetes or the TPU's metadata.
        process_id: the number of this process, from 0.
        processes: how many processes there are; 1 says that this process runs alone, whatever the launcher
            says.

    Returns:
        The number of processes, as far as it is known without asking JAX, which would start JAX; at least 1.

    Raises:
        UserError: when the three arguments contradict each other, or the processes cannot connect.
    """
    if processes == 1:
        return 1
    if not coordinator and process_id is None and processes is None:
        launched = max(int(os.environ.get(name, "1")) for name in LAUNCHED)
        if launched > 1 or _may_have_others():
            _join()
        return launched
    if not coordinator or process_id is None or processes is None:
        raise UserError("--coordinator, --process-id and --processes go together; give all three or none")
    if not 0 <= process_id < processes:
        raise UserError(f"process_id must be from 0 to {processes - 1}, not {process_id}")
    if ":" not in coordinator:
        raise UserError(f"coordinator {coordinator!r} is not of the form host:port")
    _join(coordinator, processes, process_id)
    return processes


def _may_have_others() -> bool:
    """Whether this process may run in one of several pods of a Kubernetes job or hosts of a TPU slice."""
    on_tpu = find_spec("libtpu") is not None and any(Path(file).exists() for file in TPU_DEVICES)
    return on_tpu or all(name in os.environ for name in KUBERNETES)


def _join(
    coordinator: str | None = None, processes: int | None = None, process_id: int | None = None
) -> None:
    """Connect as the arguments say; JAX finds out for itself what they leave open."""
    try:
        jax.distributed.initialize(coordinator, processes, process_id)
    except (RuntimeError, ValueError) as problem:
        raise UserError(
            f"the processes of this run could not connect: {first_line(problem)}; "
            "give --coordinator, --process-id and --processes, or --processes 1 for a run of one process"
        ) from None


def is_first() -> bool:
    """Whether this is process 0, which writes logs and results."""
    return jax.process_index() == 0


def any_process(flag: bool) -> bool:
    """Whether ``flag`` is true in any process. All processes must call this at the same point of the run."""
    if jax.process_count() == 1:
        return flag
    from jax.experimental.multihost_utils import process_allgather

    return bool(process_allgather(np.array(flag)).any())


def wait_for_all(name: str) -> None:
    """Wait until every process has reached the point called ``name``."""
    if jax.process_count() > 1:
        from jax.experimental.multihost_utils import sync_global_devices

        sync_global_devices(name)
