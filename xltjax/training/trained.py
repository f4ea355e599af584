"""Which weights a run trains, all of them, adapters or those of some layers, and what that saves."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from typing import Any

from flax import nnx

from xltjax.common.model_parts import find_parts, layers_of, part_of, short
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.training.config import DTYPES, TrainConfig


def trained_parts(config: TrainConfig, llama: LlamaConfig) -> frozenset[str]:
    """The parts that ``train_layers`` names, see ``find_parts``; empty when the whole model is trained.

    Raises:
        UserError: for a layer that the model does not have.
    """
    return find_parts(
        config.train_layers, "train_layers", layers=llama.num_layers, tied=llama.tied_embeddings
    )


def with_plain_layers(config: TrainConfig, llama: LlamaConfig) -> TrainConfig:
    """``config`` with its ``train_layers`` as plain ranges, so that ``last-4`` and ``28-31`` are the same run.

    Raises:
        UserError: for a layer that the model does not have.
    """
    return dataclasses.replace(config, train_layers=short(trained_parts(config, llama)))


def stored_dtypes(config: TrainConfig, llama: LlamaConfig) -> Any:
    """The dtype in which the model is loaded: weights that are not trained are stored as they compute.

    Returns:
        A dtype, or one for each weight by its path where some of them are trained.
    """
    stored, computed = DTYPES[config.precision]
    if config.lora_rank:
        return computed
    parts = trained_parts(config, llama)
    if not parts:
        return stored
    return {name: stored if part_of(name) in parts else computed for name in parameters(Llama(llama))}


def lowest_layer(parts: Collection[str], layers: int) -> int:
    """The first layer through which gradients flow, of ``layers``; ``layers`` itself where they stop above the last.

    Layers below it keep nothing for the backward pass. ``parts`` is what is trained; empty for everything.
    """
    if not parts or "embed" in parts:
        return 0
    return min(layers_of(parts), default=layers)


def training_flops(model: Llama, length: int, parts: Collection[str], *, adapters: bool) -> float:
    """Model FLOPs of training per token of rows of ``length`` tokens.

    As in ``Llama.flops_per_token``, the forward pass of each part counts once, and once more where gradients of
    activations flow through it, and once more where it is trained.

    Args:
        model: with or without adapters, which are not counted.
        length: of a row, in tokens.
        parts: what is trained, or has adapters that are; empty for everything.
        adapters: whether only adapters are trained.
    """
    config = model.config
    sizes: dict[str, int] = {}
    for name, variable in parameters(model).items():
        if type(variable) is nnx.Param:
            part = part_of(name)
            sizes[part] = sizes.get(part, 0) + math.prod(variable.shape)
    attention = 4 * config.num_heads * config.head_dim * length
    forward = {f"layers.{i}": 2 * sizes[f"layers.{i}"] + attention for i in range(config.num_layers)}
    forward |= {"norm": 2 * sizes["norm"], "head": 2 * config.vocab_size * config.hidden_size}
    trained = (
        {*forward}
        if not parts
        else {*parts} | ({"head"} if model.head is None and "embed" in parts else set())
    )
    lowest = lowest_layer(parts, config.num_layers)
    below = {f"layers.{i}" for i in range(lowest)}
    if lowest == config.num_layers:  # only what follows the layers is trained
        below |= {"norm"} if "norm" in parts else {"norm", "head"}
    return float(
        sum(
            flops * (1 + (part not in below) + (part in trained and not adapters))
            for part, flops in forward.items()
        )
    )
