"""What a command has scored already, so that it continues after a kill and scores only what a grown file adds.

A journal is ``<command>.journal.jsonl`` beside ``scores.jsonl``: a line that identifies the settings, and then
one line for each response as it is scored. A response is known by its model, its id, its content and whatever
else its scores depend on. With other settings, models, dictionaries or versions of the metrics the journal
starts over. For each response, memory holds a key of 16 bytes and an offset, never the scores.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import json_line
from xltjax.common.locks import lock_directory
from xltjax.data.responses import Response
from xltjax.eval.scores import Score


class Journal:
    """The scores of one command in one folder, response by response; a context manager that closes the file.

    Args:
        out: an existing directory.
        command: the command whose scores these are.
        versions: the version of each metric, which is beside the metric and is raised by hand when a score
            of it changes. The source is not looked at: a changed comment must not void hours of work.
        settings: whatever else the scores of all responses depend on, ready for JSON.
        depends: gives whatever else the scores of one response depend on, ready for JSON.

    Raises:
        UserError: when another command is writing to ``out``, or a file of the user's has the journal's name.
    """

    def __init__(
        self,
        out: Path,
        command: str,
        versions: Mapping[str, int],
        settings: Mapping[str, Any],
        depends: Callable[[Response], Any] = lambda response: None,
    ) -> None:
        self._depends = depends
        self._lock = contextlib.ExitStack()
        self._lock.enter_context(lock_directory(out))
        path = out / f"{command}.journal.jsonl"
        path.touch()
        self._file = path.open("r+b")  # until __exit__
        self._offsets: dict[bytes, int] = {}
        header = json_line({"settings": digest([versions, settings]).hex()}).encode()
        first = self._file.readline()
        if first == header:
            self._read()
        elif not _is_header(first):
            self.__exit__()
            raise UserError(f"{path} exists and was not written by an evaluator; choose another --out")
        else:
            self._file.seek(0)
            self._file.truncate()
            self._append(header)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._lock.close()

    def __contains__(self, response: Response) -> bool:
        return self._key(response) in self._offsets

    def add(self, response: Response, scores: Iterable[Score]) -> None:
        """Keep the scores of ``response``, even when the process dies right after."""
        key = self._key(response)
        row = {"key": key.hex(), "scores": [score.row() for score in scores]}
        self._offsets[key] = self._append(json_line(row).encode())

    def scored(self, responses: Iterable[Response]) -> Iterator[tuple[Response, list[Score]]]:
        """Each response with its scores, in the order of ``responses``.

        Raises:
            KeyError: for a response that was never added.
        """
        for response in responses:
            self._file.seek(self._offsets[self._key(response)])
            yield response, [Score(**row) for row in json.loads(self._file.readline())["scores"]]

    def _key(self, response: Response) -> bytes:
        return digest(
            [
                response.id,
                response.model,
                response.language,
                response.instruction_id,
                response.instruction,
                response.modifier,
                response.response,
                response.finish_reason,
                self._depends(response),
            ]
        )

    def _read(self) -> None:
        """Find every whole line, and cut off a last line that a killed process has not finished."""
        offset = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            # A line that a loss of power has damaged is skipped, and its response is scored again.
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self._offsets[bytes.fromhex(json.loads(line)["key"])] = offset
            offset += len(line)
        self._file.seek(offset)
        self._file.truncate()

    def _append(self, line: bytes) -> int:
        offset = self._file.seek(0, 2)
        self._file.write(line)
        self._file.flush()
        return offset


def _is_header(line: bytes) -> bool:
    """Whether a line begins a journal, which a kill may have cut anywhere."""
    begin = b'{"settings": "'
    return line.startswith(begin) or begin.startswith(line)


def digest(value: Any) -> bytes:
    """16 bytes that stand for ``value``, which is ready for JSON."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()
