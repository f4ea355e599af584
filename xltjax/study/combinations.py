"""The stage that puts a model together from the layers of others: layer reset, swap and average."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from xltjax.converters.conversions.settings import CombineConfig
from xltjax.study.arguments import flags
from xltjax.study.contents import COMBINED, WEIGHTS
from xltjax.study.grid import Cell, sources
from xltjax.study.settings import Study
from xltjax.study.stage import Input, Output, Stage, settings_of

# Raise it when the results of the stage change.
COMBINE_VERSION = 1


def combine(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The model of a combined cell, from the training runs of others."""
    if cell.adaptation not in study.combinations:
        return None
    recipe = study.combinations[cell.adaptation]
    changed, *experts = sources(study, cell)
    training = changed.training(study)
    given = recipe.settings
    config = CombineConfig(
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
