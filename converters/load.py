"""A Hugging Face directory -> a sharded ``Llama``, reading only the slices each device needs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding

from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.names import hf_name
from xltjax.converters.safetensors_files import TensorDirectory
from xltjax.errors import UserError
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.mesh import stored_spec

log = logging.getLogger("xltjax")


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
    source = TensorDirectory(directory)
    computed = compute_dtype or dtype or source.dtypes.get(hf_name("embed.weight"), jnp.float32)
    model = abstract_llama(config, mesh, computed)
    variables = {hf_name(name): variable for name, variable in parameters(model).items()}
    _check_names(directory, source, variables, model.config)
    for name, variable in variables.items():
        stored = np.dtype(dtype) if dtype is not None else source.dtypes[name]
        variable.set_value(read_variable(source, name, variable, mesh, stored))
    _warn_of_nan(variables)
    return model


def abstract_llama(config: LlamaConfig, mesh: Mesh, compute_dtype: Any) -> Llama:
    """A model of shapes, its vocabulary padded to what ``mesh`` divides.

    Raises:
        UserError: when the mesh does not divide the model.
    """
    config.check_mesh(mesh)
    multiple = mesh.shape["data"] * mesh.shape["tensor"]
    return Llama(config, compute_dtype=compute_dtype, vocab_multiple=multiple)


def _check_names(
    directory: Path, source: TensorDirectory, variables: dict[str, nnx.Variable], config: LlamaConfig
) -> None:
    """Every tensor expected is there with its shape, and no other."""
    found = {name for name in source.names() if not name.endswith("rotary_emb.inv_freq")}
    missing, extra = sorted(variables.keys() - found), sorted(found - variables.keys())
    if missing or extra:
        parts = [f"{len(names)} {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                 for kind, names in (("missing", missing), ("unknown", extra)) if names]  # fmt: skip
        raise UserError(f"{directory}: tensors do not match config.json: {'; '.join(parts)}")
    for name, variable in variables.items():
        expected = true_shape(variable, config)
        if source.shapes[name] != expected:
            raise UserError(
                f"{directory}: {name} has shape {source.shapes[name]}, config.json says {expected}"
            )


def true_shape(variable: nnx.Variable, config: LlamaConfig) -> tuple[int, ...]:
    """The shape of a parameter without the rows that pad its vocabulary."""
    if variable.axes[0] in ("vocab", "table_rows"):
        return (config.vocab_size, *variable.shape[1:])
    return tuple(variable.shape)


def read_variable(
    source: TensorDirectory, name: str, variable: nnx.Variable, mesh: Mesh, dtype: np.dtype
) -> Array:
    """One parameter, each device's part read straight from the file."""
    rows = source.shapes[name][0]

    def part(index: tuple[slice, ...]) -> np.ndarray:
        start, stop, _ = index[0].indices(variable.shape[0])
        values = source.read(name, (slice(start, max(start, min(stop, rows))), *index[1:])).astype(
            dtype, copy=False
        )
        if stop <= rows:
            return values
        padding = np.zeros((stop - max(start, rows), *values.shape[1:]), dtype)
        return np.concatenate([values, padding]) if start < rows else padding

    return jax.make_array_from_callback(variable.shape, NamedSharding(mesh, stored_spec(variable.axes)), part)


@jax.jit
def _all_finite(array: Array) -> Array:
    return jnp.isfinite(array).all()


def _warn_of_nan(variables: dict[str, nnx.Variable]) -> None:
    checks = {name: _all_finite(variable[...]) for name, variable in variables.items()}
    for name, finite in checks.items():
        if not finite:
            log.warning("warning: %s holds NaN or infinite values", name)
