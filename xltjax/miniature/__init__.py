"""The miniature: a toy world in four languages that stands in for model, data and prompts.

It is built when it is first used. The commands alone know its name: they replace it by paths before
anything else sees their settings.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from xltjax.common.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from xltjax.llama import LlamaConfig
    from xltjax.training.config import TrainConfig

NAME = "miniature"
# Its instruction data: one file for each language, and 32 English rows.
DATA = ("en", "fr", "pt", "ru", "small")


def model_path(name: str) -> str:
    """The directory of the base model for the miniature's name; any other name is returned unchanged."""
    return _path(name, "model")


def prompts_path(name: str) -> str:
    """The folder of evaluation prompts for the miniature's name; any other name is returned unchanged."""
    return _path(name, "evaluation")


def is_data(name: str) -> bool:
    """Whether ``name`` is ``miniature`` or ``miniature/PART``, and not a file of that name."""
    first, slash, _ = name.partition("/")
    return first == NAME and not (slash and Path(name).exists())


def data_path(name: str) -> str:
    """The file of instruction data for ``miniature`` (English) or ``miniature/PART``; any other name unchanged.

    Raises:
        UserError: when the miniature has no such part.
    """
    if not is_data(name):
        return name
    part = name.partition("/")[2]
    if part and part not in DATA:
        raise UserError(f"the miniature has no data {part!r}; {did_you_mean(part, DATA)}")
    return _path(NAME, f"instructions/{part or DATA[0]}.jsonl")


def located(config: TrainConfig) -> TrainConfig:
    """``config`` with the miniature's name replaced by the paths of its model, data and prompts."""
    return dataclasses.replace(
        config,
        model=model_path(config.model),
        data=tuple(map(data_path, config.data)),
        validation_data=tuple(map(data_path, config.validation_data)),
        sample_prompts=prompts_path(config.sample_prompts) if config.sample_every else config.sample_prompts,
    )


def is_built() -> bool:
    """Whether the miniature is there, so that its paths cost nothing."""
    from xltjax.miniature.build import cached

    return cached().is_dir()


def architecture() -> LlamaConfig:
    """The architecture of the base model, without building it."""
    from xltjax.miniature.build import VOCABULARY, miniature_config

    return miniature_config(VOCABULARY)


def _path(name: str, part: str) -> str:
    if name != NAME:
        return name
    from xltjax.miniature.build import ensure

    return str(ensure() / part)
