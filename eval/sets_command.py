"""``python -m xltjax.eval sets``: lists the shipped evaluation sets, or exports one as prompt files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from xltjax.common.cli import command
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import atomic_write, read_text, write_jsonl
from xltjax.common.languages import language_code
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.data.prompt_sets import MODIFIERS_FILE, language_files, load_set, shipped_sets

LICENSE_FILE = "LICENSE"  # its first line is the short name of the license


@dataclass(frozen=True)
class SetsConfig:
    """Settings of the command."""

    export: str = setting(
        "", "Directory to export to, as <language>.jsonl files of prompts. By default the sets are listed."
    )
    set: str = setting("xlt113", "The set to export.")
    languages: tuple[str, ...] = setting((), "Languages of the instructions to export. By default all.")
    modifiers: bool = setting(False, "Also export the instructions with a task modifier.")


def sets(config: SetsConfig) -> None:
    """Print the table of the shipped sets, or write one to files.

    Raises:
        UserError: for an unknown set or language, or a folder that already holds prompts.
    """
    if config.export:
        written = export(config.set, Path(config.export), config.languages, config.modifiers)
        for path, count in written.items():
            print(f"{path}: {count} instructions")
    else:
        _print_sets()


def export(name: str, out: Path, languages: tuple[str, ...] = (), modifiers: bool = False) -> dict[Path, int]:
    """Write a shipped set to ``out/<language>.jsonl``, with its license; ``load_set(out)`` reads it back.

    An instruction stands in the file of the language in which it is written: "answer in Russian", written in
    French, is in ``fr.jsonl`` and has the ``language`` ``ru``.

    Returns:
        How many instructions are in each file.

    Raises:
        UserError: for an unknown set or language, or when ``out`` is a file or already holds prompts, which
            would become one set with these.
    """
    known = shipped_sets()
    if name not in known:
        raise UserError(f"{name} is not a shipped set; {did_you_mean(name, known)}")
    wanted = list(dict.fromkeys(map(language_code, languages))) or list(language_files(known[name]))
    by_language = {language: load_set(name, [language], modifiers) for language in wanted}
    with lock_directory(out):
        if there := language_files(out):
            raise UserError(
                f"{out} already holds {', '.join(p.name for p in there.values())}; choose another folder"
            )
        for language, instructions in by_language.items():
            write_jsonl(out / f"{language}.jsonl", (row.row() for row in instructions))
        with atomic_write(out / LICENSE_FILE) as file:
            file.write(read_text(known[name] / LICENSE_FILE))
    return {out / f"{language}.jsonl": len(instructions) for language, instructions in by_language.items()}


def _print_sets() -> None:
    table = Table(box=box.SIMPLE_HEAD)
    for heading in ("set", "languages"):
        table.add_column(heading)
    for heading in ("instructions", "with a modifier"):
        table.add_column(heading, justify="right")
    table.add_column("license")
    for name, folder in shipped_sets().items():
        languages = list(language_files(folder))
        # The sets are parallel: every language has as many.
        loaded = load_set(name, languages[:1], modifiers=(folder / MODIFIERS_FILE).exists())
        modified = sum(instruction.modifier is not None for instruction in loaded)
        license = read_text(folder / LICENSE_FILE).splitlines()[0]
        table.add_row(name, ", ".join(languages), str(len(loaded) - modified), str(modified), license)
    Console().print(table)
    print("Counts are per language. --export FOLDER writes a set as prompt files.")


COMMAND = command(
    SetsConfig,
    sets,
    name="sets",
    help="List or export the evaluation sets that come with xltjax.\n\n"
    "With --export, writes one set as prompt files, one per language, for another tool or as the start of your own "
    "set.",
)
