"""Adaptations that train nothing: recipes for models that are combined from the layers of others."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.model_parts import check_parts
from xltjax.common.settings import build, setting

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
    for key in given:
        if given[key] is None and key[:1] in "-0123456789":  # what YAML makes of {reset_layers: 0-3,28-31}
            raise UserError(f"{key} stands alone; write layers as a list, such as [0-3, 28-31]")
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
        raise UserError("nothing is taken from expert: give swap_layers or average_layers, or leave it out")
    return Recipe(settings, expert)


def check_recipes(recipes: Mapping[str, Recipe], trained: Mapping[str, Collection[str]]) -> None:
    """Refuse recipes of what the study does not have.

    Args:
        recipes: by the adaptation's name.
        trained: the names of the study's models and data sets, and of its adaptations that train.

    Raises:
        UserError: naming the adaptation, and the nearest name.
    """
    for name, recipe in recipes.items():
        values = {"of": recipe.settings.of}
        if recipe.expert is not None:
            values |= {key: value for key in trained if (value := getattr(recipe.expert, key)) is not None}
        for key, value in values.items():
            known = trained["adaptation" if key == "of" else key]
            if value in recipes:
                raise UserError(
                    f"adaptations.{name}: {key}: {value!r} is itself a combination; name a trained one"
                )
            if value not in known:
                raise UserError(
                    f"adaptations.{name}: {key}: unknown name {value!r}; {did_you_mean(value, known)}"
                )
