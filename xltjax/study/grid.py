"""The cells of a study: a model, a data set, an adaptation, a learning rate and a seed, and where each lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.settings import build
from xltjax.generate.settings import GenerateConfig
from xltjax.study.settings import Study
from xltjax.training.config import TrainConfig, exact_text


@dataclass(frozen=True)
class Cell:
    """One training of the study, and everything that is done with its model.

    Attributes:
        model: name of the model.
        data: name of the data set.
        adaptation: name of the adaptation.
        learning_rate: the peak learning rate.
        seed: the seed of the training.
        modifiers: whether the instructions with task modifiers are answered too.
    """

    model: str
    data: str
    adaptation: str
    learning_rate: float
    seed: int
    modifiers: bool = False

    @property
    def path(self) -> str:
        """Its directory in that of the study: ``llama2-7b/dolly-en/ft/lr-1e-05/seed-0``."""
        return self.family.format(rate=exact_text(self.learning_rate))

    @property
    def family(self) -> str:
        """The directory with ``{rate}`` for the rate: what the cells of a sweep over learning rates share."""
        return f"{self.model}/{self.data}/{self.adaptation}/lr-{{rate}}/seed-{self.seed}"

    def training(self, study: Study) -> TrainConfig:
        """The settings of its training, without ``out``.

        Raises:
            UserError: when the settings of its model, data and adaptation do not go together.
        """
        sections: Mapping[str, Any] = {
            **study.train,
            **study.models[self.model],
            **study.data[self.data],
            **study.adaptations[self.adaptation],
        }
        try:
            config = build(
                TrainConfig,
                {**sections, "learning_rate": self.learning_rate, "seed": self.seed},
                notify=False,
            )
            config.batch_shape()
        except UserError as problem:
            raise UserError(f"{self.path}: {problem}") from None
        return config

    def generation(self, study: Study) -> GenerateConfig:
        """The settings of its generation, without ``model``, ``name`` and ``out``.

        Raises:
            UserError: when the settings of its model do not go with those of all.
        """
        return build(GenerateConfig, {**study.generate, **study.generate_by_model[self.model]}, notify=False)


def cells(study: Study) -> list[Cell]:
    """The cells of all blocks, each once, those of a family next to each other.

    Raises:
        UserError: for settings that do not go together.
    """
    found: dict[str, Cell] = {}
    modifiers = bool(study.generate.get("modifiers"))
    for block in study.grid:
        for model, data, adaptation, seed, rate in product(
            block.models, block.data, block.adaptations, block.seeds, block.learning_rates
        ):
            cell = Cell(model, data, adaptation, rate, seed, modifiers or block.modifiers)
            if cell.path in found:  # in two blocks
                cell = dataclasses.replace(cell, modifiers=cell.modifiers or found[cell.path].modifiers)
            found[cell.path] = cell
    families = list(dict.fromkeys(cell.family for cell in found.values()))
    ordered = sorted(found.values(), key=lambda cell: (families.index(cell.family), cell.learning_rate))
    for cell in ordered:
        cell.training(study)
        cell.generation(study)
    return ordered
