"""``agreement`` of people with a judge, with each other and with themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers.rated import key_rows, score_of, write_sheets
from helpers.scored import write_lines
from sklearn.metrics import cohen_kappa_score

from xltjax.eval.agreement import COMMAND
from xltjax.eval.people import collect


def test_people_are_compared_with_a_judge_each_other_and_themselves(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    arguments = [*files, "--key", key, "--out", tmp_path / "people", "--draws", 20]
    assert CliRunner().invoke(collect.COMMAND, [*map(str, arguments)]).exit_code == 0
    judged = {(row["model"], row["id"]): min(2, score_of({**row, "annotator": 1}, "helpfulness")
              + (row["language"] == "fr")) for row in key_rows()}  # fmt: skip
    write_lines(
        tmp_path / "judge/scores.jsonl",
        (
            {"id": id, "model": model, "language": id[-2:], "metric": "judge/helpfulness", "value": value,
             "state": "ok", "detail": {}}
            for (model, id), value in judged.items()
        ),
    )  # fmt: skip
    arguments = [tmp_path / "people", tmp_path / "judge", "--out", tmp_path / "out", "--draws", 20]
    result = CliRunner().invoke(COMMAND, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out/agreement.json").read_text())["rows"]
    found = {(tuple(r["raters"]), r["language"]): r for r in rows if r["metric"] == "judge/helpfulness"}
    human = {(r["model"], r["id"]): score_of(r, "helpfulness") for r in key_rows() if r["annotator"] == 1}
    for language in ("en", "fr"):
        items = sorted(item for item in human if item[1].endswith(language))
        a, b = [human[item] for item in items], [judged[item] for item in items]
        row = found[("annotator 1", "judge"), language]
        mean = (sum(b) - sum(a)) / len(a)
        assert row["mean_difference"]["estimate"] == pytest.approx(mean)
        assert row["kappa_linear"]["estimate"] == pytest.approx(cohen_kappa_score(a, b, weights="linear"))
        assert row["tau"] is not None
    again = found[("annotator 2", "annotator 2, again"), ""]
    assert (again["n"], again["exact"]["estimate"]) == (2, 1.0)
    confusion = (tmp_path / "out/confusion.csv").read_text(encoding="utf-8")
    assert confusion.startswith("metric,language,first_rater,second_rater,first,second,count,share")
