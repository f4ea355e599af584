"""Settings of ``python -m xltjax.train``: a field per YAML key and flag, with the paper's protocol as defaults."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.hardware import WantedKernel, parse_mesh
from xltjax.common.model_parts import AROUND, TARGETS, check_parts, check_targets
from xltjax.common.settings import setting
from xltjax.data.corpora import Overlong
from xltjax.data.formats import training_columns
from xltjax.data.reading.report import BadRows
from xltjax.data.templates import TEMPLATES, parse_date

if TYPE_CHECKING:
    from xltjax.data.packing import BatchShape

Schedule = Literal["inverse_sqrt", "linear", "cosine", "constant"]
Precision = Literal["mixed", "bfloat16", "bfloat16-stochastic", "float32"]
Remat = Literal["auto", "none", "attention", "dots", "block"]
Moments = Literal["float32", "bfloat16"]
YesNo = Literal["yes", "no"]

RATE = "{rate}"  # stands in --out for the rate of each run of a sweep

# Settings by section of --help. Those of a run change its speed, place or record, never its result.
model_setting = partial(setting, section="Model and devices")
data_setting = partial(setting, section="Data")
batch_setting = partial(setting, section="Batch")
optimization_setting = partial(setting, section="Optimization")
lora_setting = partial(setting, section="LoRA")
run_setting = partial(setting, section="Run", affects_result=False)
process_setting = partial(setting, section="Several processes", affects_result=False, saved=False)


def rate_texts(rates: Sequence[float]) -> dict[float, str]:
    """The shortest text of each rate, with at least six digits, that tells it from the others."""
    texts = {}
    for rate in dict.fromkeys(rates):
        others = [other for other in rates if other != rate]
        digits = next(n for n in range(6, 18) if f"{rate:.{n}g}" not in {f"{o:.{n}g}" for o in others})
        texts[rate] = f"{rate:.{digits}g}"
    return texts


def exact_text(rate: float) -> str:
    """The shortest text that is exactly ``rate``, whatever other rates there are: ``1e-05``."""
    short = f"{rate:g}"
    return short if float(short) == rate else repr(rate)


@dataclass(frozen=True)
class TrainConfig:
    """Instruction tuning of one model (paper, Section 4 and Appendix B)."""

    # fmt: off
    model: str = model_setting("", "Hugging Face directory or id, a run of xltjax, or 'miniature'.")
    base: str = model_setting(
        "", "Where the base of --model (a run of LoRA or of selected layers) is now, if it was moved.",
        affects_result=False, saved=False)
    resize_vocabulary: bool = model_setting(
        False, "Add rows to embedding and head for tokens that only the tokenizer has, each the mean of the others.")
    mesh: str = model_setting(
        "1x1", "Devices as DxT or RxDxT: D-way data parallel (FSDP), T-way tensor parallel, R replicas.",
        affects_result=False)
    precision: Precision = model_setting(
        "mixed", "mixed: float32 weights, bfloat16 compute; bfloat16: bfloat16 for both, rounded to nearest; "
        "bfloat16-stochastic: the same, rounded stochastically; float32: float32 for both.")
    moments: Moments = model_setting("float32", "Dtype of AdamW's moments.")
    offload: bool = model_setting(
        False, "Keep AdamW's moments in host memory between updates.", affects_result=False)
    remat: Remat = model_setting(
        "block", "Activation checkpointing, from most memory to least. none: keep everything; attention: the "
        "outputs of linear layers and attention; dots: of linear layers only; block: the inputs of blocks; auto: the "
        "first that fits according to --plan.", affects_result=False)
    attention: WantedKernel = model_setting(
        "auto", "Attention kernel; auto is the fastest that runs here (see python -m xltjax.doctor).",
        affects_result=False)
    data: tuple[str, ...] = data_setting(
        (), "Instruction data: file, directory, glob or dataset id; repeatable.", paths=True)
    columns: tuple[str, ...] = data_setting(
        (), "Columns with other names: prompt=question,completion=answer.", mapping=True)
    data_weights: tuple[float, ...] = data_setting(
        (), "Relative sampling weight of each data source. By default all rows are sampled equally.")
    rows: int = data_setting(
        0, "Number of rows to use, drawn at random from all sources; 0 uses all.")
    split: str = data_setting(
        "", "Split to read from directories and datasets. By default the training split, or all if there is none.")
    bad_rows: BadRows = data_setting(
        "stop", "Rows that cannot be used: stop at the first one, or skip them and list them in OUT/skipped.jsonl.",
        affects_result=False)
    validation_data: tuple[str, ...] = data_setting(
        (), "Data for the validation loss, which is not learned; repeatable.",
        paths=True, affects_result=False, former=("held_out_data",))
    validation_rows: int = data_setting(
        0, "Number of rows of the training data to set aside for validation.", former=("held_out_rows",))
    template: str = data_setting("llama-2", "Chat template: " + ", ".join(TEMPLATES) + ".")
    template_date: str = data_setting(
        "", "ISO date for templates that write the date. By default the day on which the run starts.")
    show_example: int = data_setting(
        0, "Print row N of the data as tokens, mark those that are learned, and exit.",
        affects_result=False, saved=False)
    max_length: int = data_setting(2048, "Maximum length of an example, in tokens.")
    overlong: Overlong = data_setting(
        "skip", "Examples longer than --max-length: skip and count them, truncate them, or stop with an error.")
    sequence_length: int = batch_setting(2048, "Length of a packed row, in tokens.")
    tokens_per_batch: int = batch_setting(4000, "Maximum number of tokens in a micro-batch.")
    accumulation: int = batch_setting(4, "Gradient accumulation: micro-batches per update.")
    rows_per_device: int = batch_setting(
        0, "Rows computed at once per device, by joining micro-batches of an update; 0: as few as the mesh allows.",
        affects_result=False)
    train_layers: tuple[str, ...] = optimization_setting(
        (), "Layers to train, such as 0-3,28-31 or last-4; also embed, norm, head. All others are frozen. "
        "By default everything is trained.")
    steps: int = optimization_setting(1000, "Number of updates.", instead_of="epochs")
    epochs: float = optimization_setting(
        0.0, "Number of passes over the data, such as 3 or 0.5, instead of --steps; 0: use --steps.",
        instead_of="steps")
    learning_rate: float = optimization_setting(1e-5, "Peak learning rate.", instead_of="learning_rates")
    learning_rates: tuple[float, ...] = optimization_setting(
        (), "Several peak learning rates: one run after another, in OUT/lr-RATE, or with {rate} in OUT replaced by "
        "the rate. The model is loaded and compiled once.", instead_of="learning_rate")
    schedule: Schedule = optimization_setting(
        "inverse_sqrt", "inverse_sqrt: lr * sqrt(t / (t + n - 1)) at update n; linear and cosine end at "
        "--end-learning-rate.")
    timescale: float = optimization_setting(
        10_000.0, "t of inverse_sqrt, in updates: 10000 is Hugging Face's, 1 gives lr / sqrt(n).")
    warmup: int = optimization_setting(0, "Number of updates of linear warm-up.")
    end_learning_rate: float | None = optimization_setting(
        None, "Learning rate at the end of linear and cosine. By default a tenth of the peak.")
    beta1: float = optimization_setting(0.9, "AdamW beta 1.")
    beta2: float = optimization_setting(0.95, "AdamW beta 2.")
    epsilon: float = optimization_setting(1e-8, "AdamW epsilon.")
    weight_decay: float = optimization_setting(0.1, "Decoupled weight decay of every trained weight.")
    clip_norm: float = optimization_setting(1.0, "Maximum global norm of the gradient.")
    lora_rank: int = lora_setting(0, "Rank of the adapters; 0 is full fine-tuning.")
    lora_alpha: float = lora_setting(8.0, "Scale of the adapters: alpha / rank.")
    lora_dropout: float = lora_setting(0.0, "Dropout on the adapters' inputs.")
    lora_targets: tuple[str, ...] = lora_setting(TARGETS, "Linear layers that get adapters.")
    seed: int = run_setting(0, "Random seed of data order, row sampling, adapters, dropout and rounding.",
        affects_result=True)
    out: str = run_setting("runs/train", "Run directory. An unfinished run in it is resumed.")
    save_every: int = run_setting(200, "Number of updates between checkpoints.")
    keep_optimizer: YesNo = run_setting(
        "yes", "no: the last checkpoint has no optimizer state, so the run cannot be extended.")
    keep: int = run_setting(2, "Number of newest checkpoints to keep, besides that with the lowest validation loss.")
    log_every: int = run_setting(1, "Number of updates between lines of metrics.jsonl.")
    validation_every: int = run_setting(
        0, "Number of updates between validation losses; 0: only with each checkpoint.", former=("held_out_every",))
    sample_every: int = run_setting(0, "Number of updates between sample answers in samples.jsonl; 0: none.")
    sample_prompts: str = run_setting(
        "xlt113", "Prompts as for generate; the first one of each language is answered.")
    tensorboard: bool = run_setting(False, "Also write metrics for TensorBoard, in OUT/tensorboard.")
    wandb: str = run_setting("", "Also log metrics to this Weights & Biases project.")
    force: bool = run_setting(False, "Resume even if the model, data or settings have changed.", saved=False)
    plan: bool = run_setting(False, "Print memory and time per device, and exit.", saved=False)
    coordinator: str = process_setting(
        "", "host:port of process 0. Found automatically under SLURM, Open MPI, Kubernetes and on TPU pods.")
    process_id: int | None = process_setting(None, "Number of this process, from 0.")
    processes: int | None = process_setting(None, "Number of processes.")
    # fmt: on

    def __post_init__(self) -> None:
        """Refuse values that cannot work.

        Raises:
            UserError: naming the setting and what it accepts.
        """
        for name in ("sequence_length", "tokens_per_batch", "accumulation", "steps",
                     "save_every", "keep", "log_every"):  # fmt: skip
            self._require(name, getattr(self, name) >= 1, "at least 1")
        for name in ("learning_rate", "timescale", "epsilon", "clip_norm", "lora_alpha"):
            self._require(name, 0 < getattr(self, name) < math.inf, "positive")
        self._require("learning_rates", all(0 < rate < math.inf for rate in self.learning_rates), "positive")
        for name in ("warmup", "weight_decay", "end_learning_rate", "epochs"):
            self._require(name, 0 <= (getattr(self, name) or 0) < math.inf, "0 or more")
        for name in ("beta1", "beta2", "lora_dropout"):
            self._require(name, 0 <= getattr(self, name) < 1, "at least 0 and less than 1")
        self._require("max_length", self.max_length >= 2, "at least 2")
        self._require("lora_rank", self.lora_rank >= 0, "0 (full fine-tuning) or more")
        for name in (
            "rows_per_device",
            "rows",
            "validation_rows",
            "validation_every",
            "sample_every",
            "show_example",
        ):
            self._require(name, getattr(self, name) >= 0, "0 or more")
        self._require("lora_dropout", not self.lora_dropout or bool(self.lora_rank), "0 without --lora-rank")
        self._require("seed", 0 <= self.seed < 2**32, "from 0 to 4294967295")
        check_targets(self.lora_targets)
        check_parts(self.train_layers, "train_layers")
        if self.lora_rank and (around := [name for name in self.train_layers if name in AROUND]):
            raise UserError(f"train_layers: {around[0]} gets no adapter; with --lora-rank, name layers alone")
        if self.template not in TEMPLATES:
            raise UserError(
                f"template {self.template!r} is unknown; {did_you_mean(self.template, TEMPLATES)}"
            )
        training_columns(self.columns)
        parse_date(self.template_date)
        parse_mesh(self.mesh)

    def _require(self, name: str, holds: bool, accepted: str) -> None:
        if not holds:
            raise UserError(f"{name} must be {accepted}, not {getattr(self, name)}")

    def runs(self) -> list[TrainConfig]:
        """The runs that these settings ask for: one, or one for each of ``learning_rates``."""
        if RATE in self.out:
            places = {rate: self.out.replace(RATE, exact_text(rate)) for rate in self.learning_rates}
        else:
            places = {rate: f"{self.out}/lr-{text}" for rate, text in rate_texts(self.learning_rates).items()}
        return [
            dataclasses.replace(self, learning_rate=rate, learning_rates=(), out=out)
            for rate, out in places.items()
        ] or [self]

    def batch_shape(self) -> BatchShape:
        """The static shape of an update on the mesh.

        A micro-batch of ``tokens_per_batch`` tokens takes as many rows as hold it. Micro-batches of the same
        update are computed together until the mesh divides their rows and each device has
        ``rows_per_device`` of them. The loss is one token mean over the update, so this changes memory and
        speed alone.

        Raises:
            UserError: when no grouping works, naming sizes that do.
        """
        from xltjax.data.packing import BatchShape  # with JAX, which --help does not need

        replicas, data, _ = parse_mesh(self.mesh)
        parts = replicas * data
        rows = math.ceil(self.tokens_per_batch / self.sequence_length)
        for joined in range(1, self.accumulation + 1):
            enough = joined == self.accumulation or rows * joined >= self.rows_per_device * parts
            if self.accumulation % joined == 0 and rows * joined % parts == 0 and enough:
                return BatchShape(
                    self.accumulation, rows, self.sequence_length, self.tokens_per_batch, joined
                )
        fitting = math.ceil(rows / parts) * parts * self.sequence_length
        raise UserError(
            f"{rows} rows x {self.accumulation} micro-batches cannot be split over {parts} data devices; "
            f"use --tokens-per-batch {fitting} or --accumulation {self.accumulation * parts}"
        )

    def longest_example(self) -> int:
        """Most tokens of an example that fits a row and a micro-batch (the last token is only a target)."""
        return min(self.max_length, self.sequence_length + 1, self.tokens_per_batch + 1)
