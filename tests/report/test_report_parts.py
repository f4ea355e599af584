"""A part that is missing leaves a sentence; nothing of the user's is overwritten; numbers stand in table files."""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.pages.built_reports import CORRECT, built, surface_alone, text_of
from helpers.scored import (
    answer,
    write_judge,
    write_lines,
    write_model,
    write_modifiers,
    write_ratings,
    write_run,
    write_stage,
)

from xltjax.eval.report.command import ReportConfig, run
from xltjax.eval.report.content import Report, Table
from xltjax.eval.report.files import all_tables, cell, latex_lines
from xltjax.eval.report.terminal import WIDTH, summary_text

CRITERIA = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")


def people_alone(root: Path) -> None:
    write_lines(root / "responses.jsonl", [answer("m", n, "fr") for n in range(3)])
    write_ratings(root, "m", "anna", {name: {"fr": [2, 1, None]} for name in CRITERIA})


def judge_without_a_score(root: Path) -> None:
    write_lines(root / "responses.jsonl", [answer("m", n, "en") for n in range(3)])
    write_judge(root / "judge", "m", "openai:x", {name: {"en": [None] * 3} for name in CRITERIA})


def judge_that_was_examined(root: Path) -> None:
    write_lines(root / "responses.jsonl", [answer("m", n, "en") for n in range(3)])
    write_judge(root / "judge", "m", "openai:x", {name: {"en": [2, 1, 0]} for name in CRITERIA})
    cells = [
        {"judge": "openai:x", "criterion": "fluency", "language": language, "status": status, "objections": why,
         "checks": ["repeats"]}
        for language, status, why in (("ru", "do not trust", ["<b>shifts</b>"]), ("fr", "not known", []))
    ]  # fmt: skip
    (root / "judge" / "six-report.json").write_text(json.dumps({"rule": "", "cells": cells, "checks": []}))


def claims_of_a_study(root: Path) -> None:
    surface_alone(root)
    row = {
        "metric": "relevance",
        "higher": "a",
        "lower": "b",
        "languages": "fr",
        "seeds": 3,
        "n": 9,
        "margin": 0.0,
    }
    rows = [
        row | {"claim": "x <b>", "verdict": "appears", "difference": 0.5, "low": 0.25, "high": 0.75},
        row
        | {
            "claim": "y",
            "verdict": "not known",
            "difference": None,
            "low": None,
            "high": None,
            "note": "gone",
        },
    ]
    document = {
        "rows": rows,
        "verdicts": {each["claim"]: each["verdict"] for each in rows},
        "notes": "Paired.",
    }
    (root / "effects").mkdir()
    (root / "effects" / "effects.json").write_text(json.dumps(document))


def scores_alone(root: Path) -> None:
    surface_alone(root)
    (root / "responses.jsonl").unlink()


def responses_alone(root: Path) -> None:
    write_lines(root / "responses.jsonl", [answer("m", n, "fr") for n in range(3)])


def no_english(root: Path) -> None:
    write_model(root, "m", {"language_correct": {"fr": [1, 0, 1]}, "spelling": {"fr": [0.5, None, 1.0]}})


def one_answer(root: Path) -> None:
    write_model(root, "m", {"language_correct": {"en": [1]}})


def everything_abstains(root: Path) -> None:
    write_model(root, "m", {"language_correct": {"en": [None] * 3}, "spelling": {"en": [None] * 3}})


def one_rate_lacks_a_language(root: Path) -> None:
    write_model(root / "a", "x/lr-1e-05", {"language_correct": CORRECT})
    write_model(root / "b", "x/lr-1e-04", {"language_correct": {"en": [1, 1, 0, 1]}})


def runs_alone(root: Path) -> None:
    write_run(root / "run", [2.0, 1.0], 1e-5)


def failed_cells_alone(root: Path) -> None:
    write_stage(root / "m/d/ft/lr-1e-05/seed-0/train", "train", "failed", "no memory")


def a_study_that_writes_its_report(root: Path) -> None:
    surface_alone(root / "m")
    write_stage(root / "m/d/ft/lr-1e-05/seed-0/train", "train", "done")
    write_stage(root / "report", "report", "begun")


def modifiers_alone(root: Path) -> None:
    write_modifiers(root, "m", {"briefly": [1, 0, None], "own_modifier": [1, 1, 1]}, [0, 0, 0])


def odd_files_beside(root: Path) -> None:
    surface_alone(root)
    (root / "judge.json").write_text("no JSON")
    (root / "broken").mkdir()
    (root / "broken" / "scores.jsonl").write_text('{"id": 1}\n')
    (root / "notes.jsonl").write_text("\n")


CASES = [
    (surface_alone, "criteria", "No judge has scored these answers"),
    (surface_alone, "criteria", "No people have rated"),
    (surface_alone, "rates", "No configuration was tried with several learning rates"),
    (surface_alone, "differences", "There is one configuration"),
    (surface_alone, "modifiers", "No answer is to an instruction with a task modifier"),
    (surface_alone, "spelling", "There are no scores of spelling"),
    (surface_alone, "training", "There is no run directory"),
    (surface_alone, "surface", "Not scored: spelling and relevance"),
    (people_alone, "agreement", "There are people without a judge"),
    (people_alone, "surface", "There are no scores of language"),
    (people_alone, "headline", "By people, m has 1.50 [1.00, 2.00] in helpfulness in fr; no program has scored"),
    (judge_without_a_score, "headline", "The answers have no scores yet"),
    (judge_without_a_score, "tasks", "There are no scores to break down"),
    (judge_without_a_score, "agreement", "How far the judge can be trusted was not examined"),
    (judge_that_was_examined, "agreement", "1 of 2 pairs of criterion and language should not be trusted"),
    (judge_that_was_examined, "agreement", "Do not trust openai:x on fluency in ru."),
    (claims_of_a_study, "effects", "Appears (1): x <b>. Not known (1): y."),
    (scores_alone, "failures", "The texts of 8 scored answers are not given"),
    (responses_alone, "confusion", "The language of the answers was not identified"),
    (no_english, "surface", "What transfer costs against English cannot be said"),
    (one_answer, "surface", "What transfer costs against English cannot be said"),
    (everything_abstains, "failures", ""),
    (one_rate_lacks_a_language, "rates", ""),
    (runs_alone, "surface", "There are no scores of language"),
    (failed_cells_alone, "failures", "train failed: no memory"),
    (a_study_that_writes_its_report, "failures", "1 of 1 stages of the study that have begun are done."),
    (modifiers_alone, "modifiers", "No judge has scored the helpfulness"),
    (odd_files_beside, "failures", "broken/scores.jsonl could not be read"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "section", "sentence"), CASES, ids=[f"{c[0].__name__}-{c[1]}" for c in CASES]
)
def test_a_missing_part_leaves_a_sentence(
    tmp_path: Path, make: Callable[[Path], None], section: str, sentence: str
) -> None:
    make(tmp_path)
    report = built(tmp_path)
    assert sentence in (" ".join(report.headline) if section == "headline" else text_of(report, section))
    for each in report.sections:
        assert each.paragraphs or each.figures or any(table.rows for table in each.tables), each.id
    assert len(report.headline) == 4
    assert all(line.strip() for line in report.headline)
    assert max(map(len, summary_text(report).splitlines())) <= WIDTH
    names = [table.name for table in all_tables(report)]
    assert len(names) == len(set(names))


def test_criteria_of_ones_own_have_their_own_scale(tmp_path: Path) -> None:
    responses_alone(tmp_path)
    judged = {"politeness": {"fr": [4, 2, 3]}, "helpfulness": {"fr": [5, 1, 3]}}
    write_judge(tmp_path / "judge", "m", "openai:x", judged)
    rubric = tmp_path / "mine.yaml"
    rubric.write_text(
        "criteria: {politeness: {question: q, scale: [1, 4]}, helpfulness: {question: q, scale: [1, 5]}}"
    )
    record = json.loads((tmp_path / "judge" / "judge.json").read_text())
    record["six"]["criteria"] = str(rubric)
    (tmp_path / "judge" / "judge.json").write_text(json.dumps(record))
    report = built(tmp_path)
    (found,) = (each for each in report.sections if each.id == "criteria")
    told = "Scores from 1 (worst) to 4 (best): politeness; from 1 (worst) to 5 (best): helpfulness."
    assert found.figures[0].data.caption.startswith(told)
    assert found.tables[0].caption.startswith(told)
    assert "politeness, score" in found.figures[0].svg
    (tasks,) = (each for each in report.sections if each.id == "tasks")
    assert "helpfulness, score from 1 to 5" in tasks.figures[0].svg


def write_everything(root: Path) -> None:
    for rate, values in (("1e-06", [1, 1, 0, 1]), ("1e-05", [0, 1, 0, 0])):
        model = f"m/dolly/ft/lr-{rate}/seed-0"
        write_model(
            root / model,
            model,
            {
                "language_correct": {"en": [1, 1, 1, 1], "fr": values},
                "relevance": {"en": [1, 1, 0, 1], "fr": [1, 1, 1, 0]},
                "spelling": {"en": [0.9, 0.8, 1.0, 1.0], "fr": [0.7, None, 0.5, 0.6]},
                "spelling_name": {"en": [0.1, 0, 0, 0], "fr": [0.1, None, 0.2, 0]},
                "spelling_foreign": {"en": [0, 0.1, 0, 0], "fr": [0.1, None, 0.2, 0.2]},
                "spelling_nonword": {"en": [0, 0.1, 0, 0], "fr": [0.1, None, 0.1, 0.2]},
                "lpr": {"en": [1, 1, 1, 1], "fr": values},
            },
        )
    write_run(root / model / "train", [3.0, 2.5], 1e-5)
    write_modifiers(root / model, model, {"briefly": [1, 1, 0, 1], "arrow": [0, 0, 1, 0]}, [0, 1, 0, 0])
    judged = {name: {"en": [2.0, 1.0, 2.0, 2.0], "fr": [1.0, 0.0, 2.0, 1.0]} for name in CRITERIA}
    write_judge(root / model / "judge", model, "openai:x", judged)
    write_ratings(
        root / model, model, "anna", {name: {"en": [2, 2, 1, 2], "fr": [1, 1, 1, 0]} for name in CRITERIA}
    )


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    root = tmp_path_factory.mktemp("whole")
    write_everything(root)
    return root, built(root)


def test_every_figure_says_n_and_what_its_axes_are(whole: tuple[Path, Report]) -> None:
    _, report = whole
    assert report.lead is not None
    figures = [report.lead, *(figure for section in report.sections for figure in section.figures)]
    units = ("%", "score", "points", "nats", "rating", "language", "update", "learning rate")
    assert len(figures) >= 9
    for figure in figures:
        words = " ".join(re.findall(r">([^<>]+)</text>", figure.svg))
        assert re.search(r"\bn = \d", words), figure.name
        assert any(unit in words for unit in units), figure.name
        assert re.search(r"\bn\b", figure.caption), figure.name
        assert figure.data.rows, figure.name
        assert "<image" not in figure.svg, figure.name  # which the page leaves out


def numbers_in(text: str) -> set[str]:
    """The numbers of a text as they are written, without those that are part of a name."""
    return {
        found.rstrip(".,").lstrip("+−-")
        for found in re.findall(r"(?<![\w.\-/])[+−-]?\d[\d.,]*(?:e-?\d+)?", text)
    }


def test_every_number_of_a_sentence_is_in_a_table(whole: tuple[Path, Report]) -> None:
    _, report = whole
    written = set()
    for table in all_tables(report):
        for row in table.rows:
            for column in table.columns:
                for key in filter(None, (column.key, column.low, column.high)):
                    value = row.get(key)
                    if isinstance(value, (int, float)):
                        for number in (value, 100 * value):
                            written |= {f"{abs(number):,.{digits}f}" for digits in (0, 1, 2, 3)}
                        written |= {f"{value:g}", f"{value:.0e}".replace("e-0", "e-")}
    # The level of intervals, limits of the rules, and figures and tables of the paper.
    known = {"95", ".05", "2", "98", "0", "1", "3", "4", "5"}
    sentences = [*report.headline, *(text for section in report.sections for text in section.paragraphs)]
    systems = {
        row["system"]
        for section in report.sections
        for table in section.tables
        for row in table.rows
        if "system" in row
    }
    names = sorted({*report.model_colors, *systems}, key=len, reverse=True)
    for sentence in sentences:
        for name in names:
            sentence = sentence.replace(name, "")
        assert numbers_in(sentence) - written - known == set(), sentence


def test_the_page_shows_what_the_table_files_hold(whole: tuple[Path, Report], tmp_path: Path) -> None:
    from xltjax.eval.report.files import write_tables
    from xltjax.eval.report.page import page_html

    _, report = whole
    write_tables(tmp_path, all_tables(report))
    page = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page_html(report)))
    for section in report.sections:
        for table in section.tables:
            with (tmp_path / f"{table.name}.csv").open(encoding="utf-8", newline="") as file:
                saved = list(csv.DictReader(file))
            assert len(saved) == len(table.rows)
            for row, text in zip(table.rows, saved, strict=True):
                for column in table.columns:
                    value = row.get(column.key)
                    if isinstance(value, float):
                        assert float(text[column.key]) == pytest.approx(value, rel=1e-9)
                        assert column.text(row) in page


def test_a_report_is_the_same_when_it_is_made_again(tmp_path: Path) -> None:
    surface_alone(tmp_path / "scores")
    settings = ReportConfig(sources=(str(tmp_path / "scores"),), out=str(tmp_path / "report.html"), draws=50)
    run(settings)
    folder = tmp_path / "report"
    first = {
        path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and path.suffix != ".json"
    }
    run(settings)
    assert {path: path.read_bytes() for path in first} == first
    assert any(path.suffix == ".pdf" for path in first)


def test_a_figure_that_is_gone_leaves_no_file(tmp_path: Path) -> None:
    surface_alone(tmp_path / "scores")
    settings = ReportConfig(sources=(str(tmp_path / "scores"),), out=str(tmp_path / "report.html"), draws=50)
    run(settings)
    old = tmp_path / "report" / "tables" / "old.csv"
    old.write_text("x")
    mine = tmp_path / "report" / "tables" / "mine.csv"
    mine.write_text("of the user")
    record = tmp_path / "report" / "report.json"
    document = json.loads(record.read_text())
    document["files"].append("tables/old.csv")
    record.write_text(json.dumps(document))
    run(settings)
    assert not old.exists()
    assert mine.exists()


# --- files for a paper ---


def test_numbers_of_latex_tables_align_and_captions_say_n(whole: tuple[Path, Report]) -> None:
    _, report = whole
    for table in all_tables(report):
        text = "".join(latex_lines(table))
        body = [line for line in text.splitlines() if line.endswith("\\\\") and "&" in line]
        assert len({line.replace("\\&", "").count("&") for line in body}) <= 1, table.name
        assert all(part in text for part in ("\\toprule", "\\bottomrule", "\\caption{")), table.name
    (rates,) = (table for table in all_tables(report) if table.name == "transfer")
    text = "".join(latex_lines(rates))
    assert "S[table-format=" in text
    assert "n: scored answers" in text
    assert "{[}$" in text  # intervals


def test_markdown_cells_hold_the_interval(whole: tuple[Path, Report]) -> None:
    _, report = whole
    (table,) = (each for each in all_tables(report) if each.name == "surface")
    column = next(column for column in table.columns if column.key == "language_correct")
    assert re.fullmatch(r"\d+\.\d% \[\d+\.\d%, \d+\.\d%\]", cell(column, table.rows[0]))


@pytest.mark.slow
def test_every_latex_table_compiles(whole: tuple[Path, Report], tmp_path: Path) -> None:
    """Debian's texlive-latex-base, with texlive-latex-recommended for booktabs and texlive-science for siunitx."""
    import shutil

    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed: texlive-latex-base texlive-latex-recommended texlive-science")
    _, report = whole
    tables: list[Table] = list(all_tables(report))
    odd = Table(
        "odd",
        "Odd & names_100%",
        tables[0].columns,
        [{tables[0].columns[0].key: "a_b & c% \\x {y} ~ ^ #"}],
        "50%",
    )
    lines = ["\\documentclass{article}\\usepackage[T1]{fontenc}\\usepackage[utf8]{inputenc}"]
    lines += [
        "\\usepackage{booktabs,siunitx,longtable}\\usepackage[paperwidth=200cm,paperheight=200cm]{geometry}\\begin{document}"
    ]
    lines += ["".join(latex_lines(table)) + "\\clearpage" for table in (*tables, odd)]
    (tmp_path / "all.tex").write_text("\n".join([*lines, "\\end{document}"]), encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "all.tex"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace")
    assert done.returncode == 0, done.stdout[-2000:]


def test_the_command_imports_neither_matplotlib_nor_jax() -> None:
    code = "import sys, xltjax.eval.__main__; print([name for name in ('matplotlib', 'jax') if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
