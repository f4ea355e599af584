"""The YAML file of a study: models, data, adaptations, rates and seeds, and the settings of every command."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.hardware import ACCELERATORS
from xltjax.common.settings import (
    Config,
    build,
    current_names,
    overlay,
    read_config_files,
    read_mapping,
    refuse_both,
    setting,
)
from xltjax.eval.comparison.choose import ChooseConfig
from xltjax.eval.judge.command import JudgeConfig
from xltjax.eval.judge.local.model import LOCAL_PREFIX
from xltjax.eval.modifiers.command import ModifiersConfig
from xltjax.eval.relevance import RelevanceConfig
from xltjax.eval.report.command import ReportConfig
from xltjax.eval.surface import SurfaceConfig
from xltjax.generate.settings import GenerateConfig
from xltjax.study.recipes import PARTS, Recipe, check_recipes, read_recipe
from xltjax.study.results.claims import Claim, read_claims
from xltjax.training.config import TrainConfig

# What the study itself says to each command, so that no section may.
OF_THE_STUDY = {
    TrainConfig: {
        "learning_rate", "learning_rates", "seed", "out", "force", "plan", "show_example", "coordinator",
        "process_id", "processes", "base",
    },
    GenerateConfig: {"model", "base", "adapter", "out", "name"},
    SurfaceConfig: {"responses", "out"},
    ModifiersConfig: {"responses", "out"},
    RelevanceConfig: {"responses", "out"},
    JudgeConfig: {"responses", "out", "dry_run", "batch_file", "reparse"},
    ChooseConfig: {"scores", "out", "runs", "responses"},
    ReportConfig: {"sources", "out", "responses"},
}  # fmt: skip
AXES = {"learning_rate": "learning_rates", "seed": "seeds"}
# The names in the grid are names of directories.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}")
ASIDE = re.compile(r".*\.old-\d+")
RESERVED = ("choose", "claims.json", "effects", "logs", "prompts", "report", "slurm", "stages.json", "tables")


@dataclass(frozen=True)
class Block:
    """A part of the grid: every combination of what it names. What it leaves out is all there is."""

    models: tuple[str, ...] = setting((), "Names of models.")
    data: tuple[str, ...] = setting((), "Names of data sets.")
    adaptations: tuple[str, ...] = setting((), "Names of adaptations.")
    learning_rates: tuple[float, ...] = setting((), "Peak learning rates.")
    seeds: tuple[int, ...] = setting((), "Seeds of the training.")
    modifiers: bool = setting(False, "Also answer the instructions with task modifiers.")


@dataclass(frozen=True)
class Study:
    """A study as its file describes it.

    Attributes:
        name: the name of the file without folder and suffix.
        models: settings of ``train`` by the model's name.
        data: the same by the data set's name.
        adaptations: the same by the adaptation's name.
        combinations: what is made of training runs without another one, by the adaptation's name.
        train: settings of every training.
        generate: settings of every generation.
        generate_by_model: what differs from them for a model.
        surface: settings of the evaluator; ``modifiers`` and ``relevance`` alike.
        modifiers: see ``surface``.
        relevance: see ``surface``; None when no judge of relevance is configured.
        judge: the same of the judge by a rubric.
        choose: settings of the choice of the learning rate.
        effects: what the study is to show.
        report: settings of the report; None when none is wanted.
        grid: the blocks, each with all of its axes filled in.
        accelerator: for which the plan is made.
    """

    name: str
    models: Mapping[str, Mapping[str, Any]]
    data: Mapping[str, Mapping[str, Any]]
    adaptations: Mapping[str, Mapping[str, Any]]
    combinations: Mapping[str, Recipe]
    train: Mapping[str, Any]
    generate: Mapping[str, Any]
    generate_by_model: Mapping[str, Mapping[str, Any]]
    surface: SurfaceConfig
    modifiers: ModifiersConfig
    relevance: RelevanceConfig | None
    judge: JudgeConfig | None
    choose: ChooseConfig
    effects: tuple[Claim, ...]
    report: ReportConfig | None
    grid: tuple[Block, ...]
    accelerator: str

    def asked(self) -> GenerateConfig:
        """What is asked of all models, and how."""
        return build(GenerateConfig, self.generate, notify=False)


KEYS = (
    "models", "data", "adaptations", "learning_rates", "seeds", "grid", "train", "generate", "surface",
    "modifiers", "relevance", "judge", "choose", "effects", "report", "accelerator",
)  # fmt: skip


def read_study(name: str) -> Study:
    """Read the file of a study, or a shipped one such as ``study/paper``.

    Raises:
        UserError: naming the file, the section and, for an unknown key, the nearest one.
    """
    values = read_mapping(name)
    try:
        return _study(re.sub(r"\.ya?ml$", "", name.rpartition("/")[2]), values)
    except UserError as problem:
        raise UserError(f"{name}: {problem}") from None


def _study(name: str, values: Mapping[str, Any]) -> Study:
    for key in values:
        if key not in KEYS:
            raise UserError(f"unknown section {key!r}; {did_you_mean(key, KEYS)}")
    models = _named(values, "models", "model")
    by_model = {each: _of_model(each, section.pop("generate", {})) for each, section in models.items()}
    models = _sections(models, "models")
    data = _sections(_named(values, "data", "data"), "data")
    given = _named({"adaptations": {"ft": {}}, **values}, "adaptations", "")
    combinations = {each: _recipe(each, given.pop(each)) for each in list(given) if _is_recipe(given[each])}
    adaptations = _sections(given, "adaptations")
    for each, section in data.items():
        if not section.get("data"):
            raise UserError(f"data.{each}: data is missing: files, directories or dataset ids")
    for each, section in models.items():
        if not section.get("model"):
            raise UserError(f"models.{each}: model is missing: a Hugging Face directory or id")
    relevance = _config(values, "relevance", RelevanceConfig)
    if "relevance" in values and not relevance.judge_model:
        raise UserError("relevance: judge_model is missing: the directory or id of a chat model")
    judge = _config(values, "judge", JudgeConfig)
    if "judge" in values and not judge.judge:
        raise UserError("judge: judge is missing, such as openai:MODEL or jax:DIR")
    for name in judge.judge:
        if not name.startswith(("openai:", LOCAL_PREFIX)):
            raise UserError(f"judge: {name!r} is not known; give openai:MODEL or {LOCAL_PREFIX}DIR")
    accelerator = str(values.get("accelerator", "a100-80g"))
    if accelerator not in ACCELERATORS:
        raise UserError(f"accelerator {accelerator!r} is unknown; {did_you_mean(accelerator, ACCELERATORS)}")
    every = [*adaptations, *combinations]
    axes = {"models": list(models), "data": list(data), "adaptations": every, "seeds": [0]}
    axes |= {key: values[key] for key in AXES.values() if key in values}
    study = Study(
        name=name,
        models=models,
        data=data,
        adaptations=adaptations,
        combinations=combinations,
        train=_of_all(_mapping(values, "train")),
        generate=_section(_mapping(values, "generate"), GenerateConfig, "generate"),
        generate_by_model=by_model,
        surface=_config(values, "surface", SurfaceConfig),
        modifiers=_config(values, "modifiers", ModifiersConfig),
        relevance=relevance if "relevance" in values else None,
        judge=judge if "judge" in values else None,
        choose=_config(values, "choose", ChooseConfig),
        effects=read_claims(values.get("effects")),
        report=None if values.get("report") is False else _report(values),
        grid=tuple(_blocks(values.get("grid", [{}]), axes)),
        accelerator=accelerator,
    )
    check_recipes(combinations, {"model": models, "data": data, "adaptation": adaptations})
    return study


def _is_recipe(section: Mapping[str, Any]) -> bool:
    return any(key in section for key in ("of", "expert", *PARTS))


def _recipe(name: str, section: Mapping[str, Any]) -> Recipe:
    try:
        if not section.get("of"):
            raise UserError("of is missing: the adaptation whose trained models are combined")
        return read_recipe(section)
    except UserError as problem:
        raise UserError(f"adaptations.{name}: {problem}") from None


def _mapping(values: Mapping[str, Any], key: str) -> dict[str, Any]:
    found = values.get(key) or {}
    if not isinstance(found, dict):
        raise UserError(f"{key} must be a mapping of settings")
    for name in found:
        if isinstance(name, bool) or not isinstance(name, (str, int)):
            raise UserError(f"{key}: the name {name} is not text; put it in quotes")
    return {str(name): value for name, value in found.items()}


def _named(values: Mapping[str, Any], key: str, main: str) -> dict[str, dict[str, Any]]:
    """The sections under ``key`` by name. A section that is no mapping is the value of its setting ``main``."""
    sections = {}
    if not isinstance(values.get(key) or {}, dict):
        raise UserError(f"{key} must give each entry a name, such as '{key}: {{mine: ...}}'")
    for name, section in _mapping(values, key).items():
        if not NAME.fullmatch(name) or ASIDE.fullmatch(name) or name in RESERVED:
            raise UserError(
                f"{key}: {name!r:.60} cannot be the name of a directory of the study; use up to 100 letters "
                "(a to z), digits and . _ + -"
            )
        if section is None:
            section = {}
        elif not isinstance(section, dict) and main:
            section = {main: section}
        sections[name] = _mapping({f"{key}.{name}": section}, f"{key}.{name}")
    if not sections:
        raise UserError(f"{key} is missing or empty")
    return sections


def _sections(sections: Mapping[str, Mapping[str, Any]], key: str) -> dict[str, dict[str, Any]]:
    return {name: _section(section, TrainConfig, f"{key}.{name}") for name, section in sections.items()}


def _section(section: Mapping[str, Any], config_class: type[Any], place: str) -> dict[str, Any]:
    """Settings of a command, on those of the shipped configs or files that its key ``config`` names.

    Raises:
        UserError: naming the place, for a setting that is unknown, has a wrong value, or is the study's to give.
    """
    try:
        given = dict(section)
        bases = given.pop("config", ())
        values = read_config_files(config_class, [bases] if isinstance(bases, str) else bases)
        # What a config of a single run says about its place and rate is no part of a study.
        values = {key: value for key, value in values.items() if key not in OF_THE_STUDY[config_class]}
        given = current_names(config_class, given)
        refuse_both(config_class, given)
        for key in given:
            if config_class is TrainConfig and key in AXES:
                raise UserError(f"{key} is an axis of the grid; give {AXES[key]} in the grid or beside it")
            if key in OF_THE_STUDY[config_class]:
                raise UserError(f"{key} is given by the study")
        values = overlay(config_class, values, given)
        build(config_class, values, notify=False)
        return values
    except UserError as problem:
        raise UserError(f"{place}: {problem}") from None


def _of_all(section: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of every training, which name neither model nor data."""
    for key, axis in (("model", "models"), ("data", "data")):
        if key in section:
            raise UserError(f"train: {key} is an axis of the grid; name it under {axis}")
    return _section(section, TrainConfig, "train")


def _config(values: Mapping[str, Any], key: str, config_class: type[Config]) -> Config:
    return build(config_class, _section(_mapping(values, key), config_class, key), notify=False)


def _report(values: Mapping[str, Any]) -> ReportConfig:
    given = values.get("report")
    return _config({} if given is True else values, "report", ReportConfig)


def _of_model(name: str, section: Any) -> dict[str, Any]:
    """What differs for a model from the settings of generation, which never are the prompts."""
    place = f"models.{name}.generate"
    found = _section(_mapping({place: section}, place), GenerateConfig, place)
    for key in ("prompts", "languages", "modifiers"):
        if key in found:
            raise UserError(f"{place}: {key} is the same for all models; give it under generate")
    return found


def _blocks(blocks: Any, axes: Mapping[str, Any]) -> Iterator[Block]:
    """The blocks of the grid.

    Args:
        blocks: the list of the file.
        axes: the values of each axis that a block does not name.
    """
    if not isinstance(blocks, list) or not blocks:
        raise UserError("grid must be a list of blocks, such as '- {models: [a], learning_rates: [1e-5]}'")
    for number, given in enumerate(blocks, start=1):
        try:
            if given is not None and not isinstance(given, dict):
                raise UserError(f"{given!r:.40} is not a mapping of axes")
            block = build(Block, {**axes, **(given or {})})
            for key in ("models", "data", "adaptations"):
                for name in getattr(block, key):
                    if name not in axes[key]:
                        raise UserError(f"{key}: unknown name {name!r}; {did_you_mean(name, axes[key])}")
            for key in ("models", "data", "adaptations", "learning_rates", "seeds"):
                values = getattr(block, key)
                if not values:
                    raise UserError(f"{key} is missing or empty")
                if len(set(values)) < len(values):
                    raise UserError(f"{key} names a value twice")
            yield block
        except UserError as problem:
            raise UserError(f"grid, block {number}: {problem}") from None
