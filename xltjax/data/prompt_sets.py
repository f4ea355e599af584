"""Prompt sets, the instructions to generate answers for: shipped sets, files, and the paper's released set."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import iterate_lines, read_text
from xltjax.common.languages import find_language, language_code
from xltjax.data.conversations import Conversation, Message
from xltjax.data.formats import NO_COLUMNS
from xltjax.data.reading.answers import as_modifier, as_name
from xltjax.data.reading.columns import parse_columns
from xltjax.data.reading.prompt_rows import ACCEPTED, COLUMN_NAMES, of_table, question, with_our_names
from xltjax.data.reading.report import BadRowError, RowReport
from xltjax.data.reading.tables import DELIMITERS
from xltjax.data.rows import FOREIGN, file_format, iterate_rows
from xltjax.data.rows import SUFFIXES as DATA_SUFFIXES

log = logging.getLogger("xltjax")

MODIFIERS_FILE = "modifiers.yaml"
RELEASED_FILE = "alpacaeval_test_subset"
TEXT_FILE = ".txt"
SUFFIXES = (*DATA_SUFFIXES, TEXT_FILE)
_ENDINGS = frozenset(suffix[1:] for suffix in SUFFIXES)
# Marks that end a sentence, by which a text without a space is told from a path.
_SENTENCE = re.compile(r"[?!\u3002\uff1f\uff01\u061f\u0964]")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One prompt.

    Attributes:
        id: the identifier, unique in its set: ``xlt113-007-fr``, or ``xlt113-007-fr-markdown`` with a modifier.
        instruction_id: the identifier that the translations and modified forms of an instruction share.
        language: the ISO 639-1 code of the language that the *answer* should have; empty if it is not known.
        task: the category; empty if the set has none.
        instruction: the text of the prompt, with the text of the modifier; in a chat, the last question.
        modifier: ``{"name": ..., "params": {...}}``, or None.
        human: whether the prompt is in the subset for human evaluation.
        messages: the whole chat as {role, content} if it has more turns than the question; the last turn is the
            instruction.
    """

    id: str
    instruction_id: str
    language: str
    task: str
    instruction: str
    modifier: Mapping[str, Any] | None = None
    human: bool = False
    messages: Sequence[Mapping[str, str]] | None = None

    @property
    def conversation(self) -> Conversation:
        """The turns that the chat template writes."""
        if self.messages is None:
            return (Message("user", self.instruction),)
        return tuple(Message(turn["role"], turn["content"]) for turn in self.messages)

    def row(self) -> dict[str, Any]:
        """A line of a file of prompts; ``messages`` are in it only where there are some."""
        values = dataclasses.asdict(self)
        return values if self.messages else {key: value for key, value in values.items() if key != "messages"}


def shipped_sets() -> dict[str, Path]:
    """The folders of the prompt sets that come with xltjax, by name."""
    root = Path(str(resources.files("xltjax.eval"))) / "sets"
    return {path.name: path for path in sorted(root.iterdir()) if path.is_dir() and language_files(path)}


def load_set(
    name_or_path: str | Path,
    languages: Sequence[str] | None = None,
    modifiers: bool = False,
    columns: Sequence[str] = (),
) -> list[Instruction]:
    """Load the instructions of a shipped set, a file, a folder or a text.

    Args:
        name_or_path: the name of a shipped set, such as ``xlt113``; a file of rows (ours, AlpacaEval, chats, tables)
            or a text file with one prompt per line; a folder with one file per language, like ``sets/xlt113``; a
            folder with the set that the paper's authors released; or a prompt itself (see ``is_text``).
        languages: the codes of the languages to load. By default all. In sets and folders this is the
            language of the instruction, in files it is the ``language`` of the row.
        modifiers: whether to load the modified instructions of a set too. All rows of a file are always loaded.
        columns: columns with other names, as ``"ours=theirs"``.

    Raises:
        UserError: for an unknown set or format, a requested language that the set does not have, a row
            without an instruction, or an id that appears twice.
    """
    wanted = list(dict.fromkeys(map(language_code, languages))) if languages else None
    named = parse_columns(columns, COLUMN_NAMES)
    if is_text(name_or_path):
        return [_of_text(str(name_or_path), wanted)]
    path = _find(name_or_path)
    if path.is_file():
        loaded = _file(path, wanted, named)
    elif language_files(path):
        loaded = _folder(path, wanted, modifiers, named)
    else:
        loaded = _released(path, wanted, modifiers)
    if not loaded:
        raise UserError(f"{path} holds no instructions")
    _refuse_duplicates(loaded, path)
    return loaded


def compose(instruction: str, modifier: str) -> str:
    """``instruction`` followed by the text of a modifier, after a blank line when it has several lines."""
    return instruction + ("\n\n" if "\n" in instruction else " ") + modifier


def is_text(name_or_path: str | Path) -> bool:
    """Whether what is given as prompts is a prompt itself, and no path or name.

    It is one when it has white space or a mark that ends a sentence, and neither exists as a file or folder, nor
    looks like a path: it does not end as files of prompts do, nor begin with ``/``, ``./``, ``../`` or ``~``.
    """
    text = str(name_or_path)
    if isinstance(name_or_path, Path) or not (re.search(r"\S\s+\S", text) or _SENTENCE.search(text)):
        return False
    if text.startswith(("/", "./", "../", "~")) or (
        "\n" not in text and file_format(Path(text)) in (*SUFFIXES, *FOREIGN)
    ):
        return False
    try:
        return not Path(text).exists()
    except (OSError, ValueError):  # too long for a path, or not one
        return True


def _of_text(text: str, wanted: Sequence[str] | None) -> Instruction:
    """A prompt that was given as it is; its language is the only one asked for, or is not known."""
    log.info("notice: %r is neither a file nor a set, and is used as the prompt itself", text[:60])
    language = wanted[0] if wanted is not None and len(wanted) == 1 else ""
    return Instruction("prompt-001" + (f"-{language}" if language else ""), "prompt-001", language, "", text)


def _find(name_or_path: str | Path) -> Path:
    path, sets = Path(name_or_path), shipped_sets()
    # A folder of results that happens to have the name of a set must not hide the set; "./xlt113" is the folder.
    if str(name_or_path) in sets:
        return sets[str(name_or_path)]
    if path.exists():
        return path
    raise UserError(
        f"{str(name_or_path)[:120]} is neither a file, a folder nor a shipped set; "
        f"{did_you_mean(str(name_or_path), sets)} (a prompt itself contains a space or a mark such as ? or !)"
    )


def language_files(folder: Path) -> dict[str, Path]:
    """The files ``<language>.jsonl``, ``.csv``, ``.txt`` ... in a folder, by language; ``nb`` is found as ``no``.

    Raises:
        UserError: when two files are of one language.
    """
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name = path.name.partition(".")[0]
        if re.fullmatch("[a-z]{2,3}", name) and path.name.removesuffix(".gz").partition(".")[2] in _ENDINGS:
            other = files.setdefault(find_language(name) or name, path)
            if other != path:
                raise UserError(f"{other} and {path} are of one language; keep one of them")
    return files


def _choose(found: Iterable[str], wanted: Sequence[str] | None, place: Path) -> list[str]:
    """The languages to load: those that are wanted, in their order, or else all that were found."""
    found = list(dict.fromkeys(found))
    missing = [language for language in wanted or () if language not in found]
    if missing:
        raise UserError(f"{place} has no instructions in {', '.join(missing)}; it has {', '.join(found)}")
    return list(wanted) if wanted is not None else found


def _refuse_duplicates(instructions: Iterable[Instruction], place: Path) -> None:
    seen: set[str] = set()
    for instruction in instructions:
        if instruction.id in seen:
            raise UserError(f"{place}: the id {instruction.id!r} appears twice; ids must be unique")
        seen.add(instruction.id)


# Files


def _file(path: Path, wanted: Sequence[str] | None, columns: Mapping[str, str]) -> list[Instruction]:
    """The rows in the wanted languages.

    A row that does not say its language is in that of the file's name, or in the only wanted one.
    """
    set_name, language = _name_parts(path)
    if not language and wanted is not None and len(wanted) == 1:
        language = wanted[0]
    rows = _read(path, set_name, language, columns)
    chosen = _choose((row.language for row in rows), wanted, path) if rows else []
    return [row for row in rows if row.language in chosen]


# A language in the name of a file, also with script and region; codes of three letters are also words, such as "new".
_TAG = re.compile("[a-z]{2}([-_]([A-Z][a-z]{3}|[A-Z]{2}))*")


def _name_parts(path: Path) -> tuple[str, str]:
    """The name and the language of ``name.fr.jsonl`` or ``name/fr.jsonl``; the language may be empty."""
    stem = Path(path.name.removesuffix(".gz")).stem
    name, _, language = stem.rpartition(".")
    if name and _TAG.fullmatch(language):
        return name, find_language(language) or language
    if _TAG.fullmatch(stem):
        return path.resolve().parent.name, find_language(stem) or stem
    return stem, ""


def _read(
    path: Path, set_name: str, language: str, columns: Mapping[str, str] = NO_COLUMNS
) -> list[Instruction]:
    """Every prompt of a file; those of a text file may be in a language that is not known."""
    if file_format(path) == TEXT_FILE:
        if columns:
            raise UserError(f"columns: {path} is a text file with one prompt per line and has no columns")
        end = f"-{language}" if language else ""
        ids = (f"{set_name}-{number:03d}" for number in itertools.count(1))
        return [
            Instruction(f"{name}{end}", name, language, "", line.strip())
            for name, (_, line) in zip(ids, iterate_lines(path), strict=False)
        ]
    report = RowReport()
    note = functools.partial(report.note, path)
    found = []
    for number, (place, row) in enumerate(iterate_rows(path), start=1):
        try:
            if file_format(path) in DELIMITERS:
                row = of_table(row)
            row = with_our_names(row, columns)
            found.append(_instruction(row, question(row, note), f"{set_name}-{number:03d}", language))
        except (BadRowError, UserError) as problem:
            raise UserError(f"{place}: {problem}") from None
    report.log()
    return found


def _instruction(row: Any, asked: Conversation, instruction_id: str, language: str) -> Instruction:
    """A row that asks ``asked``; ``instruction_id`` and ``language`` are used when the row has none."""
    values = row if isinstance(row, dict) else {}
    language = language_code(_text(values, "language") or language or _unknown_language())
    instruction_id = _name(values, "instruction_id") or instruction_id
    modifier = as_modifier(values.get("modifier"))
    suffix = f"-{modifier['name']}" if modifier else ""
    return Instruction(
        id=_name(values, "id") or f"{instruction_id}-{language}{suffix}",
        instruction_id=instruction_id,
        language=language,
        task=_text(values, "task") or _text(values, "dataset"),
        instruction=asked[-1].content,
        modifier=modifier,
        human=values.get("human") is True,
        messages=[{"role": turn.role, "content": turn.content} for turn in asked] if len(asked) > 1 else None,
    )


def _text(values: Mapping[str, Any], key: str) -> str:
    value = values.get(key, "")
    if not isinstance(value, str):
        raise UserError(f"{key} must be text, not {value!r:.40}")
    return value


def _name(values: Mapping[str, Any], key: str) -> str:
    """A name as text, which tables may write as a number."""
    return as_name(values[key], key) if values.get(key) is not None else ""


def _unknown_language() -> str:
    raise UserError(
        "the language is not known; give the row a 'language', name the file like set.fr.jsonl, "
        "or ask for one language only"
    )


# Folders structured like the shipped sets


def _folder(
    folder: Path, wanted: Sequence[str] | None, modifiers: bool, columns: Mapping[str, str]
) -> list[Instruction]:
    files = language_files(folder)
    path = folder / MODIFIERS_FILE
    entries = _modifier_entries(path) if modifiers else {}
    loaded = []
    for language in _choose(files, wanted, folder):
        plain = _read(files[language], folder.name, language, columns)
        by_id = {instruction.instruction_id: instruction for instruction in plain}
        loaded += plain
        for name, entry in entries.items():
            for instruction_id in entry["instructions"]:
                if instruction_id not in by_id:
                    raise UserError(f"{path}: {name} names {instruction_id}, which {files[language]} lacks")
                loaded.append(_modify(by_id[instruction_id], name, entry, f"{path}: {name}"))
    return loaded


def _modifier_entries(path: Path) -> dict[str, Any]:
    try:
        entries = yaml.safe_load(read_text(path))
    except yaml.YAMLError as problem:
        raise UserError(f"{path} is not valid YAML: {problem}") from None
    if not isinstance(entries, dict) or not all(
        isinstance(entry, dict) and {"texts", "instructions"} <= entry.keys() for entry in entries.values()
    ):
        raise UserError(f"{path} must give each modifier its texts and instructions")
    return entries


def _modify(plain: Instruction, name: str, entry: Mapping[str, Any], place: str) -> Instruction:
    """The modified form of ``plain`` that an entry of ``modifiers.yaml`` describes."""
    params: dict[str, Any] = {}
    language = plain.language
    try:
        text = entry["texts"][language]
        if "param" in entry:
            value = entry["instructions"][plain.instruction_id]
            # There is one value for all languages, or one for each.
            value = value[language] if isinstance(value, dict) else value
            params = {entry["param"]: value}
            text = text[value] if isinstance(text, dict) else text.format(**params)
    except (KeyError, TypeError, AttributeError) as problem:
        raise UserError(f"{place} lacks {problem} for {plain.instruction_id} in {language}") from None
    return _with_modifier(plain, compose(plain.instruction, text), {"name": name, "params": params})


def _with_modifier(plain: Instruction, instruction: str, modifier: Mapping[str, Any]) -> Instruction:
    """``plain`` with a modified instruction; only ``answer_in`` changes the language of the answer too."""
    return dataclasses.replace(
        plain,
        id=f"{plain.id}-{modifier['name']}",
        language=modifier["params"].get("language", plain.language),
        instruction=instruction,
        modifier=modifier,
        human=False,
    )


# The set that the paper's authors released


def _released(folder: Path, wanted: Sequence[str] | None, modifiers: bool) -> list[Instruction]:
    files: dict[str, Path] = {}
    for path in sorted(folder.rglob(f"{RELEASED_FILE}.*.jsonl")):
        language = _name_parts(path)[1]
        if language in files:
            raise UserError(f"{folder} holds {path} and {files[language]}; name the folder of one of them")
        files[language] = path
    if not files:
        found = ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing"
        raise UserError(f"{folder} is not a set of instructions (it holds {found}); accepted: {ACCEPTED}")
    loaded = []
    for language in _choose(files, wanted, folder):
        plain = _read(files[language], RELEASED_FILE, language)
        loaded += plain + (_released_modified(plain, files[language], language) if modifiers else [])
    return loaded


def _released_modified(plain: Sequence[Instruction], path: Path, language: str) -> list[Instruction]:
    """The released rows with a modifier; each starts with the text of its plain instruction."""
    # It needs the [eval] extra, which is not installed everywhere that answers are generated.
    from xltjax.data.released import read_types

    path = path.with_name(f"modifiers.{language}.jsonl")
    types = path.with_suffix(".types")
    rows, named = _read(path, path.stem, language), read_types(types)
    if len(rows) != len(named):
        raise UserError(f"{path} has {len(rows)} rows and {types} has {len(named)}; they must be parallel")
    modified = []
    for row, modifier in zip(rows, named, strict=True):
        # One instruction may start with another, so the longest one is meant.
        starts = [base for base in plain if row.instruction.startswith(base.instruction)]
        if not starts:
            raise UserError(
                f"{path}: {row.instruction!r:.60} does not start with an instruction of the plain set"
            )
        base = max(starts, key=lambda base: len(base.instruction))
        modified.append(_with_modifier(base, row.instruction, modifier))
    return modified
