"""What an evaluator has scored already: it goes on after a kill, and scores only what is new in grown files.

A journal is ``<command>.journal.jsonl`` beside ``scores.jsonl``: a line that identifies the settings, then
one line for each response as it is scored. A response is known by its id, its content and whatever else its
scores depend on; other settings, models, dictionaries or evaluators start the journal anew. In memory there
are a key of 16 bytes and an offset for each response, never the scores.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import json_line
from xltjax.data.responses import Response
from xltjax.eval.scores import Score


class Journal:
    """The scores of one command in one folder, response by response; a context manager that closes the file.

    Args:
        out: an existing directory.
        command: whose scores these are.
        settings: what the scores depend on besides the response; ready for JSON.
        depends: what else the scores of one response depend on, ready for JSON.
    """

    def __init__(
        self,
        out: Path,
        command: str,
        settings: Mapping[str, Any],
        depends: Callable[[Response], Any] = lambda response: None,
    ) -> None:
        self._depends = depends
        path = out / f"{command}.journal.jsonl"
        path.touch()
        self._file = path.open("r+b")  # until __exit__
        self._offsets: dict[bytes, int] = {}
        header = json_line({"settings": digest([_evaluators(), settings]).hex()}).encode()
        if self._file.readline() == header:
            self._read()
        else:
            self._file.seek(0)
            self._file.truncate()
            self._append(header)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def __contains__(self, response: Response) -> bool:
        return self._key(response) in self._offsets

    def missing(self, responses: Iterable[Response], skipped: Callable[[], None]) -> Iterator[Response]:
        """The responses without scores; calls ``skipped`` for each of the others."""
        for response in responses:
            if response in self:
                skipped()
            else:
                yield response

    def add(self, response: Response, scores: Iterable[Score]) -> None:
        """Keep the scores of ``response``, also when the process dies right after."""
        key = self._key(response)
        row = {"key": key.hex(), "scores": [score.row() for score in scores]}
        self._offsets[key] = self._append(json_line(row).encode())

    def scored(self, responses: Iterable[Response]) -> Iterator[tuple[Response, list[Score]]]:
        """Every response with its scores, in the order of the responses.

        Raises:
            UserError: for a response that has none: its file changed in between.
        """
        for response in responses:
            offset = self._offsets.get(self._key(response))
            if offset is None:
                raise UserError(
                    f"response {response.id!r} changed while it was scored; run the command again"
                )
            self._file.seek(offset)
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
        """Find every whole line; what a killed process has written of the last one is cut off."""
        offset = self._file.tell()
        for line in self._file:
            if not line.endswith(b"\n"):
                break
            # A line damaged by a loss of power is passed over, and its response scored again.
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


def digest(value: Any) -> bytes:
    """16 bytes that stand for ``value``, which is ready for JSON."""
    return hashlib.blake2b(json.dumps(value, sort_keys=True).encode(), digest_size=16).digest()


@functools.cache
def _evaluators() -> str:
    """The source of the evaluators, so that a mended metric is computed anew."""
    sources = sorted(Path(__file__).parent.glob("*.py"))
    return hashlib.sha256(b"".join(path.read_bytes() for path in sources)).hexdigest()
