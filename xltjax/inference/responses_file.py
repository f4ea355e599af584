"""A file of responses that grows line by line, and the settings beside it that say how to go on."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory, read_jsonl, read_text

log = logging.getLogger("xltjax")


def write_settings(out: Path, settings: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    """Write ``<out>.provenance.json``: the settings that decide the answers, and what ``provenance`` found."""
    with atomic_write(_beside(out)) as file:
        json.dump({"settings": settings, **found}, file, indent=2)
        file.write("\n")


def resume(out: Path, settings: Mapping[str, Any], asked: Collection[str]) -> dict[str, dict[str, Any]]:
    """Rows already in ``out`` by id, after cutting off a last line that a crash left incomplete.

    Raises:
        UserError: when the file was made with other settings or answers something that is not asked.
    """
    if out.is_dir():
        raise UserError(f"{out} is a directory; --out names a file")
    if not out.exists():
        make_output_directory(out.parent)
        return {}
    if _beside(out).is_file():
        before = json.loads(read_text(_beside(out))).get("settings", {})
        changed = [
            f"{k} (was {before.get(k)!r}, now {v!r})" for k, v in settings.items() if before.get(k) != v
        ]
        if changed:
            raise UserError(f"{out} was made with other settings: {', '.join(changed)}; choose another --out")
    _cut_partial_line(out)
    rows = {row["id"]: row for row in read_jsonl(out)}
    foreign = rows.keys() - set(asked)
    if foreign:
        raise UserError(
            f"{out} answers {min(foreign)!r}, which is not among the prompts; choose another --out"
        )
    if rows:
        log.info("resuming %s: %d answers are there", out, len(rows))
    return rows


def _beside(out: Path) -> Path:
    return out.with_suffix(".provenance.json")


def _cut_partial_line(path: Path) -> None:
    """Drop what follows the last line break: a line that was being written."""
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(end)
            os.fsync(file.fileno())
