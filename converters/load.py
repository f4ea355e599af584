"""A Hugging Face directory -> a sharded ``Llama``, reading only the slices each device needs."""

from __future__ import annotations

import logging
import math
import mmap
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding

from xltjax.common.errors import UserError
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.names import hf_name
from xltjax.converters.safetensors_files import map_tensors
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.mesh import stored_spec

log = logging.getLogger("xltjax")

CHUNK_BYTES = 1 << 18  # copied, cast and checked at once: what stays in a core's cache
MOST_THREADS = 8  # that read; on accelerators as many tensors are in host memory at once
PAGES = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)  # the last: Linux


def load_hf(path: str | Path, mesh: Mesh, *, dtype: Any = jnp.bfloat16, compute_dtype: Any = None) -> Llama:
    """Load a Hugging Face LLaMA-family directory onto ``mesh``.

    Args:
        path: directory with ``config.json`` and safetensors (one file, or shards with an index).
        mesh: from ``xltjax.mesh.make_mesh``.
        dtype: in which the parameters are stored; sources of another dtype are cast. None keeps each
            tensor's own.
        compute_dtype: of activations; ``dtype``, or that of the embedding, when not given.

    Raises:
        UserError: for an unsupported model, damaged files, tensors that are missing, unknown or of the
            wrong shape, or a mesh that does not divide the model.
    """
    directory = Path(path)
    if not directory.is_dir():
        raise UserError(f"model directory {directory} does not exist")
    config = llama_config(read_hf_config(directory))
    tensors = map_tensors(directory)
    computed = compute_dtype or dtype or _own_dtype(tensors)
    model = abstract_llama(config, mesh, computed)
    variables = {hf_name(name): variable for name, variable in parameters(model).items()}
    _drop_derived(directory, tensors, config)
    _check_names(directory, tensors, variables, config)
    load_variables(tensors, variables, mesh, dtype)
    return model


def _own_dtype(tensors: Mapping[str, np.ndarray]) -> Any:
    """That of the embedding."""
    table = tensors.get(hf_name("embed.weight"))
    return jnp.float32 if table is None else table.dtype


def abstract_llama(config: LlamaConfig, mesh: Mesh, compute_dtype: Any) -> Llama:
    """A model of shapes, its vocabulary padded to what ``mesh`` divides.

    Raises:
        UserError: when the mesh does not divide the model.
    """
    config.check_mesh(mesh)
    multiple = mesh.shape["data"] * mesh.shape["tensor"]
    return Llama(config, compute_dtype=compute_dtype, vocab_multiple=multiple)


def _drop_derived(directory: Path, tensors: dict[str, np.ndarray], config: LlamaConfig) -> None:
    """Take out what follows from other tensors or from the config: rotary frequencies, a tied head."""
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


def same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two arrays are the same to the bit: NaN equals NaN, and 0 is not -0."""
    if a.dtype != b.dtype or a.shape != b.shape:
        return False
    step = max(1, CHUNK_BYTES // max(1, a[:1].nbytes))
    return all(a[i : i + step].tobytes() == b[i : i + step].tobytes() for i in range(0, len(a), step))


def _check_names(
    directory: Path,
    tensors: Mapping[str, np.ndarray],
    variables: Mapping[str, nnx.Variable],
    config: LlamaConfig,
) -> None:
    """Every tensor expected is there with its shape, and no other."""
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
    tensors: Mapping[str, np.ndarray], variables: Mapping[str, nnx.Variable], mesh: Mesh, dtype: Any
) -> None:
    """Fill ``variables`` from the ``tensors`` of the same names, a few at a time.

    Args:
        tensors: views of mapped files.
        variables: abstract parameters; where they have more rows (vocabulary padding), these are zero.
        mesh: on which they are laid.
        dtype: to which they are cast; None keeps each tensor's own.
    """

    def read(name: str) -> Array:
        stored = tensors[name].dtype if dtype is None else np.dtype(dtype)
        return _read_variable(name, tensors[name], variables[name], mesh, stored)

    with ThreadPoolExecutor(min(MOST_THREADS, os.cpu_count() or 1)) as pool:
        for variable, array in zip(variables.values(), pool.map(read, variables), strict=True):
            variable.set_value(array)


def _read_variable(
    name: str, source: np.ndarray, variable: nnx.Variable, mesh: Mesh, dtype: np.dtype
) -> Array:
    """One parameter, each device's part copied straight from the file; a warning when it is not finite."""
    finite = True

    def part(index: tuple[slice, ...]) -> np.ndarray:
        nonlocal finite
        spans = [range(*along.indices(size)) for along, size in zip(index, variable.shape, strict=True)]
        values = empty_pages(tuple(map(len, spans)), dtype)
        start = spans[0].start
        filled = max(0, min(spans[0].stop, len(source)) - start)
        values[filled:] = 0
        step = max(1, CHUNK_BYTES // max(1, values[:1].nbytes))
        for first in range(0, filled, step):
            chunk = values[first : min(first + step, filled)]
            with np.errstate(over="ignore", invalid="ignore"):  # what overflows is warned of below
                chunk[...] = source[(slice(start + first, start + first + len(chunk)), *index[1:])]
            finite = finite and _all_finite(chunk)
        return values

    sharding = NamedSharding(mesh, stored_spec(variable.axes))
    array = jax.make_array_from_callback(variable.shape, sharding, part)  # type: ignore[arg-type]
    if not finite:
        log.warning("warning: %s holds NaN or infinite values", name)
    return jax.block_until_ready(array)  # else host copies of all tensors pile up before an accelerator


def empty_pages(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """An array in pages of its own: JAX on CPU takes them over without a copy, and they are freed at once.

    They are taken together rather than one by one at first touch, and are not the huge pages that numpy
    asks for: on virtual machines either costs more than reading the file.
    """
    try:
        memory = mmap.mmap(-1, max(1, math.prod(shape) * dtype.itemsize), flags=PAGES)
    except OSError:
        raise MemoryError from None
    return np.ndarray(shape, dtype, memory)


def _all_finite(values: np.ndarray) -> bool:
    """Whether no value is infinite or NaN: read as whole numbers, these are the largest of either sign."""
    size = values.dtype.itemsize
    infinities = np.array([np.inf, -np.inf], values.dtype).view(f"u{size}")
    largest = values.view(f"i{size}").max(initial=0), values.view(f"u{size}").max(initial=0)
    return bool(largest[0] < infinities[0] and largest[1] < infinities[1])
