"""The scores of all cells in one table: ``python -m xltjax.study.results.tables FOLDERS... --out FOLDER``."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command, entry_point
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory, read_json_object
from xltjax.common.settings import setting
from xltjax.eval.table_files import write_table
from xltjax.study.identity import Record

AXES = ("model", "data", "adaptation", "learning_rate", "seed")
COLUMNS = (
    *AXES, "language", "metric", "n", "n_scored", "answers", "ok", "coverage", "mean", "low", "high",
)  # fmt: skip


@dataclass(frozen=True)
class TablesConfig:
    """Settings of the command."""

    folders: tuple[str, ...] = setting(
        (), "Directories of stages that scored answers. Unfinished ones are left out.",
        positional=True, paths=True,
    )  # fmt: skip
    out: str = setting("", "Directory for cells.csv and cells.md.")


def tables(config: TablesConfig) -> None:
    """Write the summaries of all cells that are done as one table.

    Raises:
        UserError: when there are none.
    """
    if not config.folders or not config.out:
        raise UserError("call: python -m xltjax.study.results.tables FOLDERS... --out FOLDER")
    rows = [row for folder in map(Path, config.folders) for row in _rows(folder)]
    if not rows:
        raise UserError("none of the folders holds scores of a stage that is done")
    out = make_output_directory(Path(config.out))
    write_table(
        out / "cells", rows, COLUMNS, ".4f", "Means of each cell, metric and language, with 95% intervals."
    )
    print(f"table of all cells: {out / 'cells.csv'}")


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    """The rows of the summary of a stage that is done, with the cell that its path names."""
    if Record.of_done(folder) is None:
        return
    *_, model, data, adaptation, rate, seed, _ = folder.parts
    cell = (model, data, adaptation, rate.removeprefix("lr-"), seed.removeprefix("seed-"))
    for row in read_json_object(folder / "summary.json")["rows"]:
        yield {**row, **dict(zip(AXES, cell, strict=True))}


COMMAND = command(
    TablesConfig, tables, name="tables", help="Write the scores of all cells of a study as one table."
)


main = entry_point(COMMAND, "python -m xltjax.study.results.tables")


if __name__ == "__main__":
    main()
