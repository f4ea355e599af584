"""Rows that are in memory instead of a file: dicts, chats, and the rows of data frames."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, json_line, parse_json
from xltjax.data.formats import read_row, with_our_names
from xltjax.data.reading.report import BadRowError, NothingToLearnError


def rows_of_frame(value: Any) -> Any:
    """The rows of a table of pandas, polars or Arrow as dicts; any other value unchanged."""
    if hasattr(value, "iterrows"):  # pandas, where NA and NaT stand for nothing, as NaN does
        return value.astype(object).where(value.notna(), None).to_dict("records")
    for method in ("to_dicts", "to_pylist"):
        if hasattr(value, method):
            return getattr(value, method)()
    return value


def without_nan(row: Any) -> Any:
    """A row with None instead of NaN, which stands for an empty cell in the rows of data frames."""
    if not isinstance(row, Mapping):
        return row
    return {key: None if isinstance(value, float) and value != value else value for key, value in row.items()}


@dataclass(frozen=True)
class KeptRows:
    """Instruction data that a run keeps beside its results, so that it is read again when the run goes on.

    Attributes:
        path: the file, which is named after its contents, so that other rows never replace those of an earlier run.
        text: its contents, JSON Lines.
    """

    path: Path
    text: str

    @classmethod
    def of(cls, name: str, rows: Sequence[Any], folder: Path) -> KeptRows:
        """The rows of the argument ``name``, which are to lie in ``folder``.

        Raises:
            UserError: naming what is no row, or cannot be written as JSON.
        """
        lines = []
        for index, row in enumerate(rows):
            if not isinstance(row, (Mapping, list)):
                raise UserError(f"{name}[{index}] is not a row, as others are, but {type(row).__name__}")
            try:
                lines.append(json_line(without_nan(row), _plain))
            except (TypeError, ValueError, RecursionError) as problem:
                raise UserError(f"{name}[{index}] cannot be written as JSON: {problem}") from None
        text = "".join(lines)
        digest = hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
        return cls(folder / f"rows-{digest}.jsonl", text)

    def check(self, name: str, columns: Mapping[str, str]) -> None:
        """Refuse a row that cannot be learned, by its place in the argument ``name``.

        Raises:
            UserError: naming it.
        """
        for index, line in enumerate(self.text.split("\n")[:-1]):
            try:
                read_row(with_our_names(parse_json(line, self.path), columns), lambda _: None)
            except NothingToLearnError:
                pass  # is counted and listed when the file is read
            except (BadRowError, RecursionError) as problem:
                raise UserError(f"{name}[{index}]: {problem}") from None

    def write(self) -> None:
        """Write the file, unless it is there."""
        if not self.path.is_file():
            with atomic_write(self.path) as file:
                file.write(self.text)


def _plain(value: Any) -> Any:
    """Arrays as lists; what else JSON does not have, such as a date in a column that is not read, as text."""
    return value.tolist() if hasattr(value, "tolist") else str(value)
