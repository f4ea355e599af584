"""The device mesh and how logical axes of arrays lie on it.

A mesh ``DxT`` (or ``RxDxT``) has the axes ``replica``, ``data`` and ``tensor``: the batch is split over
``replica`` and ``data``, stored parameters over ``data`` (FSDP: gathered where they are used) and
``tensor`` (matrix parallelism). All axes are explicit: every array's type says how it is sharded.
"""

from __future__ import annotations

import contextlib
import os
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from xltjax.common.errors import UserError
from xltjax.common.files import cache_directory
from xltjax.common.hardware import parse_mesh
from xltjax.common.locks import use_directory

AXES = ("replica", "data", "tensor")
BATCH = ("replica", "data")  # the mesh axes over which a batch is split

MOST_CPU_DEVICES = 512  # into which the CPU is divided on a machine without accelerators

# Logical axis of a parameter -> mesh axis over which it is stored. Axes over ``data`` are gathered for use.
STORED = {
    "embed": "data",
    "table_rows": "data",
    "table_columns": "tensor",
    "vocab": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
}


def make_mesh(spec: str, processes: int = 1) -> Mesh:
    """Make the mesh ``spec`` of the first devices, or of all devices if there are several processes.

    The axes of the mesh are explicit. On a machine without accelerators, the CPU is divided into as many devices as
    the mesh needs, unless JAX has already started or the user fixed their number.

    Args:
        spec: the shape of the mesh: ``"DxT"`` (data x tensor) or ``"RxDxT"`` (with R replicas), such as ``"2x1"``.
        processes: the number of processes that share the devices.

    Raises:
        UserError: for a ``spec`` of another form, if there are fewer devices than the mesh needs, or if several
            processes have more devices than it needs.
    """
    sizes = parse_mesh(spec)
    needed = sizes[0] * sizes[1] * sizes[2]
    started = _divide_cpu(max(needed // processes, 1))
    devices = jax.devices()
    if len(devices) < needed:
        count = len(devices)
        fitting = f"{count}x1 or 1x{count}" if count > 1 else "1x1"
        late = ", or give this one in a new Python: JAX has started and divides the CPU no more"
        raise UserError(
            f"mesh {spec} needs {needed} devices and this machine has {count}; use --mesh {fitting}"
            + (late if started and devices[0].platform == "cpu" else "")
        )
    if jax.process_count() > 1 and len(devices) > needed:
        raise UserError(
            f"mesh {spec} takes {needed} of the {len(devices)} devices of {jax.process_count()} processes; "
            f"use all, such as --mesh {len(devices)}x1"
        )
    return jax.make_mesh(sizes, AXES, axis_types=(AxisType.Explicit,) * 3, devices=devices[:needed])


def cache_compilations() -> None:
    """Keep compiled programs in the user's cache folder, so that the next start finds them.

    ``$JAX_COMPILATION_CACHE_DIR`` names another folder; when it is empty, nothing is cached.
    """
    if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
        compiled = cache_directory() / "compiled"
        with contextlib.suppress(OSError):  # JAX warns when it cannot write there
            compiled.mkdir(parents=True, exist_ok=True)
            use_directory(compiled)
        jax.config.update("jax_compilation_cache_dir", str(compiled))
    # By default programs that compile within a second are not kept, which is most of a small model's.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)


def _divide_cpu(count: int) -> bool:
    """Divide the CPU into ``count`` devices, if nobody else says how many; whether JAX had started before."""
    fixed = "JAX_NUM_CPU_DEVICES" in os.environ or "host_platform_device_count" in os.environ.get(
        "XLA_FLAGS", ""
    )
    if not fixed:
        try:
            jax.config.update("jax_num_cpu_devices", min(count, MOST_CPU_DEVICES))
        except RuntimeError:
            return True  # the number of its devices is fixed
    return False


def mesh_of(array: jax.Array) -> Mesh:
    """The mesh on which an array lies."""
    placed = array.sharding
    assert isinstance(placed, NamedSharding)
    assert isinstance(placed.mesh, Mesh)
    return placed.mesh


def batch_size(mesh: Mesh) -> int:
    """Number of parts into which a batch is split; the rows of a batch must be a multiple of it."""
    return mesh.shape["replica"] * mesh.shape["data"]


def stored_spec(axes: tuple[str | None, ...]) -> P:
    """Where a parameter with these logical axes is stored: split over ``data`` and ``tensor``."""
    return P(*(STORED.get(axis or "") for axis in axes))


def used_spec(axes: tuple[str | None, ...]) -> P:
    """Where the same parameter lies while it is used: gathered over ``data``, split over ``tensor``."""
    return P(*(None if axis == "data" else axis for axis in stored_spec(axes)))


def sharding(mesh: Mesh, *spec: Any) -> NamedSharding:
    """``NamedSharding(mesh, P(*spec))``."""
    return NamedSharding(mesh, P(*spec))
