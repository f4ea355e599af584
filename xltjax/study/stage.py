"""One stage of a study: a command with a folder for its results, what it reads and what it leaves."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from xltjax.common.hardware import parse_mesh
from xltjax.common.settings import result_settings

RESPONSES, SCORES = "responses.jsonl", "scores.jsonl"
# Options of prompts: those with modifiers alone are meant; the language of the answers is said elsewhere.
MODIFIED, ANY_LANGUAGE = "modified", "any language"


@dataclass(frozen=True)
class Input:
    """What a stage reads from outside of the study.

    Attributes:
        name: what messages call it.
        kind: what ``where`` names: a model, sources of data, a set of prompts, or files.
        where: names or paths, as the command gets them.
        options: the split of data; the languages of prompts, ``MODIFIED`` and ``ANY_LANGUAGE``.
    """

    name: str
    kind: Literal["model", "data", "prompts", "file"]
    where: tuple[str, ...]
    options: tuple[str, ...] = ()


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
        sweep: the folder of a training with ``{rate}`` for its rate: runs with the same one can share a command.
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


def settings_of(config: Any, without: Collection[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings that affect the result, ready for JSON, and their defaults."""
    names = sorted(result_settings(type(config)) - set(without))
    defaults = {each.name: each.default for each in dataclasses.fields(config)}
    return (
        json.loads(json.dumps({name: getattr(config, name) for name in names})),
        json.loads(json.dumps({name: defaults[name] for name in names})),
    )


def devices_of(mesh: str) -> int:
    """The number of devices of a mesh."""
    return math.prod(parse_mesh(mesh))
