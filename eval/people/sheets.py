"""``python -m xltjax.eval sheets``: from responses to blinded sheets that people rate, and their key."""

from __future__ import annotations

import collections
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import (
    atomic_write,
    check_output_directory,
    json_line,
    make_output_directory,
    read_json_object,
)
from xltjax.common.locks import LOCK, lock_directory
from xltjax.common.settings import setting
from xltjax.data.prompt_sets import load_set
from xltjax.data.responses import Response
from xltjax.eval.evaluator import ResponsesConfig
from xltjax.eval.judge.rubric_files import RubricFile, read_rubric
from xltjax.eval.people.exports import (
    csv_table,
    label_studio_config,
    label_studio_tasks,
    pearmut_campaign,
)
from xltjax.eval.people.page import Sheet, sheet_html
from xltjax.eval.people.plan import (
    fingerprint,
    instruction_key,
    key_rows,
    refuse_duplicates,
    sample_instructions,
    sheet_items,
)
from xltjax.eval.people.wording import FALLBACK, Interface, load_interfaces, rated_criteria
from xltjax.eval.table_files import encodable, printable
from xltjax.eval.text.segmentation import is_empty

KEY, RECORD = "key.jsonl", "sheets.json"
RECORDED = ("per_language", "instructions", "annotators", "all_of", "repeats", "criteria", "seed")
BOM = "\ufeff"  # spreadsheets take a table without it for one in an old encoding


@dataclass(frozen=True)
class SheetsConfig(ResponsesConfig):
    """Settings of ``sheets``."""

    responses: tuple[str, ...] = setting(
        (), "Files of responses of all models, in all languages.", positional=True, paths=True
    )
    out: str = setting("", "Directory for the sheets and the key.")
    per_language: int = setting(
        30, "Number of instructions per language, the same in each and spread evenly over the tasks."
    )
    annotators: int = setting(
        2, "Number of annotators per language; each gets the same items in a different order."
    )
    instructions: str = setting(
        "",
        "Prompt set or file, such as xlt113, whose instructions marked for people are sampled, or all if none is "
        "marked.",
    )
    all_of: str = setting("", "Model whose answers to all other instructions are rated too.")
    repeats: int = setting(10, "Number of items that a sheet shows twice, to measure self-agreement.")
    criteria: str = setting("six", "Criteria to rate: six, relevance, modifier, or your own YAML file.")
    interface: tuple[str, ...] = setting(
        (), "YAML file with the texts of the sheet in another language; repeatable.", paths=True
    )
    seed: int = setting(0, "Random seed of the sample, the order and the ids.")


def run(config: SheetsConfig) -> None:
    """Write a sheet for each language and annotator, the same for other tools, and the key of all.

    Raises:
        UserError: for settings, responses or files that cannot be used; nothing is written then.
    """
    _check(config)
    rubric, interfaces = read_rubric(config.criteria), load_interfaces(config.interface)
    out = Path(config.out)
    check_output_directory(out)
    given = config.read_files(config.responses)
    responses = _ratable(given)
    refuse_duplicates(responses)
    models = sorted({each.model for each in responses})
    if config.all_of and config.all_of not in models:
        raise UserError(f"--all-of {config.all_of}: no such model; {did_you_mean(config.all_of, models)}")
    sample = sample_instructions(_pool(config.instructions, responses), config.per_language, config.seed)
    sheets = list(_sheets(config, responses, sample, rubric, interfaces))
    record = {
        "settings": {name: getattr(config, name) for name in RECORDED}
        | {"interface": list(config.interface)},
        "responses": fingerprint(responses),
        "sheets": {sheet.name: sheet.hash for sheet in sheets},
    }
    _refuse_others(out, record)
    with lock_directory(out):
        _write(out / RECORD, json.dumps(record, ensure_ascii=True, indent=1) + "\n")
        _write(out / KEY, "".join(map(json_line, _key(sheets))))
        for sheet in sheets:
            _write(out / f"{sheet.name}.html", sheet_html(sheet))
        _write_for_other_tools(out, sheets)
    _print(config, out, sheets, len(given) - len(responses), interfaces)


COMMAND = command(
    SheetsConfig,
    run,
    name="sheets",
    help="Make blinded rating sheets for people.\n\n"
    "Draws instructions, shuffles the answers of all models to them, and writes one HTML file per language and "
    "annotator, which works offline. Also writes the same items as tables and as tasks for Label Studio and Pearmut. "
    "key.jsonl links items to models; keep it to yourself.",
)


def _check(config: SheetsConfig) -> None:
    if not config.responses:
        raise UserError("no responses given: python -m xltjax.eval sheets RESPONSES... --out DIRECTORY")
    if not config.out:
        raise UserError("--out is missing; name the directory for the sheets")
    if config.per_language < 2:
        raise UserError(
            "--per-language must be at least 2: answers to one instruction do not follow each other"
        )
    if config.annotators < 1 or config.repeats < 0:
        raise UserError("--annotators must be at least 1 and --repeats at least 0")


def _ratable(responses: Sequence[Response]) -> list[Response]:
    """The responses without those of a model that was not asked, and those whose instruction is not given.

    Raises:
        UserError: for a response without a language, and where nothing is left.
    """
    nowhere = next((each for each in responses if not each.language), None)
    if nowhere is not None:
        raise UserError(
            f"the response {nowhere.id!r} of {nowhere.model!r} names no language; give --language"
        )
    left = [each for each in responses if not each.failure and not is_empty(each.instruction)]
    if not left:
        raise UserError("no response can be rated: each has failed or lacks its instruction")
    return left


def _pool(name: str, responses: Sequence[Response]) -> Sequence[Response]:
    """The responses to instructions that may be sampled.

    Raises:
        UserError: when the set or file cannot be read, or none of its instructions is answered.
    """
    if not name:
        return responses
    given = load_set(name)
    wanted = {each.instruction_id for each in [row for row in given if row.human] or given}
    pool = [each for each in responses if instruction_key(each) in wanted]
    if not pool:
        raise UserError(f"--instructions {name}: no response is to one of its {len(wanted)} instructions")
    return pool


def _sheets(
    config: SheetsConfig,
    responses: Sequence[Response],
    sample: Sequence[str],
    rubric: RubricFile,
    interfaces: Mapping[str, Interface],
) -> Iterator[Sheet]:
    for language in sorted({each.language for each in responses}):
        interface = interfaces.get(language, interfaces[FALLBACK])
        criteria = rated_criteria(rubric, interface)
        for annotator in range(1, config.annotators + 1):
            items = sheet_items(
                responses, sample, language=language, annotator=annotator, seed=config.seed,
                all_of=config.all_of, repeats=config.repeats,
            )  # fmt: skip
            yield Sheet(language, annotator, items, criteria, rubric.name, interface)


def _key(sheets: Sequence[Sheet]) -> Iterator[dict[str, object]]:
    for each in sheets:
        yield from key_rows(each.items, sheet=each.hash, language=each.language, annotator=each.annotator)


def _refuse_others(out: Path, record: Mapping[str, Any]) -> None:
    """Let only the same sheets be completed in a directory that holds something.

    Raises:
        UserError: when it holds sheets of other settings or responses, or anything else.
    """
    if (out / RECORD).exists():
        if read_json_object(out / RECORD) != record:
            raise UserError(f"{out} holds sheets of other settings or responses; choose another --out")
    elif out.is_dir() and any(each.name != LOCK for each in out.iterdir()):
        raise UserError(f"{out} is not empty; choose another --out")


def _write(path: Path, text: str) -> None:
    """Write a file that is not there yet: one that is may have been filled in."""
    if not path.exists():
        with atomic_write(path) as file:
            file.write(text)


def _write_for_other_tools(out: Path, sheets: Sequence[Sheet]) -> None:
    for folder in ("csv", "label-studio", "pearmut"):
        make_output_directory(out / folder)
    by_language: dict[str, list[Sheet]] = collections.defaultdict(list)
    for sheet in sheets:
        by_language[sheet.language].append(sheet)
        table = csv_table(
            sheet.items, sheet=sheet.hash, language=sheet.language, annotator=sheet.annotator,
            criteria=[each.name for each in sheet.criteria],
        )  # fmt: skip
        _write(out / "csv" / f"{sheet.name}.csv", BOM + encodable(table))
        tasks = label_studio_tasks(sheet.items, sheet=sheet.hash, language=sheet.language)
        _write(out / "label-studio" / f"{sheet.name}.json", _json(tasks))
    for language, own in by_language.items():
        first = own[0]
        scales = {each.name: each.scale for each in first.criteria}
        levels = {each.name: each.levels for each in first.criteria}
        titles = {each.name: each.title for each in first.criteria}
        cannot = first.interface.page["cannot_judge"]
        config = label_studio_config(scales, levels, cannot, titles)
        _write(out / "label-studio" / f"{language}.xml", config)
        rules = first.interface.rules.get(first.rubric, ())
        campaign = pearmut_campaign(
            [(each.hash, each.items) for each in own], language=language, scales=scales,
            instructions=" ".join([*first.interface.steps, *rules]), cannot_judge=cannot,
        )  # fmt: skip
        _write(out / "pearmut" / f"{language}.json", _json(campaign))


def _json(document: Any) -> str:
    """JSON in which what UTF-8 cannot hold is escaped."""
    text = json.dumps(document, ensure_ascii=False, indent=1) + "\n"
    return text if encodable(text) == text else json.dumps(document, ensure_ascii=True, indent=1) + "\n"


def _print(
    config: SheetsConfig,
    out: Path,
    sheets: Sequence[Sheet],
    left_out: int,
    interfaces: Mapping[str, Interface],
) -> None:
    """What was written, and what a user must know about it."""
    models = {item.response.model for item in sheets[0].items}
    print(f"{config.per_language} instructions, {len(models)} models, {len(sheets)} sheets:")
    notes = []
    for sheet in sheets:
        again = sum(bool(item.repeat_of) for item in sheet.items)
        print(printable(f"  {out / sheet.name}.html: {len(sheet.items)} items, of which {again} are repeats"))
        if again < config.repeats:
            notes.append(
                f"{sheet.name}: only {again} of {config.repeats} repeats found a place that is far enough from the "
                "first showing; ask for fewer, or for more instructions"
            )
    if left_out:
        notes.append(
            f"{left_out} responses are left out: they have failed, or their instruction is not given"
        )
    notes += [
        f"{language}: the sheet is worded in English; --interface adds another language (docs/people.md)"
        for language in sorted({sheet.language for sheet in sheets} - interfaces.keys())
    ]
    for note in notes:
        print(note)
    print(printable(f"The key stays with you: {out / KEY}"))
