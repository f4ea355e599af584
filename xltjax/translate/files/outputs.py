"""The folder of translations: what was written there, with what, and nothing of the user's overwritten."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, read_json_object, write_bytes
from xltjax.common.provenance import sha256

RECORD = "translate.json"


class Outputs:
    """The files in a folder that the caller has locked.

    The record ``translate.json`` keeps the hash of every file that was written, before it appears; so a file that is
    there and has another one is the user's, or was corrected by hand.

    Args:
        out: the folder.

    Raises:
        UserError: when the record cannot be read.
    """

    def __init__(self, out: Path) -> None:
        self.out = out
        path = out / RECORD
        self._record: dict[str, Any] = read_json_object(path) if path.exists() else {"files": {}}
        if not isinstance(self._record.get("files"), dict):
            raise UserError(f"{path} exists and was not written by this command; choose another --out")

    def check(self, name: str, made_with: Mapping[str, Any] | None = None) -> None:
        """Refuse to replace a file that is not ours, or that is the translation by another engine.

        Args:
            name: of the file in the folder.
            made_with: what its content depends on; None for tables of all languages.

        Raises:
            UserError: naming it.
        """
        path = self.out / name
        if not path.exists():
            return
        known = self._record["files"].get(name)
        if known is None:
            raise UserError(f"{path} exists and was not written by this command; choose another --out")
        if path.is_dir() or sha256(path) not in known.get("sha256", ()):
            raise UserError(f"{path} was changed after it was written; move it away, or choose another --out")
        if made_with is not None and known.get("made_with") != made_with:
            changed = _difference(known.get("made_with") or {}, made_with)
            raise UserError(
                f"{path} was translated with other settings ({changed}); move it away, or choose another --out"
            )

    def write(self, name: str, data: bytes, made_with: Mapping[str, Any] | None = None) -> None:
        """Write a file, completely or not at all.

        Raises:
            UserError: as ``check``.
        """
        self.check(name, made_with)
        digest = hashlib.sha256(data).hexdigest()
        path = self.out / name
        entry: dict[str, Any] = {} if made_with is None else {"made_with": dict(made_with)}
        # Until the new file is there, the old one is ours too.
        self._save(name, entry | {"sha256": [*([sha256(path)] if path.exists() else []), digest]})
        write_bytes(path, data)
        self._save(name, entry | {"sha256": [digest]})

    def _save(self, name: str, entry: Mapping[str, Any]) -> None:
        self._record["files"][name] = entry
        with atomic_write(self.out / RECORD) as file:
            file.write(json.dumps(self._record, ensure_ascii=True, indent=1, sort_keys=True) + "\n")


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first settings that differ."""
    for key in dict.fromkeys([*now, *before]):
        a, b = before.get(key), now.get(key)
        if isinstance(a, dict) and isinstance(b, dict) and a != b:
            return _difference(a, b)
        if a != b:
            return f"{key}: {a!r:.60}, now {b!r:.60}"
    return "nothing"
