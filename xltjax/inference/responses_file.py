"""A file of responses that grows line by line, and the settings beside it by which it is resumed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory, read_json_object, read_jsonl

log = logging.getLogger("xltjax")


def write_settings(out: Path, settings: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write the settings that decide the responses, and the record of ``provenance``, beside the file ``out``."""
    with atomic_write(_settings_file(out)) as file:
        json.dump({"settings": settings, **record}, file, indent=2)
        file.write("\n")


def resume(out: Path, settings: Mapping[str, Any], asked: Collection[str]) -> dict[str, dict[str, Any]]:
    """The rows that ``out`` holds by their ids, after a last line that a kill left incomplete is cut off.

    Args:
        out: the file of responses, which need not exist.
        settings: what decides the responses now.
        asked: the ids of all prompts.

    Raises:
        UserError: when the file was made with other settings, or holds a response to none of the prompts.
    """
    if out.is_dir():
        raise UserError(f"{out} is a directory; --out names a file")
    if not out.exists():
        make_output_directory(out.parent)
        return {}
    before = recorded_settings(out)
    if before:
        changed = [
            f"{k} (was {before.get(k)!r}, now {v!r})" for k, v in settings.items() if before.get(k) != v
        ]
        if changed:
            raise UserError(f"{out} was made with other settings: {', '.join(changed)}; choose another --out")
    _cut_incomplete_line(out)
    rows = {row["id"]: row for row in read_jsonl(out)}
    foreign = rows.keys() - set(asked)
    if foreign:
        raise UserError(
            f"{out} answers {min(foreign)!r}, which is not among the prompts; choose another --out"
        )
    if rows:
        log.info("resuming %s: %d answers are there", out, len(rows))
    return rows


def recorded_settings(out: Path) -> dict[str, Any]:
    """The settings that ``write_settings`` wrote beside ``out``; {} when there are none."""
    path = _settings_file(out)
    settings = read_json_object(path).get("settings") if path.is_file() else None
    return settings if isinstance(settings, dict) else {}


def _settings_file(out: Path) -> Path:
    return out.with_suffix(".provenance.json")


def _cut_incomplete_line(path: Path) -> None:
    """Drop what follows the last line break."""
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(end)
            os.fsync(file.fileno())
