"""How good a judge is: every defect that is planted is found, in its cell and in no other."""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from xltjax.common.errors import UserError
from xltjax.common.files import write_jsonl
from xltjax.data.responses import Response
from xltjax.eval import __main__ as program
from xltjax.eval.judge.report.evidence import Witness, read_ratings
from xltjax.eval.judge.report.trust import DO_NOT_TRUST, NO_OBJECTION, NOT_KNOWN, Trust, judge_cells
from xltjax.eval.judge.rubrics import load_rubric
from xltjax.eval.scores import Score
from xltjax.eval.stats.correlation import spearman

CRITERIA = load_rubric("six", preset="paper", language="en").criteria
NAMES = [each.name for each in CRITERIA]
LANGUAGES = ("en", "ru")
WORDS = random.Random(3)
RESPONSES = [
    Response(
        f"q{n:02d}-{language}", "m", language, "task", f"Question {n}", "word " * WORDS.randrange(1, 60),
        instruction_id=f"q{n:02d}",
    )
    for language in LANGUAGES
    for n in range(40)
]  # fmt: skip
Value = Callable[[Response, str], float | None]


def truth(response: Response, name: str) -> float:
    """A score that has nothing to do with the length; the language is always right and fluent."""
    if name in ("language", "fluency"):
        return 2.0
    return float(random.Random(f"{response.id} {name}").randrange(3))


def scores(value: Value = truth, judge: str = "j", **detail: Any) -> Iterator[Score]:
    for response in RESPONSES:
        for name in NAMES:
            found = value(response, name)
            state = "failed:truncated" if found is None else "ok"
            yield Score(
                response.id, f"judge/{name}", found, state, {"judge": judge, "repeat": 0, **detail}, "m"
            )


def repeat(value: Value = truth) -> Iterator[Score]:
    return scores(value, repeat=1)


def planted(name: str, value: Value, base: Value = truth) -> Value:
    """Like ``base``, but ``value`` for one criterion in Russian."""

    def found(response: Response, criterion: str) -> float | None:
        hit = (criterion, response.language) == (name, "ru")
        return value(response, criterion) if hit else base(response, criterion)

    return found


def noise(response: Response, name: str) -> float:
    return float(random.Random(f"noise {response.id}").randrange(3))


def copy(response: Response, name: str) -> float:
    """Other answers: of no help, in the same language."""
    return 2.0 if name in ("language", "fluency") else 0.0


def cells(*given: Iterable[Score], people: dict[str, Any] | None = None) -> dict[tuple[str, str, str], Trust]:
    every = [score for stream in given for score in stream]
    witness = Witness(RESPONSES, every, CRITERIA, people or {}, draws=300)
    return {
        (each.judge, each.criterion, each.language): each for each in judge_cells(witness.all(), CRITERIA)
    }


def objections(found: dict[tuple[str, str, str], Trust]) -> dict[tuple[str, str], str]:
    """Why not to trust which criterion in which language; the row of all languages is left out."""
    return {
        key[1:]: "; ".join(each.objections)
        for key, each in found.items()
        if each.status == DO_NOT_TRUST and key[2]
    }


def test_a_judge_without_a_defect_has_no_objection_against_it() -> None:
    people = {name: {r.key: truth(r, name) for r in RESPONSES} for name in NAMES}
    found = cells(scores(), repeat(), scores(copy, probe="copy"), scores(probe="language"), people=people)
    assert {each.status for each in found.values()} == {NO_OBJECTION}
    assert found["j", "helpfulness", "ru"].checks == ("repeats", "people", "language_probe", "copy_probe")


PLANTED: dict[str, tuple[list[Iterator[Score]], str, str]] = {
    "noise": ([scores(), repeat(planted("accuracy", noise))], "accuracy", "does not repeat itself"),
    "failures": (
        [scores(planted("coherence", lambda r, n: None if r.id < "q03" else truth(r, n)))],
        "coherence",
        "only 92% of the answers have a score",
    ),
    "other judge": (
        [scores(), scores(planted("accuracy", noise), "k")], "accuracy", "disagrees with ",
    ),
    "rubric's language": (
        [scores(), scores(planted("helpfulness", lambda r, n: 2.0), probe="language")],
        "helpfulness",
        "the rubric's language moves it by +",
    ),
    "rubric's language, at random": (
        [scores(), scores(planted("accuracy", noise), probe="language")],
        "accuracy",
        "the rubric's language changes it (AC2 ",
    ),
    "copies": (
        [scores(), scores(planted("helpfulness", lambda r, n: 1.0, copy), probe="copy")],
        "helpfulness",
        "gives answers to another question 1.00",
    ),
    "the task moves fluency": (
        [scores(), scores(planted("fluency", lambda r, n: 1.0, copy), probe="copy")],
        "fluency",
        "another instruction moves it by -1.00 for the same text",
    ),
    "length": (
        [scores(planted("fluency", lambda r, n: 2.0 if len(r.response) > 150 else 1.0))],
        "fluency",
        "follows the length",
    ),
}  # fmt: skip


@pytest.mark.parametrize("defect", PLANTED)
def test_a_planted_defect_is_found_in_its_cell_alone(defect: str) -> None:
    given, name, why = PLANTED[defect]
    found = objections(cells(*given))
    assert list(found) == [(name, "ru")]
    assert why in found[name, "ru"]


def test_a_judge_that_is_kinder_than_people_is_named_in_points() -> None:
    people = {"helpfulness": {r.key: float(n % 3) for n, r in enumerate(RESPONSES)}}
    kind = scores(lambda r, n: min(2.0, people["helpfulness"][r.key] + (r.language == "ru")))
    found = objections(cells(kind, people=people))
    assert list(found) == [("helpfulness", "ru")]
    assert "scores +0.6" in found["helpfulness", "ru"]  # 2/3 of the answers could rise


def test_a_judge_that_follows_the_length_where_people_do_not_is_named() -> None:
    people = {"helpfulness": {r.key: truth(r, "helpfulness") for r in RESPONSES}}
    long = scores(lambda r, n: 2.0 if len(r.response) > 150 else 0.0)
    assert (
        "against people it follows the length" in objections(cells(long, people=people))["helpfulness", "en"]
    )


def test_few_answers_neither_accuse_nor_acquit() -> None:
    few = [s for s in [*scores(), *repeat(noise)] if s.id < "q20"]
    assert {each.status for key, each in cells(few).items() if key[2]} == {NOT_KNOWN}


def test_without_any_check_nothing_is_known() -> None:
    assert {each.status for each in cells(scores()).values()} == {NOT_KNOWN}


def test_copies_of_faulty_answers_do_not_count() -> None:
    base = scores(planted("fluency", lambda r, n: 0.0))
    witness = Witness(RESPONSES, [*base, *scores(copy, probe="copy")], CRITERIA, {}, draws=50)
    found = [each for each in witness.all() if each.check == "copy_probe"]
    assert {each.language for each in found} == {"", "en"}
    assert {each.n for each in found} == {40}


def test_agreement_is_that_of_sklearn_and_of_the_formula() -> None:
    from sklearn.metrics import cohen_kappa_score

    people = {"accuracy": {r.key: noise(r, "") for r in RESPONSES}}
    witness = Witness(RESPONSES, scores(), CRITERIA, people, draws=50)
    (found,) = [
        e for e in witness.all() if (e.check, e.criterion, e.language) == ("people", "accuracy", "ru")
    ]
    theirs = [noise(r, "") for r in RESPONSES if r.language == "ru"]
    mine = [truth(r, "accuracy") for r in RESPONSES if r.language == "ru"]
    assert found.agreement is not None
    assert found.agreement.kappa is not None
    assert found.agreement.kappa.estimate == pytest.approx(
        cohen_kappa_score(theirs, mine, weights="quadratic")
    )
    assert found.agreement.mean_difference is not None
    assert found.agreement.mean_difference.estimate == pytest.approx(np.mean(mine) - np.mean(theirs))


def test_of_repeats_the_lower_median_counts() -> None:
    given = [*scores(lambda r, n: 0.0), *scores(lambda r, n: 2.0, repeat=1), *scores(lambda r, n: 1.0, "k")]
    witness = Witness(RESPONSES, given, CRITERIA, {}, draws=10)
    (found,) = [
        e
        for e in witness.all()
        if (e.check, e.judge, e.criterion, e.language) == ("judges", "j", "accuracy", "en")
    ]
    assert found.agreement is not None
    assert found.agreement.mean_difference is not None
    assert found.agreement.mean_difference.estimate == -1.0  # 0 minus 1


def test_spearman_and_its_interval() -> None:
    x, y = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12], [2, 1, 2, 3, 5, 4, 5, 9, 6, 6, 8, 9]
    found = spearman(x, y)
    rho = stats.spearmanr(x, y).statistic
    half = 1.959963984540054 * np.sqrt((1 + rho**2 / 2) / 9)
    assert (found.estimate, found.low, found.high) == pytest.approx(
        (rho, np.tanh(np.arctanh(rho) - half), np.tanh(np.arctanh(rho) + half))
    )
    assert spearman([1, 2], [3, 3]).note == "all values are equal"
    assert spearman([1, 2, 3], [1, 2, 3]).low is None


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (
            {"id": "q00-en", "metric": "accuracy", "value": 3},
            "line 1: 3 is not on the scale of accuracy, 0 to 2",
        ),
        ({"id": "q00-en", "value": 1}, "line 1: not a rating"),
        ([1], "line 1: not a rating"),
    ],
)
def test_a_rating_that_cannot_be_used_is_named(tmp_path: Path, row: Any, problem: str) -> None:
    path = tmp_path / "ratings.jsonl"
    path.write_text(json.dumps(row) + "\n")
    with pytest.raises(UserError, match=problem):
        read_ratings([path], RESPONSES, CRITERIA)


def test_ratings_of_several_people_count_as_their_lower_median(tmp_path: Path) -> None:
    path = tmp_path / "ratings.jsonl"
    line = {"id": "q00-en", "metric": "people/accuracy"}
    write_jsonl(
        path,
        [line | {"value": value} for value in (2, 0, 1, 1, None)] + [{"id": "?", "metric": "x", "value": 9}],
    )
    assert read_ratings([path], RESPONSES, CRITERIA) == {"accuracy": {("m", "q00-en"): 1.0}}
    twice = [*RESPONSES, replace(RESPONSES[0], model="other")]
    with pytest.raises(UserError, match="several models have the id 'q00-en'"):
        read_ratings([path], twice, CRITERIA)


# The command.


def run(*arguments: str) -> int:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eval", "judge-report", *arguments])
        with pytest.raises(SystemExit) as stop:
            program.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    responses, out = tmp_path / "responses.jsonl", tmp_path / "judged"
    write_jsonl(responses, [response.row() for response in RESPONSES])
    out.mkdir()
    write_jsonl(out / "scores.jsonl", [s.row() for s in [*scores(), *repeat(planted("accuracy", noise))]])
    record = {
        "six": {
            "responses": [str(responses)],
            "language": "",
            "criteria": "six",
            "preset": "paper",
            "rubric_language": "en",
        }
    }
    (out / "judge.json").write_text(json.dumps(record))
    return out


def test_the_report_names_the_cell(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_jsonl(
        folder / "ratings.jsonl", [{"id": r.id, "metric": "helpfulness", "value": 1} for r in RESPONSES[:40]]
    )
    assert run(str(folder), "--draws", "50") == 0
    out = capsys.readouterr().out
    assert "j: the judge with people" in out
    assert "does not repeat itself" in out
    document = json.loads((folder / "six-report.json").read_text())
    assert {(c["criterion"], c["language"]) for c in document["cells"] if c["status"] == DO_NOT_TRUST} >= {
        ("accuracy", "ru")
    }
    assert "| accuracy | ru | do not trust | does not repeat itself" in (folder / "six-report.md").read_text()


def test_mistakes_are_one_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, problem in (
        ([], "give the --out folder of judge"),
        ([str(folder.parent)], "is not a folder of judge: it has no judge.json"),
        ([str(folder), "--rubric", "sx"], "did you mean 'six'?"),
        ([str(folder), "--responses", "gone.jsonl"], "gone.jsonl does not exist"),
        ([str(folder), "--level", "1"], "--level must be between 0 and 1"),
    ):
        assert run(*arguments) == 2
        error = capsys.readouterr().err
        assert problem in error
        assert error.startswith("error: ")
        assert error.count("\n") == 1
