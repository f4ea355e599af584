"""What makes a result the one that is requested: settings, contents of inputs and a version, kept inside its folder.

Code, mesh, paths and hosts are no part of it: a change of these would void studies for nothing.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, read_json_object

RECORD = "identity.json"
# What a record holds.
KINDS: dict[str, type | tuple[type, ...]] = {
    "stage": str, "version": str, "settings": dict, "inputs": dict, "state": str, "outputs": dict, "reason": str,
    "seconds": (int, float), "command": str,
}  # fmt: skip


@dataclass(frozen=True)
class Identity:
    """What identifies the result of a stage.

    Attributes:
        stage: the kind of the stage.
        version: that of the stage, which is raised by hand when its results change.
        settings: those that affect the result.
        inputs: the content of each input; None for one that is not here.
    """

    stage: str
    version: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, Any]

    def digest(self) -> str:
        """A short name for all of it."""
        parts = [self.stage, self.version, dict(self.settings), dict(self.inputs)]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]

    def changes(self, before: Identity, defaults: Mapping[str, Any]) -> list[str]:
        """What differs from ``before``, in words; nothing when both are of one result.

        A setting that ``before`` does not know had its default. An input that is not here is taken as unchanged.
        """
        changed = []
        if before.version != self.version:
            changed.append(f"the version of {self.stage} was {before.version}, now {self.version}")
        for name, now in self.settings.items():
            was = before.settings.get(name, defaults.get(name, now))
            if was != now:
                changed.append(f"{name} was {_short(was)}, now {_short(now)}")
        for name, content in self.inputs.items():
            was = before.inputs.get(name)
            if content is not None and was is not None and was != content:
                changed.append(f"the {name} changed{_parts(was, content)}")
        changed += [f"the {name} is new" for name in self.inputs if name not in before.inputs]
        changed += [f"the {name} is gone" for name in before.inputs if name not in self.inputs]
        return changed


@dataclass(frozen=True)
class Record:
    """What a stage's folder says about itself.

    Attributes:
        identity: what it is the result of.
        state: whether the stage has begun, is done or has failed.
        outputs: the hash of each output, once it is done.
        reason: why it failed.
        seconds: how long the stage took; for a sweep its share.
        command: the command that was run.
    """

    identity: Identity
    state: Literal["begun", "done", "failed"] = "begun"
    outputs: Mapping[str, str] = field(default_factory=dict)
    reason: str = ""
    seconds: float = 0.0
    command: str = ""

    @classmethod
    def read(cls, directory: Path) -> Record | None:
        """The record in a stage's folder; None when the folder is empty or is not there.

        Raises:
            UserError: when the folder holds something and no record of ours. Hidden files do not count: locks, and
            what a kill has left of a file that was being written.
        """
        file = directory / RECORD
        if not file.is_file():
            if directory.exists() and (
                not directory.is_dir() or any(not each.name.startswith(".") for each in directory.iterdir())
            ):
                raise UserError(
                    f"{directory} contains files that do not belong to this study ({RECORD} is missing); move it away"
                )
            return None
        values = read_json_object(file)
        for key, kind in KINDS.items():
            if not isinstance(values.get(key), kind):
                raise UserError(
                    f"{file} is not a record of a study: {key!r} is missing or wrong; move {directory} away"
                )
        identity = Identity(*(values[key] for key in ("stage", "version", "settings", "inputs")))
        return cls(
            identity, **{key: values[key] for key in ("state", "outputs", "reason", "seconds", "command")}
        )

    @classmethod
    def of_done(cls, directory: Path) -> Record | None:
        """The record of a stage that is done; None for any other, also for one whose record cannot be read."""
        try:
            record = cls.read(directory)
        except UserError:
            return None  # which the stage's own state says
        return record if record is not None and record.state == "done" else None

    def write(self, directory: Path) -> None:
        """Write it into a stage's folder, which is created."""
        identity = self.identity
        values = {
            "digest": identity.digest(), "state": self.state, "stage": identity.stage,
            "version": identity.version, "settings": dict(identity.settings), "inputs": dict(identity.inputs),
            "outputs": dict(self.outputs), "reason": self.reason, "seconds": self.seconds,
            "command": self.command,
        }  # fmt: skip
        with atomic_write(directory / RECORD) as file:
            json.dump(values, file, indent=1, ensure_ascii=False)
            file.write("\n")

    def ended(
        self, *, reason: str = "", outputs: Mapping[str, str] | None = None, seconds: float = 0.0
    ) -> Record:
        """The record of the stage after its end: done with ``outputs``, or failed for a ``reason``."""
        state: Literal["done", "failed"] = "failed" if reason else "done"
        return replace(self, state=state, reason=reason, outputs=outputs or {}, seconds=round(seconds, 2))


def set_aside(directory: Path) -> Path:
    """Rename a stage's folder, so that its place is free: ``generate`` becomes ``generate.old-1``."""
    number = 1
    while (place := directory.with_name(f"{directory.name}.old-{number}")).exists():
        number += 1
    directory.rename(place)
    return place


def told(changes: Sequence[str]) -> str:
    """Some changes in words: the first three, and how many more there are."""
    more = f" and {len(changes) - 3} more" if len(changes) > 3 else ""
    return f"{', '.join(changes[:3])}{more}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else text[:57] + "..."


def _parts(was: Any, now: Any) -> str:
    """Which parts of an input changed, where it has parts with names."""
    if isinstance(was, dict) and isinstance(now, dict):
        names = [key for key in now if was.get(key) != now[key] and key != "sha256"]
        return f" ({', '.join(names)})" if names else ""
    return ""
