"""``collect``: what annotators send back is checked, merged and averaged; what is wrong is named."""

from __future__ import annotations

import csv
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.pages.rated_sheets import CRITERIA, SCALES, key_rows, records, score_of, write_sheets
from helpers.scored import write_lines

from xltjax.common.errors import UserError
from xltjax.common.files import read_jsonl
from xltjax.eval.people.collect import COMMAND
from xltjax.eval.people.merging import disagreement_rows
from xltjax.eval.people.schema import CANNOT_JUDGE, Record, json_export
from xltjax.eval.people.spreadsheet import csv_export
from xltjax.eval.people.tools import read_export


def collect(*arguments: object) -> str:
    result = CliRunner().invoke(COMMAND, [*map(str, arguments), "--draws", "50"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def edit(path: Path, change: Any) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    change(document)
    path.write_text(json.dumps(document), encoding="utf-8")


def test_every_rating_gets_a_line_and_repeats_lie_apart(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    collect(*files, "--key", key, "--out", tmp_path / "out")
    rows = read_jsonl(tmp_path / "out/ratings.jsonl")
    assert len(rows) == 4 * 8 * 6
    by_item = {row["item"]: row for row in key_rows()}
    assert all(row["value"] == score_of(by_item[row["item"]], row["metric"].split("/")[1]) for row in rows)
    assert {row["rater"] for row in rows} == {"en-1", "en-2", "fr-1", "fr-2"}
    assert sum(row["seconds"] or 0 for row in rows) == 4 * sum(range(11, 19))
    assert [row["comment"] for row in rows if row["comment"]] == ["à « lire »\n"] * 4
    marked = [row["metric"] for row in rows if row["spans"]]
    assert marked == ["people/fluency"] * 4
    repeats = read_jsonl(tmp_path / "out/repeats.jsonl")
    assert [row["repeat_of"][-2:] for row in repeats] == ["x1"] * 24


def test_averages_are_those_of_the_paper(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)

    def wrong_language(document: dict[str, Any]) -> None:
        found = [*records(key_rows(), "sheeten1")]
        found[0] = Record(**{**vars(found[0]), "scores": {**found[0].scores, "language": 0}})
        document.update(json.loads(json_export(found, CRITERIA)))

    edit(files[0], wrong_language)
    collect(files[0], "--key", key, "--out", tmp_path / "out")
    with (tmp_path / "out/people-averages.csv").open(encoding="utf-8", newline="") as file:
        table = {(row["model"], row["criterion"], row["convention"]): row for row in csv.DictReader(file)}
    # A has 1, 2, 0, 1 for helpfulness, and the first is in the wrong language.
    assert float(table["A", "helpfulness", "correct_only"]["mean"]) == pytest.approx(1.0, abs=1e-4)
    assert float(table["A", "helpfulness", "wrong_is_lowest"]["mean"]) == pytest.approx(0.75, abs=1e-4)
    assert float(table["A", "language", "everything"]["mean"]) == pytest.approx(1.5, abs=1e-4)
    assert float(table["B", "helpfulness", "correct_only"]["mean"]) == pytest.approx(0.75, abs=1e-4)
    assert {row["language_by"] for row in table.values()} == {"people", ""}


def test_both_forms_give_back_what_was_rated(tmp_path: Path) -> None:
    odd = 'a "quoted"; text, =1+1\r\n\ud83d\ude00 \u2028 \u202eabc'.encode("utf-16", "surrogatepass").decode(
        "utf-16"
    )
    found = list(records(key_rows(), "sheetfr1"))
    found[0] = Record(
        **{**vars(found[0]), "scores": {"language": CANNOT_JUDGE, "fluency": 0}, "comment": odd}
    )
    for name, write in {"a.json": json_export, "a.csv": csv_export}.items():
        with (tmp_path / name).open("w", encoding="utf-8", newline="") as file:
            file.write(write(found, CRITERIA))
        assert read_export(tmp_path / name, SCALES).records == tuple(found)


def test_a_half_done_sheet_and_one_that_is_missing_are_reported_by_name(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    found = [*records(key_rows(), "sheeten1")]
    found = [*found[:3], Record(**{**vars(found[3]), "scores": {"language": CANNOT_JUDGE}})]
    files[0].write_text(json_export(found, CRITERIA), encoding="utf-8")
    output = " ".join(collect(*files[:3], "--key", key, "--out", tmp_path / "out").split())
    assert "en-1: 6 of 9 items are not rated on every criterion, first sheeten1x4 (place 4)" in output
    assert "fr-2: nothing has come back of the sheet sheetfr2" in output
    states = [
        row["state"] for row in read_jsonl(tmp_path / "out/ratings.jsonl") if row["item"] == "sheeten1x4"
    ]
    assert states == ["abstain", *["failed:not_rated"] * 5]


def test_an_earlier_export_of_the_same_sheet_counts_once(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    early = tmp_path / "early.json"
    early.write_text(json_export([*records(key_rows(), "sheeten1")][:3], CRITERIA), encoding="utf-8")
    output = collect(early, *files, "--key", key, "--out", tmp_path / "out")
    assert "3 items are in an earlier file too" in output
    assert len(read_jsonl(tmp_path / "out/ratings.jsonl")) == 4 * 8 * 6


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["items"][1]["scores"].update(fluency=1), r"items\[2\] \(sheeten1x2\) was changed after"),
        (
            lambda d: d["items"][1]["scores"].update(fluency=3),
            r"scores.fluency is 3; it must be one of 0, 1, 2",
        ),
        (lambda d: d["items"][1].update(seconds=1), "was changed after the export"),
        (lambda d: d["items"].append(d["items"][0]), "sheeten1x1 occurs twice"),
        (lambda d: d.update(schema=0), "schema 0 is not 1"),
        (lambda d: d.update(schema=2), "schema 2 is newer than 1; update xltjax"),
        (lambda d: d.pop("schema"), "schema null is not 1"),
        (lambda d: d.update(sheet=""), "sheet is missing"),
        (lambda d: d.update(language="fr"), "has the language 'fr', but in the key it is 'en'"),
        (lambda d: d.update(annotator=2), "has the annotator 2, but in the key it is 1"),
        (
            lambda d: d.update(criteria=["taste"]),
            "criterion 'taste' is .*; give the --criteria of the sheets",
        ),
        (lambda d: d.update(criteria=[["taste"]]), "give the --criteria"),
        (lambda d: d.update(format="other"), "format is not 'xltjax-ratings'"),
        (lambda d: d["items"][0].update(spans=3), "spans is not a list"),
        (lambda d: d["items"][0].update(item="sheeten1x2"), "was changed after the export"),
        (lambda d: d["items"][0].update(order=True), "order is true, not a whole number"),
        (lambda d: d.update(items={}), "items is not a list"),
        (lambda d: d["items"][0].update(spans=[{"start": 3, "end": 1}]), "ends at 1, before it starts"),
    ],
)
def test_a_file_that_was_edited_is_refused_and_nothing_is_written(
    tmp_path: Path, change: Any, message: str
) -> None:
    key, files = write_sheets(tmp_path)
    edit(files[0], change)
    with pytest.raises(UserError, match=f"^{re.escape(str(files[0]))}: .*{message}"):
        collect(*files, "--key", key, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_file_of_another_sheet_and_two_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    other = [Record(**{**vars(each), "sheet": "elsewhere"}) for each in records(key_rows(), "sheeten1")]
    (tmp_path / "other.json").write_text(json_export(other, CRITERIA), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"other.json: it belongs to the sheet elsewhere, which is not in the key"
    ):
        collect(tmp_path / "other.json", "--key", key, "--out", tmp_path / "out")
    first = next(records(key_rows(), "sheeten1"))
    changed = Record(**{**vars(first), "scores": {**first.scores, "fluency": 0}})
    (tmp_path / "late.json").write_text(json_export([changed], CRITERIA), encoding="utf-8")
    with pytest.raises(
        UserError, match=r"late.json: the item sheeten1x1 has 0 for fluency, but 2 in .*en1.json"
    ):
        collect(*files, tmp_path / "late.json", "--key", key, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty; export the sheet again"),
        ("{", "not JSON"),
        ("[]", "no task has an annotation"),
        ('{"a": 1}', "not an export of a sheet"),
        ("schema,sheet\n1", "the column 'language' is missing"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    key, _ = write_sheets(tmp_path)
    (tmp_path / "odd.json").write_text(text, encoding="utf-8")
    with pytest.raises(UserError, match=f"odd.json.*{message}"):
        collect(tmp_path / "odd.json", "--key", key, "--out", tmp_path / "out")


def test_what_annotators_rate_differently_is_listed_with_their_words(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    found = [*records(key_rows(), "sheeten1")]
    found[0] = replace(found[0], scores={**found[0].scores, "fluency": 0}, comment="=1+1")
    files[0].write_text(json_export(found, CRITERIA), encoding="utf-8")
    # The key's directory will do, where the key has the name that sheets gives it.
    output = collect(*files, "--key", key.parent, "--out", tmp_path / "out")
    with (tmp_path / "out/disagreements.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    first = rows[0]
    assert (first["model"], first["id"], first["criterion"]) == ("A", "q0-en", "fluency")
    assert (first["spread"], first["mean"], first["majority"]) == ("2", "1.00", "")
    assert first["ratings"] == "en-1: 0; en-2: 2"
    # Each of the two has a comment; a spreadsheet computes neither.
    assert first["comments"] == "en-1: =1+1; en-2: à « lire »\n"
    # The second annotator is kinder, where there is room.
    room = {
        (row["model"], row["id"])
        for row in key_rows()
        if score_of({**row, "annotator": 1}, "helpfulness") < 2
    }
    assert {(row["model"], row["id"]) for row in rows[1:]} == room
    assert {row["spread"] for row in rows[1:]} == {"1"}
    assert f"{len(rows)} ratings differ between annotators, 1 by more than 1" in " ".join(output.split())


def test_a_majority_is_named_where_there_is_one() -> None:
    rows = [
        {"model": "A", "id": "q", "language": "en", "task": "t", "metric": "people/fluency", "state": "ok",
         "rater": f"en-{number}", "value": value, "comment": ""}
        for number, value in enumerate((1, 2, 2), start=1)
    ]  # fmt: skip
    (row,) = disagreement_rows(rows)
    assert (row["majority"], row["spread"]) == (2, 1)
    assert row["mean"] == pytest.approx(5 / 3)


def test_several_users_who_rated_one_sheet_in_a_tool_are_raters_of_their_own(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    row = next(row for row in key_rows() if row["sheet"] == "sheetfr2")
    data = {name: row[name] for name in ("sheet", "language", "item", "order")}
    tasks = [
        {"data": {**data, "answer": "x"}, "annotations": [
            {"completed_by": user, "result": [
                {"from_name": "score_fluency", "value": {"choices": [str(score)]}}]}
            for user, score in (("ann", 2), ("bob", 1), ("Bob", 1))]}
    ]  # fmt: skip
    (tmp_path / "ls.json").write_text(json.dumps(tasks), encoding="utf-8")
    said = collect(*files[:3], tmp_path / "ls.json", "--key", key, "--out", tmp_path / "out")
    rows = [row for row in read_jsonl(tmp_path / "out/ratings.jsonl") if row["sheet"] == "sheetfr2"]
    given = {(row["rater"], row["user"], row["value"]) for row in rows if row["state"] == "ok"}
    assert given == {("fr-2-ann", "ann", 2), ("fr-2-bob", "bob", 1), ("fr-2-Bob", "Bob", 1)}
    assert "the users 'bob' and 'Bob' rated the sheet sheetfr2 and count as two raters" in said
    assert {row["tool"] for row in rows} == {"label-studio"}


def test_ratings_that_collect_did_not_write_are_not_overwritten(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    (tmp_path / "out").mkdir()
    (tmp_path / "out/ratings.jsonl").write_text("mine\n", encoding="utf-8")
    with pytest.raises(UserError, match=r"ratings.jsonl exists and was not written by this command"):
        collect(*files, "--key", key, "--out", tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["ratings.jsonl"]
    collect(files[0], "--key", key, "--out", tmp_path / "ours")
    collect(*files, "--key", key, "--out", tmp_path / "ours")
    record = json.loads((tmp_path / "ours/collect.json").read_text(encoding="utf-8"))
    assert record["raters"] == ["en-1", "en-2", "fr-1", "fr-2"]
    assert list(record["files"]) == list(map(str, files))
    assert record["notes"] == []


def test_the_key_and_collected_ratings_are_not_taken_for_exports(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    with pytest.raises(UserError, match=r"key.jsonl is a key; give it as --key"):
        collect(*files, key, "--key", key, "--out", tmp_path / "out")
    write_lines(tmp_path / "other.jsonl", [{"id": "q"}])
    with pytest.raises(UserError, match=r"line 1: sheet is missing; this is not the key"):
        collect(*files, "--key", tmp_path / "other.jsonl", "--out", tmp_path / "out")
    collect(*files, "--key", key, "--out", tmp_path / "out")
    with pytest.raises(UserError, match=r"ratings.jsonl holds collected ratings"):
        collect(tmp_path / "out/ratings.jsonl", "--key", key, "--out", tmp_path / "again")


def test_a_sheet_that_two_people_rated_is_named(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    found = [replace(each, scores={**each.scores, "fluency": 1}) for each in records(key_rows(), "sheeten1")]
    (tmp_path / "bob.json").write_text(json_export(found, CRITERIA), encoding="utf-8")
    with pytest.raises(UserError, match=r"bob.json: .*where two people rated with one sheet"):
        collect(*files, tmp_path / "bob.json", "--key", key, "--out", tmp_path / "out")
