"""What xltjax keeps in the user's cache folder, and how to clear it. ``python -m xltjax.cache``."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xltjax.common import cli
from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import cache_directory
from xltjax.common.locks import unused
from xltjax.common.settings import setting

log = logging.getLogger("xltjax")

# The names of what is ours in the folder; everything else in it is never touched.
KINDS = {
    "compiled": (r"compiled", "compiled programs, which are made again when they are needed"),
    "ctranslate2": (
        r"ctranslate2",
        "models converted for translation, which are converted again when they are needed",
    ),
    "miniature": (
        r"miniature-v\d+",
        "the toy world with its base model, which is built again in a few minutes",
    ),
    "unfinished": (r"\.miniature-[\w-]+", "remains of an interrupted build of the miniature"),
}
PROGRAM = re.compile(r".+-(cache|atime)")  # the names of JAX's files
UNITS = (("GB", 1e9), ("MB", 1e6), ("kB", 1e3))


@dataclass(frozen=True)
class CacheConfig:
    """Settings of the command."""

    show: bool = setting(False, "Print what is in the cache. This is the default without --clear.")
    clear: bool = setting(False, "Delete what is in the cache, except what a running command uses.")
    kinds: tuple[str, ...] = setting((), f"Kinds to show or clear: {', '.join(KINDS)}. By default all.")

    def __post_init__(self) -> None:
        """Refuse kinds that there are not.

        Raises:
            UserError: naming those that there are.
        """
        for kind in self.kinds:
            if kind not in KINDS:
                raise UserError(f"kinds: {kind!r} is not known; {did_you_mean(kind, KINDS)}")
        if self.show and self.clear:
            raise UserError("give --show or --clear, not both")


@dataclass(frozen=True)
class Entry:
    """One folder in the cache.

    Attributes:
        kind: one of ``KINDS``.
        path: the folder.
        size: in bytes.
        changed: when the newest file was written, in seconds since 1970.
    """

    kind: str
    path: Path
    size: int
    changed: float


def entries(kinds: Sequence[str] = ()) -> Iterator[Entry]:
    """What is in the cache, of these kinds or of all. Links and what is not ours are left out."""
    root = cache_directory()
    for kind, (pattern, _) in KINDS.items():
        if kinds and kind not in kinds:
            continue
        for path in sorted(root.iterdir()) if root.is_dir() else ():
            if re.fullmatch(pattern, path.name) and path.is_dir() and not path.is_symlink():
                stats = [stat for file in _files(path) if (stat := _stat(file))]
                size, changed = sum(each.st_size for each in stats), [each.st_mtime for each in stats]
                yield Entry(kind, path, size, max(changed, default=path.stat().st_mtime))


def show(kinds: Sequence[str] = ()) -> None:
    """Print what is in the cache: kind, size, age and use."""
    found = list(entries(kinds))
    print(f"cache: {cache_directory()}")
    if found:
        table = Table("kind", "folder", "size", "changed", "", box=box.SIMPLE_HEAD)
        for each in found:
            age = _age(time.time() - each.changed)
            used = "in use" if _in_use(each.path) else ""
            table.add_row(*map(Text, (each.kind, each.path.name, _size(each.size), age, used)))
        Console().print(table)
        for kind in dict.fromkeys(each.kind for each in found):
            print(f"{kind}: {KINDS[kind][1]}")
    print(f"total: {_size(sum(each.size for each in found))}")
    if elsewhere := os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        print(
            f"JAX_COMPILATION_CACHE_DIR is set: compiled programs are in {elsewhere}, which is not cleared here"
        )
    print("models and data of the Hugging Face Hub have their own cache: hf cache ls")


def clear(kinds: Sequence[str] = ()) -> int:
    """Delete what is in the cache and not in use, and say so.

    Returns:
        How many bytes were freed.
    """
    freed = 0
    for each in entries(kinds):
        with contextlib.suppress(FileNotFoundError), unused(each.path) as free:
            if not free:
                print(f"kept, since a running command uses it: {each.path}")
                continue
            _delete(each)
        left = sum(stat.st_size for file in _files(each.path) if (stat := _stat(file)))
        freed += each.size - left
        print(f"deleted: {each.path} ({_size(each.size - left)})")
    print(f"freed: {_size(freed)}")
    return freed


def _delete(entry: Entry) -> None:
    if entry.kind == "compiled":
        # The folder may be one in which the user keeps other files too.
        for file in _files(entry.path):
            if PROGRAM.fullmatch(file.name):
                file.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # which is not empty then
            entry.path.rmdir()
        return
    # Out of the way in one step: a command that starts now does not find half of it. The name is one of what is
    # unfinished, so that the next call removes it if this one is killed.
    away = entry.path.with_name(f".miniature-removed-{os.getpid()}")
    os.rename(entry.path, away)
    shutil.rmtree(away)


def _files(folder: Path) -> Iterator[Path]:
    for place, _, names in os.walk(folder):  # which does not follow links
        yield from (Path(place, name) for name in sorted(names))


def _stat(file: Path) -> os.stat_result | None:
    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
        return file.lstat()
    return None


def _in_use(path: Path) -> bool:
    with contextlib.suppress(FileNotFoundError), unused(path) as free:
        return not free
    return False


def _size(size: float) -> str:
    unit, factor = next(((unit, factor) for unit, factor in UNITS if size >= factor), ("bytes", 1))
    return f"{size / factor:.1f} {unit}" if factor > 1 else f"{size:.0f} bytes"


def _age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {unit}{'s' if count > 1 else ''} ago"
    return "just now"


def cache(config: CacheConfig) -> None:
    """Show or clear the cache."""
    if config.clear:
        clear(config.kinds)
    else:
        show(config.kinds)


COMMAND = cli.command(
    CacheConfig, cache, name="cache", help="Show and clear what xltjax keeps in the cache folder."
)


main = cli.entry_point(COMMAND, "python -m xltjax.cache")


if __name__ == "__main__":
    main()
