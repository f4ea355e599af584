"""Folders of a judge with repeats, several judges and probes, in ``compare`` and ``agreement``."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from helpers.scored import write_lines

from xltjax.common.errors import UserError
from xltjax.eval.agreement import COMMAND as AGREEMENT
from xltjax.eval.comparison.command import COMMAND as COMPARE

# By judge and model, repeats of each answer.
Said = Mapping[str, Mapping[str, Sequence[Sequence[float | None]]]]


def rows(said: Said, metric: str = "judge/helpfulness", **detail: Any) -> Iterator[dict[str, Any]]:
    for judge, models in said.items():
        for model, answers in models.items():
            for number, repeats in enumerate(answers):
                for repeat, value in enumerate(repeats):
                    yield {
                        "id": f"q{number}", "model": model, "language": "en", "metric": metric, "value": value,
                        "state": "ok" if value is not None else "failed:refusal",
                        "detail": {"judge": judge, "repeat": repeat, **detail},
                    }  # fmt: skip


def run(command: Any, *arguments: object) -> str:
    result = CliRunner().invoke(command, [*map(str, arguments), "--draws", "20"])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def document(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


JUDGE = {"j": {"A": [[2, 1, 2], [1, 1, 1], [None, 2, 2]], "B": [[0, 1, 0], [1, 0, 0], [None] * 3]}}


def test_repeats_become_their_mean_in_compare_and_one_of_them_can_be_named(tmp_path: Path) -> None:
    probe = rows({"j": {"A": [[0], [0], [0]]}}, probe="copy")
    write_lines(tmp_path / "judged/scores.jsonl", [*rows(JUDGE), *probe])
    run(COMPARE, tmp_path / "judged", "--out", tmp_path / "out")
    (row,) = document(tmp_path / "out/compare.json")["rows"]
    assert (row["n"], row["coverage_a"], row["coverage_b"]) == (2, 1.0, pytest.approx(2 / 3))
    assert row["mean_a"] == pytest.approx((5 / 3 + 1) / 2)
    assert row["mean_b"] == pytest.approx(1 / 3)
    run(COMPARE, tmp_path / "judged", "--repeat", 0, "--out", tmp_path / "first")
    (row,) = document(tmp_path / "first/compare.json")["rows"]
    assert (row["mean_a"], row["mean_b"]) == (1.5, 0.5)
    with pytest.raises(UserError, match=r"--repeat 3 is not there; there are 0, 1, 2"):
        run(COMPARE, tmp_path / "judged", "--repeat", 3, "--out", tmp_path / "none")


def test_compare_names_the_judges_among_whom_to_choose(tmp_path: Path) -> None:
    other = {"k": {"A": [[1], [1], [1]], "B": [[2], [2], [2]]}}
    write_lines(tmp_path / "judged/scores.jsonl", [*rows(JUDGE), *rows(other)])
    with pytest.raises(
        UserError, match=r"judge/helpfulness was scored by several judges \('j', 'k'\).*--judge"
    ):
        run(COMPARE, tmp_path / "judged", "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    run(COMPARE, tmp_path / "judged", "--judge", "k", "--out", tmp_path / "out")
    found = document(tmp_path / "out/compare.json")
    assert found["rows"][0]["difference"] == -1
    assert found["judges"] == {"judge/helpfulness": "k"}
    with pytest.raises(UserError, match="--judge 'kk' has no scores here; did you mean 'k'"):
        run(COMPARE, tmp_path / "judged", "--judge", "kk", "--out", tmp_path / "none")


def test_models_that_were_scored_by_different_judges_are_not_compared(tmp_path: Path) -> None:
    for judge, model in (("j", "A"), ("k", "B")):
        write_lines(tmp_path / model / "scores.jsonl", rows({judge: {model: [[1], [2]]}}))
    with pytest.raises(UserError, match="several judges"):
        run(COMPARE, tmp_path / "A", tmp_path / "B", "--out", tmp_path / "out")


def test_other_metrics_of_such_a_folder_are_compared_without_a_choice(tmp_path: Path) -> None:
    other = {"k": {"A": [[1]], "B": [[2]]}}
    plain = [
        {"id": f"q{n}", "model": model, "language": "en", "metric": "relevance", "value": 1.0, "state": "ok",
         "detail": {}}
        for n in range(2) for model in "AB"
    ]  # fmt: skip
    write_lines(tmp_path / "judged/scores.jsonl", [*rows(JUDGE), *rows(other), *plain])
    run(COMPARE, tmp_path / "judged", "--metrics", "relevance", "--out", tmp_path / "out")
    (row,) = document(tmp_path / "out/compare.json")["rows"]
    assert row["metric"] == "relevance"


def test_verdicts_of_a_judge_have_the_test_for_zero_and_one_until_repeats_are_averaged(
    tmp_path: Path,
) -> None:
    said = {"A": [[1], [1], [1], [0]], "B": [[0], [1], [0], [0]]}
    for metric in ("relevant", "fulfilled"):
        write_lines(tmp_path / metric / "scores.jsonl", rows({"j": said}, f"judge/{metric}"))
        run(COMPARE, tmp_path / metric, "--out", tmp_path / f"{metric}-out")
        (row,) = document(tmp_path / f"{metric}-out/compare.json")["rows"]
        assert (row["test"], row["exact"]) == ("mcnemar", True)
    write_lines(
        tmp_path / "r/scores.jsonl", rows({"j": {**said, "A": [[1, 0], [1], [1], [0]]}}, "judge/relevant")
    )
    run(COMPARE, tmp_path / "r", "--out", tmp_path / "r-out")
    (row,) = document(tmp_path / "r-out/compare.json")["rows"]
    assert (row["test"], row["mean_a"]) == ("sign-flip", 2.5 / 4)


def test_each_judge_of_a_folder_is_a_rater_with_the_lower_median_of_its_repeats(tmp_path: Path) -> None:
    other = {"k": {"A": [[1], [1], [2]], "B": [[0], [1], [1]]}}
    write_lines(tmp_path / "judged/scores.jsonl", [*rows(JUDGE), *rows(other)])
    run(AGREEMENT, tmp_path / "judged", "--out", tmp_path / "out")
    (row,) = document(tmp_path / "out/agreement.json")["rows"]
    assert (row["raters"], row["n"], row["answers"]) == (["j", "k"], 5, 6)
    # j: A 2 1 2, B 0 0 -; k: A 1 1 2, B 0 1 1.
    assert row["confusion"] == [[1, 1, 0], [0, 1, 0], [0, 1, 1]]
    with pytest.raises(UserError, match="holds one rater"):
        run(AGREEMENT, tmp_path / "judged", "--judge", "k", "--out", tmp_path / "one")
    person = [
        {"id": f"q{n}", "model": model, "rater": "p", "criterion": "helpfulness", "value": 1}
        for n in range(3) for model in "AB"
    ]  # fmt: skip
    write_lines(tmp_path / "people/ratings.jsonl", person)
    run(AGREEMENT, tmp_path / "people", tmp_path / "judged", "--judge", "k", "--out", tmp_path / "two")
    found = document(tmp_path / "two/agreement.json")
    assert [row["raters"] for row in found["rows"]] == [["p", "judged"]]
    run(AGREEMENT, tmp_path / "people", tmp_path / "judged", "--out", tmp_path / "three")
    found = document(tmp_path / "three/agreement.json")
    assert found["rows"][0]["raters"] == ["p", "j", "k"]


def test_two_scores_of_one_repeat_stay_a_mistake(tmp_path: Path) -> None:
    said = list(rows({"j": {"A": [[1], [2]], "B": [[1], [2]]}}))
    write_lines(tmp_path / "judged/scores.jsonl", [*said, said[0]])
    with pytest.raises(UserError, match="has two scores of judge/helpfulness for 'q0'"):
        run(COMPARE, tmp_path / "judged", "--out", tmp_path / "out")
