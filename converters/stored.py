"""Models on disk whose weights are read one at a time, so that several of them need no memory.

A Hugging Face directory is mapped into memory. Of a run, one parameter is in memory at a time, with its adapter.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jax
import numpy as np
from flax import nnx
from jax import Array
from jax.sharding import Mesh, NamedSharding

from xltjax.common.model_parts import part_of
from xltjax.converters.hf_config import read_architecture
from xltjax.converters.load import map_model, true_shape
from xltjax.converters.models import export_dtype, find_base
from xltjax.converters.vocabulary import grown
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.lora import add_lora, lora_linears, merged_weight
from xltjax.mesh import sharding, stored_spec
from xltjax.training.run import Run
from xltjax.training.trained import trained_parts


@dataclass(frozen=True)
class StoredModel:
    """A model on disk, with its adapters merged.

    Attributes:
        path: its directory.
        config: its architecture.
        dtypes: the dtype of each parameter in an export, by its path.
        read: returns the parameter with a given path, without rows that pad the vocabulary, in the dtype in which it
            is stored.
    """

    path: Path
    config: LlamaConfig
    dtypes: dict[str, np.dtype]
    read: Callable[[str], np.ndarray]


def open_stored(path: Path, mesh: Mesh, stack: contextlib.ExitStack, base: str = "") -> StoredModel:
    """Open a Hugging Face directory, a run, or one of a run's checkpoints; no weight is read yet.

    Args:
        path: the directory, from ``find_model``.
        mesh: of a single device, on which adapters are merged.
        stack: closes the files.
        base: where the base of a run that holds only a part of its model lies now; empty for where it was.

    Raises:
        UserError: when the model cannot be read.
    """
    run = Run.find(path)
    if run is None:
        config, tensors = map_model(path)
        return StoredModel(path, config, {name: t.dtype for name, t in tensors.items()}, tensors.__getitem__)
    opened = _StoredRun(run, mesh, stack, base)
    return StoredModel(path, opened.config, opened.dtypes, opened.read)


def read_resized(model: StoredModel, name: str, size: int, mesh: Mesh) -> np.ndarray:
    """A parameter, of a vocabulary table with rows for ``size`` tokens as ``resize_vocabulary`` adds them."""
    weight = model.read(name)
    old = len(weight)
    if part_of(name) not in ("embed", "head") or old >= size:
        return weight
    with jax.set_mesh(mesh):
        table = jax.device_put(weight, sharding(mesh))
        return np.asarray(jax.jit(partial(grown, old=old, size=size, rows=size))(table))


class _StoredRun:
    """The weights of a run, on those of its base where the run holds only a part of them."""

    def __init__(self, run: Run, mesh: Mesh, stack: contextlib.ExitStack, base: str):
        self.config = read_architecture(run.model_files)
        self._mesh = mesh
        self._step = run.step
        stack.enter_context(_memory_returned())
        self._checkpoints = stack.enter_context(contextlib.closing(run.checkpoints()))
        self._kept = self._checkpoints.dtypes(self._step)
        self._base = open_stored(find_base(run, base), mesh, stack) if run.partial else None
        model = Llama(self.config)
        kind = export_dtype(run.path)
        assert kind is not None
        self.dtypes = dict.fromkeys(parameters(model), kind)
        if run.lora:
            settings = run.config
            add_lora(
                model, mesh, None, rank=settings.lora_rank, alpha=settings.lora_alpha,
                targets=settings.lora_targets, parts=trained_parts(settings, self.config),
            )  # fmt: skip
        self._variables: dict[str, nnx.Variable] = parameters(model)
        self._scales = {f"{name}.weight": linear.scale for name, linear in lora_linears(model)}

    def read(self, name: str) -> np.ndarray:
        """One parameter; see ``StoredModel``."""
        if name in self._kept:
            return np.asarray(self._arrays(name)[0])
        assert self._base is not None
        weight = read_resized(self._base, name, self.config.vocab_size, self._mesh)
        if name in self._scales:
            module = name.removesuffix("weight")
            a, b = self._arrays(f"{module}lora_a", f"{module}lora_b")
            with jax.set_mesh(self._mesh):
                scale = np.float32(self._scales[name])
                placed = jax.device_put(weight, self._sharding(name))
                weight = np.asarray(merged_weight(placed, a, b, scale))
        return weight

    def _arrays(self, *names: str) -> list[Array]:
        """Parameters that the checkpoint holds."""
        like = {
            name: jax.ShapeDtypeStruct(
                true_shape(self._variables[name], self.config),
                self._kept[name],
                sharding=self._sharding(name),
            )
            for name in names
        }
        found = self._checkpoints.read(self._step, "weights", like, whole=False)
        return [found[name] for name in names]

    def _sharding(self, name: str) -> NamedSharding:
        return NamedSharding(self._mesh, stored_spec(self._variables[name].axes))


@contextlib.contextmanager
def _memory_returned() -> Iterator[None]:
    """Let glibc return large arrays to the system as soon as they are freed.

    It would keep those of up to 32 MiB for later ones, which fit badly into them: reading a checkpoint tensor by
    tensor then takes as much memory as the whole of it. Other systems have no such setting.
    """
    threshold = -3  # M_MMAP_THRESHOLD
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(threshold, 1 << 20)
    try:
        yield
    finally:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(threshold, 1 << 25)
