"""An estimate of what each stage needs, made without any model: memory on a device, and time."""

from __future__ import annotations

import dataclasses
import functools
import math
from dataclasses import dataclass

from xltjax.common.errors import UserError
from xltjax.common.hardware import ACCELERATORS, GIB, USABLE_MEMORY, parse_mesh
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.study.contents import Contents, architecture
from xltjax.study.grid import Cell
from xltjax.study.settings import Study
from xltjax.study.stage import Stage
from xltjax.training.config import TrainConfig
from xltjax.training.plan import ASSUMED_MFU, make_plan

ASSUMED_BANDWIDTH = 0.5  # share of the peak memory bandwidth that decoding reaches
ASSUMED_ANSWER = 0.5  # length of the mean answer, of the longest that is allowed
BFLOAT16 = 2  # bytes


@dataclass(frozen=True)
class Need:
    """What a stage needs.

    Attributes:
        memory: bytes at the peak on each of its devices; None when it is not known.
        seconds: how long it takes on the planned accelerator; None when it is not known.
        fits: whether the memory of the planned accelerator is enough.
    """

    memory: float | None = None
    seconds: float | None = None
    fits: bool = True


class Planner:
    """Estimates for the stages of a study.

    Args:
        study: the study.
        contents: reads the prompts, to count them.
    """

    def __init__(self, study: Study, contents: Contents) -> None:
        self._study, self._contents = study, contents
        self._accelerator = ACCELERATORS[study.accelerator]
        self._bandwidth = next(
            (each for each in self._accelerator.bandwidths.values() if each is not None), None
        )
        self._trainings: dict[TrainConfig, Need] = {}

    def need(self, stage: Stage, cell: Cell | None) -> Need:
        """What a stage of a cell needs; nothing is known of stages that score, which need a minute on a CPU."""
        if cell is None or stage.kind not in ("train", "generate", "generate-modified"):
            return Need()
        try:
            llama = architecture(cell.training(self._study).model)
        except UserError:
            return Need()  # a model of the hub that is not here
        return self._train(cell, llama) if stage.kind == "train" else self._decode(stage, cell, llama)

    def _train(self, cell: Cell, llama: LlamaConfig) -> Need:
        # Neither rate nor data change what an update needs.
        config = dataclasses.replace(
            cell.training(self._study), learning_rate=1e-5, seed=0, data=(), data_weights=(), rows=0
        )
        if config not in self._trainings:
            plan = make_plan(config, llama)
            rate = math.prod(parse_mesh(config.mesh)) * self._accelerator.peak * ASSUMED_MFU
            # How many updates epochs are is known when the data are read.
            seconds = None if config.epochs else plan.flops * config.steps / rate
            self._trainings[config] = Need(
                plan.total(self._study.accelerator), seconds, plan.fits(self._study.accelerator)
            )
        return self._trainings[config]

    def _decode(self, stage: Stage, cell: Cell, llama: LlamaConfig) -> Need:
        """Decoding reads all weights and the cache of its answers for every token."""
        config = cell.generation(self._study)
        devices = math.prod(parse_mesh(config.mesh))
        size = BFLOAT16 if config.dtype == "bfloat16" else 2 * BFLOAT16
        weights = size * _parameters(llama)
        per_token = size * 2 * llama.num_layers * llama.num_kv_heads * llama.head_dim
        longest = 2 * config.max_new_tokens  # the prompts are shorter than the answers may be
        memory = (weights + config.batch_size * longest * per_token) / devices
        usable = self._accelerator.memory * GIB * USABLE_MEMORY
        try:
            prompts = self._contents.count(stage.inputs[0])
        except UserError:
            prompts = None  # the stage's state says why
        if prompts is None or self._bandwidth is None:
            return Need(memory, None, memory <= usable)
        tokens = prompts * config.max_new_tokens * ASSUMED_ANSWER / config.batch_size  # steps of decoding
        read = weights + config.batch_size * config.max_new_tokens * ASSUMED_ANSWER * per_token
        seconds = tokens * read / (devices * self._bandwidth * ASSUMED_BANDWIDTH)
        return Need(memory, seconds, memory <= usable)


@functools.cache
def _parameters(llama: LlamaConfig) -> int:
    return sum(math.prod(each.shape) for each in parameters(Llama(llama)).values())
