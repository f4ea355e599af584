"""``python -m xltjax.eval judge-report DIR``: how good the judges of a folder are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_json_object, write_jsonl
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.data.responses import Response, read_responses
from xltjax.eval.judge.report.evidence import Witness, read_ratings
from xltjax.eval.judge.report.program import FULFILLED, find_disagreements
from xltjax.eval.judge.report.tables import (
    evidence_tables,
    print_report,
    program_table,
    save_report,
    trust_table,
)
from xltjax.eval.judge.report.trust import judge_cells
from xltjax.eval.judge.rubrics import load_rubric
from xltjax.eval.scores import Score, read_scores

RECORD = "judge.json"  # what ``judge`` writes about its runs, by the name of the rubric
RATINGS = "ratings.jsonl"


@dataclass(frozen=True)
class JudgeReportConfig:
    """Settings of ``judge-report``."""

    directory: tuple[str, ...] = setting((), "The output directory of judge.", positional=True, paths=True)
    responses: tuple[str, ...] = setting(
        (), "Files of the judged responses. By default those named in the folder's judge.json.", paths=True
    )
    ratings: tuple[str, ...] = setting(
        (), "Ratings of people. By default the folder's ratings.jsonl, if there is one.", paths=True
    )
    scores: tuple[str, ...] = setting(
        (), "Further scores.jsonl, of other judges of the same responses or of modifiers.", paths=True
    )
    rubric: tuple[str, ...] = setting((), "Rubrics to report on. By default all in the folder.")
    level: float = setting(0.95, "Confidence level of the intervals, between 0 and 1.", section="Bootstrap")
    draws: int = setting(10_000, "Number of bootstrap resamples of the instructions.", section="Bootstrap")
    seed: int = setting(0, "Random seed of the resamples.", section="Bootstrap")


def run(config: JudgeReportConfig) -> None:
    """Report on every rubric of the folder, and write and print the tables.

    Raises:
        UserError: for a folder that is not of ``judge``, or files that do not belong to it.
    """
    if len(config.directory) != 1:
        raise UserError("give the --out folder of judge: python -m xltjax.eval judge-report DIR")
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    out = Path(config.directory[0])
    runs = _runs(out)
    for name in config.rubric:
        if name not in runs:
            raise UserError(f"rubric {name!r} is not in {out / RECORD}; {did_you_mean(name, runs)}")
    with lock_directory(out):
        for name in config.rubric or tuple(runs):
            _report(name, runs[name], out, config)


def _runs(out: Path) -> dict[str, Mapping[str, Any]]:
    path = out / RECORD
    if not path.exists():
        raise UserError(f"{out} is not a folder of judge: it has no {RECORD}")
    runs = read_json_object(path)
    for run in runs.values():
        if not isinstance(run, dict) or not {"responses", "criteria", "preset"} <= run.keys():
            raise UserError(f"{path} was not written by judge")
    if not runs:
        raise UserError(f"{path} holds no run")
    return runs


def _report(name: str, record: Mapping[str, Any], out: Path, config: JudgeReportConfig) -> None:
    paths = config.responses or tuple(record["responses"])
    lost = next((path for path in paths if not Path(path).exists()), None)
    if lost:
        raise UserError(f"{lost} does not exist; name the judged responses with --responses")
    responses = read_responses(paths, record.get("language", ""))
    language = record.get("rubric_language", "en")
    criteria = load_rubric(record["criteria"], preset=record["preset"], language=language).criteria
    ratings = [Path(path) for path in config.ratings]
    if not ratings and (out / RATINGS).exists():
        ratings = [out / RATINGS]
    witness = Witness(
        responses,
        _scores(out, config),
        criteria,
        read_ratings(ratings, responses, criteria),
        draws=config.draws,
        level=config.level,
        seed=config.seed,
    )
    if not witness.judges:
        raise UserError(f"{out / 'scores.jsonl'} has no scores of a judge for these responses")
    evidence = list(witness.all())
    cells = judge_cells(evidence, criteria)
    tables = [*evidence_tables(evidence), trust_table(cells)]
    if any(each.name == FULFILLED for each in criteria):
        _add_program(name, responses, out, config, tables)
    save_report(out, name, evidence, cells, tables)
    print_report(tables, cells)
    print(f"{name}-report.json and {name}-report.md: {out}")


def _add_program(
    name: str, responses: list[Response], out: Path, config: JudgeReportConfig, tables: list[Any]
) -> None:
    """List where judge and program disagree, when the scores of ``modifiers`` are there."""
    found = find_disagreements(responses, _scores(out, config))
    if not found.table:
        print("no scores of modifiers: run it with the same --out, or name its scores.jsonl with --scores")
        return
    path = out / f"{name}-disagreements.jsonl"
    write_jsonl(path, found.rows)
    tables.append(program_table(found.table))
    print(f"{len(found.rows)} answers on which judge and program disagree: {path}")


def _scores(out: Path, config: JudgeReportConfig) -> Iterator[Score]:
    for path in (out, *map(Path, config.scores)):
        yield from read_scores(path / "scores.jsonl" if path.is_dir() else path)


COMMAND = command(
    JudgeReportConfig,
    run,
    name="judge-report",
    help="Report how good the judges in a folder are.\n\n"
    "Shows the agreement of each judge with itself over repeats, with the other judges and with people, its "
    "correlation with the length of answers, and its probes. Names the criteria and languages in which it should not "
    "be trusted, and lists the answers on which it disagrees with the program that checks modifiers.",
)
