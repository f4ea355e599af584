"""The stages that score answers, and those over all cells: tables, and the choice of the learning rate."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from xltjax.common.errors import UserError
from xltjax.common.languages import language_code
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.judge.local.model import LOCAL_PREFIX
from xltjax.eval.language import LANGUAGE_VERSION
from xltjax.eval.modifiers.catalog import MODIFIERS_VERSION
from xltjax.eval.relevance import RELEVANCE_VERSION, SCORER_METRICS
from xltjax.eval.spelling import SPELLING_VERSION
from xltjax.miniature import NAME as MINIATURE
from xltjax.miniature.known import KNOWN_VERSION, KnownConfig
from xltjax.study.arguments import flags
from xltjax.study.grid import Cell
from xltjax.study.grid import cells as grid_cells
from xltjax.study.results.claims import PREFIX
from xltjax.study.results.comparisons import FILE as CLAIMS
from xltjax.study.results.comparisons import Comparison, comparisons
from xltjax.study.results.effects import EFFECTS
from xltjax.study.settings import Study
from xltjax.study.stage import RESPONSES, SCORES, Input, Output, Stage, devices_of, settings_of

# Raise one when the results of its stage change; the versions of the other evaluators are beside their metrics.
JUDGE_VERSION = 1
CHOOSE_VERSION = 1
TABLES_VERSION = 1
EFFECTS_VERSION = 1
REPORT_VERSION = 1


def surface(study: Study, cell: Cell, root: Path) -> Stage:
    """Language and spelling."""
    files = {"lid_model": "language model", "word_list": "word list", "english_words": "English words"}
    version = f"{LANGUAGE_VERSION}.{SPELLING_VERSION}"
    return _evaluation(study.surface, cell, root, "surface", version, files=files, folders={"dictionaries"})


def modifiers(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The fulfillment of task modifiers, beside the answers without them."""
    if not cell.modifiers:
        return None
    version = f"{MODIFIERS_VERSION}.{LANGUAGE_VERSION}"
    of = ("generate",) if in_one_file(study, cell) else ("generate", "generate-modified")
    files = {"lid_model": "language model"}
    return _evaluation(study.modifiers, cell, root, "modifiers", version, files=files, of=of)


def relevance(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The relevance, where a judge is configured, or the questions are the miniature's, whose answers are known."""
    config = study.relevance
    if config is None:
        if cell.generation(study).prompts != MINIATURE:
            return None
        stage = _evaluation(KnownConfig(), cell, root, "relevance", f"known {KNOWN_VERSION}", files={})
        return dataclasses.replace(stage, arguments=("miniature.known", *stage.arguments[2:]))
    stage = _evaluation(config, cell, root, "relevance", str(RELEVANCE_VERSION), files={"judge_model": ""})
    judge = Input("judge", "model", (config.judge_model,))
    return dataclasses.replace(stage, inputs=(judge,), devices=devices_of(config.mesh))


def judge(study: Study, cell: Cell, root: Path) -> Stage | None:
    """The scores by a rubric, where a judge is configured."""
    config = study.judge
    if config is None or (config.criteria == "modifier" and not cell.modifiers):
        return None
    of = ("generate",)
    if config.criteria == "modifier" and not in_one_file(study, cell):
        of = ("generate-modified",)
    rubric = {"criteria": "rubric"} if Path(config.criteria).is_file() else {}
    # Where a server is and who pays are no part of a result; of a local judge its weights are, and not its place.
    files = {**rubric, "judge": "", "base_url": "", "key_variable": "", "lid_model": "language model"}
    stage = _evaluation(config, cell, root, "judge", str(JUDGE_VERSION), files=files, of=of)
    local = [name.removeprefix(LOCAL_PREFIX) for name in config.judge if name.startswith(LOCAL_PREFIX)]
    served = [name.partition("@")[0] for name in config.judge if not name.startswith(LOCAL_PREFIX)]
    models = tuple(Input(f"judge {n}", "model", (where,)) for n, where in enumerate(local, start=1))
    return dataclasses.replace(
        stage,
        settings={**stage.settings, "judge": served},
        inputs=(*stage.inputs, *models),
        devices=devices_of(config.mesh) if local else 0,
    )


def _evaluation(
    config: EvaluatorConfig,
    cell: Cell,
    root: Path,
    kind: str,
    version: str,
    *,
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
        files: what messages call the files that settings name, whose contents count and not their names; empty for a
            setting that does not count at all.
        folders: settings that name several files or folders, for which the same holds.
        of: the stages whose responses are scored.
    """
    settings, defaults = settings_of(config, {"responses", "out", *files, *folders})
    named = [
        (label, (getattr(config, name),)) for name, label in files.items() if label and getattr(config, name)
    ]
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


def choose(study: Study, cells: Sequence[Stage], root: Path) -> Stage | None:
    """The learning rate of each model, data set and adaptation; None where there is nothing to choose from or by."""
    rates = {stage.rate for stage in cells if stage.sweep}
    languages = {language_code(name) for name in study.asked().languages}
    if len(rates) < 2 or languages == {"en"}:
        return None
    kinds = {"surface", "relevance"}
    if study.relevance is None and study.judge is not None and study.judge.criteria == "relevance":
        kinds.add("judge")
    scored = [stage for stage in cells if stage.kind in kinds]
    settings, defaults = settings_of(study.choose, {"scores", "out", "runs", "responses"})
    return Stage(
        path="choose",
        kind="choose",
        version=str(CHOOSE_VERSION),
        settings=settings,
        defaults=defaults,
        inputs=(),
        upstream=_scores_of(scored),
        outputs=("choice.json",),
        arguments=(
            "eval",
            "choose",
            *_places(scored, root),
            *flags(study.choose),
            "--out",
            str(root / "choose"),
        ),
        partial=True,
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
        upstream=_scores_of(scored),
        outputs=("cells.csv",),
        arguments=("study.results.tables", *_places(scored, root), "--out", str(root / "tables")),
        partial=True,
    )


def effects(study: Study, cells: Sequence[Stage], root: Path) -> Stage | None:
    """Whether what the study claims appears in its scores; None without claims."""
    if not study.effects:
        return None
    asked = comparisons(study, grid_cells(study))
    wanted = {(path, _kind_of(each)) for each in asked for path in (*each.higher, *each.lower)}
    scored = [stage for stage in cells if (stage.cell, stage.kind) in wanted]
    for path, kind in sorted(wanted - {(stage.cell, stage.kind) for stage in scored}):
        raise UserError(f"effects: {path} gets no scores of {kind}; describe {kind}, or leave the claim out")
    return Stage(
        path="effects",
        kind="effects",
        version=str(EFFECTS_VERSION),
        settings={"claims": [json.loads(json.dumps(dataclasses.asdict(each))) for each in asked]},
        defaults={},
        inputs=(),
        upstream=_scores_of(scored),
        outputs=(EFFECTS,),
        arguments=(
            "study.results.effects",
            *_places(scored, root),
            "--claims",
            str(root / CLAIMS),
            "--out",
            str(root / "effects"),
        ),
        partial=True,
    )


def _kind_of(asked: Comparison) -> str:
    """The stage that gives the scores of a comparison."""
    if asked.metric.startswith(PREFIX):
        return "judge"
    return "relevance" if asked.metric in SCORER_METRICS else "surface"


def report(study: Study, cells: Sequence[Stage], root: Path) -> Stage | None:
    """The page with figures, tables and answers, unless the study wants none."""
    if study.report is None:
        return None
    scored = [stage for stage in cells if SCORES in stage.outputs]
    upstream = list(_scores_of(scored))
    if chosen := choose(study, cells, root):
        upstream.append(Output("choice of the learning rate", chosen.path, chosen.outputs[0]))
    if claimed := effects(study, cells, root):
        upstream.append(Output("effects", claimed.path, claimed.outputs[0]))
    settings, defaults = settings_of(study.report, {"sources", "out", "responses"})
    return Stage(
        path="report",
        kind="report",
        version=str(REPORT_VERSION),
        settings=settings,
        defaults=defaults,
        inputs=(),
        upstream=tuple(upstream),
        outputs=("report.html",),
        arguments=(
            "eval",
            "report",
            str(root),
            *flags(study.report),
            "--out",
            str(root / "report" / "report.html"),
        ),
        partial=True,
    )


def _scores_of(stages: Sequence[Stage]) -> tuple[Output, ...]:
    return tuple(Output(f"scores of {stage.path}", stage.path, SCORES) for stage in stages)


def _places(stages: Sequence[Stage], root: Path) -> tuple[str, ...]:
    return tuple(str(root / stage.path) for stage in stages)


def in_one_file(study: Study, cell: Cell) -> bool:
    """Whether the prompts are a file, whose rows are all answered, those with modifiers too."""
    return Path(cell.generation(study).prompts).is_file()
