"""Responses in a temporary file, so that a hundred thousand of them do not fill the memory."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import tempfile
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import IO, overload

import numpy as np

from xltjax.data.responses import Response

_FIELDS = [field.name for field in dataclasses.fields(Response)]
_REPEATED = ("model", "language", "task")  # few values for many responses: each is held in memory once


class StoredResponses(Sequence[Response]):
    """A sequence of responses of which memory holds some 30 bytes each; an item is read when it is needed.

    The file has no name and is gone with the process, or when the last sequence that reads it is collected.

    Args:
        responses: are written to the file as they come.

    Raises:
        OSError: when the folder of temporary files is full; it is named by ``filename``.
    """

    def __init__(self, responses: Iterable[Response]) -> None:
        self._file: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - until it is collected
        self._offsets, self._lengths = array("q"), array("q")
        self._hashes: tuple[np.ndarray, np.ndarray] | None = None
        end = 0
        try:
            for response in responses:
                line = json.dumps([getattr(response, name) for name in _FIELDS], default=str).encode()
                self._file.write(line)
                self._offsets.append(end)
                self._lengths.append(len(line))
                end += len(line)
            self._file.flush()
        except OSError as problem:
            problem.filename = problem.filename or tempfile.gettempdir()
            raise

    def __len__(self) -> int:
        return len(self._offsets)

    @overload
    def __getitem__(self, item: int) -> Response: ...

    @overload
    def __getitem__(self, item: slice) -> list[Response]: ...

    def __getitem__(self, item: int | slice) -> Response | list[Response]:
        """The response with that number, or a list of those of a slice."""
        if isinstance(item, slice):
            return [self._read(number) for number in range(*item.indices(len(self)))]
        return self._read(range(len(self))[item])

    def __iter__(self) -> Iterator[Response]:
        return map(self._read, range(len(self)))

    @classmethod
    def of(cls, responses: Iterable[Response]) -> StoredResponses:
        """``responses`` as they are when they are stored already."""
        return responses if isinstance(responses, cls) else cls(responses)

    def place(self, key: tuple[str, str]) -> int | None:
        """The number of the response with the model and the id in ``key``; None when there is none."""
        if self._hashes is None:
            found = np.fromiter((hash(each.key) for each in self), np.int64, len(self))
            order = np.argsort(found, kind="stable")
            self._hashes = found[order], order
        hashes, order = self._hashes
        wanted = hash(key)
        first = int(np.searchsorted(hashes, wanted))
        for number in range(first, len(self)):
            if hashes[number] != wanted:
                break
            place = int(order[number])
            if self._read(place).key == key:
                return place
        return None

    def where(self, holds: Callable[[Response], bool]) -> StoredResponses:
        """The responses for which ``holds`` is true, in the same order and in the same file."""
        found = object.__new__(StoredResponses)
        found._file, found._offsets, found._lengths = self._file, array("q"), array("q")
        found._hashes = None
        for number, response in enumerate(self):
            if holds(response):
                found._offsets.append(self._offsets[number])
                found._lengths.append(self._lengths[number])
        return found

    def _read(self, number: int) -> Response:
        # One call that does not move the position in the file: several threads may read.
        line = os.pread(self._file.fileno(), self._lengths[number], self._offsets[number])
        values = dict(zip(_FIELDS, json.loads(line), strict=True))
        for name in _REPEATED:
            values[name] = sys.intern(values[name])
        return Response(**values)
