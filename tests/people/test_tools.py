"""Label Studio, Pearmut and tables: what their users rate comes back whole."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from helpers.rated import CRITERIA, SCALES

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.people.exports import csv_table, label_studio_config, label_studio_tasks, pearmut_campaign
from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE, Span
from xltjax.eval.people.tools import read_export

ITEMS = [
    Item(f"i{n}", Response(f"q{n}", "secret", "fr", instruction="<b>?", response="=a <img> b"))
    for n in (1, 2)
]
SCORES = dict.fromkeys(CRITERIA, 2) | {"fluency": 0, "accuracy": CANNOT_JUDGE}
SPAN = Span(1, 4, "major", "fluency")


def written(path: Path, document: Any) -> Path:
    path.write_text(json.dumps(document), encoding="utf-8")
    return path


def test_label_studio_gives_back_what_was_rated(tmp_path: Path) -> None:
    tasks: list[dict[str, Any]] = label_studio_tasks(ITEMS, sheet="s", language="fr")
    config = ET.fromstring(label_studio_config(SCALES, {"fluency": {0: 'bad "<'}}))
    assert {each.get("name") for each in config.iter("Choices")} == {f"score_{name}" for name in CRITERIA}
    labels = {each.get("value") for each in config.iter("Label")}
    assert f"{SPAN.severity} {SPAN.criterion}" in labels
    assert "secret" not in json.dumps(tasks)
    choices = [
        {
            "from_name": f"score_{name}",
            "to_name": "answer",
            "type": "choices",
            "value": {"choices": [str(score)]},
        }
        for name, score in SCORES.items()
    ]
    span = {"from_name": "spans", "to_name": "answer", "type": "labels",
            "value": {"start": 1, "end": 4, "text": "a <", "labels": ["major fluency"]}}  # fmt: skip
    comment = {"from_name": "comment", "to_name": "answer", "type": "textarea", "value": {"text": ["bon"]}}
    tasks[0]["annotations"] = [
        {"completed_by": {"id": 7, "email": "a@b"}, "lead_time": 3.25, "result": [*choices, span, comment]},
        {"was_cancelled": True, "result": []},
    ]
    (record,) = read_export(written(tmp_path / "ls.json", tasks), SCALES).records
    assert (record.sheet, record.language, record.item, record.order) == ("s", "fr", "i1", 1)
    assert (record.scores, record.comment, record.spans) == (SCORES, "bon", (SPAN,))
    assert (record.annotator, record.seconds) == ("a@b", 3.25)
    small = {**tasks[0]["data"], "id": 1, "annotator": 7, "lead_time": 3.25, "comment": "bon",
             "spans": [span["value"]], **{f"score_{name}": str(score) for name, score in SCORES.items()}}  # fmt: skip
    (again,) = read_export(written(tmp_path / "min.json", [small]), SCALES).records
    assert (again.scores, again.comment, again.spans, again.item) == (SCORES, "bon", (SPAN,), "i1")


def test_pearmut_gives_back_the_last_submission(tmp_path: Path) -> None:
    campaign = pearmut_campaign([("s", ITEMS)], language="fr", scales=SCALES, instructions="<i>")
    assert "<" not in json.dumps(campaign, ensure_ascii=False)
    assert "secret" not in json.dumps(campaign)
    document = campaign["data"][0][0]
    sliders = {name: -1 if score == CANNOT_JUDGE else score for name, score in SCORES.items()}
    line = {
        "user_id": "calm-otter", "item_i": 0, "item": document,
        "annotation": [{"answer": {"score": None, "sliders": sliders, "textfield": "bon", "error_spans": [
            {"start_i": 1, "end_i": 3, "severity": "major", "category": "fluency"}]}}],
        "actions": [{"time": 5.0, "action": "load"}, {"time": 9.5, "action": "submit"}],
    }  # fmt: skip
    earlier = json.loads(json.dumps(line))
    earlier["annotation"][0]["answer"]["sliders"]["fluency"] = 1
    path = written(tmp_path / "annotations.json", {"people-fr": [earlier, line]})
    (record,) = read_export(path, SCALES).records
    assert (record.scores, record.comment, record.spans) == (SCORES, "bon", (SPAN,))
    assert (record.annotator, record.seconds, record.order) == ("calm-otter", 4.5, 1)
    line["annotation"][0]["answer"]["sliders"]["fluency"] = 3
    with pytest.raises(UserError, match=r"\(i1\), fluency is 3; it must be one of 0, 1, 2"):
        read_export(written(path, {"people-fr": [line]}), SCALES)


def test_a_table_that_was_filled_in_comes_back(tmp_path: Path) -> None:
    text = csv_table(ITEMS, sheet="s", language="fr", annotator=1, criteria=CRITERIA)
    assert "'=a <img> b" in text
    path = tmp_path / "filled.csv"
    path.write_text(text.replace(",'=a <img> b,,", ",'=a <img> b,2,"), encoding="utf-8")
    assert [record.scores for record in read_export(path, SCALES).records] == [{"language": 2}] * 2
