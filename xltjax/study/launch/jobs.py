"""What is run at once: a stage, or the runs of a sweep over learning rates."""

from __future__ import annotations

import dataclasses
import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from xltjax.study.stage import Stage

if TYPE_CHECKING:  # which imports JAX
    from xltjax.study.state import State


@dataclass(frozen=True)
class Job:
    """Stages that one command runs.

    Attributes:
        stages: one stage, or several training runs that differ in their rates alone.
        root: the folder of the study.
    """

    stages: tuple[Stage, ...]
    root: str

    @property
    def name(self) -> str:
        """What messages call it."""
        return self._named("lr-*")

    @property
    def log(self) -> Path:
        """The file with what the command prints."""
        return Path(self.root) / "logs" / f"{self._named('sweep')}.log"

    def _named(self, any_rate: str) -> str:
        """The path of its stage, or that of a sweep with ``any_rate`` for the folder of each rate."""
        first = self.stages[0]
        return first.path if len(self.stages) == 1 else first.sweep.replace("lr-{rate}", any_rate)

    @property
    def devices(self) -> int:
        """How many devices it computes on."""
        return self.stages[0].devices

    def command(self, stages: Sequence[Stage] | None = None) -> list[str]:
        """The command and its arguments, for those of its stages that are left."""
        stages = stages or self.stages
        first = stages[0]
        if not first.sweep:
            return list(first.arguments)
        if len(stages) == 1:
            place = ["--learning-rate", repr(first.rate), "--out", f"{self.root}/{first.path}"]
        else:
            rates = ",".join(repr(stage.rate) for stage in stages)
            place = ["--learning-rates", rates, "--out", f"{self.root}/{first.sweep}"]
        return [*first.arguments, *place]

    def to_json(self) -> str:
        """One line that ``from_json`` reads."""
        return json.dumps(dataclasses.asdict(self))

    @classmethod
    def from_json(cls, line: str) -> Job:
        """The job that ``to_json`` wrote."""
        values: dict[str, Any] = json.loads(line)
        return cls(tuple(map(Stage.from_json, values["stages"])), values["root"])


@dataclass(frozen=True)
class Outcome:
    """How a stage of a job ended.

    Attributes:
        path: the stage.
        state: done, failed, or left as it is because another stage of the job failed or a signal came.
        reason: why it failed, in one line.
        seconds: how long it took.
        note: what was set aside.
    """

    path: str
    state: Literal["done", "failed", "left"]
    reason: str = ""
    seconds: float = 0.0
    note: str = ""


def shown(command: Sequence[str]) -> str:
    """A command as a user would type it."""
    return shlex.join(["python", "-m", f"xltjax.{command[0]}", *command[1:]])


def next_jobs(
    stages: Sequence[Stage], states: Mapping[str, State], root: Path, *, begun: Collection[str],
    failed: Collection[str], slots: int,
) -> list[Job]:  # fmt: skip
    """What can run now, in the order of the stages.

    Args:
        stages: all stages, those that one needs before it.
        states: the state of each stage.
        root: the folder of the study.
        begun: the paths of those that are running.
        failed: the paths of those that have failed and are not tried again.
        slots: how many training runs can run side by side. A sweep is split when some would stay empty.
    """
    hopeless = unreachable(stages, states, failed)
    free = [
        stage
        for stage in stages
        if states[stage.path].kind == "to do" and stage.path not in {*begun, *failed}
    ]
    trainings = sum(stage.kind == "train" for stage in free) + sum(
        stage.kind == "train" and stage.path in begun for stage in stages
    )
    most = max(-(-trainings // max(slots, 1)), 1)
    groups: list[list[Stage]] = []
    sweeps: dict[str, list[Stage]] = {}  # the newest group of each
    for stage in free:
        if stage.partial and not all(
            states[each.stage].kind == "done" or each.stage in hopeless for each in stage.upstream
        ):
            continue  # more will be done
        group = sweeps.get(stage.sweep) if stage.sweep else None
        if group is not None and len(group) < most:
            group.append(stage)
            continue
        groups.append([stage])
        if stage.sweep:
            sweeps[stage.sweep] = groups[-1]
    return [Job(tuple(group), str(root)) for group in groups]


def unreachable(stages: Sequence[Stage], states: Mapping[str, State], failed: Collection[str]) -> set[str]:
    """The paths of the stages that have failed, are blocked by an input, or need such a stage."""
    found: set[str] = set(failed)
    for stage in stages:
        needs = [each.stage for each in stage.upstream]
        lost = [path for path in needs if path in found]
        blocked_itself = states[stage.path].kind == "blocked" and not states[stage.path].waiting
        if blocked_itself or (lost and (not stage.partial or len(lost) == len(needs))):
            found.add(stage.path)
    return found
