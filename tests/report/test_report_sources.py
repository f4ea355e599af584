"""What a report is made from: directories, files, the choice of a rate; and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from helpers.pages.built_reports import built, surface_alone, text_of
from helpers.scored import answer, score, write_lines, write_model, write_run

from xltjax.common.errors import UserError
from xltjax.eval.report.command import ReportConfig, run
from xltjax.eval.report.files import all_tables
from xltjax.eval.report.numbers.sources import read_source


@pytest.mark.parametrize("there", ["page", "folder", "record"])
def test_what_is_not_a_report_of_ours_is_never_overwritten(tmp_path: Path, there: str) -> None:
    surface_alone(tmp_path / "scores")
    place = {"page": "report.html", "folder": "report/thesis.tex", "record": "report/report.json"}[there]
    path = tmp_path / place
    path.parent.mkdir(exist_ok=True)
    path.write_text("{}")
    with pytest.raises(UserError, match="choose another --out"):
        run(ReportConfig(sources=(str(tmp_path / "scores"),), out=str(tmp_path / "report.html")))
    assert path.read_text() == "{}"
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted({"scores", place.split("/")[0]})


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"sources": ()}, "no sources given"),
        ({"out": ""}, "--out is missing"),
        ({"out": "report"}, "must be the name of a page"),
        ({"sources": ("nothing-here",)}, "does not exist"),
        ({"draws": 0}, "--draws"),
    ],
)
def test_a_mistake_is_one_line(tmp_path: Path, settings: dict[str, object], message: str) -> None:
    surface_alone(tmp_path)
    given = {"sources": (str(tmp_path),), "out": str(tmp_path / "report.html"), **settings}
    with pytest.raises(UserError, match=message) as caught:
        run(ReportConfig(**given))  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="neither responses nor scores nor runs"):
        read_source(str(tmp_path))


def test_two_answers_under_one_name_are_refused(tmp_path: Path) -> None:
    write_lines(tmp_path / "a" / "responses.jsonl", [answer("m", 0, "en")])
    write_lines(tmp_path / "b" / "responses.jsonl", [answer("m", 0, "en", response="Another one.")])
    with pytest.raises(UserError, match="two answers under the id 'q0-en'"):
        read_source(str(tmp_path))


def test_scores_without_texts_take_them_from_the_responses_that_are_named(tmp_path: Path) -> None:
    surface_alone(tmp_path / "made")
    responses = tmp_path / "made" / "responses.jsonl"
    other = responses.rename(tmp_path / "answers.jsonl.txt").rename(tmp_path / "mine.jsonl")
    report = built(tmp_path / "made", responses=(str(other),))
    assert len(report.answers) == 8


# --- two sources ---


def test_two_reports_of_the_same_models_show_what_changed_first(tmp_path: Path) -> None:
    for name, french in (("before", [0, 0, 0, 0, 0, 0, 0, 1]), ("after", [1, 1, 1, 1, 1, 1, 1, 1])):
        write_model(tmp_path / name, "m", {"language_correct": {"en": [1] * 8, "fr": french}})
        write_run(tmp_path / name / "run", [1.0], 1e-5 if name == "after" else 1e-6)
    report = built(tmp_path / "after", tmp_path / "before")
    changed = report.sections[0]
    assert changed.id == "changed"
    assert report.headline[1].startswith("2 differences are significant; the largest is +87.5 points")
    rows = {row["language"]: row for row in changed.tables[-1].rows}
    assert rows["fr"]["difference"] == pytest.approx(7 / 8)
    assert (rows["fr"]["a"], rows["fr"]["b"]) == ("after: m", "before: m")
    assert rows["fr"]["p"] == pytest.approx(2 * 0.5**7)  # McNemar: seven pairs, all in one direction
    assert rows["fr"]["p_holm"] == pytest.approx(2 * 2 * 0.5**7)  # of two languages
    (settings,) = (table for table in changed.tables if table.name == "changed-settings")
    assert {"what": "run run: learning_rate", "first": "1e-05", "second": "1e-06"} in settings.rows


def test_two_directories_of_one_model_with_different_scores_are_one_report(tmp_path: Path) -> None:
    surface_alone(tmp_path / "surface")
    of = [answer("a-model", n, "fr") for n in range(4)]
    write_lines(tmp_path / "relevance" / "scores.jsonl", [score(each, "relevance", 1.0) for each in of])
    report = built(tmp_path / "surface", tmp_path / "relevance")
    assert [section.id for section in report.sections if section.id == "changed"] == []
    assert set(report.model_colors) == {"a-model"}


def test_scores_and_a_file_of_responses_are_one_report(tmp_path: Path) -> None:
    surface_alone(tmp_path / "scores")
    answers = (tmp_path / "scores" / "responses.jsonl").rename(tmp_path / "mine.jsonl")
    report = built(tmp_path / "scores", answers)
    assert len(report.answers) == 8
    assert report.sections[0].id == "surface"
    assert report.answers[0].scores == {"language_correct": 1.0}


def test_two_directories_of_two_models_begin_with_their_differences(tmp_path: Path) -> None:
    for name, french in (("a", [1, 1, 1, 1]), ("b", [0, 0, 0, 1])):
        write_model(tmp_path / name, name, {"language_correct": {"en": [1] * 4, "fr": french}})
    report = built(tmp_path / "a", tmp_path / "b")
    assert report.sections[0].id == "differences"
    rows = {row["language"]: row for row in report.sections[0].tables[0].rows}
    assert (rows["fr"]["difference"], rows["fr"]["p"]) == (pytest.approx(0.75), pytest.approx(0.25))


def test_seeds_are_one_system_and_the_report_says_so(tmp_path: Path) -> None:
    for seed, french in ((0, [1, 1, 0, 0]), (1, [1, 0, 0, 0])):
        model = f"m/ft/lr-1e-05/seed-{seed}"
        write_model(tmp_path / model, model, {"language_correct": {"en": [1] * 4, "fr": french}})
    report = built(tmp_path)
    (table,) = (each for each in all_tables(report) if each.name == "all-metrics")
    (row,) = (row for row in table.rows if row["language"] == "fr")
    assert (row["mean"], row["n"], row["answers"]) == (pytest.approx(3 / 8), 4, 8)
    assert "Answers of 2 seeds are taken together" in text_of(report, "surface")


def test_three_directories_of_the_same_answers_are_refused(tmp_path: Path) -> None:
    for name in "abc":
        write_model(tmp_path / name, "m", {"language_correct": {"en": [1, 0 if name == "a" else 1]}})
    with pytest.raises(UserError, match="a report compares two of them"):
        built(*(tmp_path / name for name in "abc"))


# --- the choice of eval choose ---


def test_the_instructions_of_the_choice_are_left_out_of_the_other_numbers(tmp_path: Path) -> None:
    from xltjax.eval.comparison.choose import ChooseConfig
    from xltjax.eval.comparison.choose import run as choose

    for rate, french in (("1e-06", [1] * 8), ("1e-05", [1, 0] * 4)):
        model = f"m/lr-{rate}"
        write_model(tmp_path / model, model, {"language_correct": {"en": [1] * 8, "fr": french}})
    scores = tuple(str(tmp_path / f"m/lr-{rate}") for rate in ("1e-06", "1e-05"))
    responses = tuple(f"{each}/responses.jsonl" for each in scores)
    choose(
        ChooseConfig(
            scores=scores, out=str(tmp_path / "choice"), responses=responses, draws=50, select_share=0.5
        )
    )
    document = json.loads((tmp_path / "choice" / "choice.json").read_text())
    report = built(tmp_path)
    assert "chosen by eval choose on 4 instructions" in text_of(report, "rates")
    assert "The 4 instructions on which the rates were chosen are left out" in text_of(report, "surface")
    (table,) = (table for table in all_tables(report) if table.name == "all-metrics")
    assert {row["n"] for row in table.rows} == {len(document["evaluation"])}
    (rates,) = (table for table in all_tables(report) if table.name == "rates")
    (family,) = document["families"].values()
    assert [row["mean"] for row in rates.rows] == [
        row["value"] for row in family["rates"] if row["chosen"]
    ] + [row["value"] for row in family["rates"] if not row["chosen"]]
