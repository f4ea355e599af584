"""The journal of calls: every answer of every judge as it came, so that none is ever paid for twice.

``calls.jsonl`` grows by one line when a call ends and is never rewritten. A line is known by the sha256 of the
canonical request, so a changed prompt, model or parameter is another call. A line without an answer says why there is
none; it is kept for the record, and the call is made again next time.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from io import BufferedRandom
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import json_line, make_output_directory
from xltjax.eval.judge.questions import Call, Question

NAME = "calls.jsonl"
BEGINNINGS = (b'{"key": ', b'{"server": ')  # of a line
SYNC_SECONDS = 1.0  # the longest time for which an answer may be lost when the power fails


class Calls:
    """The calls in one folder, which the caller has locked; a context manager that closes the file.

    Memory holds a key of 16 bytes and an offset for each call, never an answer.

    Args:
        out: the folder; it and the file are created with the first call.
        hide: what is done to each line before it is written: it takes out what must not be in a file.

    Raises:
        UserError: when the file there is not a journal of calls.
    """

    def __init__(self, out: Path, hide: Callable[[str], str] = lambda line: line) -> None:
        self._path = out / NAME
        self._hide = hide
        self._file: BufferedRandom | None = None
        self._offsets: dict[bytes, int] = {}  # of the last answer, or of the last failure where there is none
        self._answered: set[bytes] = set()
        self._servers: dict[tuple[str, str], list[dict[str, Any]]] = {}
        self._synced = time.monotonic()
        if self._path.exists():
            self._file = self._path.open("r+b")
            self._read(self._file)

    def __enter__(self) -> Calls:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._sync()
            with contextlib.suppress(OSError):  # of a write that failed, and that has been told
                self._file.close()

    @property
    def any_answered(self) -> bool:
        """Whether there is an answer."""
        return bool(self._answered)

    def find(self, key: str) -> Call | None:
        """The answer to the request ``key``, or the last failure when it has none, or None."""
        offset = self._offsets.get(_short(key))
        if offset is None:
            return None
        assert self._file is not None
        self._file.seek(offset)
        return _call(json.loads(self._file.readline()))

    def add(self, judge: str, question: Question, call: Call) -> None:
        """Keep a call, even when the process dies right after."""
        labels = {
            "judge": judge,
            "model": question.response.model,
            "id": question.response.id,
            "repeat": question.repeat,
        }
        self.keep(labels, call)

    def keep(self, labels: Mapping[str, Any], call: Call) -> None:
        """Keep a call, with ``labels`` that say what was asked, even when the process dies right after."""
        row: dict[str, Any] = {
            "key": call.key,
            **labels,
            "time": _now(),
            "seconds": round(call.seconds, 3),
            "attempts": call.attempts,
            "parameters": call.parameters,
        }
        if call.batch:
            row["batch"] = True
        if call.body is not None:
            row["body"] = call.body
        else:
            row |= {"problem": call.problem, "message": call.message}
        self._index(call.key, self._append(row), call.body is not None)

    def servers(self, base_url: str, model: str) -> list[dict[str, Any]]:
        """What ``remember`` was told about a server, the oldest first."""
        return self._servers.get((base_url, model), [])

    def remember(self, base_url: str, model: str, accepts: Mapping[str, Any], why: str) -> None:
        """Keep which parameters a server accepts, found out by the refusal ``why``."""
        server = {"base_url": base_url, "model": model}
        self._append({"server": server, "accepts": accepts, "time": _now(), "why": why})
        self._servers.setdefault((base_url, model), []).append(dict(accepts))

    def answered(self, judge: str) -> Iterator[Call]:
        """Every call that ``judge`` answered, whether or not its answer could be read as scores."""
        for row in self._rows():
            body = row.get("body")
            # A body with an error says that a filter has kept the request from the judge.
            if row.get("judge") == judge and isinstance(body, dict) and "error" not in body:
                yield _call(row)

    def _rows(self) -> Iterator[dict[str, Any]]:
        if self._file is None:
            return
        with self._path.open("rb") as file:
            for line in file:
                with contextlib.suppress(ValueError):
                    row = json.loads(line)
                    if isinstance(row, dict):
                        yield row

    def _read(self, file: BufferedRandom) -> None:
        """Find every whole line, and cut off a last line that a killed process has not finished."""
        if not file.peek(1).startswith(BEGINNINGS) and os.fstat(file.fileno()).st_size:
            raise UserError(f"{self._path} is not a journal of calls; choose another --out")
        offset = 0
        for line in file:
            if not line.endswith(b"\n"):
                break
            # A line that a loss of power has damaged is skipped, and its call is made again.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                row = json.loads(line)
                if "server" in row:
                    server = row["server"]["base_url"], row["server"]["model"]
                    self._servers.setdefault(server, []).append(row["accepts"])
                else:
                    self._index(row["key"], offset, row.get("body") is not None)
            offset += len(line)
        file.seek(offset)
        file.truncate()

    def _index(self, key: str, offset: int, answered: bool) -> None:
        short = _short(key)
        if answered:
            self._answered.add(short)
        elif short in self._answered:
            return  # a failure does not hide an answer that came before it
        self._offsets[short] = offset

    def _append(self, row: Mapping[str, Any]) -> int:
        if self._file is None:
            make_output_directory(self._path.parent)
            self._file = self._path.open("x+b")
        line = self._hide(json_line(row)).encode()
        offset = self._file.seek(0, os.SEEK_END)
        try:
            self._file.write(line)
            self._file.flush()
        except OSError as problem:
            problem.filename = str(self._path)
            raise
        if time.monotonic() - self._synced > SYNC_SECONDS:
            self._sync()
        return offset

    def _sync(self) -> None:
        assert self._file is not None
        with contextlib.suppress(OSError):  # some file systems cannot
            os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def _call(row: Mapping[str, Any]) -> Call:
    return Call(row["key"], row.get("body"), row.get("problem", ""), batch=row.get("batch", False))


def _short(key: str) -> bytes:
    return bytes.fromhex(key)[:16]


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
