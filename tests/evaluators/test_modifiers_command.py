"""``python -m xltjax.eval modifiers``: matching of unmodified answers, files, table, errors."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from xltjax.common.cli import execute
from xltjax.data.responses import Response
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.modifiers.command import OwnAnswers, grade
from xltjax.eval.scores import Score, Unavailable

NO_IDENTIFIER = Unavailable("not needed")
ASK = "List 2 options."
LISTED, PROSE = "1. tea\n2. milk", "I would take tea, or perhaps some milk."


def row(number: int, response: str, modifier: dict[str, Any] | None = None, **values: Any) -> dict[str, Any]:
    instruction = f"Question {number}?"
    return {
        "id": f"{number}-{modifier['name'] if modifier else 'plain'}-{values.get('language', 'en')}",
        "model": "m",
        "language": "en",
        "instruction": f"{instruction} {ASK}" if modifier else instruction,
        "response": response,
        "finish_reason": "stop",
        "instruction_id": f"q{number}",
        "modifier": modifier,
        **values,
    }


def list_2(number: int, response: str, **values: Any) -> dict[str, Any]:
    return row(number, response, {"name": "list_n", "params": {"n": 2}}, **values)


def run(tmp_path: Path, rows: list[dict[str, Any]], *flags: str) -> tuple[int, Path]:
    path, out = tmp_path / "responses.jsonl", tmp_path / "out"
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    with pytest.raises(SystemExit) as stop:
        execute(modifiers.COMMAND, [str(path), "--out", str(out), *flags])
    return int(stop.value.code or 0), out


def read_table(out: Path, grade_name: str = "strict") -> dict[str, dict[str, str]]:
    with (out / "modifiers.csv").open(encoding="utf-8") as file:
        return {r["modifier"]: r for r in csv.DictReader(file) if r["grade"] == grade_name}


def read_scores(out: Path) -> dict[tuple[str, str], dict[str, Any]]:
    lines = (out / "scores.jsonl").read_text(encoding="utf-8").splitlines()
    return {(score["id"], score["metric"]): score for score in map(json.loads, lines)}


def test_fulfilment_stands_beside_the_placebo_with_intervals_and_the_exact_test(tmp_path: Path) -> None:
    # Fulfilled 9 of 10; unasked 2 of 10, of which 1 where the asked answer fails.
    rows = [list_2(i, LISTED if i else PROSE) for i in range(10)]
    rows += [row(i, LISTED if i < 2 else PROSE) for i in range(10)]
    # Answers without a list abstain; make them lists of three, so that they are decided.
    for each in rows:
        each["response"] = each["response"].replace(PROSE, LISTED + "\n3. water")
    code, out = run(tmp_path, rows)
    assert code == 0
    table = read_table(out)["list_n"]
    assert (table["n"], table["decided"], table["abstain"], table["failed"]) == ("10", "10", "0", "0")
    assert (table["rate"], table["placebo"], table["pairs"], table["lift"]) == (
        "0.9",
        "0.2",
        "10",
        "0.7",
    )
    low, high = proportion_confint(9, 10, method="wilson")
    assert (float(table["low"]), float(table["high"])) == pytest.approx((low, high), rel=1e-5)
    low, high = proportion_confint(2, 10, method="wilson")
    assert (float(table["placebo_low"]), float(table["placebo_high"])) == pytest.approx((low, high), rel=1e-5)
    # Discordant: 8 only asked, 1 only unasked.
    assert float(table["p"]) == pytest.approx(binomtest(1, 9).pvalue, rel=1e-5)
    summary = {r["metric"]: r for r in json.loads((out / "summary.json").read_text())["rows"]}
    assert (summary["modifier_strict"]["mean"], summary["placebo_strict"]["mean"]) == (0.9, 0.2)


def test_holm_corrects_over_the_modifiers_of_a_model(tmp_path: Path) -> None:
    three = LISTED + "\n3. water"
    rows = [list_2(i, LISTED) for i in range(9)] + [row(i, three) for i in range(9)]
    rows += [row(i, "# Title", {"name": "markdown", "params": {}}) for i in range(6)]
    _, out = run(tmp_path, rows)
    table = read_table(out)
    expected = multipletests([binomtest(0, 9).pvalue, binomtest(0, 6).pvalue], method="holm")[1]
    found = [float(table["list_n"]["p_holm"]), float(table["markdown"]["p_holm"])]
    assert found == pytest.approx(list(expected), rel=1e-5)


def test_every_score_carries_its_evidence_and_the_answer_it_read(tmp_path: Path) -> None:
    _, out = run(tmp_path, [list_2(1, f"Sure:\n{LISTED}"), row(1, PROSE)])
    scores = read_scores(out)
    assert {metric for _, metric in scores} == set(modifiers.METRICS)
    asked = scores["1-list_n-en", "modifier_strict"]
    assert (asked["value"], asked["state"], asked["detail"]["span"]) == (1.0, "ok", [6, 20])
    unasked = scores["1-list_n-en", "placebo_strict"]
    assert (unasked["value"], unasked["state"], unasked["detail"]["answer"]) == (
        None,
        "abstain",
        "1-plain-en",
    )


def test_running_again_gives_the_same_files_and_keeps_other_scores(tmp_path: Path) -> None:
    rows = [list_2(1, LISTED), row(1, PROSE)]
    _, out = run(tmp_path, rows)
    other = Score("x", "spelling", 1.0, model="m", language="en").row()
    scores = out / "scores.jsonl"
    scores.write_text(json.dumps(other) + "\n" + scores.read_text(), encoding="utf-8")
    first = {path.name: path.read_text() for path in out.iterdir()}
    run(tmp_path, list(reversed(rows)))
    assert {path.name: path.read_text() for path in out.iterdir()} == first


def test_models_with_equal_ids_go_into_one_table_each_beside_its_own_placebo(tmp_path: Path) -> None:
    three = LISTED + "\n3. water"
    rows = [
        *(list_2(i, LISTED, model="good") for i in range(4)),
        *(row(i, three, model="good") for i in range(4)),
        *(list_2(i, three, model="bad") for i in range(4)),
        *(row(i, LISTED, model="bad") for i in range(4)),
    ]
    code, out = run(tmp_path, rows)
    assert code == 0
    with (out / "modifiers.csv").open(encoding="utf-8") as file:
        found = {r["model"]: (r["n"], r["rate"], r["placebo"]) for r in csv.DictReader(file)}
    assert found == {"good": ("4", "1", "0"), "bad": ("4", "0", "1")}


def test_failures_and_abstentions_are_counted_and_never_scored(tmp_path: Path) -> None:
    rows = [
        row(1, LISTED, {"name": "lits_n", "params": {"n": 2}}),
        row(2, LISTED, {"name": "list_n", "params": {}}, instruction="No number here."),
        row(3, PROSE, {"name": "list_n", "params": {"n": 2}}),
        row(4, "Some answer.", {"name": "scientific", "params": {}}),
        row(5, LISTED, {"name": "list_n", "params": {"n": 2}}),
    ]
    code, out = run(tmp_path, rows)
    assert code == 0
    table = read_table(out)
    assert (table["lits_n"]["failed"], table["lits_n"]["rate"]) == ("1", "")
    assert [table["list_n"][key] for key in ("n", "decided", "abstain", "failed", "rate")] == [
        "3",
        "1",
        "1",
        "1",
        "1",
    ]
    assert (table["scientific"]["abstain"], table["scientific"]["rate"]) == ("1", "")
    assert all(r["placebo"] == "" and r["pairs"] == "0" for r in table.values())
    scores = read_scores(out)
    assert "did you mean 'list_n'" in scores["1-lits_n-en", "modifier_strict"]["state"]
    assert scores["5-list_n-en", "placebo_loose"]["detail"]["reason"] == "no unmodified answer"


def test_an_answer_that_was_never_given_fails_and_is_counted(tmp_path: Path) -> None:
    lost = {"finish_reason": "failed: too long (900 tokens, room for 512)"}
    rows = [
        list_2(1, "", **lost),
        row(1, LISTED),
        list_2(2, LISTED),
        row(2, "", **lost),
        row(3, "", {"name": "scientific", "params": {}}, **lost),
        row(4, "word " * 80, {"name": "detailed", "params": {}}),
        row(4, "", **lost),
    ]
    _, out = run(tmp_path, rows)
    scores = {key: (score["value"], score["state"]) for key, score in read_scores(out).items()}
    failure = (None, "failed:no answer (too long)")
    assert scores["1-list_n-en", "modifier_strict"] == scores["1-list_n-en", "modifier_loose"] == failure
    assert scores["1-list_n-en", "placebo_strict"] == (1.0, "ok")
    assert scores["2-list_n-en", "modifier_strict"] == (1.0, "ok")
    assert scores["2-list_n-en", "placebo_strict"] == failure
    assert scores["3-scientific-en", "modifier_strict"] == failure
    # Nothing to compare with: not zero words.
    assert scores["4-detailed-en", "modifier_strict"] == (None, "abstain")
    table = read_table(out)["list_n"]
    assert [table[key] for key in ("n", "decided", "failed", "placebo_n", "pairs")] == [
        "2",
        "1",
        "1",
        "1",
        "0",
    ]


def test_parameters_that_are_missing_are_read_from_the_instruction(tmp_path: Path) -> None:
    _, out = run(tmp_path, [row(1, LISTED, {"name": "list_n"})])
    assert read_scores(out)["1-list_n-en", "modifier_strict"]["value"] == 1.0


def test_an_answer_in_x_is_paired_with_the_answer_to_the_instruction_it_extends(tmp_path: Path) -> None:
    french = "Le train part de la gare principale toutes les heures."
    english = "The train leaves from the main station every hour."
    rows = [
        row(1, french, {"name": "answer_in", "params": {"language": "fr"}}, language="fr"),
        row(1, english),
        row(1, french, instruction="La question 1 ?", language="fr", id="1-plain-fr"),
    ]
    _, out = run(tmp_path, rows)
    scores = read_scores(out)
    assert scores["1-answer_in-fr", "modifier_strict"]["value"] == 1.0
    unasked = scores["1-answer_in-fr", "placebo_strict"]
    assert (unasked["value"], unasked["detail"]["answer"]) == (0.0, "1-plain-en")
    # The table shows it under the language of the instruction, as the paper does.
    assert read_table(out)["answer_in"]["language"] == "en"


def as_response(values: dict[str, Any]) -> Response:
    return Response(**values)


def test_own_answers_are_matched_by_model_language_and_instruction() -> None:
    own = row(1, PROSE)
    answers = OwnAnswers(map(as_response, [own, row(2, PROSE), row(3, PROSE, instruction_id="")]))
    assert answers.find(as_response(list_2(1, LISTED))) == as_response(own)
    for change in ({"model": "n"}, {"language": "fr"}, {"instruction_id": "q9"}, {"instruction_id": ""}):
        assert answers.find(as_response(list_2(1, LISTED, **change))) is None


def test_a_verdict_does_not_depend_on_the_other_answers() -> None:
    asked, own = as_response(list_2(1, LISTED)), as_response(row(1, PROSE))
    with_own, without = grade(asked, own, NO_IDENTIFIER), grade(asked, None, NO_IDENTIFIER)
    assert with_own[0] == without[0]


def test_a_truncated_answer_is_not_brief(tmp_path: Path) -> None:
    brief = {"name": "briefly", "params": {}}
    rows = [row(1, "Short.", brief), row(2, "Short.", brief, finish_reason="length")]
    _, out = run(tmp_path, rows)
    assert read_table(out)["briefly"]["rate"] == "0.5"


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([row(1, PROSE)], "no response has a modifier"),
        ([{"id": "a"}], "not a response"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: list[dict[str, Any]], message: str
) -> None:
    code, out = run(tmp_path, rows)
    error = capsys.readouterr().err
    assert (code, error.count("\n")) == (2, 1)
    assert error.startswith("error: ")
    assert message in error
    assert not out.exists()


def test_a_language_model_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    code, out = run(tmp_path, [list_2(1, LISTED)], "--lid-model", str(tmp_path / "none.bin"))
    assert code == 2
    assert not out.exists()
