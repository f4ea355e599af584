"""The cells of a study: a model, a data set, an adaptation, a learning rate and a seed, and where each is."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from xltjax.common.errors import UserError
from xltjax.common.model_parts import find_parts, refuse_overlap
from xltjax.common.settings import build, overlay
from xltjax.data.corpora import check_weights
from xltjax.generate.settings import GenerateConfig
from xltjax.study.contents import architecture
from xltjax.study.recipes import PARTS
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
        sections = functools.reduce(
            functools.partial(overlay, TrainConfig),
            (study.models[self.model], study.data[self.data], study.adaptations[adaptation]),
            dict(study.train),
        )
        try:
            config = build(
                TrainConfig,
                {**sections, "learning_rate": self.learning_rate, "seed": self.seed},
                notify=False,
            )
            config.batch_shape()
            check_weights(config.data_weights, config.data)
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
    modifiers = study.asked().modifiers
    for block in study.grid:
        for model, data, adaptation, seed, rate in product(
            block.models, block.data, block.adaptations, block.seeds, block.learning_rates
        ):
            cell = Cell(model, data, adaptation, rate, seed, modifiers or block.modifiers)
            if cell.path in found:  # in two blocks
                cell = dataclasses.replace(cell, modifiers=cell.modifiers or found[cell.path].modifiers)
            found[cell.path] = cell
    every = _trained_cells(study, list(found.values()))
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
        _check_layers(study, cell)
    return ordered


def sources(study: Study, cell: Cell) -> Iterator[Cell]:
    """The cells whose training runs a combined cell is made of: the changed one, and that of its expert."""
    recipe = study.combinations[cell.adaptation]
    trained = dataclasses.replace(cell, adaptation=recipe.settings.of, answers=False, modifiers=False)
    yield trained
    if recipe.expert is not None:
        axes = {key: value for key, value in vars(recipe.expert).items() if value is not None}
        expert = dataclasses.replace(trained, **axes)
        if expert.path == trained.path:
            raise UserError(f"{cell.path}: its expert is the cell that is changed; name what differs")
        yield expert


def _trained_cells(study: Study, cells: Sequence[Cell]) -> list[Cell]:
    """The cells, and those of which combined ones are made and that the grid does not have, which only train."""
    found = {cell.path: cell for cell in cells}
    for cell in cells:
        if cell.adaptation in study.combinations:
            for source in sources(study, cell):
                found.setdefault(source.path, source)
    return list(found.values())


def _check_layers(study: Study, cell: Cell) -> None:
    """Refuse layers that the model of a cell does not have, where its architecture is known.

    Raises:
        UserError: naming the cell and the layer.
    """
    training = cell.training(study)
    try:
        llama = architecture(training.model)
    except UserError:
        return  # a model of the hub that is not here
    named = {"train_layers": training.train_layers}
    if cell.adaptation in study.combinations:
        given = study.combinations[cell.adaptation].settings
        named = {name: getattr(given, name) for name in PARTS}
    layers, tied = llama.num_layers, llama.tied_embeddings
    try:
        refuse_overlap(
            {name: find_parts(texts, name, layers=layers, tied=tied) for name, texts in named.items()}
        )
    except UserError as problem:
        raise UserError(f"{cell.path}: {problem}") from None
