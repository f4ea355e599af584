"""``python -m xltjax.eval choose``: the learning rate of each family of runs, from their scores alone."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, check_output_directory
from xltjax.common.languages import language_code
from xltjax.common.locks import lock_directory
from xltjax.common.provenance import sha256
from xltjax.common.settings import setting
from xltjax.eval.comparison.candidates import Candidate, candidates_of_models, find_sources, read_runs
from xltjax.eval.comparison.choice_report import FORMS, print_choice, write_choice
from xltjax.eval.comparison.command import check_ours
from xltjax.eval.comparison.joined import Joined, join_scores
from xltjax.eval.comparison.rules import (
    IN_LANGUAGE,
    LANGUAGE,
    RELEVANCE,
    RULES,
    SPELLING,
    USEFUL,
    Pool,
    Rule,
    decided,
)
from xltjax.eval.evaluator import ResponsesConfig
from xltjax.eval.stats.intervals import Resamples, resample
from xltjax.eval.stats.selection import choose, split_instructions

FILE = "choice.json"
KEYS = frozenset(("families", "selection", "evaluation"))
ENGLISH = "en"

RuleName = Literal[
    "useful", "language", "relevance", "spelling", "useful-spelling", "language-spelling", "worst-language",
    "with-english",
]  # fmt: skip

NO_RELEVANCE = (
    "No scores of relevance for all runs: the rule uses language and spelling alone, which cannot tell an answer "
    "from a fluent text about something else and favors rates that are too low. Run `relevance`."
)


@dataclass(frozen=True)
class ChooseConfig(ResponsesConfig):
    """Settings of ``choose``."""

    scores: tuple[str, ...] = setting(
        (),
        "scores.jsonl, or directories with one, of runs that differ in learning rate and seed.",
        positional=True,
        paths=True,
    )
    out: str = setting("", "Directory for choice.{json,csv,md}.")
    runs: str = setting(
        "",
        "YAML or JSON file with a list of runs, each with scores or model, family, learning_rate and seed. "
        "By default these are read from the paths, the config.yaml of the runs, or the names of the models.",
    )
    rule: RuleName = setting(
        "useful",
        "What the chosen rate maximizes. useful: the share of answers in the correct language and relevant or, "
        "without relevance scores, in the correct language; ties go to the better spelling.",
    )
    languages: tuple[str, ...] = setting((), "Languages that count. By default all but English.")
    select_on: Literal["split", "all"] = setting(
        "split",
        "split: choose on some of the instructions, which the final numbers leave out; all: as in the paper.",
    )
    select_share: float = setting(
        0.3, "Share of the instructions of each task on which to choose, between 0 and 1."
    )
    responses: tuple[str, ...] = setting(
        (), "The scored responses, for scores without an answers.jsonl.", paths=True
    )
    level: float = setting(0.95, "Confidence level of the intervals, between 0 and 1.", section="Statistics")
    draws: int = setting(10_000, "Number of bootstrap resamples of the instructions.", section="Statistics")
    seed: int = setting(0, "Random seed of the split and of the resamples.", section="Statistics")


def run(config: ChooseConfig) -> None:
    """Choose a rate for each family, print the tables and write the files.

    Raises:
        UserError: for settings or files from which no rate can be chosen.
    """
    if not (config.scores or config.runs):
        raise UserError("no scores given: python -m xltjax.eval choose SCORES... --out DIRECTORY")
    if not config.out:
        raise UserError("--out is missing; name the directory for choice.json and the tables")
    if not 0 < config.level < 1 or config.draws < 1 or config.seed < 0:
        raise UserError("--level must be between 0 and 1, --draws at least 1 and --seed at least 0")
    if not 0 < config.select_share < 1:
        raise UserError(
            "--select-share must be between 0 and 1; to choose on all instructions: --select-on all"
        )
    out = Path(config.out)
    check_output_directory(out)
    check_ours(out, FILE, KEYS, FORMS)
    joined, candidates = _read(config)
    tasks = _plain_tasks(joined)
    selection = (
        frozenset(tasks)
        if config.select_on == "all"
        else split_instructions(tasks, config.select_share, config.seed)
    )
    if not selection or (config.select_on == "split" and len(selection) == len(tasks)):
        raise UserError(
            f"{len(tasks)} instructions cannot be split with --select-share {config.select_share:g}; use another "
            "share or --select-on all"
        )
    families = {
        family: _choose_family(joined, models, tasks, selection, config)
        for family, models in _families(candidates).items()
    }
    notes = _notes(config, len(selection), len(tasks))
    document = {
        "select_on": config.select_on,
        "select_share": config.select_share if config.select_on == "split" else None,
        "seed": config.seed,
        "draws": config.draws,
        "level": config.level,
        "paired_by": joined.pairing,
        "files": {str(path): sha256(path) for path in joined.files},
        "families": families,
        "selection": sorted(selection),
        "evaluation": sorted(set(tasks) - selection if config.select_on == "split" else tasks),
        "notes": notes,
    }
    with lock_directory(out):
        check_ours(out, FILE, KEYS, FORMS)
        with atomic_write(out / FILE) as file:
            file.write(json.dumps(document, indent=1, allow_nan=False) + "\n")
        write_choice(out, families, notes)
    print_choice(families, notes)
    print(f"choice.json, .csv and .md: {out}")


def _read(config: ChooseConfig) -> tuple[Joined, dict[str, Candidate]]:
    """The scores, and the run of each model."""
    sources = find_sources(config.scores)
    models: dict[str, Candidate] = {}
    if config.runs:
        told, models = read_runs(Path(config.runs))
        listed = {source.path.resolve() for source in told}
        # A path that the file names is the run that the file says.
        sources = told + [source for source in sources if source.path.resolve() not in listed]
    known = models | {source.name: source.candidate for source in sources if source.candidate and source.name}
    responses = config.read_files(config.responses) if config.responses else ()
    joined = join_scores(((source.name, source.path) for source in sources), responses)
    candidates = candidates_of_models(joined.models, known)
    owners: dict[Candidate, str] = {}
    for model, candidate in candidates.items():
        if candidate in owners:
            raise UserError(
                f"{owners[candidate]!r} and {model!r} are both the run {candidate.name}; tell them apart by "
                "family or seed in a file: --runs FILE"
            )
        owners[candidate] = model
    return joined, candidates


def _plain_tasks(joined: Joined) -> dict[str, str]:
    """Instruction -> task, of the instructions that have an answer without a modifier."""
    plain = {joined.instructions[item] for item in joined.about if _is_plain(joined, item)}
    if not plain:
        raise UserError("all answers are to instructions with a modifier; the rule is about those without")
    return {name: task for name, task in joined.tasks().items() if name in plain}


def _is_plain(joined: Joined, item: str) -> bool:
    return not any(keys.get("modifier") for keys in joined.about[item].values())


def _families(candidates: Mapping[str, Candidate]) -> dict[str, dict[float, dict[int, str]]]:
    """Family -> learning rate -> seed -> model, in the order of the names."""
    families: dict[str, dict[float, dict[int, str]]] = {}
    for model, each in sorted(candidates.items(), key=lambda item: item[1]):
        families.setdefault(each.family, {}).setdefault(each.rate, {})[each.seed] = model
    return families


def _pool(joined: Joined, models: Mapping[float, Mapping[int, str]]) -> Pool:
    """The answers without a modifier for which all runs of a family have a line.

    Raises:
        UserError: when they have none in common.
    """
    names = [model for seeds in models.values() for model in seeds.values()]
    items: dict[str, tuple[str, ...]] = {}
    for language in sorted({language for _, language in joined.cells}):
        cells = [joined.cells.get((metric, language), {}) for metric in (LANGUAGE, RELEVANCE, SPELLING)]
        lines = [set().union(*(cell.get(model, ()) for cell in cells)) for model in names]
        common = sorted(item for item in set.intersection(*lines) if _is_plain(joined, item))
        if common:
            items[language] = tuple(common)
    if not items:
        raise UserError(
            f"{', '.join(names)} have no prompts in common; choose among answers to the same prompts"
        )
    return Pool(joined, models, items)


def _choose_family(
    joined: Joined,
    models: Mapping[float, Mapping[int, str]],
    tasks: Mapping[str, str],
    selection: frozenset[str],
    config: ChooseConfig,
) -> dict[str, Any]:
    """The choice of one family, as it is in ``choice.json``."""
    whole = _pool(joined, models)
    pool = whole.within(selection)
    if not pool.items:
        raise UserError(
            f"none of the {len(selection)} instructions on which to choose has answers of all runs of a family; use "
            "another --select-share or --select-on all"
        )
    languages, with_english = _languages(pool, config)
    rule, warnings = _rule(whole, config)
    tie = SPELLING if whole.has(SPELLING) else None
    if tie is None:
        warnings.append("No scores of spelling for all runs: ties go to the lower rate.")
    if len(models) == 1:
        warnings.append("There is one learning rate: nothing to choose from.")
    counts = {len(seeds) for seeds in models.values()}
    if len(counts) > 1:
        warnings.append(f"The rates have from {min(counts)} to {max(counts)} seeds.")
    resamples = _resample(tasks, selection, config)
    counted = with_english if rule.english else languages
    rates = _ranked(pool, rule, counted, tie, resamples, config)
    others = []
    for other in RULES.values():
        same = other is rule or (other.english and with_english == languages)
        if not same and all(whole.has(metric) for metric in other.needs):
            of = with_english if other.english else languages
            others.append(_other(other.name, other.text, _ranked(pool, other, of, tie, resamples, config)))
    if config.select_on == "split":
        everything = _resample(tasks, frozenset(tasks), config)
        on_all = _ranked(whole, rule, counted, tie, everything, config)
        others.append(_other(f"{rule.name}, all instructions", "the same rule on all instructions", on_all))
    chosen = next(row for row in rates if row["chosen"])
    return {
        "learning_rate": chosen["learning_rate"],
        "models": chosen["models"],
        "rule": rule.name,
        "maximizes": rule.text,
        "ties": "spelling, then the lower rate" if tie else "the lower rate",
        "languages": list(counted),
        "answers": sum(len(pool.items[language]) for language in counted),
        "instructions": len({joined.instructions[i] for language in counted for i in pool.items[language]}),
        "warnings": warnings,
        "rates": rates,
        "others": others,
    }


def _languages(pool: Pool, config: ChooseConfig) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The languages over which rates are compared, and the same with English.

    Raises:
        UserError: for a language without answers, or when there is none besides English and none is named.
    """
    wanted = tuple(language_code(name) for name in config.languages)
    for language in wanted:
        if language not in pool.items:
            raise UserError(f"--languages {language}: the runs have no answers in it")
    languages = wanted or tuple(name for name in pool.items if name != ENGLISH)
    if not languages:
        raise UserError("the runs have no answers in another language than English; name it: --languages en")
    return languages, tuple(dict.fromkeys((*languages, *(name for name in pool.items if name == ENGLISH))))


def _rule(pool: Pool, config: ChooseConfig) -> tuple[Rule, list[str]]:
    """The rule of the settings, or without scores of relevance the one that needs none, with a warning.

    Raises:
        UserError: naming the scores that the rule needs.
    """
    rule = RULES[config.rule]
    missing = [metric for metric in rule.needs if not pool.has(metric)]
    if missing == [RELEVANCE] and rule is USEFUL:
        return IN_LANGUAGE, [NO_RELEVANCE]
    if missing:
        raise UserError(f"--rule {rule.name} needs scores of {', '.join(missing)} for all runs and languages")
    return rule, []


def _resample(tasks: Mapping[str, str], names: frozenset[str], config: ChooseConfig) -> Resamples:
    return resample(names, {name: tasks[name] for name in names}, draws=config.draws, seed=config.seed)


def _ranked(
    pool: Pool,
    rule: Rule,
    languages: Sequence[str],
    tie: str | None,
    resamples: Resamples,
    config: ChooseConfig,
) -> list[dict[str, Any]]:
    """One row for each rate."""
    cluster = pool.joined.instructions
    options: dict[str, Any] = {"cluster": cluster, "over": rule.over, "level": config.level}
    found = choose(pool.settings(rule, languages, tie), resamples, **options)
    # The bound needs no draws of its own.
    few = resample(resamples.units, draws=1)
    bounds = choose(pool.settings(rule, languages, tie, unscored=1.0), few, **options)
    rows = []
    for rate, ranked in found.items():
        seeds = pool.models[rate]
        known = [
            decided(rule.needs, pool.scores(model, language), pool.items[language])
            for model in seeds.values()
            for language in languages
        ]
        answers = len(seeds) * sum(len(pool.items[language]) for language in languages)
        rows.append(
            {
                "learning_rate": rate,
                "chosen": ranked.chosen,
                "value": ranked.value.estimate,
                "low": ranked.value.low,
                "high": ranked.value.high,
                "unscored_as_1": bounds[rate].value.estimate,
                "coverage": sum(known) / answers,
                "spelling": ranked.tie if tie else None,
                "wins": ranked.wins,
                "behind": ranked.behind.estimate,
                "behind_low": ranked.behind.low,
                "behind_high": ranked.behind.high,
                "seeds": {str(seed): value for seed, value in zip(sorted(seeds), ranked.seeds, strict=True)},
                "models": [model for _, model in sorted(seeds.items())],
            }
        )
    return rows


def _other(name: str, text: str, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What another rule would have chosen."""
    chosen = next(row for row in rows if row["chosen"])
    return {
        "rule": name,
        "maximizes": text,
        "learning_rate": chosen["learning_rate"],
        "wins": chosen["wins"],
        "values": [{"learning_rate": row["learning_rate"], "value": row["value"]} for row in rows],
    }


def _notes(config: ChooseConfig, chosen_on: int, instructions: int) -> list[str]:
    split = (
        "All instructions were used to choose; numbers on the same instructions flatter the chosen rate a little."
        if config.select_on == "all"
        else f"Chosen on {chosen_on} of {instructions} instructions (selection), {100 * config.select_share:g}% of "
        "each task; final numbers should use the others (evaluation): "
        "python -m xltjax.eval compare --split choice.json."
    )
    return [
        split,
        "value: the mean over languages of what the rule maximizes, over answers without a modifier, and over seeds; "
        f"with the {100 * config.level:g}% percentile bootstrap interval over instructions. An answer without "
        "a score counts as 0; unscored as 1 is the value if it counted as 1.",
        f"wins: the share of {config.draws:,} resamples of the instructions in which the rate would be chosen. "
        "behind: how much lower its value is than that of the chosen rate. Seeds are averaged, not resampled.",
    ]


COMMAND = command(
    ChooseConfig,
    run,
    name="choose",
    help="Choose the learning rate from scores.\n\n"
    "For each family of runs that differ only in learning rate and seed, chooses the rate with the highest share of "
    "answers that are in the correct language and relevant. The choice is made on a part of the instructions, which "
    "the final numbers leave out. Also shows how often the rate wins in resamples, and what other rules would "
    "choose.",
)
