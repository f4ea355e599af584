"""Training state on disk (Orbax), and one way to load a model wherever it comes from."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import yaml
from jax import Array
from jax.sharding import Mesh, NamedSharding
from orbax.checkpoint import v1 as ocp

from xltjax.converters import load_hf, load_peft
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.load import abstract_llama
from xltjax.errors import UserError
from xltjax.files import read_text
from xltjax.identity import identity
from xltjax.llama import Llama, parameters
from xltjax.lora import add_lora
from xltjax.mesh import stored_spec
from xltjax.step import TrainState

log = logging.getLogger("xltjax")

BASE = "base"  # inside a run: the base model's config and tokenizer, which travel with every export
CHECKPOINTS = "checkpoints"


class Checkpoints:
    """The checkpoints of one run, ``<run>/checkpoints/<step>``: complete or absent, never half there.

    Each carries the identity of the weights that the run began with, and its held-out loss where there is one.
    """

    def __init__(self, directory: Path, keep: int | None = None, base: str = ""):
        """Open the checkpoints in ``directory``.

        Args:
            directory: ``<run>/checkpoints``.
            keep: how many of the newest to keep, besides the one of the lowest held-out loss; None for a
                reader, who leaves alone what another process may be writing.
            base: identity of the weights that the run began with.
        """
        self._directory, self._keep, self._base = directory.absolute(), keep, base
        self._writing: tuple[int, Callable[[], Any]] | None = None
        # What fails is said by ``finish`` in one line; Orbax would log pages of traceback as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._checkpointer = self._open(cleanup=keep is not None)

    def _open(self, *, cleanup: bool) -> Any:
        policies = ocp.training.preservation_policies
        lowest = policies.BestN(
            get_metric_fn=lambda metrics: -metrics["held_out_loss"],
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        return ocp.training.Checkpointer(
            self._directory,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self._keep), lowest]),
            cleanup_tmp_directories=cleanup,
        )

    def steps(self) -> list[int]:
        """Updates done at each complete checkpoint, oldest first."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def best(self) -> tuple[int, float] | None:
        """The checkpoint of the lowest held-out loss, and that loss; None when there is none with one."""
        losses = {
            checkpoint.step: checkpoint.metrics["held_out_loss"]
            for checkpoint in self._checkpointer.checkpoints
            if checkpoint.metrics
        }
        step = min(losses, key=lambda step: losses[step], default=None)
        return None if step is None else (step, losses[step])

    def base(self, step: int) -> str:
        """Identity of the weights that the run began with, as checkpoint ``step`` knows it."""
        found = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
        return str(found.get("base", ""))

    def save(self, state: TrainState, held_out_loss: float | None = None) -> None:
        """Begin to write ``state`` under its step, while training goes on."""
        self.finish()
        step = int(state.step)
        begin = partial(
            self._checkpointer.save_checkpointables_async,
            step,
            {"weights": state.weights, "optimizer": _flatten(state.optimizer)},
            force=True,
            overwrite=True,
            metrics=None if held_out_loss is None else {"held_out_loss": held_out_loss},
            custom_metadata={"base": self._base},
        )
        try:
            self._writing = step, begin().result
        except Exception as problem:  # it may fail at once, or while it is written: ``finish`` says so
            self._writing = step, partial(_raise, problem)

    def save_weights(self, step: int, weights: Mapping[str, Array]) -> None:
        """Write weights alone, for a model that is not in training; what goes wrong is raised as it is."""
        self._checkpointer.save_checkpointables(step, {"weights": dict(weights)}, force=True, overwrite=True)

    def finish(self, *, required: bool = False) -> None:
        """Wait for what is being written.

        A checkpoint that could not be written is removed and named in a warning: the one before it is still
        there, and the next one is tried.

        Raises:
            UserError: instead of the warning, when it is ``required``.
        """
        if self._writing is None:
            return
        (step, wait), self._writing = self._writing, None
        try:
            wait()
        except Exception as problem:
            reason = _reason(problem)
            with contextlib.suppress(Exception):  # the same again, as at every later call
                self._checkpointer.close()
            self._checkpointer = self._open(cleanup=False)
            _remove(self._directory, f"{step}.*tmp*")
            if required:
                raise UserError(
                    f"checkpoint {step} could not be written: {reason}; make room, the same command goes on"
                ) from None
            log.warning("warning: checkpoint %d could not be written, training goes on: %s", step, reason)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """The newest checkpoint that can be read, on the mesh of ``like``; None when there is none.

        A damaged checkpoint is named in a warning and the one before it is used.
        """
        for step in reversed(self.steps()):
            try:
                return self._restore(step, like)
            except Exception as problem:
                log.warning("warning: checkpoint %d is damaged and passed over: %s", step, _reason(problem))
        return None

    def _restore(self, step: int, like: TrainState) -> TrainState:
        weights = self.read(step, "weights", like.weights)
        optimizer = self.read(step, "optimizer", _flatten(like.optimizer))
        leaves = [optimizer[key] for key in _flatten(like.optimizer)]
        restored = jax.tree.unflatten(jax.tree.structure(like.optimizer), leaves)
        count = jax.device_put(jnp.int32(step), like.step.sharding)
        return TrainState(count, weights, restored)

    def read(self, step: int, part: str, like: Mapping[str, Any]) -> dict[str, Array]:
        """One part (``weights`` or ``optimizer``) of a checkpoint, laid out as the arrays of ``like``.

        Vocabulary tables are padded to what the mesh divides, so that their rows may differ from the
        saved ones; what is missing is zero, as padding is.
        """
        saved = self._checkpointer.checkpointables_metadata(step).metadata[part]
        direct: dict[str, Any] = {}
        resized: dict[str, Any] = {}
        for key, wanted in like.items():
            group = direct if tuple(saved[key].shape) == tuple(wanted.shape) else resized
            group[key] = wanted
        targets: dict[str, Any] = {k: _abstract(v) for k, v in direct.items()}
        targets |= {k: np.zeros(saved[k].shape, v.dtype) for k, v in resized.items()}
        loaded = self._checkpointer.load_checkpointables(step, {part: targets})[part]
        for key, wanted in resized.items():
            rows = np.zeros(wanted.shape, wanted.dtype)
            shared = min(len(rows), len(loaded[key]))
            rows[:shared] = loaded[key][:shared]
            loaded[key] = jax.device_put(rows, wanted.sharding)
        return {key: loaded[key] for key in like}

    def dtypes(self, step: int) -> dict[str, Any]:
        """The dtype in which each weight of a checkpoint is stored."""
        saved = self._checkpointer.checkpointables_metadata(step).metadata["weights"]
        return {name: array.dtype for name, array in saved.items()}

    def close(self) -> None:
        """Wait for what is being written."""
        self.finish()
        self._checkpointer.close()


def _remove(directory: Path, pattern: str) -> None:
    """Remove directories into which threads of a failed save may still be writing for a moment."""
    for _ in range(50):
        found = list(directory.glob(pattern))
        if not found:
            return
        for path in found:
            shutil.rmtree(path, ignore_errors=True)
        time.sleep(0.1)


def _raise(problem: Exception) -> None:
    raise problem


def _reason(problem: Exception) -> str:
    """The first line of a message, or what stands for it."""
    for known in ("No space left on device", "Disk quota exceeded", "File too large"):
        if known in str(problem):
            return known.lower()
    return str(problem).splitlines()[0] if str(problem) else type(problem).__name__


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _flatten(tree: Any) -> dict[str, Any]:
    """Leaves by their path in the tree, as text."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def find_model(name: str) -> Path:
    """The directory of a model: a path, the miniature, or a Hugging Face id (fetched into the hub's cache).

    Raises:
        UserError: when there is no such directory and the hub does not answer.
    """
    if name == "miniature":
        from xltjax.miniature.build import ensure

        return ensure() / "model"
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{name} is a file; a model is a directory")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model directory {name} does not exist")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.json", "*.model", "*.jinja"]))
    except Exception as problem:
        raise UserError(
            f"{name} is neither a directory nor a model within reach: {_reason(problem)}"
        ) from None


def weights_directory(path: Path) -> Path:
    """Where the weights of a model lie: its directory, or the newest checkpoint of a run of ours."""
    run = run_of(path)
    if run is None:
        return path
    directory, step = run
    steps = [int(each.name) for each in (directory / CHECKPOINTS).iterdir() if each.name.isdigit()]
    if not steps:
        raise UserError(f"{directory} has no complete checkpoint")
    return directory / CHECKPOINTS / str(max(steps) if step is None else step)


def run_of(path: Path) -> tuple[Path, int | None] | None:
    """The run directory that ``path`` is, or is a checkpoint of (with its step); None for anything else."""
    if (path / "config.yaml").is_file() and (path / CHECKPOINTS).is_dir():
        return path, None
    if path.parent.name == CHECKPOINTS and path.name.isdigit():
        return path.parent.parent, int(path.name)
    return None


def companions(path: Path) -> Path:
    """Where the tokenizer and config of a model directory or run lie."""
    run = run_of(path)
    return run[0] / BASE if run else path


def load_model(path: Path, mesh: Mesh, *, dtype: Any, compute_dtype: Any = None) -> Llama:
    """A model from a Hugging Face directory, a run of ours, or one of its checkpoints.

    The adapters of a LoRA run come unmerged, upon their base.

    Args:
        path: from ``find_model``.
        mesh: on which the parameters are laid.
        dtype: of the parameters; None keeps what is stored.
        compute_dtype: of activations; ``dtype`` when not given.

    Raises:
        UserError: when the model cannot be read.
    """
    run = run_of(path)
    if run is None:
        return load_hf(path, mesh, dtype=dtype, compute_dtype=compute_dtype)
    directory, step = run
    settings = yaml.safe_load(read_text(directory / "config.yaml"))
    if settings.get("lora_rank", 0):
        base = find_model(settings["model"])
        _check_base(directory, step, base)
        model = load_model(base, mesh, dtype=dtype, compute_dtype=compute_dtype)
        load_adapter(model, path, mesh, dtype=dtype)
    else:
        model = abstract_llama(llama_config(read_hf_config(directory / BASE)), mesh, compute_dtype or dtype)
        _fill(model, mesh, directory, step, dtype)
    return model


def _check_base(directory: Path, step: int | None, base: Path) -> None:
    """Refuse to put the adapters of a run upon weights that they were not trained on."""
    checkpoints = Checkpoints(directory / CHECKPOINTS)
    known = checkpoints.base(step or checkpoints.steps()[-1])
    checkpoints.close()
    if known and known != identity(weights_directory(base)):
        raise UserError(f"{base} does not hold the weights that the adapters of {directory} were trained on")


def load_adapter(model: Llama, path: Path, mesh: Mesh, *, dtype: Any = None) -> None:
    """Add an adapter to its base ``model``: a PEFT directory, a LoRA run of ours, or one of its checkpoints.

    Args:
        model: the base, without adapters.
        path: of the adapter.
        mesh: on which the model lies.
        dtype: of the adapter; None keeps what is stored in a run, and is float32 for PEFT.

    Raises:
        UserError: when ``path`` is none of these, or does not fit the model.
    """
    run = run_of(path)
    if run is None:
        load_peft(model, path, dtype=dtype or jnp.float32)
        return
    directory, step = run
    settings = yaml.safe_load(read_text(directory / "config.yaml"))
    rank = settings.get("lora_rank", 0)
    if not rank:
        raise UserError(f"{directory} is a run of full training, not of LoRA; give it as --model")
    add_lora(model, mesh, None, rank=rank, alpha=settings["lora_alpha"], targets=settings["lora_targets"])
    _fill(model, mesh, directory, step, dtype)


def _fill(model: Llama, mesh: Mesh, directory: Path, step: int | None, dtype: Any) -> None:
    """Give the abstract parameters of ``model`` their values in a checkpoint, the newest when not named."""
    checkpoints = Checkpoints(directory / CHECKPOINTS)
    steps = checkpoints.steps()
    if not steps or (step is not None and step not in steps):
        raise UserError(f"{directory} has no complete checkpoint{'' if step is None else f' {step}'}")
    wanted = {
        name: variable
        for name, variable in parameters(model).items()
        if isinstance(variable.get_value(), jax.ShapeDtypeStruct)
    }
    stored = checkpoints.dtypes(step or steps[-1])
    like = {
        name: jax.ShapeDtypeStruct(
            v.shape, dtype or stored[name], sharding=NamedSharding(mesh, stored_spec(v.axes))
        )
        for name, v in wanted.items()
    }
    for name, array in checkpoints.read(step or steps[-1], "weights", like).items():
        wanted[name].set_value(array)
    checkpoints.close()
