"""An estimate of what a training run needs, made before anything is loaded: memory, FLOPs and time."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import get_args

import jax.numpy as jnp
from rich.console import Console
from rich.table import Table

from xltjax.attention.choice import choose
from xltjax.attention.cudnn import MOST_SEGMENTS
from xltjax.attention.portable import SCORE_BYTES
from xltjax.attention.problem import Device
from xltjax.common.errors import UserError
from xltjax.common.hardware import ACCELERATORS, GIB, USABLE_MEMORY, Kernel, parse_mesh
from xltjax.common.model_parts import lowest_layer, part_of
from xltjax.data.corpora import Corpus
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.layers import Checkpointing
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.lora import lora_parameters
from xltjax.training.config import TrainConfig
from xltjax.training.epochs import Passes, epochs_of_sources, passes, warn_of_many, with_steps
from xltjax.training.examples import pack, read_corpora
from xltjax.training.loss import LOGIT_BYTES
from xltjax.training.trained import DTYPES, trained_parts

ASSUMED_MFU = 0.4  # model FLOPs utilization that a run typically reaches
SEGMENT = 64  # tokens of an example, where the number of segments in a row has to be guessed
MIB = 1 << 20
SMALL_MODEL = GIB / 10  # bytes of weights below which MiB are printed


@dataclass(frozen=True)
class Plan:
    """Bytes on one device at the peak, and the work of one update over all devices.

    Attributes:
        weights: the trained and the frozen weights.
        gradients: the gradients of the trained weights, as far as they need more than the activations, whose place
            they take layer by layer; and their sum when they are accumulated.
        moments: AdamW's two moments; none when they are kept in the host's memory.
        activations: what the forward pass keeps for the backward pass, and the working set of one block.
        attention: the working memory of the kernel that each accelerator is expected to use, and its name; that of
            other devices by the name ``""``.
        logits: the logits of one chunk with their gradient, and the sum of the head's gradients.
        gathered: the weights of two layers, gathered over the data axis.
        flops: model FLOPs of one update (``Llama.flops_per_token``; a frozen weight has no gradient).
        tokens: the most tokens of one update.
    """

    weights: float
    gradients: float
    moments: float
    activations: float
    attention: Mapping[str, tuple[Kernel, float]]
    logits: float
    gathered: float
    flops: float
    tokens: int

    def total(self, accelerator: str = "") -> float:
        """The sum of all bytes on a device of this kind."""
        kept = self.weights + self.gradients + self.moments + self.activations
        return kept + self.attention[accelerator][1] + self.logits + self.gathered

    def fits(self, accelerator: str) -> bool:
        """Whether one device of this kind has enough memory."""
        return self.total(accelerator) <= ACCELERATORS[accelerator].memory * GIB * USABLE_MEMORY


def make_plan(config: TrainConfig, llama: LlamaConfig) -> Plan:
    """The plan of training a model of this architecture with the settings ``config``."""
    replicas, data, tensor = parse_mesh(config.mesh)
    shape = config.batch_shape()
    stored, computed = (jnp.dtype(dtype).itemsize for dtype in DTYPES[config.precision])
    model = Llama(llama, vocab_multiple=data * tensor)
    parts = trained_parts(config, llama)
    sizes = {name: math.prod(v.shape) for name, v in parameters(model).items()}
    everything = sum(sizes.values())
    if config.lora_rank:
        trained = lora_parameters(model, config.lora_rank, config.lora_targets, parts)
        frozen = everything
    else:
        trained = sum(size for name, size in sizes.items() if not parts or part_of(name) in parts)
        frozen = everything - trained
    shards = data * tensor
    rows = shape.rows * shape.joined / (replicas * data)
    tokens = rows * shape.length
    width = llama.hidden_size
    kept = _kept(llama, tokens, tensor, computed)
    per_layer = (everything - 2 * llama.vocab_size * width) / llama.num_layers
    logits = 3 * min(tokens * llama.vocab_size * 4 / tensor, LOGIT_BYTES)
    head = "embed" if llama.tied_embeddings else "head"
    frozen_head = config.lora_rank or (parts and head not in parts)
    head_gradient = 0 if frozen_head else 4 * llama.vocab_size * width / tensor
    backward = llama.num_layers - lowest_layer(parts, llama.num_layers)
    per_token = model.flops_per_token(shape.length, parts=parts, adapters=bool(config.lora_rank))
    update = shape.tokens * shape.micro_batches
    accumulated = 4 if shape.micro_batches > shape.joined else 0
    activations = kept["block" if config.remat == "auto" else config.remat] * backward
    return Plan(
        weights=(trained * stored + frozen * computed) / shards,
        gradients=trained * accumulated / shards + max(trained * stored / shards - activations, 0),
        moments=0 if config.offload else 2 * trained * jnp.dtype(config.moments).itemsize / shards,
        activations=activations + kept["none"],
        attention={
            name: _attention(config, llama, rows, tensor, device) for name, device in _devices().items()
        },
        logits=logits + head_gradient,
        gathered=2 * per_layer * computed / tensor if data > 1 else 0,
        flops=per_token * update,
        tokens=update,
    )


def _kept(llama: LlamaConfig, tokens: float, tensor: int, itemsize: int) -> dict[Checkpointing, float]:
    """What a block keeps for its backward pass, in bytes, with each kind of activation checkpointing."""
    width, wide = llama.hidden_size, llama.intermediate_size / tensor
    heads = llama.num_heads * llama.head_dim / tensor
    kv_heads = llama.num_kv_heads * llama.head_dim / tensor
    block = width  # its input
    # The outputs of all linear layers but the last, which is only added.
    dots = block + (heads + 2 * kv_heads) + width + 2 * wide
    attention = dots + heads
    # And both norms, the rotated queries and keys, the activated gate, and its product with the other half.
    none = attention + 2 * width + heads + kv_heads + 2 * wide
    numbers: dict[Checkpointing, float] = {"block": block, "dots": dots, "attention": attention, "none": none}
    return {name: tokens * count * itemsize for name, count in numbers.items()}


def _attention(
    config: TrainConfig, llama: LlamaConfig, rows: float, tensor: int, device: Device
) -> tuple[Kernel, float]:
    """The kernel that is expected to need the most memory on such a device, and its working memory in bytes."""
    length, dtype = config.sequence_length, DTYPES[config.precision][1]
    segments = min(2 ** math.ceil(math.log2(length / SEGMENT + 1)), MOST_SEGMENTS)
    needs: dict[Kernel, float] = {
        # Float32 gradients of the queries, for every declared segment.
        "cudnn-packed": 4 * rows * segments * length * llama.num_heads * llama.head_dim / tensor,
        "cudnn": 4 * rows * length**2,  # the mask, the bias that it becomes, and the bias's gradient
        "portable": 2 * SCORE_BYTES,
        "tokamax": 0,
        "splash": 0,
    }
    kernels = [
        choose(problem, config.attention, device).kernel
        for problem in llama.attention_problems(dtype, length, segments)
    ]
    kernel = max(kernels, key=lambda kernel: needs[kernel])
    return kernel, needs[kernel]


def _devices() -> dict[str, Device]:
    """The accelerators as kernels know them, and any other device."""
    kinds = {name: Device(each.platform, each.capability) for name, each in ACCELERATORS.items()}
    return {"": Device("other"), **kinds}


def least_recomputation(
    config: TrainConfig, llama: LlamaConfig, memory: float, accelerator: str = ""
) -> Checkpointing:
    """The activation checkpointing that recomputes least among those that fit; ``block`` when none does.

    Args:
        config: the settings.
        llama: the architecture.
        memory: bytes that a program may allocate on one device.
        accelerator: the kind of device, see ``Plan.attention``.
    """
    kinds: tuple[Checkpointing, ...] = get_args(Checkpointing)
    plans = {kind: make_plan(dataclasses.replace(config, remat=kind), llama) for kind in kinds}
    return next((kind for kind, plan in plans.items() if plan.total(accelerator) <= memory), "block")


def checkpoint_bytes(config: TrainConfig, llama: LlamaConfig) -> float:
    """The bytes of a checkpoint before compression: the trained weights and AdamW's two moments of them."""
    plan = make_plan(dataclasses.replace(config, mesh="1x1", offload=False), llama)
    stored, moments = jnp.dtype(DTYPES[config.precision][0]).itemsize, jnp.dtype(config.moments).itemsize
    return plan.moments * (1 + stored / (2 * moments))


def fitting_settings(config: TrainConfig, llama: LlamaConfig, accelerator: str) -> TrainConfig | None:
    """``config``, or the nearest settings that fit the accelerator; None when none of those tried does."""
    for changed in _easier(config):
        try:
            if make_plan(changed, llama).fits(accelerator):
                return changed
        except UserError:
            continue
    return None


def _easier(config: TrainConfig) -> Iterator[TrainConfig]:
    """Settings in the order of how much they change: memory alone, then precision, then more devices."""
    replicas, data, tensor = parse_mesh(config.mesh)
    current = config
    yield current
    remat = "auto" if config.remat == "auto" else "block"
    for change in (
        {"remat": remat}, {"rows_per_device": 4}, {"rows_per_device": 0}, {"moments": "bfloat16"},
        {"precision": "bfloat16"}, {"rows_per_device": 4},
    ):  # fmt: skip
        current = dataclasses.replace(current, **change)
        yield current
    for factor in (2, 4, 8, 16):
        prefix = f"{replicas}x" if replicas > 1 else ""
        yield dataclasses.replace(current, mesh=f"{prefix}{data * factor}x{tensor}")


def print_plan(config: TrainConfig, llama: LlamaConfig, tokenizer: ChatTokenizer | None = None) -> None:
    """Print the plan as tables, with the accelerators that it fits; with a tokenizer also the number of epochs."""
    corpora: list[Corpus] = []
    seen: Passes | None = None
    if tokenizer is not None and config.data:
        corpora = read_corpora(config, config.data, tokenizer, RowReport(config.bad_rows)).learned
        data = pack(config, corpora)
        config = with_steps(config, data)
        seen = passes(config, data)
    plan = make_plan(config, llama)
    console = Console()
    unit, size = ("GiB", GIB) if plan.weights >= SMALL_MODEL else ("MiB", MIB)
    memory = Table("on each device", unit, title=f"{config.model} on mesh {config.mesh}, {config.precision}")
    for field in ("weights", "gradients", "moments", "activations", "logits", "gathered"):
        memory.add_row(field, f"{value / size:.2f}" if (value := getattr(plan, field)) else "0")
    memory.add_row("attention", f"{plan.attention[''][1] / size:.2f}")
    memory.add_row("total", f"{plan.total() / size:.2f}", style="bold")
    console.print(memory)
    devices = math.prod(parse_mesh(config.mesh))
    updates = f"{config.steps} updates at {ASSUMED_MFU:.0%} of peak"
    fit = Table("accelerator", "attention", unit, "remat", "fits", updates)
    advice = []
    for column in fit.columns[:4]:
        column.no_wrap = True
    for name, accelerator in ACCELERATORS.items():
        rate = devices * accelerator.peak * ASSUMED_MFU
        seconds = plan.flops * config.steps / rate
        fits = plan.fits(name)
        usable = accelerator.memory * GIB * USABLE_MEMORY
        remat = least_recomputation(config, llama, usable, name) if config.remat == "auto" else config.remat
        own = make_plan(dataclasses.replace(config, remat=remat), llama)
        fit.add_row(
            name, own.attention[name][0], f"{own.total(name) / size:.2f}", remat, "yes" if fits else "no",
            _duration(seconds),
        )  # fmt: skip
        if not fits:
            advice.append(f"to fit {name}: {_advice(config, llama, name)}")
    console.print(fit)
    for line in advice:
        console.print(line, soft_wrap=True, highlight=False, markup=False)
    work = f"{plan.flops / 1e12:,.1f} TFLOP" if plan.flops >= 1e12 else f"{plan.flops / 1e9:,.1f} GFLOP"
    console.print(f"one update: {plan.tokens:,} tokens at most, {work}")
    if config.epochs and seen is None:
        console.print(
            f"the number of updates in {config.epochs:g} epochs is known only if the tokenizer is on this machine; "
            f"the times above are for {config.steps} updates"
        )
    if seen is not None:
        console.print(str(seen), soft_wrap=True, highlight=False)
        warn_of_many(seen)
        each = epochs_of_sources(corpora, seen)
        for source, times in zip(config.data, each, strict=True) if config.data_weights else ():
            console.print(
                f"with its weight, {source} is seen {times:.1f} times", soft_wrap=True, markup=False
            )


def _duration(seconds: float) -> str:
    """A duration in the unit in which it is at least one, down to seconds."""
    if seconds < 1:
        return "less than 1 s"
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


def _advice(config: TrainConfig, llama: LlamaConfig, accelerator: str) -> str:
    nearest = fitting_settings(config, llama, accelerator)
    if nearest is None:
        return "no setting was found; try --lora-rank 16"
    before, after = dataclasses.asdict(config), dataclasses.asdict(nearest)
    changed = {key: value for key, value in after.items() if value != before[key]}
    return " ".join(
        f"--{key.replace('_', '-')} {json.dumps(value).strip(chr(34))}" for key, value in changed.items()
    )
