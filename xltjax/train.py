"""Instruction tuning: load, pack, update, checkpoint, resume. ``python -m xltjax.train``."""

from __future__ import annotations

import json
import logging
import math
import signal
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import yaml
from jax import Array
from jax.sharding import Mesh

from xltjax import cli
from xltjax.chat import ChatTokenizer
from xltjax.checkpoint import BASE, CHECKPOINTS, Checkpoints, companions, find_model, load_model
from xltjax.config import to_yaml
from xltjax.converters.export_hf import copy_companions
from xltjax.data import PackedData, load_corpora
from xltjax.errors import UserError
from xltjax.files import atomic_write, json_line, make_output_directory, read_text
from xltjax.llama import Llama
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh
from xltjax.optimizer import Schedule, adamw, make_schedule
from xltjax.plan import print_plan
from xltjax.progress import progress
from xltjax.provenance import write_provenance
from xltjax.rows import find_files
from xltjax.step import Bound, TrainState, make_train_step, place, start_state
from xltjax.train_config import DTYPES, TrainConfig

log = logging.getLogger("xltjax")

# Settings that may differ when a run is resumed: they do not change what is learned.
FREE = (
    "mesh",
    "out",
    "save_every",
    "keep",
    "log_every",
    "force",
    "plan",
    "steps",
    "remat",
    "rows_per_device",
)


def fit(config: TrainConfig) -> Path:
    """Train as ``config`` says, or go on where an earlier call with the same settings stopped.

    Returns:
        The run directory, whose last checkpoint is that of the last update.

    Raises:
        UserError: for anything the user can mend.
    """
    if not config.model:
        raise UserError("--model is missing: a Hugging Face directory or id, or 'miniature'")
    if not config.data:
        raise UserError("--data is missing: instruction data, as files, directories or dataset ids")
    mesh = make_mesh(config.mesh)
    shape = config.batch_shape()
    out = Path(config.out)
    _check_resumable(config, out)
    source = find_model(config.model)
    sources = [_find_data(name) for name in config.data]
    tokenizer = ChatTokenizer(companions(source), config.template)
    corpora, too_long = load_corpora(
        sources, config.data_weights, tokenizer, config.longest_example(), config.overlong
    )
    data = PackedData(corpora, shape, config.seed)
    bound = Bound(prepare_model(config, source, mesh))
    rows = sum(len(corpus.examples) for corpus in corpora)
    log.info("%d examples (%d too long: %s), %d tokens per update at most",
             rows, too_long, config.overlong, shape.tokens * shape.micro_batches)  # fmt: skip
    transform = adamw(
        beta1=config.beta1, beta2=config.beta2, eps=config.epsilon,
        weight_decay=config.weight_decay, clip_norm=config.clip_norm, moments=jnp.dtype(config.moments),
    )  # fmt: skip
    state = start_state(bound, transform, mesh)
    make_output_directory(out)
    checkpoints = Checkpoints(out / CHECKPOINTS, config.keep)
    state = checkpoints.restore_latest(state) or state
    _write_run_files(config, out, source, sources)
    step = make_train_step(bound, transform, schedule_of(config))
    with jax.set_mesh(mesh):
        _loop(config, out, state, bound.frozen, step, data, mesh, checkpoints)
    checkpoints.close()
    return out


def prepare_model(config: TrainConfig, source: Path, mesh: Mesh) -> Llama:
    """The model of ``config`` on ``mesh``, with adapters when LoRA is asked for."""
    stored, computed = DTYPES[config.precision]
    base = computed if config.lora_rank else stored
    model = load_model(source, mesh, dtype=base, compute_dtype=computed)
    model.remat = config.remat
    if config.lora_rank:
        add_lora(
            model,
            mesh,
            jax.random.key(config.seed),
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            targets=config.lora_targets,
            dtype=stored,
        )
    return model


def schedule_of(config: TrainConfig) -> Schedule:
    """The learning rate as a function of the update's number, counted from 1, and the peak."""
    return make_schedule(
        config.schedule,
        end=config.end_learning_rate,
        steps=config.steps,
        timescale=config.timescale,
        warmup=config.warmup,
    )


def _loop(
    config: TrainConfig,
    out: Path,
    state: TrainState,
    frozen: dict[str, Array],
    train_step: Any,
    data: PackedData,
    mesh: Mesh,
    checkpoints: Checkpoints,
) -> None:
    """Update until done, reading each step's metrics while the next one runs."""
    start = int(state.step)
    if start >= config.steps:
        log.info("%s is complete: %d updates", out, start)
        return
    if start:
        log.info("resuming %s after update %d", out, start)
    _drop_metrics_after(out / "metrics.jsonl", start)
    shape = data.shape
    positions = shape.micro_batches * shape.rows * shape.length
    stop = _StopSignal()
    began = time.perf_counter()
    pending: tuple[int, dict[str, Array]] | None = None
    with (
        (out / "metrics.jsonl").open("a", encoding="utf-8") as metrics,
        progress("training", config.steps, start) as advance,
        stop,
    ):

        def report() -> None:
            nonlocal began
            if pending is None:
                return
            number, values = pending
            row = {"step": number, **{key: float(value) for key, value in jax.device_get(values).items()}}
            seconds, began = time.perf_counter() - began, time.perf_counter()
            row["useful_share"] = row["tokens"] / positions
            row["seconds"] = round(seconds, 4)
            row["tokens_per_second"] = round(row["tokens"] / seconds, 1)
            if number % config.log_every == 0 or number in (1, config.steps):
                metrics.write(json_line(row))
                metrics.flush()
            if not math.isfinite(row["loss"]):
                raise UserError(
                    f"the loss of update {number} is {row['loss']}; the last checkpoint is kept, "
                    f"try a lower learning rate than {config.learning_rate}"
                )
            advance(1, f"loss {row['loss']:.3f}  lr {row['learning_rate']:.2e}  "
                       f"{row['tokens_per_second']:,.0f} tokens/s")  # fmt: skip

        for index in range(start, config.steps):
            state, values = train_step(state, frozen, place(data.batch_at(index), mesh), config.learning_rate)
            report()
            pending = (index + 1, values)
            last = index + 1 == config.steps or stop.asked
            if last or (index + 1) % config.save_every == 0:
                report()
                pending = None
                checkpoints.save(state)
                began = time.perf_counter()
            if stop.asked:
                log.info("stopped after update %d; the same command resumes", index + 1)
                return


class _StopSignal:
    """SIGTERM and SIGINT ask for a stop after the update in hand; a second SIGINT stops at once."""

    def __init__(self) -> None:
        self.asked = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _StopSignal:
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _find_data(name: str) -> str:
    """A data source as given, or the miniature's English instructions."""
    if name != "miniature":
        return name
    from xltjax.miniature.build import ensure

    return str(ensure() / "instructions" / "en.jsonl")


def _check_resumable(config: TrainConfig, out: Path) -> None:
    """Refuse to go on with a run whose model, data or optimisation was another.

    Raises:
        UserError: naming every setting that differs, or when a file stands in the way.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} cannot be a directory: a file stands in its way")
    if not (out / "config.yaml").is_file() or config.force:
        return
    before = yaml.safe_load(read_text(out / "config.yaml"))
    now = yaml.safe_load(to_yaml(config))
    changed = [
        f"{key} (was {before.get(key)!r}, now {value!r})"
        for key, value in now.items()
        if key not in FREE and before.get(key) != value
    ]
    if config.schedule in ("linear", "cosine") and before.get("steps") != config.steps:
        changed.append(f"steps (was {before.get('steps')}, now {config.steps})")
    if changed:
        raise UserError(
            f"{out} holds a run with other settings: {', '.join(changed)}; choose another --out, or --force"
        )


def _write_run_files(config: TrainConfig, out: Path, source: Path, sources: list[str]) -> None:
    copy_companions(companions(source), out / BASE)
    with atomic_write(out / "config.yaml") as file:
        file.write(to_yaml(config))
    write_provenance(out / "provenance.json", [path for name in sources for path in find_files(name)])


def _drop_metrics_after(path: Path, step: int) -> None:
    """Forget metrics of updates that a kill lost, so that every update stands once."""
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= step:
                kept.append(line + "\n")
        except (json.JSONDecodeError, KeyError):
            continue  # a line that the kill cut short
    with atomic_write(path) as file:
        file.writelines(kept)


def _command(config: TrainConfig) -> None:
    cli.log_to_stderr()
    if config.plan:
        print_plan(config)
        return
    out = fit(config)
    print(f"trained: {out}")
    print(f"next:    python -m xltjax.generate --model {out} --prompts xlt113 --out {out}/responses.jsonl")


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
