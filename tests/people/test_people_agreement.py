"""``agreement`` of people with a judge, with each other and with themselves."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from helpers.pages.rated_sheets import key_rows, score_of, write_sheets
from helpers.scored import write_lines
from sklearn.metrics import cohen_kappa_score

from xltjax.eval.agreement import COMMAND
from xltjax.eval.comparison.command import COMMAND as COMPARE
from xltjax.eval.people import collect
from xltjax.eval.stats.coefficients import agreement
from xltjax.eval.stats.intervals import resample
from xltjax.eval.stats.mean_ratings import mean_ratings
from xltjax.eval.stats.power import minimal_detectable_difference


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
    with (tmp_path / "out/means.csv").open(encoding="utf-8", newline="") as file:
        means = {
            (row["first_rater"], row["second_rater"], row["language"], row["model"]): row
            for row in csv.DictReader(file)
        }
    # All annotators together, and each of them, beside the judge: Figure 5 of the paper.
    both = {(r["model"], r["id"]): [] for r in key_rows()}
    for row in key_rows():
        if not row["repeat_of"]:
            both[row["model"], row["id"]].append(score_of(row, "helpfulness"))
    for model in "AB":
        items = [item for item in both if item[0] == model and item[1].endswith("fr")]
        row = means["people", "judge", "fr", model]
        first = sum(sum(both[item]) / 2 for item in items) / len(items)
        second = sum(judged[item] for item in items) / len(items)
        assert (int(row["n"]), float(row["first"])) == (4, pytest.approx(first, abs=1e-4))
        assert float(row["second"]) == pytest.approx(second, abs=1e-4)
        assert float(row["difference"]) == pytest.approx(second - first, abs=1e-4)
        assert float(row["difference_low"]) <= float(row["difference"]) <= float(row["difference_high"])
    assert ("annotator 2", "judge", "all", "all") in means
    assert not [names for names in means if "again" in names[1]]


def test_mean_ratings_are_over_the_answers_that_both_rated() -> None:
    first = {"a": 2.0, "b": 0.0, "c": None, "d": 1.0}
    second = {"a": 1.0, "b": 1.0, "c": 2.0, "e": 2.0}
    row = mean_ratings(first, second, resample("abcde", draws=50))
    assert (row["n"], row["first"], row["second"], row["difference"]) == (2, 1.0, 1.0, 0.0)
    assert (row["difference_low"], row["difference_high"]) == (-1.0, 1.0)
    nothing = mean_ratings({"a": 1.0}, {"b": 1.0}, resample("ab", draws=5))
    assert nothing["n"] == 0
    assert nothing["difference"] is nothing["first_low"] is None


def test_the_guide_says_what_so_many_instructions_show() -> None:
    guide = (Path(__file__).parents[2] / "docs/people.md").read_text(encoding="utf-8")
    rows = [
        list(map(float, found))
        for found in re.findall(r"^\| ([0-9.]+) \| (\S+) \| (\S+) \| (\S+) \|$", guide, re.M)
    ]
    detected = {int(row[0]): row[1:] for row in rows if row[0] > 2}
    needed = {row[0]: row[1:] for row in rows if row[0] <= 2}
    assert (len(detected), len(needed)) == (5, 4)
    for n, differences in detected.items():
        found = [minimal_detectable_difference(sd, n) or 0 for sd in (0.5, 0.7, 0.9)]
        assert [round(each, 2) for each in found] == differences
    for difference, numbers in needed.items():
        for sd, n in zip((0.5, 0.7, 0.9), map(int, numbers), strict=True):
            one_less, enough = (minimal_detectable_difference(sd, each) or 0 for each in (n - 1, n))
            assert enough <= difference < one_less


def test_the_guide_says_how_wide_the_intervals_of_agreement_are() -> None:
    rng = np.random.default_rng(0)
    widths: dict[str, list[float]] = {"kappa": [], "ac2": [], "mean_difference": []}
    resamples = resample(map(str, range(30)), draws=500)
    for _ in range(10):
        base = rng.normal(1.3, 0.5, (30, 1))
        first = np.clip(np.round(base + rng.normal(0, 0.6, (30, 7))), 0, 2)
        second = np.clip(first + rng.choice([0, 0, 0, 1, -1], (30, 7)), 0, 2)
        cells = [{(i, j): float(v) for (i, j), v in np.ndenumerate(each)} for each in (first, second)]
        found = agreement(
            cells, resamples, scale=(0, 1, 2), cluster={item: str(item[0]) for item in cells[0]}
        )
        for name, values in widths.items():
            interval = getattr(found, name)
            values.append((interval.high - interval.low) / 2)
    guide = {"kappa": 0.07, "ac2": 0.05, "mean_difference": 0.08}
    assert {name: np.mean(values) for name, values in widths.items()} == pytest.approx(guide, abs=0.01)


def test_models_are_compared_by_the_mean_of_what_people_say(tmp_path: Path) -> None:
    key, files = write_sheets(tmp_path)
    arguments = [*files, "--key", key, "--out", tmp_path / "people", "--draws", 20]
    assert CliRunner().invoke(collect.COMMAND, [*map(str, arguments)]).exit_code == 0
    arguments = [
        tmp_path / "people",
        "--metrics",
        "people/helpfulness",
        "--out",
        tmp_path / "out",
        "--draws",
        20,
    ]
    result = CliRunner().invoke(COMPARE, [*map(str, arguments)], catch_exceptions=False)
    assert result.exit_code == 0, result.output
    rows = json.loads((tmp_path / "out/compare.json").read_text())["rows"]
    found = {row["language"]: row for row in rows}
    own = [row for row in key_rows() if row["language"] == "fr" and not row["repeat_of"]]
    for name, model in (("mean_a", "A"), ("mean_b", "B")):
        ratings = [score_of(row, "helpfulness") for row in own if row["model"] == model]
        assert found["fr"][name] == pytest.approx(sum(ratings) / len(ratings))
    assert (found["fr"]["n"], found["fr"]["instructions"]) == (4, 4)
    # The translations of an instruction are one.
    assert found["all"]["instructions"] == 4


def test_a_rating_that_nobody_gave_belongs_to_the_scale_of_a_known_criterion(tmp_path: Path) -> None:
    said = {"a": [2, 2, 2, 1], "b": [2, 2, 1, 1]}
    for rater, values in said.items():
        write_lines(
            tmp_path / rater / "scores.jsonl",
            (
                {"id": str(number), "metric": metric, "value": value + ("stars" in metric), "state": "ok",
                 "detail": {}}
                for number, value in enumerate(values)
                for metric in ("judge/helpfulness", "judge/stars")
            ),
        )  # fmt: skip
    arguments = [tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out", "--draws", 10]
    assert CliRunner().invoke(COMMAND, [*map(str, arguments)], catch_exceptions=False).exit_code == 0
    rows = {row["metric"]: row for row in json.loads((tmp_path / "out/agreement.json").read_text())["rows"]}
    assert rows["judge/helpfulness"]["scale"] == [0, 1, 2]
    assert rows["judge/stars"]["scale"] == [2, 3]
    # By hand, with weights 1 and 2/3 for neighbors: p_a = 11/12, shares 0, 3/8 and 5/8, and Gwet's factor 17/18.
    chance = 17 / 18 * 2 * (3 / 8) * (5 / 8)
    assert rows["judge/helpfulness"]["ac2"]["estimate"] == pytest.approx((11 / 12 - chance) / (1 - chance))
