"""What a study tells on the terminal: one line for each stage that ends, and the progress of the running ones."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from xltjax.common.files import read_json_object
from xltjax.study.contents import Contents
from xltjax.study.launch.jobs import Job, Outcome
from xltjax.study.results.effects import EFFECTS
from xltjax.study.stage import RESPONSES, Stage
from xltjax.study.state import DONE, State

INTERVAL = 10.0  # seconds between two lines about what is running


class Teller:
    """Prints what happens, as a ``local.Watcher``.

    Args:
        stages: all stages of the study.
        root: the folder of the study.
        found: their states at the beginning.
    """

    def __init__(self, stages: Sequence[Stage], root: Path, found: Mapping[str, State]) -> None:
        self._root, self._total = root, len(stages)
        self._done = {stage.path for stage in stages if found[stage.path].kind == "done"}
        self._told = time.monotonic()

    def begun(self, job: Job) -> None:
        """Say that a sweep begins; a stage is named when it ends."""
        self._told = time.monotonic()
        if len(job.stages) > 1:
            print(f"training {len(job.stages)} learning rates in {job.name}", flush=True)

    def ended(self, outcome: Outcome) -> None:
        """Print the line of a stage that has ended."""
        self._told = time.monotonic()
        if outcome.note:
            print(f"{outcome.path} again, because {outcome.note}", flush=True)
        if outcome.state == "done":
            self._done.add(outcome.path)
            print(
                f"[{len(self._done)}/{self._total}] {outcome.path} ({duration(outcome.seconds)})", flush=True
            )
        elif outcome.state == "failed":
            print(f"failed: {outcome.path}: {outcome.reason}", flush=True)

    def waiting(self, jobs: Sequence[Job]) -> None:
        """Now and then, print how far the running jobs are."""
        if time.monotonic() - self._told < INTERVAL:
            return
        self._told = time.monotonic()
        for job in jobs:
            stage = next(
                (each for each in job.stages if progress(each, self._root) != "done"), job.stages[-1]
            )
            print(
                f"[{len(self._done)}/{self._total}] {stage.path}: {progress(stage, self._root)}", flush=True
            )

    def conclude(self, found: Mapping[str, State], failed: Mapping[str, str], *, stopped: bool) -> None:
        """Say what is done, what failed, and what could not begin."""
        done = sum(state.kind == "done" for state in found.values())
        if stopped:
            print(f"stopped: {done} of {self._total} stages are done; the same command continues", flush=True)
            return
        print(f"{done} of {self._total} stages are done: {self._root}", flush=True)
        for line in results(found, self._root):
            print(line, flush=True)
        for path, reason in failed.items():
            print(f"failed: {path}: {reason}", flush=True)
        for line in blocked(found):
            print(line, flush=True)


def progress(stage: Stage, root: Path, contents: Contents | None = None) -> str:
    """How far a stage is that has begun: updates of a training, answers of a generation, or nothing that is known.

    Args:
        stage: the stage.
        root: the folder of the study.
        contents: to say how many answers there will be.
    """
    if stage.kind == "train":
        done, steps = _updates(root / stage.path / "metrics.jsonl"), stage.settings["steps"]
        if stage.settings.get("epochs"):  # from which the number of updates follows
            return f"update {done}" if done else "starting"
        return "done" if done == steps else f"update {done} of {steps}" if done else "starting"
    if stage.outputs == (RESPONSES,):
        count = _lines(root / stage.path / RESPONSES)
        total = contents.count(stage.inputs[0]) if contents else None
        return f"{count}{f' of {total}' if total else ''} answers" if count else "starting"
    return "running"


def results(found: Mapping[str, State], root: Path) -> Iterator[str]:
    """What the study has found, as far as the stages over all cells are done: rates, claims, and the report."""
    for name, lines in (("choose", _chosen), ("effects", _effects), ("report", _report)):
        if found.get(name) == DONE:  # what is not was made of other scores
            yield from lines(root)


def _chosen(root: Path) -> Iterator[str]:
    """A line for the learning rate that was chosen for each family."""
    families = read_json_object(root / "choose" / "choice.json")["families"]
    several = {family: found for family, found in families.items() if len(found["rates"]) > 1}
    for family, found in several.items():
        wins = next(rate["wins"] for rate in found["rates"] if rate["chosen"])
        value = f"{found['learning_rate']:g} by rule {found['rule']}, in {100 * wins:.0f}% of the resamples"
        yield f"learning rate of {family}: {value}"
    if several:
        yield f"how sure that is, and what other rules choose: {root / 'choose' / 'choice.md'}"


def _effects(root: Path) -> Iterator[str]:
    """A line for each claim of the study."""
    for claim, verdict in read_json_object(root / "effects" / EFFECTS)["verdicts"].items():
        yield f"{verdict}: {claim}"
    yield f"the differences and their intervals: {root / 'effects' / 'effects.md'}"


def _report(root: Path) -> Iterator[str]:
    yield f"report: {root / 'report' / 'report.html'}"


def blocked(found: Mapping[str, State]) -> list[str]:
    """A line for each reason, other than another stage, why stages cannot begin."""
    by_reason: dict[str, list[str]] = {}
    for path, state in found.items():
        if state.kind == "blocked" and not state.waiting:
            by_reason.setdefault(state.reason, []).append(path)
    return [
        f"blocked: {paths[0]}{f' and {len(paths) - 1} others' if len(paths) > 1 else ''}: {reason}"
        for reason, paths in by_reason.items()
    ]


def duration(seconds: float) -> str:
    """A duration in words."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 9.95 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _updates(metrics: Path) -> int:
    for line in reversed(_tail(metrics).splitlines()):
        try:
            return int(json.loads(line)["step"])
        except (ValueError, KeyError, TypeError):
            continue  # a line that is being written, or the cut beginning of the tail
    return 0


def _lines(path: Path) -> int:
    try:
        with path.open("rb") as file:
            return sum(chunk.count(b"\n") for chunk in iter(lambda: file.read(1 << 20), b""))
    except OSError:
        return 0


def _tail(path: Path, size: int = 4096) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - size, 0))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
