"""Instruction tuning of a LLaMA on a mesh. ``python -m xltjax.train``."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import logging
import shutil
import signal
import sys
from collections.abc import Sequence
from datetime import date
from pathlib import Path

from jax.sharding import Mesh

from xltjax import miniature
from xltjax.common import cli
from xltjax.common.distributed import any_process, is_first, join_processes, wait_for_all
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.common.hardware import GIB
from xltjax.common.locks import lock_directory
from xltjax.common.signals import StopSignal
from xltjax.converters.hf_config import llama_config, read_hf_config
from xltjax.converters.models import (
    KNOWN,
    config_directory,
    find_model,
    known_architecture,
    load_model,
    template_of,
    weights_directory,
)
from xltjax.converters.vocabulary import resize_vocabulary
from xltjax.data.formats import read_rows
from xltjax.data.model_files import set_vocabulary
from xltjax.data.prompt_sets import load_set
from xltjax.data.reading.files import find_files
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import LlamaConfig
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.training.config import DTYPES, TrainConfig
from xltjax.training.plan import checkpoint_bytes, print_plan
from xltjax.training.run import Base, Run
from xltjax.training.setup import read_examples, set_up, stored_dtype
from xltjax.training.show_example import show_example
from xltjax.training.trackers import check_trackers
from xltjax.training.trainer import Trainer

log = logging.getLogger("xltjax")

COMPRESSED = 0.75  # a checkpoint is at least this share of its numbers' bytes


def fit(config: TrainConfig, stop: StopSignal | None = None) -> list[Path]:
    """Train as ``config`` says, or continue where an earlier call with the same settings stopped.

    Args:
        config: the settings.
        stop: remembers which signal stopped the training.

    Returns:
        The directories of the complete runs: one, or one per learning rate; fewer after a signal to stop.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    _check_given(config)
    processes = join_processes(config.coordinator, config.process_id, config.processes)
    mesh = make_mesh(config.mesh, processes)
    config.batch_shape()
    check_trackers(tensorboard=config.tensorboard, wandb=bool(config.wandb))
    if not is_first():
        log.setLevel(logging.ERROR)
    with contextlib.ExitStack() as locks:
        _lock([Path(each.out) for each in config.runs()], locks)
        # What is known in a second comes before what is fetched or built in minutes.
        _check_data(config)
        if config.model == miniature.NAME or config.model in KNOWN:
            _check_length(config, _architecture(config.model))
        return _fit(config, mesh, stop or StopSignal())


def _fit(config: TrainConfig, mesh: Mesh, stop: StopSignal) -> list[Path]:
    config, source = _find(config)
    base = Base(_location(config.model), fingerprint(weights_directory(source)))
    files = config_directory(source)
    config = _dated(config)
    _tell_template(config, source)
    runs = [(each, Run(each.out)) for each in config.runs()]
    for each, run in runs:
        run.check_resumable(each, config.data, base.fingerprint, files)
    wait_for_all("the settings are checked")
    tokenizer = _tokenizer(config, files)
    examples = read_examples(config, config.data, tokenizer)
    llama = known_architecture(str(source))
    _check_length(config, llama)
    for each, run in runs:
        _check_disk(each, run, checkpoint_bytes(each, llama))
    model = load_model(
        source,
        mesh,
        dtype=stored_dtype(config),
        compute_dtype=DTYPES[config.precision][1],
        base=config.base,
        require_finite=True,
    )
    if config.resize_vocabulary:
        resize_vocabulary(model, mesh, tokenizer.size)
    vocabulary = model.config.vocab_size
    setup = set_up(config, mesh, examples, model, tokenizer)
    del model  # its buffers are used up by the first update
    complete = []
    for each, run in runs:
        if config.learning_rates:
            log.info("learning rate %s: %s", each.learning_rate, each.out)
        trainer = Trainer(each, setup, run)
        if is_first():
            run.write_settings(each, base, files, config.data)
            set_vocabulary(run.model_files, vocabulary)
            examples.report.write(run.skipped_file)
        goes_on = trainer.train(stop)
        if trainer.complete:
            complete.append(run.path)
        if not goes_on:
            break
    return complete


def _check_given(config: TrainConfig) -> None:
    """Refuse settings without a model or data.

    Raises:
        UserError: naming what is missing.
    """
    if not config.model:
        raise UserError("--model is missing: a Hugging Face directory or id, or 'miniature'")
    if not config.data:
        raise UserError("--data is missing: instruction data, as files, directories or dataset ids")


def _lock(directories: Sequence[Path], locks: contextlib.ExitStack) -> None:
    """Let no other training write to the directories. The first of several processes does this for all.

    Raises:
        UserError: when one of them is taken, in every process.
    """
    refused: Exception | None = None
    if is_first():
        try:
            for directory in directories:
                locks.enter_context(lock_directory(directory))
        except (UserError, OSError) as problem:
            refused = problem
    if any_process(refused is not None):
        raise refused or UserError("the first process cannot write to the run's directory")


def _check_data(config: TrainConfig) -> None:
    """Read the data before a model is built or downloaded for them, and the prompts of the sample answers.

    Raises:
        UserError: for data that cannot be read.
    """
    if config.sample_every and config.sample_prompts != miniature.NAME:
        load_set(config.sample_prompts)
    if Path(config.model).is_dir():
        return  # the data are read before the model is
    report = RowReport(config.bad_rows)
    for sources, split, default in (
        (config.data, config.split, "train"),
        (config.validation_data, "", "validation"),
    ):
        for source in sources:
            if not miniature.is_data(source):
                collections.deque(read_rows(source, report, split, default), maxlen=0)


def _architecture(model: str) -> LlamaConfig:
    """The architecture of a model that need not be there yet.

    Raises:
        UserError: when it is not known.
    """
    return miniature.architecture() if model == miniature.NAME else known_architecture(model)


def _check_length(config: TrainConfig, llama: LlamaConfig) -> None:
    """Refuse rows that are longer than the model can tell positions apart.

    Raises:
        UserError: naming both numbers.
    """
    if config.sequence_length > llama.max_positions:
        raise UserError(
            f"sequence_length {config.sequence_length} is more than the {llama.max_positions} positions of "
            f"{config.model} (max_position_embeddings); give --sequence-length {llama.max_positions} or less"
        )


def _check_disk(config: TrainConfig, run: Run, needed: float) -> None:
    """Refuse to train for hours towards a checkpoint that the disk cannot hold.

    Raises:
        UserError: naming what is free and what a checkpoint takes.
    """
    if run.steps and run.steps[-1] >= config.steps:
        return  # nothing will be written
    disk = shutil.disk_usage(
        next(place for place in (run.path, *run.path.absolute().parents) if place.exists())
    )
    # Orbax compresses; a file system without a size does not say what is free.
    if any_process(is_first() and disk.total > 0 and disk.free < COMPRESSED * needed):
        raise UserError(
            f"{run.path} has room for {disk.free / GIB:.1f} GiB, and a checkpoint takes about "
            f"{needed / GIB:.1f} GiB; free some space or choose another --out"
        )


def _find(config: TrainConfig) -> tuple[TrainConfig, Path]:
    """The settings with what the miniature stands for, and the model's directory.

    The first process fetches or builds what is missing; the others then find it.
    """
    found = None
    for first in (True, False):
        if is_first() == first:
            config = miniature.located(config)
            found = find_model(config.model)
            for source in config.data:
                find_files(source, config.split)
        wait_for_all(f"model and data are there for {'the first' if first else 'all'}")
    assert found is not None
    return config, found


def _dated(config: TrainConfig) -> TrainConfig:
    """``config`` with the date that its template writes: the one given, that of the run in ``out``, or today's."""
    if config.template_date or config.template != "tokenizer":
        return config
    begun = [run for each in config.runs() if (run := Run.find(each.out))]
    today = date.today().isoformat()
    return dataclasses.replace(config, template_date=begun[0].config.template_date if begun else today)


def _tokenizer(config: TrainConfig, directory: Path) -> ChatTokenizer:
    """The tokenizer in ``directory``, with the template of ``config`` and the vocabulary that the run will have."""
    size = None if config.resize_vocabulary else llama_config(read_hf_config(directory)).vocab_size
    return ChatTokenizer(directory, config.template, vocab_size=size, date=config.template_date)


def _tell_template(config: TrainConfig, source: Path) -> None:
    """Say so when the model was trained with another chat template."""
    before = template_of(source)
    if before and before != config.template:
        log.info(
            "%s was trained with the chat template %r; this run uses %r (--template %s goes on with it)",
            config.model, before, config.template, before,
        )  # fmt: skip


def _location(model: str) -> str:
    """Where a run finds its base again: the absolute path of a directory, or the id on the hub."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _plan(config: TrainConfig) -> None:
    """Print what the run needs. The number of epochs is known where model and data are at hand."""
    llama = _architecture(config.model)
    if config.model == miniature.NAME or any(map(miniature.is_data, config.data)):
        if not miniature.is_built():
            print_plan(config, llama)
            print("one epoch: known when the miniature is built, which the first training does")
            return
        located = miniature.located(config)
        model, config = located.model, dataclasses.replace(located, model=config.model)
    else:
        model = config.model
    directory = Path(model)
    tokenizer = _tokenizer(config, config_directory(directory)) if directory.is_dir() else None
    print_plan(config, llama, tokenizer)


def _show_example(config: TrainConfig) -> None:
    """Print a row of the data as tokens. No weights are read, nor downloaded for a model on the hub."""
    _check_given(config)
    for source in config.data:
        if not miniature.is_data(source):  # which takes minutes to build
            find_files(source, config.split)
    config = miniature.located(config)
    directory = Path(config.model)
    if directory.is_dir():
        tokenizer = _tokenizer(_dated(config), config_directory(directory))
    else:
        tokenizer = ChatTokenizer(config.model, config.template, date=config.template_date)
    show_example(config, tokenizer)


def _command(config: TrainConfig) -> None:
    cache_compilations()
    if config.show_example:
        _show_example(config)
        return
    if config.plan:
        _plan(config)
        return
    stop = StopSignal()
    complete = fit(config, stop)
    if is_first():
        prompts = miniature.NAME if config.model == miniature.NAME else "xlt113"
        for out in complete:
            print(f"trained: {out}")
            print(
                f"next:    python -m xltjax.generate --model {out} --prompts {prompts} "
                f"--out {out}/responses.jsonl"
            )
    if len(complete) < len(config.runs()):
        # The signal may have reached another process of this run.
        sys.exit(128 + (stop.number or signal.SIGTERM))


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
