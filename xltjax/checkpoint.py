"""Checkpoints of the training state (Orbax), which are written in the background and are never incomplete."""

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


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TrainState:
    """What an update changes.

    Attributes:
        step: the number of updates done, an int32 scalar.
        weights: the trainable weights.
        optimizer: the state of the optimizer, a pytree of arrays.
    """

    step: Array
    weights: Weights
    optimizer: Any


class Checkpoints:
    """The checkpoints of one run, in ``<directory>/<step>``, each with its validation loss where there is one.

    A checkpoint appears under its name only when it is complete.
    """

    def __init__(self, directory: Path, keep: int | None = None):
        """Open the checkpoints in ``directory``.

        Args:
            directory: the directory that holds the checkpoints.
            keep: how many of the newest checkpoints to keep, besides the one with the lowest validation loss. None
                is for reading: then nothing is deleted, since another process may be writing.
        """
        self._directory, self._keep = directory.absolute(), keep
        self._writing: tuple[int, Callable[[], Any]] | None = None
        # ``finish`` reports a failure in one line; Orbax would log pages of traceback as well.
        logging.getLogger("absl").setLevel(logging.CRITICAL)
        self._checkpointer = self._open(cleanup=keep is not None)

    def _open(self, *, cleanup: bool) -> Any:
        policies = ocp.training.preservation_policies
        lowest = policies.BestN(
            get_metric_fn=lambda metrics: -_validation_loss(metrics),
            n=1,
            keep_checkpoints_without_metrics=False,
        )
        return ocp.training.Checkpointer(
            self._directory,
            preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(self._keep), lowest]),
            cleanup_tmp_directories=cleanup,
        )

    def steps(self) -> list[int]:
        """The number of updates done at each complete checkpoint, oldest first."""
        return sorted(checkpoint.step for checkpoint in self._checkpointer.checkpoints)

    def best(self) -> tuple[int, float] | None:
        """The step of the checkpoint with the lowest validation loss, and the loss; None when there is none."""
        losses = {
            checkpoint.step: _validation_loss(checkpoint.metrics)
            for checkpoint in self._checkpointer.checkpoints
            if checkpoint.metrics
        }
        step = min(losses, key=lambda step: losses[step], default=None)
        return None if step is None else (step, losses[step])

    def base(self, step: int) -> str:
        """The fingerprint of the run's base model, which version 0.1 kept here; empty in later versions."""
        found = self._checkpointer.checkpointables_metadata(step).custom_metadata or {}
        return str(found.get("base", ""))

    def save(self, state: TrainState, validation_loss: float | None = None) -> None:
        """Start to write ``state`` under its step, and return while it is being written."""
        self.finish()
        step = int(state.step)
        begin = partial(
            self._checkpointer.save_checkpointables_async,
            step,
            {"weights": state.weights, "optimizer": _flatten(state.optimizer)},
            force=True,
            overwrite=True,
            metrics=None if validation_loss is None else {"validation_loss": validation_loss},
        )
        try:
            self._writing = step, begin().result
        except Exception as problem:  # at once, or later in the background; ``finish`` reports both
            self._writing = step, partial(_raise, problem)

    def save_weights(self, step: int, weights: Mapping[str, Array]) -> None:
        """Write weights without an optimizer state, for a model that is not being trained, and wait until it is done.

        An error of Orbax is raised unchanged.
        """
        self._checkpointer.save_checkpointables(step, {"weights": dict(weights)}, force=True, overwrite=True)

    def finish(self, *, required: bool = False) -> None:
        """Wait until the checkpoint that is being written is complete.

        When it cannot be written, it is removed and named in a warning. The one before it is still there, and the
        next one will be tried.

        Args:
            required: whether a failure is an error instead of a warning.

        Raises:
            UserError: when the checkpoint is ``required`` and cannot be written.
        """
        if self._writing is None:
            return
        (step, wait), self._writing = self._writing, None
        try:
            wait()
        except Exception as problem:
            reason = _reason(problem)
            with contextlib.suppress(Exception):  # it raises the same error again at every later call
                self._checkpointer.close()
            self._checkpointer = self._open(cleanup=False)
            _remove(self._directory, f"{step}.*tmp*")
            if required:
                raise UserError(
                    f"checkpoint {step} could not be written: {reason}; make room and run the same command again"
                ) from None
            log.warning("warning: checkpoint %d could not be written, training goes on: %s", step, reason)

    def restore_latest(self, like: TrainState) -> TrainState | None:
        """The state in the newest checkpoint that can be read, on the mesh of ``like``; None when there is none.

        A damaged checkpoint is named in a warning, and the one before it is used.
        """
        for step in reversed(self.steps()):
            try:
                return self._restore(step, like)
            except Exception as problem:
                log.warning("warning: checkpoint %d is damaged and skipped: %s", step, _reason(problem))
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

        The rows of vocabulary tables are padded to a multiple that depends on the mesh, so there may be fewer or more
        of them than in the checkpoint; rows that are missing are padding, which is zero.
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
        """Wait until the checkpoint that is being written is complete, and close the files."""
        self.finish()
        self._checkpointer.close()


def _validation_loss(metrics: Mapping[str, float]) -> float:
    """The validation loss in a checkpoint's metrics, also under its name in version 0.1."""
    return metrics["validation_loss"] if "validation_loss" in metrics else metrics["held_out_loss"]


def _remove(directory: Path, pattern: str) -> None:
    """Remove directories, although threads of a failed save may write into them for another moment."""
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
    """The reason of a failure in one line."""
    for known in ("No space left on device", "Disk quota exceeded", "File too large"):
        if known in str(problem):
            return known.lower()
    return first_line(problem)


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _flatten(tree: Any) -> dict[str, Any]:
    """The leaves of ``tree`` by their path, as text."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
