"""The states of a study's stages: done, to do because of something, or blocked by something."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from xltjax.common.errors import UserError
from xltjax.study.contents import COMBINED, MODELS, WEIGHTS, Contents, output, trained
from xltjax.study.identity import Identity, Record, told
from xltjax.study.stage import Stage


@dataclass(frozen=True)
class State:
    """The state of one stage.

    Attributes:
        kind: done, to do, or blocked by another stage or by an input that is not there.
        reason: why it is to do, or what blocks it; empty when it is done.
        waiting: whether another stage blocks it.
    """

    kind: Literal["done", "to do", "blocked"]
    reason: str = ""
    waiting: bool = False

    def __str__(self) -> str:
        joint = {"done": "", "to do": " because ", "blocked": " by "}[self.kind]
        return f"{self.kind}{joint}{self.reason}"


DONE = State("done")


def identity_of(
    stage: Stage, root: Path, contents: Contents, done: Mapping[str, State] | None = None
) -> Identity:
    """The identity that the result of a stage would have now.

    Args:
        stage: the stage.
        root: the folder of the study.
        contents: reads the inputs.
        done: the state of the other stages; of a partial stage, only those that are done count. When it is not given,
            what their records say counts.

    Raises:
        UserError: for an input that is not there, or another stage that is not done.
    """
    inputs = {each.name: contents.of(each) for each in stage.inputs}
    for each in stage.upstream:
        record = Record.of_done(root / each.stage)
        if record is not None and (done is None or done[each.stage].kind == "done"):
            inputs[each.name] = record.outputs.get(each.file)
        elif not stage.partial:
            raise UserError(f"{each.stage} is not done")
    return Identity(stage.kind, stage.version, stage.settings, inputs)


def states(stages: Sequence[Stage], root: Path, contents: Contents) -> dict[str, State]:
    """The state of every stage, by its path.

    Models may be removed once everything that is made of them is done.

    Args:
        stages: all stages, those that one needs before it.
        root: the folder of the study.
        contents: reads the inputs.
    """
    found = _states(stages, root, contents, frozenset())
    by_path, needed = {stage.path: stage for stage in stages}, set[str]()
    to_do = [stage for stage in stages if found[stage.path].kind != "done"]
    while to_do:  # a model that is made again may itself be made of one that is gone
        for each in to_do.pop().upstream:
            other = by_path[each.stage]
            gone = each.file in MODELS and found[each.stage].kind == "done" and not has_model(other, root)
            if gone and each.stage not in needed:
                needed.add(each.stage)
                to_do.append(other)
    return _states(stages, root, contents, frozenset(needed)) if needed else found


def _states(
    stages: Sequence[Stage], root: Path, contents: Contents, needed: frozenset[str]
) -> dict[str, State]:
    found: dict[str, State] = {}
    for stage in stages:
        try:
            found[stage.path] = _state(stage, root, contents, found, stage.path in needed)
        except UserError as problem:
            found[stage.path] = State("blocked", str(problem))
    return found


def _state(
    stage: Stage, root: Path, contents: Contents, others: Mapping[str, State], model_needed: bool
) -> State:
    waiting = [each.stage for each in stage.upstream if others[each.stage].kind != "done"]
    if waiting and not stage.partial:
        for each in stage.inputs:  # what is not there is better known before others have run for it
            contents.of(each)
        return State("blocked", _name(waiting[0], stage), waiting=True)
    if waiting and len(waiting) == len(stage.upstream):
        return State("blocked", f"{len(waiting)} stages", waiting=True)
    record = Record.read(root / stage.path)
    now = identity_of(stage, root, contents, others)
    if record is None:
        return State("to do", "it has not run yet")
    changes = now.changes(record.identity, stage.defaults)
    if changes:
        return State("to do", told(changes))
    if record.state == "failed":
        return State("to do", f"it failed: {record.reason}")
    if record.state == "begun":
        return State("to do", "it has not ended yet")
    return _checked(stage, root, record, model_needed)


def _checked(stage: Stage, root: Path, record: Record, model_needed: bool) -> State:
    """The state of a stage whose record says that it is done."""
    for name in stage.outputs:
        if name in MODELS:
            if model_needed and not has_model(stage, root):
                return State("to do", "its weights are gone")
            continue
        now = output(root / stage.path, name)
        if now is None:
            return State("to do", f"its {name} is gone")
        if now != record.outputs.get(name):
            return State("to do", f"its {name} was changed")
    return DONE


def has_model(stage: Stage, root: Path) -> bool:
    """Whether the model is there that a stage makes, complete."""
    if WEIGHTS in stage.outputs:
        return trained(root / stage.path, stage.settings["steps"])
    return (root / stage.path / COMBINED).is_dir()  # which appears when it is complete


def _name(path: str, stage: Stage) -> str:
    """A stage's path, or its last part for one of the same cell."""
    cell, _, kind = path.rpartition("/")
    return kind if cell == stage.cell else path
