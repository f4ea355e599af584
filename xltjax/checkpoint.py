"""Training state on disk (Orbax): complete or absent, written while training goes on."""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from orbax.checkpoint import v1 as ocp

from xltjax.common.errors import UserError, first_line
from xltjax.partition import Weights

log = logging.getLogger("xltjax")

CHECKPOINTS = "checkpoints"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What an update changes: the number of updates done (int32), trained weights, optimizer state."""

    step: Array
    weights: Weights
    optimizer: Any


class Checkpoints:
    """The checkpoints of one run, ``<run>/checkpoints/<step>``: complete or absent, never half there.

    Each carries the fingerprint of the weights that the run began with, and its validation loss where there is one.
    """

    def __init__(self, directory: Path, keep: int | None = None, base: str = ""):
        """Open the checkpoints in ``directory``.

        Args:
            directory: ``<run>/checkpoints``.
            keep: how many of the newest to keep, besides the one of the lowest validation loss; None for a
                reader, who leaves alone what another process may be writing.
            base: fingerprint of the weights that the run began with.
        """
        self._directory, self._keep, self._base = directory.absolute(), keep, base
        self._writing: tuple[int, Callable[[], Any]] | None = None
        # What fails is said by ``finish`` in one line; Orbax would log pages of traceback as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._checkpointer = self._open(cleanup=keep is not None)

    def _open(self, *, cleanup: bool) -> Any:
        policies = ocp.training.preservation_policies
        lowest = policies.BestN(
            get_metric_fn=lambda metrics: -metrics["validation_loss"],
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
        """The checkpoint of the lowest validation loss, and that loss; None when there is none with one."""
        losses = {
            checkpoint.step: checkpoint.metrics["validation_loss"]
            for checkpoint in self._checkpointer.checkpoints
            if checkpoint.metrics
        }
        step = min(losses, key=lambda step: losses[step], default=None)
        return None if step is None else (step, losses[step])

    def base(self, step: int) -> str:
        """Identity of the weights that the run began with, as checkpoint ``step`` knows it."""
        found = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
        return str(found.get("base", ""))

    def save(self, state: TrainState, validation_loss: float | None = None) -> None:
        """Begin to write ``state`` under its step, while training goes on."""
        self.finish()
        step = int(state.step)
        begin = partial(
            self._checkpointer.save_checkpointables_async,
            step,
            {"weights": state.weights, "optimizer": _flatten(state.optimizer)},
            force=True,
            overwrite=True,
            metrics=None if validation_loss is None else {"validation_loss": validation_loss},
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
    return first_line(problem)


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _flatten(tree: Any) -> dict[str, Any]:
    """Leaves by their path in the tree, as text."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
