"""The work of ``python -m xltjax.train``: from settings to complete runs, one or one for each learning rate."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shlex
import signal
import sys
from datetime import date
from pathlib import Path

from jax.sharding import Mesh

from xltjax import miniature
from xltjax.attention.choice import check_kernel
from xltjax.common.distributed import is_first, join_processes, wait_for_all
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.common.signals import StopSignal
from xltjax.converters.hf_config import read_architecture
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
from xltjax.data.model_files import set_vocabulary
from xltjax.data.reading.files import find_files
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import LlamaConfig
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.train.preflight import check_continues, check_data, check_disk, check_length, lock_runs
from xltjax.train.show_example import show_example
from xltjax.train.sweep import generation, print_next, print_sweep
from xltjax.training.config import TrainConfig
from xltjax.training.epochs import passes, warn_of_many, with_steps
from xltjax.training.examples import read_examples
from xltjax.training.plan import checkpoint_bytes, print_plan
from xltjax.training.run import Base, Run
from xltjax.training.setup import attention_problems, set_up
from xltjax.training.trackers import check_trackers
from xltjax.training.trained import DTYPES, stored_dtypes, trained_parts, with_plain_layers
from xltjax.training.trainer import NotFiniteLossError, Trainer

log = logging.getLogger("xltjax")


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
        lock_runs([Path(each.out) for each in config.runs()], locks)
        # What is known in a second comes before what is fetched or built in minutes.
        check_data(config, miniature.is_data)
        if config.model == miniature.NAME or config.model in KNOWN:
            check_length(config, _architecture(config.model))
            trained_parts(config, _architecture(config.model))
        return _fit(config, mesh, stop or StopSignal())


def _fit(config: TrainConfig, mesh: Mesh, stop: StopSignal) -> list[Path]:
    config, source = _find(config)
    llama = known_architecture(str(source))
    config = with_plain_layers(config, llama)
    check_kernel(attention_problems(config, llama), config.attention)
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
    check_length(config, llama)
    config = with_steps(config, examples.packed)
    runs = [(each, run) for each, (_, run) in zip(config.runs(), runs, strict=True)]
    seen = passes(config, examples.packed)
    log.info("%s", seen)
    warn_of_many(seen)
    for each, run in runs:
        check_continues(each, run)
        check_disk(each, run, checkpoint_bytes(each, llama))
    model = load_model(
        source,
        mesh,
        dtype=stored_dtypes(config, llama),
        compute_dtype=DTYPES[config.precision][1],
        base=miniature.model_path(config.base),
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
            facts = {"passes": dataclasses.asdict(seen), **setup.facts}
            run.write_settings(each, base, files, config.data, facts)
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


def _architecture(model: str) -> LlamaConfig:
    """The architecture of a model that need not be there yet.

    Raises:
        UserError: when it is not known.
    """
    return miniature.architecture() if model == miniature.NAME else known_architecture(model)


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
    size = None if config.resize_vocabulary else read_architecture(directory).vocab_size
    return ChatTokenizer(directory, config.template, vocab_size=size, date=config.template_date)


def _tell_template(config: TrainConfig, source: Path) -> None:
    """Say so when the model was trained with another chat template."""
    before = template_of(source)
    if before and before != config.template:
        log.info(
            "%s was trained with the chat template %r; this run uses %r (--template %s continues with it)",
            config.model, before, config.template, before,
        )  # fmt: skip


def _location(model: str) -> str:
    """Where a run finds its base again: the absolute path of a directory, or the id on the hub."""
    return str(Path(model).resolve()) if Path(model).is_dir() else model


def _plan(config: TrainConfig) -> None:
    """Print what the run needs. The number of epochs is known where model and data are available."""
    llama = _architecture(config.model)
    if config.model == miniature.NAME or any(map(miniature.is_data, config.data)):
        if not miniature.is_built():
            print_plan(config, llama)
            print("one epoch: not known until the miniature is built, which the first training run does")
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
        known = KNOWN.get(config.model)
        size = known.vocab_size if known and not config.resize_vocabulary else None
        tokenizer = ChatTokenizer(config.model, config.template, vocab_size=size, date=config.template_date)
    show_example(config, tokenizer)


def run(config: TrainConfig) -> None:
    """Train, and say what comes next; or print what ``--plan`` and ``--show-example`` ask for."""
    cache_compilations()
    if config.show_example:
        _show_example(config)
        return
    if config.plan:
        _plan(config)
        return
    stop = StopSignal()
    try:
        complete = fit(config, stop)
    except NotFiniteLossError:
        if config.learning_rates and is_first():
            print_sweep(config)
        raise
    if is_first():
        prompts = miniature.NAME if config.model == miniature.NAME else "xlt113"
        prompts = shlex.quote(config.sample_prompts) if config.sample_every else prompts
        if config.learning_rates:
            print_sweep(config)
        for out in complete:
            print(f"trained: {out}")
            if not config.learning_rates:
                print(f"next:    {generation(shlex.quote(str(out)), prompts)}")
        if config.learning_rates and len(complete) == len(config.runs()):
            print_next(complete, prompts)
    if len(complete) < len(config.runs()):
        # The signal may have reached another process of this run.
        sys.exit(128 + (stop.number or signal.SIGTERM))
