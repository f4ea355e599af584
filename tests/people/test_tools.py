"""Label Studio, Pearmut and tables: what their users rate comes back whole."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from helpers.pages.rated_sheets import CRITERIA, SCALES

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.people.exports import csv_table, label_studio_config, label_studio_tasks, pearmut_campaign
from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE
from xltjax.eval.people.tools import read_export

ITEMS = [
    Item(f"i{n}", Response(f"q{n}", "secret", "fr", instruction="<b>?", response="=a <img> b"))
    for n in (1, 2)
]


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


# By benchmarks/pages/people_tools.py from Label Studio 1.23.2 and Pearmut 1.1.6.
RECORDED = Path(__file__).parent / "recorded"


def clicked(number: int) -> dict[str, int | str]:
    """What was clicked in the tools for an item, as the benchmark does."""
    places = [0, 1, 2, CANNOT_JUDGE]
    return {name: places[(number + index) % 4] for index, name in enumerate(CRITERIA)}


@pytest.mark.parametrize("name", sorted(path.name for path in RECORDED.iterdir()))
def test_exports_of_the_tools_themselves_come_back_whole(name: str) -> None:
    found = read_export(RECORDED / name, SCALES).records
    assert [each.item for each in found] == [f"{number:012x}" for number in (1, 2, 3)]
    for number, record in enumerate(found):
        assert (record.sheet, record.language, record.order) == ("sheetfr1", "fr", number + 1)
        assert record.scores == clicked(number)
        assert record.comment == ("à « lire »\n=1+1 \U0001f600 <b>" if number == 0 else "")
        assert record.seconds is not None
        assert record.annotator
    # "error", behind markup, an emoji and right-to-left text; browsers count the emoji as two.
    answers = [task["data"]["answer"] for task in read(RECORDED / "label-studio.json")]
    for answer, record in zip(answers, found, strict=True):
        (span,) = record.spans
        units = answer.encode("utf-16-le")
        assert units[2 * span.start : 2 * span.end].decode("utf-16-le") == "error"
        assert (span.severity, span.criterion) == ("minor", "fluency")


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_recorded_exports_have_the_fields_of_todays_labeling_config_and_tasks() -> None:
    config = ET.fromstring(label_studio_config(SCALES, {"fluency": {0: 'bad "<'}}, 'не могу & "судить"'))
    names = {each.get("name") for each in config.iter() if each.get("toName")}
    tasks = read(RECORDED / "label-studio.json")
    assert {result["from_name"] for task in tasks for result in task["annotations"][0]["result"]} == names
    assert set(tasks[0]["data"]) == set(label_studio_tasks(ITEMS, sheet="s", language="fr")[0]["data"])
    # A flat export holds both in one row.
    assert not names & set(tasks[0]["data"])
    (choices,) = (each for each in config.iter("Choices") if each.get("name") == "score_fluency")
    assert [each.get("alias") or each.get("value") for each in choices] == ["0", "1", "2", CANNOT_JUDGE]
    campaign = pearmut_campaign([("s", ITEMS)], language="fr", scales=SCALES)
    (line, *_) = read(RECORDED / "pearmut.json")["people-fr"]
    assert set(line["item"][0]) == set(campaign["data"][0][0][0])


def label_studio_task(*annotations: dict[str, Any]) -> dict[str, Any]:
    task: dict[str, Any] = label_studio_tasks(ITEMS, sheet="s", language="fr")[0]
    return {**task, "annotations": list(annotations)}


def annotation(score: str, user: Any, **more: Any) -> dict[str, Any]:
    choice = {
        "from_name": "score_fluency",
        "to_name": "answer",
        "type": "choices",
        "value": {"choices": [score]},
    }
    return {"completed_by": user, "result": [choice], **more}


def test_each_user_of_label_studio_rates_and_skipped_tasks_do_not_count(tmp_path: Path) -> None:
    task = label_studio_task(
        annotation("2", {"id": 7, "email": "a@b"}), annotation("1", 8), annotation("0", 9, was_cancelled=True)
    )
    records = read_export(written(tmp_path / "ls.json", [task]), SCALES).records
    assert [(each.annotator, each.scores) for each in records] == [
        ("a@b", {"fluency": 2}),
        ("8", {"fluency": 1}),
    ]
    task = label_studio_task(annotation("2", 7), annotation("1", 7))
    with pytest.raises(UserError, match=r"item i1 occurs twice by annotator 7"):
        read_export(written(tmp_path / "ls.json", [task]), SCALES)


@pytest.mark.parametrize(
    ("result", "message"),
    [
        (
            {"from_name": "score_taste", "value": {"choices": ["1"]}},
            "'score_taste', which is not a criterion",
        ),
        (
            {"from_name": "score_fluency", "value": {"choices": ["5"]}},
            "fluency is 5; it must be one of 0, 1, 2",
        ),
        ({"from_name": "spans", "value": {"start": 0, "end": 99, "labels": []}}, "a span from 0 to 99"),
        ({"from_name": "spans", "value": {"start": 0, "end": 1, "labels": ["bad"]}}, "has a span 'bad'"),
    ],
)
def test_an_export_of_another_labeling_config_is_refused(
    tmp_path: Path, result: dict[str, Any], message: str
) -> None:
    task = label_studio_task({"completed_by": 1, "result": [result]})
    with pytest.raises(UserError, match=f"{re.escape(message)}"):
        read_export(written(tmp_path / "ls.json", [task]), SCALES)


def places(node: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in a document: its holder and its key or number."""
    for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
        yield node, key
        yield from places(node[key])


@pytest.mark.parametrize("name", ["label-studio.json", "label-studio-min.json", "pearmut.json"])
def test_an_export_with_something_else_anywhere_is_read_or_refused_by_name(tmp_path: Path, name: str) -> None:
    document = read(RECORDED / name)
    refused = []
    for number, (holder, key) in enumerate(list(places(document))):
        before = holder[key]
        holder[key] = (3, "x", [1], {}, None, True)[number % 6]
        path = written(tmp_path / name, document)
        try:
            read_export(path, SCALES)
        except UserError as problem:
            refused.append(str(problem))
        holder[key] = before
    assert len(refused) > 20
    assert all(said.startswith(str(tmp_path / name)) for said in refused)


def test_of_pearmut_the_last_submission_counts_and_nothing_before_a_reset(tmp_path: Path) -> None:
    campaign = pearmut_campaign([("s", ITEMS)], language="fr", scales=SCALES, instructions="<i>")
    assert "<" not in json.dumps(campaign, ensure_ascii=False)
    assert "secret" not in json.dumps(campaign)
    assert campaign["info"]["special_tokens"] == []
    first, second = campaign["data"][0]

    def line(item: Any, fluency: int, **more: Any) -> dict[str, Any]:
        values = {"score": None, "sliders": {"fluency": fluency}, "textfield": "bon", "error_spans": []}
        return {"user_id": "calm-otter", "item": item, "annotation": [{"answer": values}], **more}

    path = tmp_path / "annotations.json"
    lines = [line(first, 1), line(second, 2), line(first, 0, comment="slow")]
    records = read_export(written(path, {"people-fr": lines}), SCALES).records
    assert [(each.item, each.scores["fluency"]) for each in records] == [("i1", 0), ("i2", 2)]
    assert [each.comment for each in records] == ["bon\nslow", "bon"]
    lines.append({"user_id": "calm-otter", "annotation": "__RESET__", "item": None})
    with pytest.raises(UserError, match="no annotations"):
        read_export(written(path, {"people-fr": lines}), SCALES)
    records = read_export(written(path, {"people-fr": [*lines, line(second, -1)]}), SCALES).records
    assert [(each.item, each.scores["fluency"]) for each in records] == [("i2", CANNOT_JUDGE)]
    with pytest.raises(UserError, match=r"\(i1\), fluency is 3; it must be one of 0, 1, 2"):
        read_export(written(path, {"people-fr": [line(first, 3)]}), SCALES)


def test_the_place_to_skip_lies_below_every_scale() -> None:
    campaign = pearmut_campaign([("s", ITEMS)], language="fr", scales={"a": range(1, 6), "b": range(2)})
    assert [(each["min"], each["max"]) for each in campaign["info"]["sliders"]] == [(0, 5), (-1, 1)]
    assert campaign["info"]["instructions"] == "-1 / 0: cannot judge."


def test_a_table_that_was_filled_in_comes_back(tmp_path: Path) -> None:
    text = csv_table(ITEMS, sheet="s", language="fr", annotator=1, criteria=CRITERIA)
    assert "'=a <img> b" in text
    path = tmp_path / "filled.csv"
    path.write_text(text.replace(",'=a <img> b,,", ",'=a <img> b,2,"), encoding="utf-8")
    assert [record.scores for record in read_export(path, SCALES).records] == [{"language": 2}] * 2
