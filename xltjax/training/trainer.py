"""The training loop of one run: update, validate, save, sample."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from collections.abc import Mapping

import jax
import yaml
from jax import Array

from xltjax.checkpoint import TrainState
from xltjax.common.distributed import any_process, is_first
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write
from xltjax.common.hardware import peak_flops
from xltjax.common.settings import to_yaml
from xltjax.common.signals import StopSignal
from xltjax.llama import Llama, parameters
from xltjax.training.config import TrainConfig
from xltjax.training.metrics import MetricsLog, forget_after
from xltjax.training.run import Run
from xltjax.training.setup import Setup
from xltjax.training.step import fresh_state, place, rows_here
from xltjax.training.trackers import TensorBoard, Tracker, WeightsAndBiases

log = logging.getLogger("xltjax")


class NotFiniteLossError(UserError):
    """The loss or gradient of an update is not finite."""


class Trainer:
    """Trains one run from its newest checkpoint to its last update.

    The metrics of an update are read while the next one runs, so that the device never waits for the host.
    """

    def __init__(self, config: TrainConfig, setup: Setup, run: Run):
        """Restore the newest checkpoint of ``run``, or begin with the weights of ``setup``."""
        self._config, self._setup, self._run = config, setup, run
        self._checkpoints = run.checkpoints(config.keep)
        # The first update uses up the buffers on the device; those in host memory stay for the next run.
        start = jax.tree.map(_on_device, setup.start)
        state = fresh_state(start, setup.transform, setup.mesh, offload=config.offload)
        del start
        self.state: TrainState = self._checkpoints.restore_latest(state, config.steps) or state
        self._done = int(self.state.step)
        self._rows = setup.data.shape.rows * setup.data.shape.joined
        self._unread: dict[str, Array] | None = None  # the metrics of the newest update

    @property
    def complete(self) -> bool:
        """Whether all updates are done."""
        return self._done >= self._config.steps

    def train(self, stop: StopSignal) -> bool:
        """Update until the run is complete or ``stop`` asks to stop; returns False when a signal has arrived.

        Raises:
            UserError: when the loss is not finite, or the last checkpoint cannot be written.
        """
        config, run = self._config, self._run
        if self.complete:
            log.info("%s is complete: %d updates", run.path, self._done)
            if config.keep_optimizer == "no":  # it was killed before, or is asked for now
                self._checkpoints.drop_optimizers()
            self._checkpoints.close()
            return True
        if self._done:
            log.info("resuming %s after update %d", run.path, self._done)
        stopped = False
        if is_first():
            forget_after(run.samples_file, self._done)
        with (
            contextlib.closing(self._checkpoints),
            jax.set_mesh(self._setup.mesh),
            self._open_metrics() as self._metrics,
            stop,
        ):
            while self._done < config.steps and not stopped:
                self.step()
                stopped = any_process(stop.asked)
                saving = stopped or self._done == config.steps or self._done % config.save_every == 0
                validating = saving or _due(self._done, config.validation_every)
                sampling = _due(self._done, config.sample_every)
                if saving or validating or sampling:
                    self._report()
                    loss = self.validate() if validating else None
                    if saving:
                        self.save(loss)
                    if sampling:
                        self.sample()
                    self._metrics.restart_clock()
            self._checkpoints.finish(required=True)
            if config.keep_optimizer == "no" and self._done == config.steps:
                self._checkpoints.drop_optimizers()
            best = self._checkpoints.best()
        if best:
            log.info("lowest validation loss %.4f after update %d", best[1], best[0])
        if not self.complete:
            log.info("stopped after update %d; the same command resumes", self._done)
        return not stopped

    def step(self) -> None:
        """Start the next update, then record the metrics of the one before it."""
        setup = self._setup
        batch = place(
            setup.data.batch_at(self._done, rows_here(setup.mesh, self._rows)), setup.mesh, self._rows
        )
        self.state, metrics = setup.update(self.state, setup.frozen, batch, self._config.learning_rate)
        self._report()
        self._done += 1
        self._unread = metrics

    def validate(self) -> float | None:
        """Measure and record the validation loss; None without validation data."""
        if self._setup.validation is None:
            return None
        loss = self._setup.validation.loss(self.state.weights, self._setup.frozen)
        self._metrics.record({"step": self._done, "validation_loss": loss})
        return loss

    def save(self, validation_loss: float | None) -> None:
        """Begin to write a checkpoint; training continues meanwhile."""
        kept = self._config.keep_optimizer == "yes" or not self.complete
        self._checkpoints.save(self.state, validation_loss, optimizer=kept)

    def sample(self) -> None:
        """Answer the sample prompts with the weights as they are, and append the answers to ``samples.jsonl``."""
        if self._setup.samples is None:
            return
        answers = self._setup.samples.write(self._run.samples_file, self._done, self._model())
        for language, answer in answers:
            log.info("update %d, %s: %s", self._done, language, " ".join(answer.split())[:160])

    def _model(self) -> Llama:
        """The model with the current weights, in the dtype that it computes in."""
        model = self._setup.rebuild(self.state.weights, self._setup.frozen)
        for variable in parameters(model).values():
            variable.set_value(variable[...].astype(model.compute_dtype))
        return model

    def _report(self) -> None:
        """Record the metrics of the newest update once it has ended."""
        if self._unread is None:
            return
        metrics = {name: float(value) for name, value in jax.device_get(self._unread).items()}
        self._unread = None
        self._metrics.update(self._done, metrics)
        self._check_finite(metrics)

    def _check_finite(self, metrics: Mapping[str, float]) -> None:
        """Stop before a loss or gradient that is not finite reaches a checkpoint.

        Raises:
            NotFiniteLossError: naming the update, whose rows are written down.
        """
        if math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"]):
            return
        step, file_name = self._done, self._run.not_finite_file
        if is_first():
            with atomic_write(file_name) as file:
                values = {name: str(value) for name, value in metrics.items()}  # JSON has no NaN
                rows = self._setup.data.names_at(step - 1)
                json.dump({"step": step, **values, "rows": rows}, file, indent=1)
        raise NotFiniteLossError(
            f"the loss of update {step} is {metrics['loss']} and the norm of its gradient {metrics['grad_norm']}; "
            f"the last checkpoint is kept and the update's rows are listed in {file_name}; try a lower learning "
            f"rate than {self._config.learning_rate:g}"
        )

    def _open_metrics(self) -> MetricsLog:
        config, setup = self._config, self._setup
        shape = setup.data.shape
        peak = peak_flops(setup.mesh.devices.flat[0].device_kind)
        return MetricsLog(
            self._run.metrics_file, self._done, config.steps, every=config.log_every,
            positions=shape.micro_batches * shape.rows * shape.length,
            flops_per_token=setup.flops_per_token, peak_flops=peak and peak * setup.mesh.size,
            trackers=self._trackers(), quiet=not is_first(),
        )  # fmt: skip

    def _trackers(self) -> list[Tracker]:
        """Where metrics go besides ``metrics.jsonl``; from the first process alone."""
        trackers: list[Tracker] = []
        path = self._run.path
        if self._config.tensorboard and is_first():
            trackers.append(TensorBoard(path / "tensorboard", self._done))
        if self._config.wandb and is_first():
            settings = yaml.safe_load(to_yaml(self._config, saved_only=True))
            trackers.append(WeightsAndBiases(self._config.wandb, path, settings))
        return trackers


def _on_device(x: Array) -> Array:
    return jax.device_put(x, x.sharding.with_memory_kind("device"))


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
