"""``python -m xltjax.eval report``: one file that opens by a double click, and figures and tables for a paper."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import (
    atomic_write,
    check_output_directory,
    make_output_directory,
    parse_json,
    read_text,
)
from xltjax.common.locks import LOCK, lock_directory
from xltjax.common.settings import setting
from xltjax.common.signals import importing

if TYPE_CHECKING:
    from xltjax.eval.report.content import Report

RECORD = "report.json"
FIGURES, TABLES, SUMMARY = "figures", "tables", "summary.txt"


@dataclass(frozen=True)
class ReportConfig:
    """Settings of ``report``."""

    sources: tuple[str, ...] = setting(
        (),
        "Studies, runs and directories of scores, judgments, ratings and responses. NAME=PATH names one. "
        "Two with the same models are compared.",
        positional=True,
        paths=True,
    )
    out: str = setting(
        "", "HTML file to write, such as report.html. Figures and tables go into the folder report beside it."
    )
    responses: tuple[str, ...] = setting((), "The scored responses, if they are not in SOURCES.", paths=True)
    title: str = setting("", "Title of the report.")
    draws: int = setting(10_000, "Number of bootstrap resamples of the instructions.", section="Statistics")


def run(config: ReportConfig) -> None:
    """Write the page, the figures and the tables, and print the summary.

    Raises:
        UserError: for sources that hold nothing, or places that hold something else.
    """
    if not config.sources:
        raise UserError("no sources given: python -m xltjax.eval report DIRECTORY... --out report.html")
    if not config.out:
        raise UserError("--out is missing; name the page, such as report.html")
    if config.draws < 1:
        raise UserError("--draws must be at least 1")
    with importing():  # which takes longer than all other evaluators together, and --help does not need
        from xltjax.eval.report.build import build_report
        from xltjax.eval.report.figures.drawing import FigureFiles, require_matplotlib
        from xltjax.eval.report.files import all_tables, write_tables
        from xltjax.eval.report.numbers.sources import read_source
        from xltjax.eval.report.page import write_page
        from xltjax.eval.report.terminal import summary_text

    require_matplotlib()
    page = Path(config.out)
    if page.suffix not in (".html", ".htm"):
        raise UserError(f"--out {config.out} must be the name of a page, such as {page / 'report.html'}")
    folder = page.with_suffix("")
    check_output_directory(folder)
    earlier = _earlier(page, folder)
    materials = [
        read_source(source, config.responses if number == 0 else ())
        for number, source in enumerate(config.sources)
    ]
    make_output_directory(folder)
    with lock_directory(folder):
        _record(folder, page, earlier)  # what is written from now on is ours
        for name in (FIGURES, TABLES):
            make_output_directory(folder / name)
        figures = FigureFiles(folder / FIGURES)
        report = build_report(materials, config.sources, figures, title=config.title, draws=config.draws)
        tables = write_tables(folder / TABLES, all_tables(report))
        summary = summary_text(report)
        with atomic_write(folder / SUMMARY) as file:
            file.write(summary)
        write_page(report, page)
        written = [str(path.relative_to(folder)) for path in (*figures.written, *tables, folder / SUMMARY)]
        for old in set(earlier) - set(written):
            with contextlib.suppress(OSError):
                (folder / old).unlink()
        _record(folder, page, written, report)
    print(summary, end="")
    print(f"\npage: {page}; figures and tables: {folder}")


def _earlier(page: Path, folder: Path) -> list[str]:
    """The files of an earlier report in the same place.

    Raises:
        UserError: when something else is there.
    """
    record = folder / RECORD
    if record.exists():
        document: Any = parse_json(read_text(record), record)
        if (
            isinstance(document, dict)
            and document.get("page") == page.name
            and isinstance(document.get("files"), list)
        ):
            return [
                name for name in document["files"] if isinstance(name, str) and ".." not in Path(name).parts
            ]
        raise UserError(f"{record} is not the record of one of our reports; choose another --out")
    if page.exists():
        raise UserError(f"{page} exists and is not one of our reports; choose another --out")
    if folder.is_dir() and any(each.name != LOCK for each in folder.iterdir()):
        raise UserError(
            f"{folder} holds something else, and figures and tables would go there; choose another --out"
        )
    return []


def _record(folder: Path, page: Path, files: list[str], report: Report | None = None) -> None:
    document = {
        "page": page.name,
        "files": sorted(files),
        "headline": list(report.headline) if report else [],
        "provenance": dict(report.provenance) if report else {},
    }
    with atomic_write(folder / RECORD) as file:
        file.write(json.dumps(document, ensure_ascii=True, indent=1) + "\n")


COMMAND = command(
    ReportConfig,
    run,
    name="report",
    help="Write a report as one HTML page.\n\n"
    "Reads studies, runs and directories of scores, and writes one HTML file that needs no network, with figures, "
    "tables and answers. Also writes each figure and table as files for a paper.",
)
