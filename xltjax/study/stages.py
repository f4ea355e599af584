"""The stages of a study: what each runs, what it reads and what it leaves.

A stage is a command of xltjax with a folder for its results. A new one is a function that returns its ``Stage``, and
an entry in ``CELL_STAGES`` or ``STUDY_STAGES``.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

from xltjax.common.files import atomic_write, write_jsonl
from xltjax.eval.report.numbers.sources import STAGES
from xltjax.study import evaluations
from xltjax.study.arguments import flags
from xltjax.study.combinations import combine, is_partial
from xltjax.study.contents import COMBINED, WEIGHTS, prompts
from xltjax.study.evaluations import in_one_file
from xltjax.study.grid import Cell
from xltjax.study.results.comparisons import FILE as CLAIMS
from xltjax.study.results.comparisons import comparisons, write_comparisons
from xltjax.study.settings import Study
from xltjax.study.stage import (
    ANY_LANGUAGE,
    MODIFIED,
    RESPONSES,
    Input,
    Output,
    Stage,
    devices_of,
    settings_of,
)

# Raise one when the results of its stage change; the versions of the evaluators are beside their metrics.
TRAIN_VERSION = 1
GENERATE_VERSION = 1

MODIFIED_PROMPTS = "prompts/modified.jsonl"


def stages(study: Study, cells: Sequence[Cell], root: Path) -> list[Stage]:
    """Every stage of the study, those that a stage needs before it.

    Args:
        study: the study.
        cells: its cells.
        root: the folder of the study.
    """
    found = [
        stage
        for cell in cells
        for define in (CELL_STAGES if cell.answers else (train,))
        if (stage := define(study, cell, root)) is not None
    ]
    over_all = (define(study, tuple(found), root) for define in STUDY_STAGES)
    return [*found, *(stage for stage in over_all if stage is not None)]


def prepare(study: Study, cells: Sequence[Cell], root: Path) -> None:
    """Write what no stage makes: instructions with task modifiers, claims, and the list of stages."""
    with atomic_write(root / STAGES) as file:
        json.dump({"stages": [stage.path for stage in stages(study, cells, root)]}, file, indent=1)
    if study.effects:
        write_comparisons(root / CLAIMS, comparisons(study, cells))
    modified = [cell for cell in cells if cell.modifiers and not in_one_file(study, cell)]
    if modified:
        config = modified[0].generation(study)  # the prompts are the same for all
        rows = prompts(config.prompts, config.languages, modified=True, columns=config.columns)
        write_jsonl(root / MODIFIED_PROMPTS, (row.row() for row in rows))


def train(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The training. Those of a family can share a process: the model is then loaded and compiled once."""
    if cell.adaptation in study.combinations:
        return None
    config = cell.training(study)
    settings, defaults = settings_of(config, {"model", "data", "learning_rates"})
    return Stage(
        path=f"{cell.path}/train",
        kind="train",
        version=str(TRAIN_VERSION),
        settings=settings,
        defaults=defaults,
        inputs=(
            Input("base model", "model", (config.model,)),
            Input("data", "data", config.data, (config.split,)),
        ),
        upstream=(),
        outputs=(WEIGHTS,),
        arguments=("train", *flags(config, {"learning_rate", "out"})),
        devices=devices_of(config.mesh),
        rate=cell.learning_rate,
        sweep=f"{cell.family}/train",
    )


def generate(study: Study, cell: Cell, root: Path) -> Stage:
    """The answers to the instructions as they are."""
    return _generation(study, cell, root, "generate", ())


def generate_modified(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The answers to the instructions with task modifiers, which lie in a file of the study."""
    if not cell.modifiers or in_one_file(study, cell):
        return None
    return _generation(study, cell, root, "generate-modified", (MODIFIED,))


def _generation(study: Study, cell: Cell, root: Path, kind: str, options: tuple[str, ...]) -> Stage:
    config = cell.generation(study)
    own = {"model", "base", "adapter", "out", "name", "prompts", "languages", "modifiers"}
    settings, defaults = settings_of(config, own)
    # The answers name their cell, so that those in a folder that was renamed are not the cell's.
    settings, defaults = settings | {"name": cell.path}, defaults | {"name": cell.path}
    told = (ANY_LANGUAGE,) if study.surface.language else ()
    prompts = Input(
        "prompts", "prompts", (config.prompts, *config.columns), (*options, *told, *config.languages)
    )
    upstream = Output("trained weights", f"{cell.path}/train", WEIGHTS)
    model = str(root / upstream.stage)
    base: tuple[str, ...] = ()
    if cell.adaptation in study.combinations:
        upstream = Output("combined weights", f"{cell.path}/combine", COMBINED)
        model = str(root / upstream.stage / COMBINED)
    elif is_partial(study, cell):
        # Such a run remembers where its base was; that may lie elsewhere today.
        base = ("--base", cell.training(study).model)
    if options:
        asked = ["--prompts", str(root / MODIFIED_PROMPTS)]
        own.add("columns")  # the file has our names
    else:
        asked = ["--prompts", config.prompts]
        asked += ["--languages", ",".join(config.languages)] if config.languages else []
    return Stage(
        path=f"{cell.path}/{kind}",
        kind=kind,
        version=str(GENERATE_VERSION),
        settings=settings,
        defaults=defaults,
        inputs=(prompts,),
        upstream=(upstream,),
        outputs=(RESPONSES,),
        arguments=(
            "generate",
            "--model",
            model,
            *base,
            "--name",
            cell.path,
            *asked,
            *flags(config, own),
            "--out",
            str(root / cell.path / kind / RESPONSES),
        ),
        devices=devices_of(config.mesh),
    )


CELL_STAGES: tuple[Callable[[Study, Cell, Path], Stage | None], ...] = (
    train, combine, generate, generate_modified, evaluations.surface, evaluations.modifiers, evaluations.relevance,
    evaluations.judge,
)  # fmt: skip
STUDY_STAGES: tuple[Callable[[Study, Sequence[Stage], Path], Stage | None], ...] = (
    evaluations.choose, evaluations.tables, evaluations.effects, evaluations.report,
)  # fmt: skip
