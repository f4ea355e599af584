"""Cells whose model is not trained but put together from the layers of others: layer reset, swap and average."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xltjax import miniature
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.model_parts import check_parts, find_parts
from xltjax.common.settings import build, setting
from xltjax.converters.__main__ import Combine
from xltjax.converters.models import known_architecture
from xltjax.study.arguments import flags
from xltjax.study.contents import COMBINED, WEIGHTS, Input
from xltjax.study.stage import Output, Stage, settings_of

if TYPE_CHECKING:
    from xltjax.llama import LlamaConfig
    from xltjax.study.grid import Cell
    from xltjax.study.settings import Study

# Raise it when the results of the stage change.
COMBINE_VERSION = 1
PARTS = ("reset_layers", "swap_layers", "average_layers")
LAYERS = "layers, such as 0-3,28-31 or last-4; also embed, norm, head"


@dataclass(frozen=True)
class Combination:
    """An adaptation that combines models; the settings are those of ``converters combine``."""

    of: str = setting("", "The adaptation whose trainings are changed.")
    reset_layers: tuple[str, ...] = setting((), f"What the base's weights return to: {LAYERS}.")
    swap_layers: tuple[str, ...] = setting((), f"What comes from the expert: {LAYERS}.")
    average_layers: tuple[str, ...] = setting((), f"What becomes the mean with the expert: {LAYERS}.")
    expert: str = setting("", "A second tuned model, as a directory or id.")
    dtype: Literal["own", "bfloat16", "float16", "float32"] = setting("own", "Dtype of the tensors.")


@dataclass(frozen=True)
class Expert:
    """A second tuned model that is a cell of the study: where it differs from the cell that is changed."""

    model: str | None = setting(None, "Name of a model.")
    data: str | None = setting(None, "Name of a data set.")
    adaptation: str | None = setting(None, "Name of an adaptation.")
    learning_rate: float | None = setting(None, "Peak learning rate.")
    seed: int | None = setting(None, "Seed of the training.")


@dataclass(frozen=True)
class Recipe:
    """What a combination is made of.

    Attributes:
        settings: the combination.
        expert: the axes in which the cell of its expert differs; None for an expert that is a directory or for none.
    """

    settings: Combination
    expert: Expert | None = None


def read_recipe(section: Mapping[str, Any]) -> Recipe:
    """The combination that a section of ``adaptations`` with the key ``of`` describes.

    Raises:
        UserError: for an unknown key (naming the nearest one), or what does not go together.
    """
    given = dict(section)
    expert = None
    if isinstance(given.get("expert"), dict):
        expert = build(Expert, given.pop("expert"))
        if expert == Expert():
            raise UserError("expert: name what differs from the cell itself, such as {data: french}")
    settings = build(Combination, given)
    for name in PARTS:
        check_parts(getattr(settings, name), name)
    wanted = [name for name in PARTS[1:] if getattr(settings, name)]
    if not (settings.reset_layers or wanted):
        raise UserError(f"nothing is combined; give {', '.join(PARTS[:2])} or {PARTS[2]}")
    if wanted and not (expert or settings.expert):
        raise UserError(f"{wanted[0]} needs a second tuned model: give expert")
    if (expert or settings.expert) and not wanted:
        raise UserError("nothing is taken of expert: give swap_layers or average_layers, or leave it out")
    return Recipe(settings, expert)


def check_recipes(study: Study) -> None:
    """Refuse combinations of what the study does not have.

    Raises:
        UserError: naming the adaptation, and the nearest name.
    """
    names: dict[str, Mapping[str, Any]] = {
        "model": study.models, "data": study.data, "adaptation": study.adaptations
    }  # fmt: skip
    for name, recipe in study.combinations.items():
        values = {"of": recipe.settings.of}
        if recipe.expert is not None:
            values |= {key: value for key in names if (value := getattr(recipe.expert, key)) is not None}
        for key, value in values.items():
            known = names["adaptation" if key == "of" else key]
            if value in study.combinations:
                raise UserError(
                    f"adaptations.{name}: {key}: {value!r} is itself a combination; name a training"
                )
            if value not in known:
                raise UserError(
                    f"adaptations.{name}: {key}: unknown name {value!r}; {did_you_mean(value, known)}"
                )


def sources(study: Study, cell: Cell) -> Iterator[Cell]:
    """The cells whose trainings a combined cell is made of: the changed one, and that of its expert."""
    recipe = study.combinations[cell.adaptation]
    trained = dataclasses.replace(cell, adaptation=recipe.settings.of, answers=False, modifiers=False)
    yield trained
    if recipe.expert is not None:
        axes = {key: value for key, value in vars(recipe.expert).items() if value is not None}
        expert = dataclasses.replace(trained, **axes)
        if expert.path == trained.path:
            raise UserError(f"{cell.path}: its expert is the cell that is changed; name what differs")
        yield expert


def check_layers(study: Study, cell: Cell) -> None:
    """Refuse layers that the model of a combined cell does not have, where its architecture is known.

    Raises:
        UserError: naming the cell and the layer.
    """
    try:
        llama = architecture(cell.training(study).model)
    except UserError:
        return  # a model of the hub that is not here
    try:
        for name in PARTS:
            texts = getattr(study.combinations[cell.adaptation].settings, name)
            find_parts(texts, name, layers=llama.num_layers, tied=llama.tied_embeddings)
    except UserError as problem:
        raise UserError(f"{cell.path}: {problem}") from None


def architecture(model: str) -> LlamaConfig:
    """The architecture of a model that is here or well known, without loading it.

    Raises:
        UserError: when it is not known.
    """
    return miniature.architecture() if model == miniature.NAME else known_architecture(model)


def combine(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The model of a combined cell, from the trainings of others."""
    if cell.adaptation not in study.combinations:
        return None
    recipe = study.combinations[cell.adaptation]
    changed, *experts = sources(study, cell)
    training = changed.training(study)
    given = recipe.settings
    config = Combine(
        reset_layers=given.reset_layers,
        swap_layers=given.swap_layers,
        average_layers=given.average_layers,
        dtype=given.dtype,
        base=training.model if given.reset_layers or is_partial(study, changed) else "",
        expert=given.expert,
        overwrite=True,  # of what a kill has left in the stage's own folder
    )
    inputs = [Input("base model", "model", (training.model,))] if given.reset_layers else []
    upstream = [Output("trained weights", f"{changed.path}/train", WEIGHTS)]
    if given.expert:
        inputs.append(Input("expert", "model", (given.expert,)))
    for expert in experts:
        base = expert.training(study).model if is_partial(study, expert) else ""
        config = dataclasses.replace(config, expert=str(root / expert.path / "train"), expert_base=base)
        upstream.append(Output("weights of the expert", f"{expert.path}/train", WEIGHTS))
    settings, defaults = settings_of(config, {"src", "dst", "base", "expert", "expert_base", "overwrite",
                                              "max_shard_gib"})  # fmt: skip
    return Stage(
        path=f"{cell.path}/combine",
        kind="combine",
        version=str(COMBINE_VERSION),
        settings=settings,
        defaults=defaults,
        inputs=tuple(inputs),
        upstream=tuple(upstream),
        outputs=(COMBINED,),
        arguments=(
            "converters",
            "combine",
            str(root / changed.path / "train"),
            str(root / cell.path / "combine" / COMBINED),
            *flags(config),
        ),
    )


def is_partial(study: Study, cell: Cell) -> bool:
    """Whether a cell's training keeps only a part of its model, so that its base must be said."""
    config = cell.training(study)
    return bool(config.lora_rank or config.train_layers)


def trained_cells(study: Study, cells: Sequence[Cell]) -> list[Cell]:
    """The cells, and those of which combined ones are made and that the grid does not have, which only train."""
    found = {cell.path: cell for cell in cells}
    for cell in cells:
        if cell.adaptation in study.combinations:
            for source in sources(study, cell):
                found.setdefault(source.path, source)
    return list(found.values())
