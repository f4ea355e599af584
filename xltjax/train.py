"""Instruction tuning: load, pack, update, checkpoint, resume. ``python -m xltjax.train``."""

from __future__ import annotations

import contextlib
import json
import logging
import math
from pathlib import Path

import jax
import yaml
from jax import Array

from xltjax.checkpoint import CHECKPOINTS, Checkpoints, TrainState
from xltjax.common import cli
from xltjax.common.distributed import any_process, is_first, join_processes, wait_for_all
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory
from xltjax.common.fingerprint import fingerprint
from xltjax.common.hardware import peak_flops
from xltjax.common.settings import to_yaml
from xltjax.common.signals import StopSignal
from xltjax.converters.models import find_model, weights_directory
from xltjax.data.packing import PackedData
from xltjax.llama import Llama, parameters
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.training.config import TrainConfig
from xltjax.training.metrics import TrainLog
from xltjax.training.plan import print_plan
from xltjax.training.run import check_resumable, write_run_files
from xltjax.training.setup import Prepared, prepare
from xltjax.training.step import fresh_state, place, rows_here
from xltjax.training.trackers import TensorBoard, Tracker, WeightsAndBiases

log = logging.getLogger("xltjax")

SAMPLES, NOT_FINITE = "samples.jsonl", "not-finite.json"


def fit(config: TrainConfig) -> list[Path]:
    """Train as ``config`` says, or go on where an earlier call with the same settings stopped.

    Returns:
        The directories of the runs that are complete: one, or one per learning rate; fewer after a signal
        to stop.

    Raises:
        UserError: for anything the user can mend.
    """
    if not config.model:
        raise UserError("--model is missing: a Hugging Face directory or id, or 'miniature'")
    if not config.data:
        raise UserError("--data is missing: instruction data, as files, directories or dataset ids")
    processes = join_processes(config.coordinator, config.process_id, config.processes)
    mesh = make_mesh(config.mesh, processes)
    config.batch_shape()
    if not is_first():
        log.setLevel(logging.ERROR)
    source, sources = _find(config)
    base = fingerprint(weights_directory(source))
    for run in config.runs():
        check_resumable(run, sources, base, _known_base(Path(run.out)))
    wait_for_all("settings are checked")
    shared = prepare(config, mesh, source, sources, base)
    complete = []
    for run in config.runs():
        if config.learning_rates:
            log.info("learning rate %g: %s", run.learning_rate, run.out)
        if not _train(run, shared):
            break
        complete.append(Path(run.out))
    return complete


def _find(config: TrainConfig) -> tuple[Path, list[str]]:
    """The model's directory and the data sources; the first process fetches or builds what is missing."""
    found = None
    for first in (True, False):
        if is_first() == first:
            found = find_model(config.model), [_find_data(name) for name in config.data]
        wait_for_all(f"model and data are there for {'the first' if first else 'all'}")
    assert found is not None
    return found


def _find_data(name: str) -> str:
    """A data source as given, or the miniature's English instructions."""
    if name != "miniature":
        return name
    from xltjax.miniature.build import ensure

    return str(ensure() / "instructions" / "en.jsonl")


def _known_base(out: Path) -> str:
    """Identity of the weights that the run in ``out`` began with; empty when it has no checkpoint."""
    if not (out / CHECKPOINTS).is_dir():
        return ""
    checkpoints = Checkpoints(out / CHECKPOINTS)
    steps = checkpoints.steps()
    known = checkpoints.base(steps[-1]) if steps else ""
    checkpoints.close()
    return known


def _train(config: TrainConfig, shared: Prepared) -> bool:
    """One run, from its last checkpoint on; False when it was asked to stop before its end."""
    out, mesh = make_output_directory(Path(config.out)), shared.mesh
    # Device buffers are used up by the first update; those in host memory stay for the next run.
    start = jax.tree.map(_on_device, shared.start)
    state = fresh_state(start, shared.transform, mesh, offload=config.offload)
    del start
    checkpoints = Checkpoints(out / CHECKPOINTS, config.keep, shared.base)
    state = checkpoints.restore_latest(state) or state
    if is_first():
        write_run_files(config, shared.source, shared.sources)
    done = int(state.step)
    if done >= config.steps:
        log.info("%s is complete: %d updates", out, done)
        checkpoints.close()
        return True
    if done:
        log.info("resuming %s after update %d", out, done)
    peak = peak_flops(mesh.devices.flat[0].device_kind)
    shape = shared.data.shape
    record = TrainLog(
        out, done, config.steps, every=config.log_every,
        positions=shape.micro_batches * shape.rows * shape.length,
        flops_per_token=shared.flops_per_token, peak_flops=peak and peak * mesh.size,
        trackers=_trackers(config, done), quiet=not is_first(),
    )  # fmt: skip
    with contextlib.closing(checkpoints), jax.set_mesh(mesh), record, StopSignal() as stop:
        complete = _loop(config, shared, state, checkpoints, record, stop)
        best = checkpoints.best()
    if best:
        log.info("lowest validation loss %.4f: %s", best[1], out / CHECKPOINTS / str(best[0]))
    return complete


def _on_device(x: Array) -> Array:
    return jax.device_put(x, x.sharding.with_memory_kind("device"))


def _trackers(config: TrainConfig, done: int) -> list[Tracker]:
    """Where metrics go besides ``metrics.jsonl``, from the first process alone."""
    trackers: list[Tracker] = []
    if config.tensorboard and is_first():
        trackers.append(TensorBoard(Path(config.out) / "tensorboard", done))
    if config.wandb and is_first():
        trackers.append(WeightsAndBiases(config.wandb, Path(config.out), yaml.safe_load(to_yaml(config))))
    return trackers


def _loop(
    config: TrainConfig,
    shared: Prepared,
    state: TrainState,
    checkpoints: Checkpoints,
    record: TrainLog,
    stop: StopSignal,
) -> bool:
    """Update until done, reading each update's metrics while the next one runs; False when stopped."""
    out, mesh, data = Path(config.out), shared.mesh, shared.data
    rows = data.shape.rows * data.shape.joined
    here = rows_here(mesh, rows)
    pending: tuple[int, dict[str, Array]] | None = None

    def report() -> None:
        nonlocal pending
        if pending is not None:
            (number, values), pending = pending, None
            metrics = {name: float(value) for name, value in jax.device_get(values).items()}
            record.update(number, metrics)
            _check_finite(config, data, number, metrics)

    for index in range(int(state.step), config.steps):
        batch = place(data.batch_at(index, here), mesh, rows)
        state, values = shared.update(state, shared.frozen, batch, config.learning_rate)
        report()
        number = index + 1
        pending = number, values
        stopped = any_process(stop.asked)
        saving = stopped or number == config.steps or number % config.save_every == 0
        measuring = saving or _due(number, config.validation_every)
        sampling = _due(number, config.sample_every)
        if saving or measuring or sampling:
            report()
            loss = None
            if measuring and shared.validation:
                loss = shared.validation.loss(state.weights, shared.frozen)
                record.record({"step": number, "validation_loss": loss})
            if saving:
                checkpoints.save(state, loss)
            if sampling and shared.samples:
                for language, answer in shared.samples.write(out / SAMPLES, number, _model(shared, state)):
                    log.info("update %d, %s: %s", number, language, " ".join(answer.split())[:160])
            record.restart_clock()
        if stopped:
            break
    checkpoints.finish(required=True)
    if stopped:
        log.info("stopped after update %d; the same command resumes", number)
    return not stopped


def _due(number: int, every: int) -> bool:
    return every > 0 and number % every == 0


def _model(shared: Prepared, state: TrainState) -> Llama:
    """The model as it stands, its weights as they are computed with."""
    model = shared.rebuild(state.weights, shared.frozen)
    for variable in parameters(model).values():
        variable.set_value(variable[...].astype(model.compute_dtype))
    return model


def _check_finite(config: TrainConfig, data: PackedData, number: int, metrics: dict[str, float]) -> None:
    """Stop before a loss or gradient that is not finite reaches a checkpoint.

    Raises:
        UserError: naming the update; its rows are written down.
    """
    if math.isfinite(metrics["loss"]) and math.isfinite(metrics["grad_norm"]):
        return
    place_of_rows = Path(config.out) / NOT_FINITE
    if is_first():
        with atomic_write(place_of_rows) as file:
            values = {name: str(value) for name, value in metrics.items()}  # JSON has no NaN
            json.dump({"step": number, **values, "rows": data.names_at(number - 1)}, file, indent=1)
    raise UserError(
        f"the loss of update {number} is {metrics['loss']}, its gradient's norm {metrics['grad_norm']}; the last "
        f"checkpoint is kept, its rows are in {place_of_rows}; try a lower learning rate than "
        f"{config.learning_rate:g}"
    )


def _command(config: TrainConfig) -> None:
    cli.log_to_stderr()
    cache_compilations()
    if config.plan:
        print_plan(config)
        return
    for out in fit(config):
        if is_first():
            print(f"trained: {out}")
            print(
                f"next:    python -m xltjax.generate --model {out} --prompts xlt113 --out {out}/responses.jsonl"
            )


COMMAND = cli.command(
    TrainConfig,
    _command,
    name="train",
    help="Instruction-tune a LLaMA on a mesh, fully or with LoRA. Without --config and --model: the miniature.",
    fallback=("miniature", "model"),
)


def main() -> None:
    """Entry point of ``python -m xltjax.train``."""
    cli.execute(COMMAND, program="python -m xltjax.train")


if __name__ == "__main__":
    main()
