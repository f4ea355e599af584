"""Load a Hugging Face directory into a sharded ``Llama``, reading only the slices that each device needs."""

from __future__ import annotations

import logging
import math
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.typing import DTypeLike

from xltjax.common.errors import UserError
from xltjax.converters.hf_config import read_architecture
from xltjax.converters.names import hf_name
from xltjax.converters.safetensors_files import CHUNK_BYTES, map_tensors, same_bits
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.mesh import stored_spec

log = logging.getLogger("xltjax")

# The dtype of all parameters, or of each by its path; None keeps that of each tensor.
Dtypes = DTypeLike | Mapping[str, DTypeLike] | None

MOST_THREADS = 8  # threads that read; with accelerators, each has one tensor in host memory
PAGES = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)  # Linux alone has the last


class NotFiniteError(UserError):
    """A parameter holds NaN or infinite values."""

    def __init__(self, name: str):
        """``name`` is the name of the tensor."""
        super().__init__(
            f"the tensor {name} holds NaN or infinite values, so every answer would be noise; use other weights, "
            "or download them again"
        )


def load_hf(
    path: str | Path,
    mesh: Mesh,
    *,
    dtype: Dtypes = jnp.bfloat16,
    compute_dtype: DTypeLike | None = None,
    require_finite: bool = False,
) -> Llama:
    """Load a Hugging Face LLaMA-family directory onto ``mesh``.

    Args:
        path: a directory with ``config.json`` and safetensors (one file, or shards with an index).
        mesh: the devices, from ``xltjax.mesh.make_mesh``.
        dtype: the dtype of the parameters; tensors of another dtype are cast. None keeps the dtype of each tensor,
            and a mapping gives the dtype of each parameter by its path.
        compute_dtype: the dtype of activations. By default ``dtype`` if it is a single one, or else that of the
            embedding.
        require_finite: whether NaN and infinite values are an error instead of a warning.

    Returns:
        The model, with its parameters sharded over the mesh.

    Raises:
        UserError: for an unsupported model, damaged files, tensors that are missing, unknown or of the
            wrong shape, or a mesh that does not divide the model.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise UserError(f"model directory {directory} does not exist")
    config = read_architecture(directory)
    tensors = map_tensors(directory)
    one, each = (None, dtype) if isinstance(dtype, Mapping) else (dtype, None)
    computed = compute_dtype or one or _own_dtype(tensors)
    model = abstract_llama(config, mesh, computed)
    variables = {hf_name(name): variable for name, variable in parameters(model).items()}
    _drop_derived(directory, tensors, config)
    _check_names(directory, tensors, variables, config)
    dtypes = {hf_name(name): kind for name, kind in each.items()} if each else dtype
    load_variables(tensors, variables, mesh, dtypes, require_finite)
    return model


def map_model(directory: Path) -> tuple[LlamaConfig, dict[str, np.ndarray]]:
    """The architecture of a Hugging Face directory and its tensors by our paths, mapped into memory and not yet read.

    Raises:
        UserError: as ``load_hf`` does.
    """
    config = read_architecture(directory)
    tensors = map_tensors(directory)
    paths = {hf_name(name): (name, variable) for name, variable in parameters(Llama(config)).items()}
    _drop_derived(directory, tensors, config)
    _check_names(directory, tensors, {name: variable for name, (_, variable) in paths.items()}, config)
    return config, {path: tensors[name] for name, (path, _) in paths.items()}


def _own_dtype(tensors: Mapping[str, np.ndarray]) -> DTypeLike:
    """The dtype of the embedding, which stands for that of the model."""
    table = tensors.get(hf_name("embed.weight"))
    return jnp.float32 if table is None else table.dtype


def abstract_llama(config: LlamaConfig, mesh: Mesh, compute_dtype: DTypeLike) -> Llama:
    """A model whose parameters are shapes, with its vocabulary padded so that ``mesh`` divides it.

    Raises:
        UserError: when the mesh does not divide the model.
    """
    config.check_mesh(mesh)
    multiple = mesh.shape["data"] * mesh.shape["tensor"]
    return Llama(config, compute_dtype=compute_dtype, vocab_multiple=multiple)


def _drop_derived(directory: Path, tensors: dict[str, np.ndarray], config: LlamaConfig) -> None:
    """Remove the tensors that follow from others or from the config: rotary frequencies and a tied head."""
    for name in [name for name in tensors if name.endswith("rotary_emb.inv_freq")]:
        del tensors[name]
    head, table = (tensors.get(hf_name(name)) for name in ("head.weight", "embed.weight"))
    if config.tied_embeddings and head is not None and table is not None:
        if not same_bits(head, table):
            raise UserError(
                f"{directory}: config.json ties the head to the embedding, but {hf_name('head.weight')} differs "
                "from it; set tie_word_embeddings to false, or remove the tensor"
            )
        del tensors[hf_name("head.weight")]


def _check_names(
    directory: Path,
    tensors: Mapping[str, np.ndarray],
    variables: Mapping[str, nnx.Variable],
    config: LlamaConfig,
) -> None:
    """Refuse tensors that are missing, unknown or of the wrong shape."""
    missing, extra = sorted(variables.keys() - tensors.keys()), sorted(tensors.keys() - variables.keys())
    if missing or extra:
        parts = [f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                 for kind, names in (("missing", missing), ("unknown", extra)) if names]  # fmt: skip
        raise UserError(f"{directory}: tensors do not match config.json: {'; '.join(parts)}")
    for name, variable in variables.items():
        expected = true_shape(variable, config)
        if tensors[name].shape != expected:
            raise UserError(
                f"{directory}: {name} has shape {tensors[name].shape}, config.json says {expected}"
            )


def true_shape(variable: nnx.Variable, config: LlamaConfig) -> tuple[int, ...]:
    """The shape of a parameter without the rows that pad its vocabulary."""
    if variable.axes[0] in ("vocab", "table_rows"):
        return (config.vocab_size, *variable.shape[1:])
    return tuple(variable.shape)


def load_variables(
    tensors: Mapping[str, np.ndarray],
    variables: Mapping[str, nnx.Variable],
    mesh: Mesh,
    dtype: Dtypes,
    require_finite: bool = False,
) -> None:
    """Fill ``variables`` from the ``tensors`` with the same names, a few at a time.

    Args:
        tensors: views of files that are mapped into memory.
        variables: abstract parameters. Rows that a tensor lacks, which pad the vocabulary, are set to zero.
        mesh: the devices that get the parameters.
        dtype: the dtype of the parameters; None keeps the dtype of each tensor, and a mapping gives that of each.
        require_finite: whether NaN and infinite values are an error, instead of a warning.

    Raises:
        UserError: naming a tensor that holds such values, if they are an error.
    """

    def read(name: str) -> Array:
        wanted = dtype[name] if isinstance(dtype, Mapping) else dtype
        stored = tensors[name].dtype if wanted is None else np.dtype(wanted)
        return _read_variable(name, tensors[name], variables[name], mesh, stored, require_finite)

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for variable, array in zip(variables.values(), pool.map(read, variables), strict=True):
            variable.set_value(array)


def _read_variable(
    name: str,
    source: np.ndarray,
    variable: nnx.Variable,
    mesh: Mesh,
    dtype: np.dtype,
    require_finite: bool,
) -> Array:
    """One parameter, with each device's part copied from the file and checked for values that are not finite."""
    finite = True

    def part(index: tuple[slice, ...] | None) -> np.ndarray:
        nonlocal finite
        assert index is not None  # JAX gives None only for arrays without a sharding
        spans = [range(*along.indices(size)) for along, size in zip(index, variable.shape, strict=True)]
        values = empty_pages(tuple(map(len, spans)), dtype)
        start = spans[0].start
        filled = max(0, min(spans[0].stop, len(source)) - start)
        values[filled:] = 0
        step = max(1, CHUNK_BYTES // max(1, values[:1].nbytes))
        for first in range(0, filled, step):
            chunk = values[first : min(first + step, filled)]
            with np.errstate(over="ignore", invalid="ignore"):  # a warning below tells of overflow
                chunk[...] = source[(slice(start + first, start + first + len(chunk)), *index[1:])]
            finite = finite and all_finite(chunk)
        return values

    sharding = NamedSharding(mesh, stored_spec(variable.axes))
    array = jax.make_array_from_callback(variable.shape, sharding, part)
    if not finite and require_finite:
        raise NotFiniteError(name)
    if not finite:
        log.warning("warning: %s holds NaN or infinite values", name)
    return jax.block_until_ready(array)  # otherwise host copies pile up while they wait for an accelerator


def empty_pages(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An uninitialized array in memory pages of its own.

    JAX on CPU adopts such an array without a copy, and the system gets its memory back as soon as it is deleted.
    The pages are allocated together instead of one by one at the first access, and they are not the huge pages
    that NumPy asks for: on virtual machines, either would cost more time than reading the file.
    """
    try:
        memory = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize), flags=PAGES)
    except OSError:
        raise MemoryError from None
    return np.ndarray(shape, dtype, memory)


def all_finite(values: np.ndarray) -> bool:
    """Whether no value is infinite or NaN.

    The bits of these, read as whole numbers, are the largest among the values of each sign.
    """
    size = values.dtype.itemsize
    infinities = np.array([np.inf, -np.inf], values.dtype).view(f"u{size}")
    largest = values.view(f"i{size}").max(initial=0), values.view(f"u{size}").max(initial=0)
    return bool(largest[0] < infinities[0] and largest[1] < infinities[1])
