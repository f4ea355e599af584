"""``--dry-run`` and ``--status``: every stage with its state, and every cell with what is done of it."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.markup import escape
from rich.table import Table

from xltjax.common.errors import UserError
from xltjax.common.hardware import GIB
from xltjax.common.locks import LOCK, holder
from xltjax.eval.table_files import table_console
from xltjax.study.contents import Contents
from xltjax.study.display import blocked, duration, progress, results
from xltjax.study.grid import Cell
from xltjax.study.identity import Record
from xltjax.study.launch.slurm import queued_jobs
from xltjax.study.plan import Need, Planner
from xltjax.study.settings import Study
from xltjax.study.stage import Stage
from xltjax.study.state import State

WIDE = 160  # columns of a table where the output is no terminal


def print_plan(
    study: Study,
    cells: Sequence[Cell],
    stages: Sequence[Stage],
    found: Mapping[str, State],
    contents: Contents,
) -> None:
    """Print every stage with its state, and with the memory and the time that it will need."""
    planner = Planner(study, contents)
    by_path = {cell.path: cell for cell in cells}
    table = Table(
        "stage", "state", "devices", "GiB each", "time", title=f"{study.name}, on {study.accelerator}"
    )
    total, unknown, small = 0.0, False, []
    for stage in stages:
        need = planner.need(stage, by_path.get(stage.cell))
        table.add_row(
            escape(stage.path), escape(str(found[stage.path])), str(stage.devices or "-"), _memory(need),
            duration(need.seconds) if need.seconds is not None else "-",
        )  # fmt: skip
        if found[stage.path].kind != "done":
            total += (need.seconds or 0) * stage.devices
            unknown = unknown or (need.seconds is None and stage.devices > 0)
            small += [] if need.fits else [stage.path]
    table_console(WIDE).print(table)
    counts = Counter(state.kind for state in found.values())
    print(
        f"{len(cells)} cells, {len(stages)} stages: " + ", ".join(f"{n} {kind}" for kind, n in counts.items())
    )
    more = ", and stages of which it is not known" if unknown else ""
    print(f"remaining: about {duration(total)} x devices ({study.accelerator}){more}")
    for path in small:
        print(f"does not fit {study.accelerator}: {path}; see python -m xltjax.train --plan for what does")


def _memory(need: Need) -> str:
    if need.memory is None:
        return "-"
    return f"{need.memory / GIB:.1f}{'' if need.fits else ' (too much)'}"


def print_status(
    cells: Sequence[Cell], stages: Sequence[Stage], found: Mapping[str, State], contents: Contents, root: Path
) -> None:
    """Print what is done, what is running and what has failed."""
    kinds = list(dict.fromkeys(stage.kind for stage in stages if stage.cell))
    kinds.sort(key=lambda kind: kind not in ("train", "combine"))  # how a model is made comes first
    by_path = {stage.path: stage for stage in stages}
    table = Table("cell", *kinds)
    for cell in cells:
        row = [by_path.get(f"{cell.path}/{kind}") for kind in kinds]
        shown = [_standing(each, found[each.path], root, contents) if each else "" for each in row]
        table.add_row(escape(cell.path), *map(escape, shown))
    table_console(WIDE).print(table)
    done = sum(state.kind == "done" for state in found.values())
    by, queued = holder(root / LOCK), dict[str, str]()
    with contextlib.suppress(UserError):  # SLURM may not answer for a moment
        queued = queued_jobs(root)
    running = (
        f"running: {by}"
        if by
        else f"{len(queued)} jobs are in SLURM's queue"
        if queued
        else "nothing is running"
    )
    print(f"{done} of {len(stages)} stages are done; {running}")
    for stage in stages:
        record = Record.read(root / stage.path) if found[stage.path].kind == "to do" else None
        if record is not None and record.state == "failed":
            print(f"failed: {stage.path}: {record.reason}")
        elif not stage.cell:
            print(f"{stage.path}: {found[stage.path]}")
    for line in (*results(found, root), *blocked(found)):
        print(line)


def _standing(stage: Stage, state: State, root: Path, contents: Contents) -> str:
    """The state of a stage, in two or three words."""
    if state.kind == "done":
        record = Record.read(root / stage.path)
        return f"done ({duration(record.seconds)})" if record else "done"
    if state.kind == "blocked":
        return "-"
    path = root / stage.path
    record = Record.read(path)
    if record is not None and record.state == "begun" and holder(path.with_name(f".{path.name}.lock")):
        return f"running: {progress(stage, root, contents)}"
    return "failed" if record is not None and record.state == "failed" else "to do"
