"""What a run needs before its first update: data read, the model loaded, the update made."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from xltjax.common.errors import UserError
from xltjax.converters.models import companions, load_model
from xltjax.data.corpora import Corpus, load_corpora, split_validation
from xltjax.data.packing import PackedData
from xltjax.data.tokenizer import ChatTokenizer, Tokens
from xltjax.llama import Llama
from xltjax.lora import add_lora, merge
from xltjax.partition import Rebuild, Weights, partition
from xltjax.training.config import DTYPES, TrainConfig
from xltjax.training.optimizer import Schedule, adamw, make_schedule
from xltjax.training.samples import Samples
from xltjax.training.step import in_host_memory, make_train_step
from xltjax.training.validation import Validation

log = logging.getLogger("xltjax")


@dataclass(frozen=True)
class Prepared:
    """What the runs of a sweep share: everything but the learning rate.

    Attributes:
        start: the trained weights before the first update; in host memory when several runs begin there.
        frozen: the weights that are not trained.
        update: jitted, see ``step.make_train_step``.
        flops_per_token: of training, see ``Llama.flops_per_token``.
        base: fingerprint of the model's weights.
    """

    mesh: Mesh
    source: Path
    sources: list[str]
    base: str
    data: PackedData
    validation: Validation | None
    samples: Samples | None
    rebuild: Rebuild
    transform: Any
    update: Any
    start: Weights
    frozen: Weights
    flops_per_token: float


def prepare(config: TrainConfig, mesh: Mesh, source: Path, sources: list[str], base: str) -> Prepared:
    """Read the data, load the model, and make the update."""
    shape = config.batch_shape()
    tokenizer = ChatTokenizer(companions(source), config.template)
    corpora, too_long = load_corpora(
        sources, config.data_weights, tokenizer, config.longest_example(), config.overlong
    )
    corpora, held = _validation_examples(config, corpora, tokenizer)
    log.info("%d examples (%d too long: %s), %d tokens per update at most",
             sum(len(corpus.examples) for corpus in corpora), too_long, config.overlong,
             shape.tokens * shape.micro_batches)  # fmt: skip
    samples = None
    model = prepare_model(config, source, mesh)
    if config.sample_every:
        if jax.process_count() > 1:
            raise UserError("--sample-every works in runs of one process")
        samples = Samples(config.sample_prompts, tokenizer, mesh, model.config.max_positions)
    flops = model.flops_per_token(shape.length, passes=2 if config.lora_rank else 3)
    start, frozen, rebuild = partition(model)
    del model
    if len(config.runs()) > 1:
        start = jax.tree.map(in_host_memory, start)
    transform = adamw(
        beta1=config.beta1, beta2=config.beta2, eps=config.epsilon,
        weight_decay=config.weight_decay, clip_norm=config.clip_norm, moments=jnp.dtype(config.moments),
    )  # fmt: skip
    update = make_train_step(
        rebuild, transform, schedule_of(config), seed=config.seed, lora_dropout=config.lora_dropout,
        stochastic_rounding=config.precision == "bfloat16-stochastic", offload=config.offload,
    )  # fmt: skip
    return Prepared(
        mesh, source, sources, base,
        data=PackedData(corpora, shape, config.seed),
        validation=Validation(held, shape, rebuild, mesh) if held else None,
        samples=samples, rebuild=rebuild, transform=transform, update=update,
        start=start, frozen=frozen, flops_per_token=flops,
    )  # fmt: skip


def _validation_examples(
    config: TrainConfig, corpora: list[Corpus], tokenizer: ChatTokenizer
) -> tuple[list[Corpus], list[Tokens]]:
    """The corpora to learn from, and the examples to measure the loss on."""
    held: list[Tokens] = []
    if config.validation_rows:
        corpora, held = split_validation(corpora, config.validation_rows, config.seed)
    if config.validation_data:
        others, _ = load_corpora(
            config.validation_data, (), tokenizer, config.longest_example(), config.overlong
        )
        held += [example for corpus in others for example in corpus.examples]
    return corpora, held


def prepare_model(config: TrainConfig, source: Path, mesh: Mesh) -> Llama:
    """The model of ``config`` on ``mesh``, with adapters when LoRA is asked for."""
    stored, computed = DTYPES[config.precision]
    base = computed if config.lora_rank else stored
    model = load_model(source, mesh, dtype=base, compute_dtype=computed)
    merge(model)  # what a LoRA run has learned becomes part of the base of this one
    model.activation_checkpointing = config.remat
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
