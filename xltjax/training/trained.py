"""Which parts of its model a run trains, and in which dtypes the model is loaded for that."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
from jax.typing import DTypeLike

from xltjax.common.model_parts import find_parts, part_of, short
from xltjax.llama import Llama, LlamaConfig, parameters
from xltjax.training.config import TrainConfig

# The dtypes in which each precision policy stores and computes.
DTYPES = {
    "mixed": (jnp.float32, jnp.bfloat16),
    "bfloat16": (jnp.bfloat16, jnp.bfloat16),
    "bfloat16-stochastic": (jnp.bfloat16, jnp.bfloat16),
    "float32": (jnp.float32, jnp.float32),
}


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


def stored_dtypes(config: TrainConfig, llama: LlamaConfig) -> DTypeLike | Mapping[str, DTypeLike]:
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
