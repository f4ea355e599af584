"""What the runs of a sweep share besides the data: the model taken apart, and the compiled update."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from xltjax.attention.choice import choose, record
from xltjax.attention.problem import Problem
from xltjax.checkpoint import TrainState
from xltjax.common.errors import UserError
from xltjax.common.hardware import accelerator_of, device_memory
from xltjax.data.packing import Batch, PackedData
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, LlamaConfig, use_attention
from xltjax.lora import add_lora, merge
from xltjax.partition import Rebuild, Weights, partition
from xltjax.training.config import TrainConfig
from xltjax.training.examples import Examples
from xltjax.training.optimizer import Schedule, adamw, make_schedule
from xltjax.training.plan import least_recomputation
from xltjax.training.samples import Samples
from xltjax.training.step import Metrics, in_host_memory, make_train_step
from xltjax.training.trained import DTYPES, trained_parts
from xltjax.training.validation import Validation


@dataclass(frozen=True)
class Setup:
    """Everything that the runs of a sweep share, which is all but the learning rate.

    Attributes:
        mesh: the devices.
        data: the packed examples.
        validation: measures the validation loss; None without validation data.
        samples: answers a few prompts; None unless sample answers are requested.
        rebuild: puts the model together from trainable and frozen weights.
        transform: the optimizer, see ``optimizer.adamw``.
        update: the jitted update, see ``step.make_train_step``.
        start: the trainable weights before the first update; in host memory when several runs begin with them.
        frozen: the weights that are not trained.
        flops_per_token: model FLOPs of training, see ``Llama.flops_per_token``.
        facts: what was chosen for the device, for the provenance of a run.
    """

    mesh: Mesh
    data: PackedData
    validation: Validation | None
    samples: Samples | None
    rebuild: Rebuild
    transform: optax.GradientTransformation
    update: Callable[[TrainState, Weights, Batch, Any], tuple[TrainState, Metrics]]
    start: Weights
    frozen: Weights
    flops_per_token: float
    facts: dict[str, Any]


def set_up(
    config: TrainConfig, mesh: Mesh, examples: Examples, model: Llama, tokenizer: ChatTokenizer
) -> Setup:
    """Prepare ``model`` for training on ``examples`` and make the update; ``config`` knows its number of updates.

    Raises:
        UserError: for sample answers in a run of several processes.
    """
    shape = config.batch_shape()
    llama = model.config
    problems = attention_problems(config, llama)
    counting = any(choose(problem, config.attention).needs_segments for problem in problems)
    examples.packed.count_segments = counting
    remat = config.remat
    if remat == "auto":
        kind = accelerator_of(mesh.devices.flat[0].device_kind)
        remat = least_recomputation(config, llama, device_memory(), kind)
    samples = None
    if config.sample_every:
        if jax.process_count() > 1:
            raise UserError("--sample-every works in runs of one process only")
        samples = Samples(config.sample_prompts, tokenizer, mesh, model.config.max_positions)
    prepare_model(config, model, mesh)
    model.activation_checkpointing = remat
    use_attention(model, config.attention)
    parts = trained_parts(config, model.config)
    flops = model.flops_per_token(shape.length, parts=parts, adapters=bool(config.lora_rank))
    start, frozen, rebuild = partition(model, parts)
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
    return Setup(
        mesh,
        data=examples.packed,
        validation=Validation(examples.validation, shape, rebuild, mesh, count_segments=counting)
        if examples.validation
        else None,
        samples=samples, rebuild=rebuild, transform=transform, update=update,
        start=start, frozen=frozen, flops_per_token=flops,
        facts={"attention": record(problems, config.attention), "remat": remat},
    )  # fmt: skip


def prepare_model(config: TrainConfig, model: Llama, mesh: Mesh) -> None:
    """Merge the adapters that ``model`` has, and add new ones if LoRA is requested."""
    merge(model)  # what a LoRA run has learned becomes part of the base of this one
    if config.lora_rank:
        add_lora(
            model,
            mesh,
            jax.random.key(config.seed),
            rank=config.lora_rank,
            alpha=config.lora_alpha,
            targets=config.lora_targets,
            parts=trained_parts(config, model.config),
            dtype=DTYPES[config.precision][0],
        )


def attention_problems(config: TrainConfig, llama: LlamaConfig) -> list[Problem]:
    """What the updates ask of attention; how many segments rows have is known when they are packed."""
    return llama.attention_problems(DTYPES[config.precision][1], config.sequence_length, segments=2)


def schedule_of(config: TrainConfig) -> Schedule:
    """The learning rate as a function of the update's number, counted from 1, and the peak."""
    return make_schedule(
        config.schedule,
        end=config.end_learning_rate,
        steps=config.steps,
        timescale=config.timescale,
        warmup=config.warmup,
    )
