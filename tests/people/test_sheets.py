"""``sheets``: the files that it writes, what must not stand in them, and the mistakes that it names."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from helpers.pages.sheets import HOSTILE, MODELS, rows, sheets

from xltjax.common.errors import UserError
from xltjax.common.files import read_jsonl, write_jsonl
from xltjax.eval.judge.rubric_files import read_rubric
from xltjax.eval.people.collect import COMMAND as COLLECT
from xltjax.eval.people.sheets import COMMAND
from xltjax.eval.people.tools import read_export
from xltjax.eval.people.wording import BUILT_IN, load_interfaces, rated_criteria

ENGLISH = Path(__file__).parents[2] / "eval/people/interface/en.yaml"


def data_of(page: Path) -> dict[str, Any]:
    """What stands in a sheet as data."""
    found = re.search(r'id="sheet-data">(.*?)</script>', page.read_text(encoding="utf-8"))
    assert found
    return json.loads(found[1])


def test_each_language_and_annotator_gets_a_sheet_and_the_same_for_other_tools(tmp_path: Path) -> None:
    out = sheets(tmp_path, annotators=2)
    names = ["en-1", "en-2", "fr-1", "fr-2"]
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"{name}.html" for name in names), "csv", "key.jsonl", "label-studio", "pearmut", "sheets.json"]
    )
    key = read_jsonl(out / "key.jsonl")
    for name in names:
        data = data_of(out / f"{name}.html")
        own = [row for row in key if row["sheet"] == data["sheet"]]
        assert [item[0] for item in data["items"]] == [row["item"] for row in own]
        assert len(own) == 20
        with (out / f"csv/{name}.csv").open(encoding="utf-8-sig", newline="") as file:
            table = list(csv.DictReader(file))
        assert [row["item"] for row in table] == [row["item"] for row in own]
        tasks = json.loads((out / f"label-studio/{name}.json").read_text(encoding="utf-8"))
        assert [task["data"]["item"] for task in tasks] == [row["item"] for row in own]
    campaign = json.loads((out / "pearmut/fr.json").read_text(encoding="utf-8"))
    assert [len(task) for task in campaign["data"]] == [20, 20]
    assert "Elle est confuse" in (out / "label-studio/fr.xml").read_text(encoding="utf-8")
    orders = [[item[2] for item in data_of(out / f"fr-{k}.html")["items"]] for k in (1, 2)]
    assert orders[0] != orders[1]


def test_no_sheet_or_task_names_a_model_a_file_an_instruction_or_the_seed(tmp_path: Path) -> None:
    out = sheets(tmp_path, seed=918273645)
    hidden = {
        "sekret",
        "alfa",
        "dolly",
        str(tmp_path),
        "responses-of",
        "918273645",
        "repeat_of",
        "instruction_id",
    }
    hidden |= {row[name] for row in rows() for name in ("model", "id", "task")}
    files = [
        path for path in out.rglob("*") if path.is_file() and path.name not in ("key.jsonl", "sheets.json")
    ]
    assert len(files) == 10
    for path in files:
        text = path.read_text(encoding="utf-8").casefold()
        assert [word for word in hidden if word.casefold() in text] == [], path
    items = data_of(out / "en-1.html")["items"]
    assert all(re.fullmatch("[a-p]{12}", id) and len(rest) == 2 for id, *rest in items)


def test_what_models_wrote_cannot_end_the_data(tmp_path: Path) -> None:
    page = sheets(tmp_path) / "en-1.html"
    text = page.read_text(encoding="utf-8")
    assert text.count("</script>") == 2
    assert "\0" not in text
    assert "\u2028" not in text
    assert {HOSTILE[k] for k in HOSTILE} <= {item[2] for item in data_of(page)["items"]}


def test_the_same_command_completes_and_never_replaces(tmp_path: Path) -> None:
    out = sheets(tmp_path)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    filled = out / "csv/en-1.csv"
    filled.write_text("filled in", encoding="utf-8")
    (out / "fr-1.html").unlink()
    sheets(tmp_path)
    assert filled.read_text(encoding="utf-8") == "filled in"
    assert (out / "fr-1.html").read_bytes() == before[out / "fr-1.html"]
    with pytest.raises(UserError, match="holds sheets of other settings or responses"):
        sheets(tmp_path, seed=1)
    with pytest.raises(UserError, match="holds sheets of other settings or responses"):
        sheets(tmp_path, [*rows()[:-1], {**rows()[-1], "response": "another"}])
    other = tmp_path / "other"
    (other / "sheets").mkdir(parents=True)
    (other / "sheets/mine.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UserError, match="is not empty"):
        sheets(other)
    assert [path.name for path in (other / "sheets").iterdir()] == ["mine.txt"]


def test_repeats_without_a_place_and_failed_answers_are_reported(tmp_path: Path, capsys: Any) -> None:
    answers = rows(("en",), 8)
    answers[0]["finish_reason"] = "failed: too long (900 tokens)"
    answers[-1]["instruction"] = ""
    sheets(tmp_path, answers, repeats=50)
    said = capsys.readouterr().out
    assert re.search(r"en-1: only 1\d of 50 repeats found a place", said)
    assert "2 responses are left out: they have failed, or their instruction is not given" in said


def test_instructions_in_several_languages_may_ask_for_an_answer_in_one(tmp_path: Path) -> None:
    modifier = {"name": "answer_in", "params": {"language": "fr"}}
    asked = [
        {**row, "id": f"{source}-{row['id']}", "modifier": modifier}
        for source in ("en", "pt")
        for row in rows(("fr",), 2)
    ]
    out = sheets(tmp_path, rows() + asked, all_of=MODELS[1])
    shown = [row["id"] for row in read_jsonl(out / "key.jsonl") if row["id"].startswith(("en-", "pt-"))]
    assert {"en-q0-fr", "pt-q0-fr", "en-q1-fr", "pt-q1-fr"} == set(shown)


def test_the_sample_can_be_those_that_a_set_marks_for_people(tmp_path: Path) -> None:
    marked = [f"q{number}" for number in (1, 4, 6)]
    prompts = [
        {"id": row["id"], "instruction_id": row["instruction_id"], "language": "en", "instruction": "?",
         "human": row["instruction_id"] in marked}
        for row in rows(("en",), 8)[::3]
    ]  # fmt: skip
    write_jsonl(tmp_path / "prompts.jsonl", prompts)
    given = {"instructions": str(tmp_path / "prompts.jsonl"), "repeats": 0}
    out = sheets(tmp_path, rows(("en", "fr"), 8), per_language=3, **given)
    assert {row["instruction_id"] for row in read_jsonl(out / "key.jsonl")} == set(marked)
    with pytest.raises(
        UserError, match="4 instructions per language were asked for, but every model answered only 3"
    ):
        sheets(tmp_path / "more", rows(("en", "fr"), 8), per_language=4, **given)
    with pytest.raises(
        UserError, match=r"--instructions xlt113: no response is to one of its 30 instructions"
    ):
        sheets(tmp_path / "set", instructions="xlt113")


def test_a_table_that_was_filled_in_can_be_read(tmp_path: Path) -> None:
    out = sheets(tmp_path)
    with (out / "csv/en-1.csv").open(encoding="utf-8-sig", newline="") as file:
        table = list(csv.reader(file))
    at = {name: table[0].index(name) for name in table[0]}
    for row in table[1:]:
        row[at["score_fluency"]] = "2"
    with (tmp_path / "back.csv").open("w", encoding="utf-8-sig", newline="") as file:
        csv.writer(file, delimiter=";").writerows(table)
    found = read_export(tmp_path / "back.csv", {"fluency": range(3), **dict.fromkeys(HEADINGS, range(3))})
    assert len(found.records) == 20
    assert all(record.scores == {"fluency": 2} for record in found.records)


def test_criteria_that_are_worded_in_no_english_are_rated_and_collected(tmp_path: Path) -> None:
    rubric = tmp_path / "goût.yaml"
    rubric.write_text(
        "language: fr\ncriteria: {gout: {question: 'Bon ?', levels: {1: non, 2: oui}}}\n", encoding="utf-8"
    )
    out = sheets(tmp_path, rows(("fr", "en"), 3), per_language=3, repeats=0, criteria=str(rubric))
    assert data_of(out / "fr-1.html")["criteria"][0]["question"] == "Bon\u00a0?"
    table = (out / "csv/en-1.csv").read_text(encoding="utf-8-sig")
    (tmp_path / "back.csv").write_text(re.sub(r",,,,$", ",2,,,", table, flags=re.MULTILINE), encoding="utf-8")
    arguments = [
        tmp_path / "back.csv",
        "--key",
        out,
        "--criteria",
        rubric,
        "--out",
        tmp_path / "people",
        "--draws",
        9,
    ]
    result = CliRunner().invoke(COLLECT, list(map(str, arguments)))
    assert "9 ratings of" in result.output, result.exception


HEADINGS = ("language", "helpfulness", "accuracy", "coherence", "harmlessness")


@pytest.mark.parametrize(
    ("change", "settings", "message"),
    [
        (None, {"all_of": "sekret-bet"}, r"--all-of sekret-bet: no such model; did you mean 'sekret-beta'"),
        (
            None,
            {"per_language": 7},
            r"7 instructions per language were asked for, but every model answered only 6",
        ),
        (None, {"per_language": 1}, "--per-language must be at least 2"),
        (None, {"annotators": 0}, "--annotators must be at least 1"),
        (None, {"criteria": "seven"}, "criteria 'seven' are unknown"),
        (lambda r: r.append({**r[0], "id": "twice"}), {}, "answers the instruction 'q0' in 'en' twice"),
        (lambda r: r[3].update(language=""), {}, "names no language; give --language"),
        (lambda r: [each.update(finish_reason="failed: x") for each in r], {}, "no response can be rated"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    tmp_path: Path, change: Any, settings: dict[str, Any], message: str
) -> None:
    answers = rows()
    if change:
        change(answers)
    with pytest.raises(UserError, match=message) as mistake:
        sheets(tmp_path, answers, **settings)
    assert "\n" not in str(mistake.value)
    assert not (tmp_path / "sheets").exists()


def test_all_texts_are_there_in_all_languages() -> None:
    found = load_interfaces([])
    assert tuple(found) == BUILT_IN
    for interface in found.values():
        assert len(interface.steps) == len(found["en"].steps)
        assert len(interface.rules["six"]) == len(found["en"].rules["six"])
        for criterion in rated_criteria(read_rubric("six"), interface):
            assert list(criterion.levels) == list(criterion.examples) == list(criterion.scale) == [0, 1, 2]


def test_a_team_adds_its_language_and_its_criteria(tmp_path: Path, capsys: Any) -> None:
    words = yaml.safe_load(ENGLISH.read_text(encoding="utf-8"))
    words["language"] = "he"
    words["page"]["answer"] = "תשובה"
    words["criteria"] = {"taste": {"title": "טעם", "question": "?", "levels": {1: "רע", 5: "טוב"}}}
    (tmp_path / "he.yaml").write_text(yaml.safe_dump(words, allow_unicode=True), encoding="utf-8")
    rubric = {
        "name": "taste",
        "criteria": {
            "taste": {"title": "taste", "question": "Is it nice?", "levels": {1: "no", 5: "yes"}, "lowest": 1}
        },
    }
    (tmp_path / "taste.yaml").write_text(yaml.safe_dump(rubric), encoding="utf-8")
    answers = rows(("he", "sw"))
    out = sheets(
        tmp_path, answers, interface=(str(tmp_path / "he.yaml"),), criteria=str(tmp_path / "taste.yaml")
    )
    assert '<html lang="he" dir="rtl">' in (out / "he-1.html").read_text(encoding="utf-8")
    hebrew, swahili = (data_of(out / f"{code}-1.html") for code in ("he", "sw"))
    assert hebrew["words"]["answer"] == "תשובה"
    assert hebrew["criteria"][0]["levels"] == {"1": "רע", "5": "טוב"}
    assert (swahili["criteria"][0]["lowest"], swahili["criteria"][0]["highest"]) == (1, 5)
    assert swahili["criteria"][0]["levels"] == {"1": "no", "5": "yes"}
    assert swahili["rules"] == []
    assert "sw: the sheet is worded in English" in capsys.readouterr().out


def test_a_file_for_a_language_that_is_there_changes_what_it_names(tmp_path: Path) -> None:
    (tmp_path / "fr.yaml").write_text(
        "language: fr\npage: {answer: Texte}\nexamples: {six: {fluency: {0: Aïe}}}\n", encoding="utf-8"
    )
    own, built_in = (load_interfaces(files)["fr"] for files in ([str(tmp_path / "fr.yaml")], []))
    assert own.page == {**built_in.page, "answer": "Texte"}
    assert own.examples["six"] == {**built_in.examples["six"], "fluency": {0: "Aïe"}}
    assert (own.steps, own.rules) == (built_in.steps, built_in.rules)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d.pop("language"), "language: is missing"),
        (lambda d: d.update(language="xx-nothing"), "language: language 'xx-nothing' is not a code"),
        (lambda d: d["page"].pop("export"), r"page.export: is missing \(1 texts are\)"),
        (lambda d: d["page"].update(exprot="x"), "page: unknown key 'exprot'; did you mean 'export'"),
        (lambda d: d["page"].update(place="Item {plaec}"), r"page.place: needs \{place\}, \{total\}"),
        (lambda d: d["page"].update(next=3), "page.next: must be text"),
        (lambda d: d["guideline"].pop("steps"), "guideline.steps: is missing"),
        (lambda d: d["examples"]["six"]["fluency"].update(good="x"), "a score is a whole number, not 'good'"),
    ],
)
def test_what_is_wrong_in_an_interface_is_named(tmp_path: Path, change: Any, message: str) -> None:
    words = {**yaml.safe_load(ENGLISH.read_text(encoding="utf-8")), "language": "sw"}
    change(words)
    (tmp_path / "sw.yaml").write_text(yaml.safe_dump(words), encoding="utf-8")
    with pytest.raises(UserError, match=f"sw.yaml: .*{message}"):
        load_interfaces([str(tmp_path / "sw.yaml")])


def test_the_command_says_how_it_is_called(tmp_path: Path) -> None:
    for arguments in ([], ["x.jsonl"]):
        result = CliRunner().invoke(COMMAND, arguments)
        assert isinstance(result.exception, UserError)
