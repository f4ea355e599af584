"""What is checked before a model is loaded: mistakes that would otherwise show after minutes or hours."""

from __future__ import annotations

import collections
import contextlib
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from xltjax.common.distributed import any_process, is_first
from xltjax.common.errors import UserError
from xltjax.common.hardware import GIB
from xltjax.common.locks import lock_directory
from xltjax.data.formats import read_rows, training_columns
from xltjax.data.prompt_sets import load_set
from xltjax.data.reading.report import RowReport
from xltjax.llama import LlamaConfig
from xltjax.training.config import TrainConfig
from xltjax.training.run import Run

COMPRESSED = 0.75  # a checkpoint is at least this share of its numbers' bytes


def lock_runs(directories: Sequence[Path], locks: contextlib.ExitStack) -> None:
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


def check_data(config: TrainConfig, is_named: Callable[[str], bool]) -> None:
    """Read the data before a model is built or downloaded for them, and the prompts of the sample answers.

    Args:
        config: the settings.
        is_named: whether a source is a name that stands for files which may not exist yet.

    Raises:
        UserError: for data or prompts that cannot be read.
    """
    if config.sample_every and not is_named(config.sample_prompts):
        load_set(config.sample_prompts)
    if Path(config.model).is_dir():
        return  # the data are read before the model is
    report, columns = RowReport(config.bad_rows), training_columns(config.columns)
    for sources, split, default in (
        (config.data, config.split, "train"),
        (config.validation_data, "", "validation"),
    ):
        for source in sources:
            if not is_named(source):
                collections.deque(read_rows(source, report, split, default, columns), maxlen=0)


def check_length(config: TrainConfig, llama: LlamaConfig) -> None:
    """Refuse rows that are longer than the model can tell positions apart.

    Raises:
        UserError: naming both numbers.
    """
    if config.sequence_length > llama.max_positions:
        raise UserError(
            f"sequence_length {config.sequence_length} is more than the {llama.max_positions} positions of "
            f"{config.model} (max_position_embeddings); give --sequence-length {llama.max_positions} or less"
        )


def check_continues(config: TrainConfig, run: Run) -> None:
    """Refuse to continue after a last checkpoint without the state of the optimizer.

    Raises:
        UserError: saying what can be done instead.
    """
    steps = run.steps
    if steps and steps[-1] < config.steps:
        with contextlib.closing(run.checkpoints()) as checkpoints:
            if checkpoints.lacks_optimizer(steps[-1]):
                raise UserError(
                    f"{run.path} ended after update {steps[-1]} without the state of the optimizer (--keep-optimizer "
                    f"no) and cannot continue to update {config.steps}; start a new run with --model {run.path}"
                )


def check_disk(config: TrainConfig, run: Run, needed: float) -> None:
    """Refuse to train for hours toward a checkpoint that the disk cannot hold.

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
        unit, name = (GIB, "GiB") if needed > GIB / 10 else (1 << 20, "MiB")
        raise UserError(
            f"{run.path} has room for {disk.free / unit:.1f} {name}, and a checkpoint takes about "
            f"{needed / unit:.1f} {name}; free some space or choose another --out"
        )
