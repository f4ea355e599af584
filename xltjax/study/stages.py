"""The stages of a study: what each runs, what it reads and what it leaves.

A stage is a command of xltjax with a folder for its results. A new one is a function that returns its ``Stage``, and
an entry in ``CELL_STAGES`` or ``STUDY_STAGES``.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.files import write_jsonl
from xltjax.common.settings import result_settings
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.language import LANGUAGE_VERSION
from xltjax.eval.modifiers.catalog import MODIFIERS_VERSION
from xltjax.eval.relevance import RELEVANCE_VERSION
from xltjax.eval.spelling import SPELLING_VERSION
from xltjax.mesh import parse_mesh
from xltjax.study.arguments import flags
from xltjax.study.contents import MODIFIED, WEIGHTS, Input, prompts
from xltjax.study.grid import Cell
from xltjax.study.settings import Study

# Raise one when the results of its stage change; the versions of the evaluators stand beside their metrics.
TRAIN_VERSION = 1
GENERATE_VERSION = 1
TABLES_VERSION = 1

RESPONSES, SCORES = "responses.jsonl", "scores.jsonl"
MODIFIED_PROMPTS = "prompts/modified.jsonl"


@dataclass(frozen=True)
class Output:
    """What a stage reads of another one: a file in its folder, or the weights of a training."""

    name: str
    stage: str
    file: str


@dataclass(frozen=True)
class Stage:
    """One command with one folder for its results.

    Attributes:
        path: the folder, in that of the study.
        kind: the name of the stage.
        version: see ``identity``.
        settings: those that affect the result, ready for JSON.
        defaults: the default of each setting.
        inputs: what it reads from outside of the study.
        upstream: what it reads of other stages.
        outputs: what it leaves; see ``Output``.
        arguments: the command and its arguments, without the place and the rate of a training.
        devices: how many devices it computes on; 0 for a stage that uses none.
        rate: the learning rate of a training.
        sweep: the folder of a training with ``{rate}`` for its rate: trainings with the same one can share a command.
        partial: whether it makes do with the cells that are done.
    """

    path: str
    kind: str
    version: str
    settings: Mapping[str, Any]
    defaults: Mapping[str, Any]
    inputs: tuple[Input, ...]
    upstream: tuple[Output, ...]
    outputs: tuple[str, ...]
    arguments: tuple[str, ...]
    devices: int = 0
    rate: float = 0.0
    sweep: str = ""
    partial: bool = False

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Stage:
        """The stage whose ``dataclasses.asdict`` went through JSON as ``values``."""
        given = dict(values)
        given["inputs"] = tuple(
            Input(each["name"], each["kind"], tuple(each["where"]), tuple(each["options"]))
            for each in values["inputs"]
        )
        given["upstream"] = tuple(Output(**each) for each in values["upstream"])
        given["outputs"], given["arguments"] = tuple(values["outputs"]), tuple(values["arguments"])
        return cls(**given)

    @property
    def cell(self) -> str:
        """The path of its cell; empty for a stage over all cells."""
        return self.path.rpartition("/")[0]


def stages(study: Study, cells: Sequence[Cell], root: Path) -> list[Stage]:
    """Every stage of the study, those that a stage needs before it.

    Args:
        study: the study.
        cells: its cells.
        root: the folder of the study.
    """
    found = [
        stage for cell in cells for define in CELL_STAGES if (stage := define(study, cell, root)) is not None
    ]
    return found + [define(study, tuple(found), root) for define in STUDY_STAGES]


def prepare(study: Study, cells: Sequence[Cell], root: Path) -> None:
    """Write what stages read and no other stage makes: the instructions with task modifiers."""
    modified = [cell for cell in cells if cell.modifiers and not _in_one_file(study, cell)]
    if modified:
        config = modified[0].generation(study)  # the prompts are the same for all
        rows = prompts(config.prompts, config.languages, modified=True)
        write_jsonl(root / MODIFIED_PROMPTS, (dataclasses.asdict(row) for row in rows))


def _result_settings(config: Any, without: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that affect the result, ready for JSON, and their defaults."""
    names = sorted(result_settings(type(config)) - set(without))
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    return (
        json.loads(json.dumps({name: getattr(config, name) for name in names})),
        json.loads(json.dumps({name: defaults[name] for name in names})),
    )


def _devices(mesh: str) -> int:
    return math.prod(parse_mesh(mesh))


def train(study: Study, cell: Cell, root: Path) -> Stage:
    """The training. Those of a family can share a process: the model is then loaded and compiled once."""
    config = cell.training(study)
    settings, defaults = _result_settings(config, {"model", "data", "learning_rates"})
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
        devices=_devices(config.mesh),
        rate=cell.learning_rate,
        sweep=f"{cell.family}/train",
    )


def generate(study: Study, cell: Cell, root: Path) -> Stage:
    """The answers to the instructions as they are."""
    return _generation(study, cell, root, "generate", ())


def generate_modified(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The answers to the instructions with task modifiers, which lie in a file of the study."""
    if not cell.modifiers or _in_one_file(study, cell):
        return None
    return _generation(study, cell, root, "generate-modified", (MODIFIED,))


def _in_one_file(study: Study, cell: Cell) -> bool:
    """Whether the prompts are a file, whose rows are all answered, those with modifiers too."""
    return Path(cell.generation(study).prompts).is_file()


def _generation(study: Study, cell: Cell, root: Path, kind: str, options: tuple[str, ...]) -> Stage:
    config = cell.generation(study)
    own = {"model", "base", "adapter", "out", "name", "prompts", "languages", "modifiers"}
    settings, defaults = _result_settings(config, own)
    prompts = Input("prompts", "prompts", (config.prompts,), (*options, *config.languages))
    training = cell.training(study)
    # A LoRA run remembers where its base was; it may lie elsewhere today.
    base = ("--base", training.model) if training.lora_rank else ()
    if options:
        asked = ["--prompts", str(root / MODIFIED_PROMPTS)]
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
        upstream=(Output("trained weights", f"{cell.path}/train", WEIGHTS),),
        outputs=(RESPONSES,),
        arguments=(
            "generate",
            "--model",
            str(root / cell.path / "train"),
            *base,
            "--name",
            cell.path,
            *asked,
            *flags(config, own),
            "--out",
            str(root / cell.path / kind / RESPONSES),
        ),
        devices=_devices(config.mesh),
    )


def surface(study: Study, cell: Cell, root: Path) -> Stage:
    """Language and spelling."""
    files = {"lid_model": "language model", "word_list": "word list", "english_words": "English words"}
    version = f"{LANGUAGE_VERSION}.{SPELLING_VERSION}"
    return _evaluation(study.surface, cell, root, "surface", version, files, folders={"dictionaries"})


def modifiers(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The fulfillment of task modifiers, beside the answers without them."""
    if not cell.modifiers:
        return None
    version = f"{MODIFIERS_VERSION}.{LANGUAGE_VERSION}"
    of = ("generate",) if _in_one_file(study, cell) else ("generate", "generate-modified")
    return _evaluation(
        study.modifiers, cell, root, "modifiers", version, {"lid_model": "language model"}, of=of
    )


def relevance(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The relevance, where a judge is configured."""
    config = study.relevance
    if config is None:
        return None
    stage = _evaluation(config, cell, root, "relevance", str(RELEVANCE_VERSION), {"judge_model": ""})
    judge = Input("judge", "model", (config.judge_model,))
    return dataclasses.replace(stage, inputs=(judge,), devices=_devices(config.mesh))


def _evaluation(
    config: EvaluatorConfig,
    cell: Cell,
    root: Path,
    kind: str,
    version: str,
    files: Mapping[str, str],
    folders: Collection[str] = (),
    of: Sequence[str] = ("generate",),
) -> Stage:
    """A stage that scores responses.

    Args:
        config: the settings of the evaluator.
        cell: the cell.
        root: the folder of the study.
        kind: the name of the evaluator's command.
        version: that of its metrics.
        files: what messages call the files that settings name; their contents count, not their names.
        folders: settings that name several files or folders, for which the same holds.
        of: the stages whose responses are scored.
    """
    settings, defaults = _result_settings(config, {"responses", "out", *files, *folders})
    named = [(label, (getattr(config, name),)) for name, label in files.items() if getattr(config, name)]
    named += [(name, getattr(config, name)) for name in folders if getattr(config, name)]
    return Stage(
        path=f"{cell.path}/{kind}",
        kind=kind,
        version=version,
        settings=settings,
        defaults=defaults,
        inputs=tuple(Input(label, "file", where) for label, where in named),
        upstream=tuple(
            Output(
                "responses" if each == "generate" else "responses to modified prompts",
                f"{cell.path}/{each}",
                RESPONSES,
            )
            for each in of
        ),
        outputs=(SCORES,),
        arguments=(
            "eval",
            kind,
            *(str(root / cell.path / each / RESPONSES) for each in of),
            *flags(config),
            "--out",
            str(root / cell.path / kind),
        ),
    )


def tables(study: Study, cells: Sequence[Stage], root: Path) -> Stage:
    """One table of the scores of all cells."""
    scored = [stage for stage in cells if SCORES in stage.outputs]
    return Stage(
        path="tables",
        kind="tables",
        version=str(TABLES_VERSION),
        settings={},
        defaults={},
        inputs=(),
        upstream=tuple(Output(f"scores of {stage.path}", stage.path, SCORES) for stage in scored),
        outputs=("cells.csv",),
        arguments=(
            "study.tables",
            *(str(root / stage.path) for stage in scored),
            "--out",
            str(root / "tables"),
        ),
        partial=True,
    )


CELL_STAGES: tuple[Callable[[Study, Cell, Path], Stage | None], ...] = (
    train, generate, generate_modified, surface, modifiers, relevance,
)  # fmt: skip
STUDY_STAGES: tuple[Callable[[Study, Sequence[Stage], Path], Stage], ...] = (tables,)
