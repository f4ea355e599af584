"""``xltjax.eval agreement``: files joined, tables written, and each mistake named."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from xltjax.common.errors import UserError
from xltjax.eval.agreement import COMMAND


def write_scores(path: Path, scores: dict[tuple[str, str], float | None]) -> Path:
    """A scores.jsonl of {(id, metric): value}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    rows = [
        {"id": id, "metric": metric, "value": value, "state": "abstain" if value is None else "ok",
         "detail": {} if value is not None else {"reason": "none"}}
        for (id, metric), value in scores.items()
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(COMMAND, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rating_files(folder: Path) -> tuple[Path, Path, Path]:
    """Two raters and the responses: 2 models, 2 languages, 8 instructions."""
    human, judge, responses = {}, {}, []
    for model, language, number in itertools.product("AB", ("en", "fr"), range(8)):
        id = f"{model}-{language}-{number}"
        stars = (number + (model == "B")) % 3
        human[id, "helpfulness"] = float(stars)
        judge[id, "helpfulness"] = float(min(2, stars + (language == "fr")))
        human[id, "harmlessness"] = judge[id, "harmlessness"] = 2.0
        responses.append({"id": id, "model": model, "language": language, "task": f"t{number % 2}",
                          "instruction": "?", "response": "!", "instruction_id": str(number)})  # fmt: skip
    judge["A-en-0", "helpfulness"] = None
    judge["A-en-1", "relevance"] = 1.0
    path = folder / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in responses), encoding="utf-8")
    return (
        write_scores(folder / "human" / "scores.jsonl", human),
        write_scores(folder / "judge" / "scores.jsonl", judge),
        path,
    )


def test_command_joins_files_and_writes_the_table(tmp_path: Path) -> None:
    human, judge, responses = rating_files(tmp_path)
    arguments = (human.parent, judge, "--responses", responses, "--draws", 50, "--out", tmp_path / "out")
    output = run(*arguments)
    written = (tmp_path / "out" / "agreement.json").read_text(encoding="utf-8")
    document = json.loads(written)
    assert document["raters"] == {"human": str(human), "judge": str(judge)}
    rows = {(row["metric"], row["language"]): row for row in document["rows"]}
    assert set(rows) == set(itertools.product(("helpfulness", "harmlessness"), ("", "en", "fr")))
    french, english = rows["helpfulness", "fr"], rows["helpfulness", "en"]
    # In French 0, 1, 2 become 1, 2, 2; 6 + 5 of the 16 are below 2.
    assert (french["n"], french["exact"]["estimate"]) == (16, 5 / 16)
    assert french["mean_difference"]["estimate"] == 11 / 16
    assert (english["n"], english["total"], english["kappa"]["estimate"]) == (15, 16, 1.0)
    assert rows["harmlessness", ""]["alpha"]["note"] == "all ratings are equal: 1 by convention"
    assert rows["harmlessness", ""]["tau"] == {
        "estimate": None, "low": None, "high": None, "n": 2, "total": 2, "note": "all models tie",
    }  # fmt: skip
    # The judge did not score one answer of 16 in English, and 32 in all.
    assert (english["answers"], english["coverage"]) == (16, 15 / 16)
    assert english["exact_bounds"] == [15 / 16, 1.0]
    assert "15 93%" in output
    assert "1.00 1.00–1.00 (0.94–1.00)" in output
    assert "16 100%" in output
    assert "Not scored: 1 abstentions and 0 failures" in output
    assert "none: helpfulness (judge) 1 (such as A-en-0)" in output
    assert document["left_out"] in output
    assert "agreement of human, judge" in output
    assert "* all models tie" in output
    run(*arguments)
    assert (tmp_path / "out" / "agreement.json").read_text(encoding="utf-8") == written


def test_command_takes_three_raters_together_and_in_pairs(tmp_path: Path) -> None:
    human, judge, _ = rating_files(tmp_path)
    third = write_scores(
        tmp_path / "third.jsonl", {("A-en-2", "helpfulness"): 2.0, ("A-en-3", "helpfulness"): 0.0}
    )
    run(human, judge, third, "--metrics", "helpfulness", "--draws", 20, "--out", tmp_path / "out")
    rows = json.loads((tmp_path / "out" / "agreement.json").read_text(encoding="utf-8"))["rows"]
    assert [len(row["raters"]) for row in rows] == [3, 2, 2, 2]
    assert rows[0]["n"] == 31
    assert rows[0]["kappa"] is None
    assert rows[2]["confusion"] == [[1, 0, 0], [0, 0, 0], [0, 0, 1]]


def write_models(folder: Path, name: str, ratings: dict[tuple[str, str], float], named: bool = True) -> Path:
    """A scores.jsonl of {(model, id): rating}, which names the models or, as the version before, does not."""
    path = folder / name / "scores.jsonl"
    path.parent.mkdir(parents=True)
    rows = [
        {"id": id, **({"model": model} if named else {}), "metric": "stars", "value": value, "state": "ok",
         "detail": {}}
        for (model, id), value in ratings.items()
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def agreed(folder: Path, *arguments: object) -> dict[str, Any]:
    run(*arguments, "--draws", 20, "--out", folder / "out")
    (row,) = json.loads((folder / "out" / "agreement.json").read_text(encoding="utf-8"))["rows"]
    return row


def number_ids(path: Path, model: object = None) -> Path:
    """Rewrite the ids (and the model) of a scores.jsonl as numbers."""
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    rows = [row | {"id": int(row["id"])} | ({} if model is None else {"model": model}) for row in rows]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_an_id_that_is_a_number_is_its_text(tmp_path: Path) -> None:
    ratings = {(str(n), "stars"): float(n % 3) for n in range(6)}
    one = number_ids(write_scores(tmp_path / "one" / "scores.jsonl", ratings))
    two = write_scores(tmp_path / "two" / "scores.jsonl", ratings)
    responses = tmp_path / "r.csv"
    responses.write_text("id,response\n" + "".join(f"{n},x\n" for n in range(6)), encoding="utf-8")
    row = agreed(tmp_path, one, two, "--responses", responses)
    assert (row["n"], row["exact"]["estimate"]) == (6, 1.0)
    numbered = number_ids(write_scores(tmp_path / "three" / "scores.jsonl", ratings), model=7)
    assert agreed(tmp_path, numbered, one)["n"] == 6


def test_a_rater_who_abstains_throughout_is_said_to_rate_nothing(tmp_path: Path) -> None:
    one = write_scores(tmp_path / "one.jsonl", {("a", "stars"): 1.0, ("b", "stars"): 2.0})
    silent = write_scores(tmp_path / "silent.jsonl", {("a", "stars"): None, ("b", "stars"): None})
    with pytest.raises(UserError) as mistake:
        run(one, silent, "--out", tmp_path / "out")
    assert str(mistake.value) == "silent rates nothing on stars: all 2 scores are abstentions or failures"
    assert not (tmp_path / "out").exists()
    # Beside raters who can be compared, it is a line below the table.
    two = write_scores(tmp_path / "two.jsonl", {("a", "stars"): 1.0, ("b", "stars"): 2.0})
    printed = run(one, two, silent, "--draws", 20, "--out", tmp_path / "out")
    assert "silent rates nothing on stars" in printed


def test_ids_that_differ_are_shown(tmp_path: Path) -> None:
    one = write_scores(tmp_path / "one.jsonl", {("fr-1", "stars"): 1.0})
    two = write_scores(tmp_path / "two.jsonl", {("1-fr", "stars"): 1.0})
    with pytest.raises(UserError, match="one rates 'fr-1', two rates '1-fr'"):
        run(one, two, "--out", tmp_path / "out")


def test_answers_of_several_models_under_one_id_are_rated_apart(tmp_path: Path) -> None:
    ratings = {(model, str(n)): float(n % 3) for model in "AB" for n in range(6)}
    others = {(model, id): value if model == "A" else 2 - value for (model, id), value in ratings.items()}
    one, two = write_models(tmp_path, "one", ratings), write_models(tmp_path, "two", others)
    row = agreed(tmp_path, one, two)
    # A agrees on all 6; of B, 2 - n % 3 is n % 3 where n % 3 is 1: on 2.
    assert (row["n"], row["exact"]["estimate"], row["tau"]) == (12, 8 / 12, None)
    responses = tmp_path / "responses.jsonl"
    responses.write_text(
        "".join(
            json.dumps({"id": id, "model": model, "instruction": "?", "response": "!"}) + "\n"
            for model, id in ratings
        ),
        encoding="utf-8",
    )
    row = agreed(tmp_path, one, two, "--responses", responses)
    assert (row["n"], row["exact"]["estimate"], row["tau"]["total"]) == (12, 8 / 12, 2)


def test_scores_without_a_model_belong_to_the_model_that_has_the_id(tmp_path: Path) -> None:
    ratings = {("A", f"A-{n}"): float(n % 3) for n in range(6)} | {("B", f"B-{n}"): 1.0 for n in range(6)}
    named, unnamed = (
        write_models(tmp_path, "new", ratings),
        write_models(tmp_path, "old", ratings, named=False),
    )
    row = agreed(tmp_path, named, unnamed)
    assert (row["n"], row["total"], row["exact"]["estimate"]) == (12, 12, 1.0)
    assert agreed(tmp_path, write_models(tmp_path, "older", ratings, named=False), unnamed)["n"] == 12


def test_a_score_that_may_be_of_several_models_is_refused(tmp_path: Path) -> None:
    ratings = {("A", "1"): 1.0, ("B", "1"): 2.0}
    named = write_models(tmp_path, "new", ratings)
    unnamed = write_models(tmp_path, "old", {("", "1"): 1.0}, named=False)
    with pytest.raises(UserError, match=r"several models have the id '1' \(A, B\); give its scores"):
        run(named, unnamed, "--out", tmp_path / "out")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["human", "--out", "out"], "two or more"),
        (["human", "judge"], "--out is missing"),
        (["human", "judge", "--out", "out", "--metrics", "helpfullness"], "did you mean 'helpfulness'"),
        (["human", "judge", "--out", "out", "--scale", "1,2"], "is not on --scale 1,2"),
        (["human", "judge", "--out", "out", "--level", "95"], "between 0 and 1"),
        (["human", "judge", "--out", "out", "--responses", "few.jsonl"], "not among the responses"),
        (["human", "absent.jsonl", "--out", "out"], "does not exist"),
        (["human", "twice.jsonl", "--out", "out"], "two scores for helpfulness"),
        (["human", "other.jsonl", "--out", "out"], "no metric is in two of the files"),
        (["human", "strangers.jsonl", "--out", "out"], "nothing in common"),
        (["human", "empty.jsonl", "--out", "out"], "holds no scores"),
    ],
)
def test_mistakes_are_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    rating_files(tmp_path)
    twice = write_scores(tmp_path / "twice.jsonl", {("A-en-2", "helpfulness"): 2.0})
    twice.write_text(twice.read_text() * 2, encoding="utf-8")
    write_scores(tmp_path / "other.jsonl", {("A-en-2", "fluency"): 2.0})
    write_scores(tmp_path / "strangers.jsonl", {("Z", "helpfulness"): 2.0})
    write_scores(tmp_path / "empty.jsonl", {})
    few = {"id": "A-en-0", "model": "A", "language": "en", "instruction": "?", "response": "!"}
    (tmp_path / "few.jsonl").write_text(json.dumps(few) + "\n", encoding="utf-8")
    with pytest.raises(UserError, match=message):
        run(*arguments)
    assert not (tmp_path / "out").exists()


def test_answers_that_one_rater_was_never_shown_are_named_and_do_not_lower_the_coverage(
    tmp_path: Path,
) -> None:
    everything = write_scores(tmp_path / "judge.jsonl", {(str(k), "stars"): float(k % 3) for k in range(9)})
    sample = write_scores(tmp_path / "person.jsonl", {(str(k), "stars"): 1.0 for k in range(4)})
    output = run(everything, sample, "--draws", 20, "--out", tmp_path / "out")
    assert "4 100%" in output
    assert "stars: only one rater has a line for 5 answers (such as 4, 5, 6)" in output
