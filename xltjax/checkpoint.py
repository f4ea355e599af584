"""Checkpoints of the training state (Orbax), which are written in the background and are never incomplete."""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from orbax.checkpoint import v1 as ocp

from xltjax.checkpoint_failures import causes_of, quiet_failures, remove_all, short_reason
from xltjax.common.checksums import bit_sums
from xltjax.common.distributed import wait_for_all
from xltjax.common.errors import UserError
from xltjax.common.files import unreadable_file
from xltjax.partition import Weights

log = logging.getLogger("xltjax")

OPTIMIZER = "optimizer"  # the part of a checkpoint that only a resumed training needs
DROPPED = "optimizer-dropped"  # the file that says that this part was removed and is not missing
SUMS = "bit_sums"  # the key in a checkpoint's metadata


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


class DamagedError(UserError):
    """Files of a checkpoint are missing, cut or not what was written."""


# What TensorStore says of files that are missing, cut or changed, and of too little memory.
DAMAGE = ("DATA_LOSS", "OUT_OF_RANGE", "NOT_FOUND")
OUT_OF_MEMORY = ("RESOURCE_EXHAUSTED: Out of memory", "bad_alloc", "Cannot allocate memory")


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
        self._known: dict[int, Any] = {}  # by step, see ``_metadata``
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
        """The fingerprint of the run's base model, which version 0.1 kept here; empty in later versions.

        Raises:
            UserError: when the checkpoint cannot be read.
        """
        with self._explained(step):
            found = self._metadata(step).custom_metadata or {}
        return str(found.get("base", ""))

    def save(
        self, state: TrainState, validation_loss: float | None = None, *, optimizer: bool = True
    ) -> None:
        """Start to write ``state`` under its step, with or without the optimizer's, and return meanwhile."""
        self.finish()
        step = int(state.step)
        parts = {"weights": state.weights}
        if optimizer:
            parts[OPTIMIZER] = _flatten(state.optimizer)
        begin = partial(
            self._checkpointer.save_checkpointables_async,
            step,
            parts,
            force=True,
            overwrite=True,
            custom_metadata={SUMS: {part: bit_sums(arrays) for part, arrays in parts.items()}},
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
        sums = {SUMS: {"weights": bit_sums(weights)}}
        self._checkpointer.save_checkpointables(
            step, {"weights": dict(weights)}, force=True, overwrite=True, custom_metadata=sums
        )

    def lacks_optimizer(self, step: int) -> bool:
        """Whether a checkpoint was left without the optimizer's state, so training cannot continue from it.

        Raises:
            UserError: when the checkpoint cannot be read.
        """
        place = self._directory / str(step)
        if (place / OPTIMIZER).exists():
            return False
        if (place / DROPPED).exists():
            return True
        with self._explained(step):
            written = (self._metadata(step).custom_metadata or {}).get(SUMS)
        return written is not None and OPTIMIZER not in written  # otherwise the state is missing by damage

    def drop_optimizers(self) -> None:
        """Remove the states of the optimizer from all complete checkpoints but the newest.

        That one keeps the fingerprint by which others know it. A kill leaves each with its whole state or without it.
        """
        self.finish()
        if jax.process_index() == 0:
            for step in self.steps()[:-1]:
                place = self._directory / str(step)
                if (place / OPTIMIZER).exists():
                    (place / DROPPED).touch()
                    (place / OPTIMIZER).rename(self._directory / f"{step}.{OPTIMIZER}.tmp")
            for gone in self._directory.glob(f"*.{OPTIMIZER}.tmp"):
                shutil.rmtree(gone, ignore_errors=True)
        wait_for_all("the optimizer's states are removed")

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
            reason = short_reason(problem)
            with contextlib.suppress(Exception):  # it raises the same error again at every later call
                self._checkpointer.close()
            self._checkpointer = self._open(cleanup=False)
            remove_all(self._directory, f"{step}.*tmp*")
            if required:
                raise UserError(
                    f"checkpoint {step} could not be written: {reason}; make room and run the same command again"
                ) from None
            log.warning("warning: checkpoint %d could not be written; training continues: %s", step, reason)

    def restore_latest(self, like: TrainState, end: int | None = None) -> TrainState | None:
        """The state in the newest checkpoint that can be read, on the mesh of ``like``; None without checkpoints.

        From the update ``end`` on, at which training ends, a checkpoint needs no state of the optimizer.

        A damaged checkpoint is named in a warning, and the one before it is used. Where this process writes, the
        damaged one is then moved out of the way, to ``damaged/`` beside the directory of the checkpoints.

        Raises:
            UserError: when all checkpoints are damaged, or one cannot be read for another reason, such as an
                error of the disk, weights of other shapes, or no state of the optimizer. Nothing is then changed.
        """
        damaged: dict[int, DamagedError] = {}
        for step in sorted({*self.steps(), *numbered(self._directory)}, reverse=True):
            try:
                state = self._restore(step, like, end)
            except DamagedError as problem:
                damaged[step] = problem
                continue
            for reason in damaged.values():
                log.warning("warning: %s; continuing from checkpoint %d", reason, step)
            if damaged and self._keep is not None:
                self._set_aside(damaged)
            return state
        if damaged:
            raise UserError(
                f"{next(iter(damaged.values()))}, and there is no other that can be read; nothing was changed: "
                f"restore {self._directory} from a copy, or choose another --out to start over"
            )
        return None

    def _set_aside(self, steps: Iterable[int]) -> None:
        """Move damaged checkpoints away, so that they do not count among the newest ones that are kept."""
        if jax.process_index() == 0:
            aside = self._directory.parent / "damaged"
            aside.mkdir(exist_ok=True)
            for step in steps:
                target = next(
                    path
                    for number in itertools.count()
                    if not (path := aside / (f"{step}.{number}" if number else str(step))).exists()
                )
                (self._directory / str(step)).rename(target)
        wait_for_all("damaged checkpoints are set aside")
        self._checkpointer.close()
        self._checkpointer = self._open(cleanup=True)

    def _restore(self, step: int, like: TrainState, end: int | None) -> TrainState:
        if self.lacks_optimizer(step):
            if end is None or step < end:
                raise UserError(
                    f"checkpoint {step} in {self._directory} has no state of the optimizer (--keep-optimizer no), so "
                    "that training cannot continue from it; start a new run, whose --model may be this one"
                )
            count = jax.device_put(jnp.int32(step), like.step.sharding)
            return TrainState(count, self.read(step, "weights", like.weights), like.optimizer)
        weights = self.read(step, "weights", like.weights)
        optimizer = self.read(step, OPTIMIZER, _flatten(like.optimizer))
        leaves = [optimizer[key] for key in _flatten(like.optimizer)]
        restored = jax.tree.unflatten(jax.tree.structure(like.optimizer), leaves)
        count = jax.device_put(jnp.int32(step), like.step.sharding)
        return TrainState(count, weights, restored)

    def read(self, step: int, part: str, like: Mapping[str, Any], *, whole: bool = True) -> dict[str, Array]:
        """One part (``weights`` or ``optimizer``) of a checkpoint, laid out as the arrays of ``like``.

        The rows of vocabulary tables are padded to a multiple that depends on the mesh, so there may be fewer or more
        of them than in the checkpoint; rows that are missing are padding, which is zero.

        Args:
            step: of the checkpoint.
            part: of the checkpoint.
            like: the shape, dtype and sharding of each array that is wanted.
            whole: whether the checkpoint must hold nothing else.

        Raises:
            UserError: naming the checkpoint, when it cannot be read or holds other shapes.
        """
        with self._explained(step):
            found = self._read(step, part, like, whole)
            self._compare(step, part, found)
            return found

    def _read(self, step: int, part: str, like: Mapping[str, Any], whole: bool) -> dict[str, Array]:
        saved = self._description(step, part)
        for key, wanted in like.items():
            stored = tuple(saved[key].shape) if key in saved else None
            if stored is None or not _fits(key, stored, tuple(wanted.shape)):
                raise UserError(
                    f"checkpoint {step} in {self._directory} belongs to another model or other adapters: {key} "
                    f"{'is not in it' if stored is None else f'has the shape {stored}'}, and {tuple(wanted.shape)} "
                    "is needed; choose another --out"
                )
        direct: dict[str, Any] = {}
        resized: dict[str, Any] = {}
        for key, wanted in like.items():
            group = direct if tuple(saved[key].shape) == tuple(wanted.shape) else resized
            group[key] = wanted
        targets: dict[str, Any] = {k: _abstract(v) for k, v in direct.items()}
        targets |= {k: np.zeros(saved[k].shape, v.dtype) for k, v in resized.items()}
        if not whole:
            targets |= dict.fromkeys(saved.keys() - like.keys(), ocp.PLACEHOLDER)
        loaded = self._checkpointer.load_checkpointables(step, {part: targets})[part]
        for key, wanted in resized.items():
            rows = np.zeros(wanted.shape, wanted.dtype)
            shared = min(len(rows), len(loaded[key]))
            rows[:shared] = loaded[key][:shared]
            loaded[key] = jax.device_put(rows, wanted.sharding)
        return {key: loaded[key] for key in like}

    def _compare(self, step: int, part: str, found: Mapping[str, Array]) -> None:
        """Compare arrays with what was saved, where the checkpoint knows it and the dtype is the same.

        Neither Orbax nor the storage below it notices that the bytes of an array have changed on the disk.

        Raises:
            DamagedError: naming the first array that differs.
        """
        written = (self._metadata(step).custom_metadata or {}).get(SUMS, {})
        saved = self._description(step, part)
        same = {key: array for key, array in found.items() if saved[key].dtype == array.dtype}
        known = written.get(part, {})
        for key, total in bit_sums(same).items():
            if known.get(key, total) != total:
                raise DamagedError(f"the bits of {key} are not those that were saved")

    def _metadata(self, step: int) -> Any:
        """What Orbax knows of a checkpoint, which it reads from many files; where nothing is written, only once."""
        if step not in self._known:
            found = self._checkpointer.checkpointables_metadata(step)
            if self._keep is not None:
                return found
            self._known[step] = found
        return self._known[step]

    def dtypes(self, step: int) -> dict[str, Any]:
        """The dtype in which each weight of a checkpoint is stored.

        Raises:
            UserError: as ``read`` does.
        """
        with self._explained(step):
            return {name: array.dtype for name, array in self._description(step, "weights").items()}

    def weight_sums(self, step: int) -> Mapping[str, int]:
        """The sum of the bits of each weight of a checkpoint; empty when an earlier version has written it.

        Raises:
            UserError: when the checkpoint cannot be read.
        """
        with self._explained(step):
            return (self._metadata(step).custom_metadata or {}).get(SUMS, {}).get("weights", {})

    def _description(self, step: int, part: str) -> Mapping[str, Any]:
        """The shapes and dtypes of one part of a checkpoint."""
        try:
            found = self._metadata(step).metadata[part]
        except (KeyError, TypeError, AttributeError, ValueError) as problem:
            raise DamagedError("its description cannot be read") from problem
        if found is None:
            raise DamagedError("its description cannot be read")
        return found

    @contextlib.contextmanager
    def _explained(self, step: int) -> Iterator[None]:
        """Turn what goes wrong while a checkpoint is read into one line.

        Only what is known to come from missing or cut files counts as damage.

        Raises:
            DamagedError: when files of the checkpoint are missing, cut or not what was written.
            UserError: for any other reason.
            MemoryError: unchanged, as are the errors of an accelerator that is out of memory.
        """
        name = f"checkpoint {step} in {self._directory}"
        try:
            with quiet_failures():
                yield
        except UserError as problem:
            if not isinstance(problem, DamagedError):
                raise
            if unreadable := unreadable_file(self._directory / str(step)):
                raise UserError(f"{name} cannot be read: {unreadable}") from None
            raise DamagedError(f"{name} is damaged: {problem}") from None
        except Exception as problem:
            causes = causes_of(problem)
            texts = [str(cause) for cause in causes]
            for cause, text in zip(causes, texts, strict=True):
                if isinstance(cause, MemoryError) or any(sign in text for sign in OUT_OF_MEMORY):
                    raise cause from None
            if unreadable := unreadable_file(self._directory / str(step)):
                raise UserError(f"{name} cannot be read: {unreadable}") from None
            of_files = any(isinstance(cause, (json.JSONDecodeError, FileNotFoundError)) for cause in causes)
            if of_files or any(sign in text for sign in DAMAGE for text in texts):
                raise DamagedError(f"{name} is damaged: {short_reason(causes[-1])}") from None
            raise UserError(f"{name} cannot be read: {short_reason(causes[-1])}") from None

    def close(self) -> None:
        """Wait until the checkpoint that is being written is complete, and close the files."""
        self.finish()
        self._checkpointer.close()


def _validation_loss(metrics: Mapping[str, float]) -> float:
    """The validation loss in a checkpoint's metrics, also under its name in version 0.1."""
    return metrics["validation_loss"] if "validation_loss" in metrics else metrics["held_out_loss"]


def _raise(problem: Exception) -> None:
    raise problem


def numbered(directory: Path) -> list[int]:
    """The steps that directories in ``directory`` are named by, in rising order."""
    found = directory.iterdir() if directory.is_dir() else ()
    return sorted(int(each.name) for each in found if each.name.isdigit())


def _fits(key: str, stored: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether a stored array has the wanted shape, except for the padding of a vocabulary table."""
    vocabulary = "embed.weight" in key or "head.weight" in key
    return stored == wanted or (vocabulary and len(stored) > 0 and stored[1:] == wanted[1:])


def _abstract(array: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(array.shape, array.dtype, sharding=array.sharding)


def _flatten(tree: Any) -> dict[str, Any]:
    """The leaves of ``tree`` by their path, as text."""
    return {jax.tree_util.keystr(path): leaf for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
