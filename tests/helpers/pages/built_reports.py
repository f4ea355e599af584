"""Reports made from folders, for tests of their parts."""

from __future__ import annotations

from pathlib import Path

from helpers.scored import write_model

from xltjax.eval.report.build import build_report
from xltjax.eval.report.content import Report
from xltjax.eval.report.figures.drawing import FigureFiles
from xltjax.eval.report.numbers.sources import read_source

CORRECT = {"en": [1, 1, 1, 0], "fr": [1, 0, 1, 1]}


def built(*folders: Path, responses: tuple[str, ...] = ()) -> Report:
    materials = [read_source(str(folder), responses) for folder in folders]
    return build_report(materials, [str(folder) for folder in folders], FigureFiles(None), draws=50)


def text_of(report: Report, section: str) -> str:
    (found,) = (each for each in report.sections if each.id == section)
    return " ".join(found.paragraphs)


def surface_alone(root: Path) -> None:
    write_model(root, "a-model", {"language_correct": CORRECT})
