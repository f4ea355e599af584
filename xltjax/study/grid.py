"""The cells of a study: a model, a data set, an adaptation, a learning rate and a seed, and where each lies."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.settings import build
from xltjax.generate import GenerateConfig
from xltjax.study.combinations import check_layers, trained_cells
from xltjax.study.settings import Study
from xltjax.training.config import TrainConfig, exact_text


@dataclass(frozen=True)
class Cell:
    """One model of the study, trained or combined, and everything that is done with it.

    Attributes:
        model: name of the model.
        data: name of the data set.
        adaptation: name of the adaptation.
        learning_rate: the peak learning rate.
        seed: the seed of the training.
        modifiers: whether the instructions with task modifiers are answered too.
        answers: whether the model answers at all; otherwise others are made of it alone.
    """

    model: str
    data: str
    adaptation: str
    learning_rate: float
    seed: int
    modifiers: bool = False
    answers: bool = True

    @property
    def path(self) -> str:
        """Its directory in that of the study: ``llama2-7b/dolly-en/ft/lr-1e-05/seed-0``."""
        return self.family.format(rate=exact_text(self.learning_rate))

    @property
    def family(self) -> str:
        """The directory with ``{rate}`` for the rate: what the cells of a sweep over learning rates share."""
        return f"{self.model}/{self.data}/{self.adaptation}/lr-{{rate}}/seed-{self.seed}"

    def training(self, study: Study) -> TrainConfig:
        """The settings of its training, without ``out``; of a combined cell those of the one that is changed.

        Raises:
            UserError: when the settings of its model, data and adaptation do not go together.
        """
        combined = study.combinations.get(self.adaptation)
        adaptation = combined.settings.of if combined else self.adaptation
        sections: Mapping[str, Any] = {
            **study.train,
            **study.models[self.model],
            **study.data[self.data],
            **study.adaptations[adaptation],
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
    """The cells of all blocks, each once, those of a family next to each other, and combined ones after all others.

    Cells of which combined ones are made are there too, whether a block has them or not.

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
    every = trained_cells(study, list(found.values()))
    families = list(dict.fromkeys(cell.family for cell in every))
    ordered = sorted(
        every,
        key=lambda cell: (
            cell.adaptation in study.combinations,
            families.index(cell.family),
            cell.learning_rate,
        ),
    )
    for cell in ordered:
        cell.training(study)
        cell.generation(study)
        if cell.adaptation in study.combinations:
            check_layers(study, cell)
    return ordered
