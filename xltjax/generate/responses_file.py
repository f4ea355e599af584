"""A file of responses that grows line by line, and the settings beside it by which it is resumed."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, parse_json, read_json_object

log = logging.getLogger("xltjax")

# What every line that we have written holds.
FIELDS = ("id", "instruction", "response", "finish_reason")
# The settings that say where something lies, which may have been moved, and those that say what it holds.
PLACES = {"model": "weights", "adapter": "adapter_weights"}


def write_settings(out: Path, settings: Mapping[str, Any], record: Mapping[str, Any]) -> None:
    """Write the settings that decide the responses, and the record of ``provenance``, beside the file ``out``."""
    with atomic_write(_settings_file(out)) as file:
        json.dump({"settings": settings, **record}, file, indent=2)
        file.write("\n")


def check_ours(out: Path) -> dict[str, Any]:
    """The settings with which ``out`` was made; none when there is no such file yet.

    Raises:
        UserError: when ``out`` is anything but a file of responses that ``generate`` has written, which is then
            left as it is.
    """
    if out.is_dir():
        raise UserError(f"{out} is a directory; --out names a file")
    if not os.path.lexists(out):
        return {}
    found = [file for file in (_settings_file(out), out.with_suffix(".provenance.json")) if file.is_file()]
    if not out.is_file() or not found:
        raise UserError(f"{out} exists and was not written by generate; choose another --out")
    settings = read_json_object(found[0]).get("settings")  # the second name is that of version 0.1
    if not isinstance(settings, dict) or "model" not in settings:
        raise UserError(f"{out} exists, and {found[0]} does not say how it was made; choose another --out")
    _whole_rows(out)
    return settings


def resume(
    out: Path,
    settings: Mapping[str, Any],
    asked: Mapping[str, Mapping[str, Any]],
) -> dict[str, dict[str, Any]]:
    """The rows that ``out`` holds by their ids, after a last line that a kill left incomplete is cut off.

    Args:
        out: the file of responses, which need not exist.
        settings: what decides the responses now.
        asked: the rows of all responses by their ids, as far as they are known before the answers.

    Raises:
        UserError: when the file is not ours, was made with other settings, or holds a response to none of the
            prompts, to another instruction, or under another name. The file is then left as it is.
    """
    before = check_ours(out)
    if not before:
        return {}
    # A file of an earlier version lacks what it did not record.
    same = {key for key in before if key in settings and before[key] == settings[key]}
    if before.get("weights_digest") and "weights_digest" in same:
        same.add("weights")  # of a run that was trained again
    moved = {place for place, content in PLACES.items() if content in same} | {
        "prompts"
    }  # compared one by one
    changed = [key for key in settings if key in before and key not in same | moved | {"weights_digest"}]
    if changed:
        raise UserError(
            f"{out} was made with other settings: "
            f"{', '.join(_change(key, before[key], settings[key]) for key in changed)}; choose another --out"
        )
    rows, end = _whole_rows(out)
    for key, row in rows.items():
        if key not in asked:
            raise UserError(f"{out} answers {key!r}, which is not among the prompts; choose another --out")
        _check_asked(out, row, asked[key])
    if end < out.stat().st_size:
        with out.open("rb+") as file:
            file.truncate(end)
            os.fsync(file.fileno())
    if rows:
        log.info("resuming %s: %d answers are there", out, len(rows))
    return rows


def _check_asked(out: Path, row: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse a row whose prompt or model is no longer what it says."""
    for name in ("instruction", "messages"):
        if row.get(name) != now.get(name):
            raise UserError(
                f"{out} answers another instruction of {row['id']!r}, whose text has changed; choose another --out"
            )
    for name in ("language", "task", "instruction_id", "modifier"):
        if name in row and row[name] != now.get(name):  # earlier versions did not write all of them
            told = f"was {row[name]!r:.60}, now {now.get(name)!r:.60}"
            raise UserError(f"{out}: the {name} of {row['id']!r} has changed ({told}); choose another --out")
    if (name := row.get("model", now.get("model"))) != now.get("model"):
        raise UserError(f"{out} holds answers of {name!r}; go on with --name {name}, or choose another --out")


def _settings_file(out: Path) -> Path:
    return out.with_name(f"{out.name}.provenance.json")


def _change(key: str, before: Any, now: Any) -> str:
    """What a setting was and is, in a few words."""
    if isinstance(before, dict) and isinstance(now, dict):
        names = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
        return f"{key} ({', '.join(names)} changed)"
    if key in ("weights", "adapter_weights"):  # of hashes, only that they differ is of interest
        return f"{key.replace('_', ' ')} (changed)"
    return f"{key} (was {before!r}, now {now!r})"


def _whole_rows(out: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The rows of the complete lines by their ids, and where these lines end.

    Raises:
        UserError: naming the line that is not a response of ours.
    """
    data = out.read_bytes()
    end = data.rfind(b"\n") + 1
    rows = {}
    for number, line in enumerate(data[:end].split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = parse_json(line.decode("utf-8"), out, number)
        except UnicodeDecodeError:
            row = None
        if not isinstance(row, dict) or not all(isinstance(row.get(name), str) for name in FIELDS):
            raise UserError(f"{out}, line {number}: not a response by generate; choose another --out")
        rows[row["id"]] = row
    return rows, end
