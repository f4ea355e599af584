"""``xltjax.eval compare``: models joined, numbers against scipy and by hand, tables, and each mistake named."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats
from statsmodels.stats.multitest import multipletests

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.comparison.command import COMMAND
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.scores import Score, abstain
from xltjax.eval.summary import save_results

Values = dict[str, float | None]


def answer(model: str, number: int, language: str, **keys: Any) -> Response:
    values = {"task": f"t{number % 2}", "instruction_id": f"q{number}", "instruction": f"{number} {language}"}
    return Response(id=f"{number}-{language}", model=model, language=language, **{**values, **keys})


def write(folder: Path, model: str, scores: dict[str, dict[str, list[float | None]]], **keys: Any) -> Path:
    """The files of an evaluator: {metric: {language: values by instruction}}."""
    by_answer: dict[tuple[int, str], list[Score]] = {}
    for metric, of in scores.items():
        for language, values in of.items():
            for number, value in enumerate(values):
                id = f"{number}-{language}"
                score = abstain(id, metric, "no letters") if value is None else Score(id, metric, value)
                by_answer.setdefault((number, language), []).append(score)
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for (number, language), found in by_answer.items():
        named = [Score(s.id, s.metric, s.value, s.state, s.detail, model) for s in found]
        rows.append((answer(model, number, language, **keys), named))
    save_results(folder, rows, list(scores), "test", {})
    return folder


def run(*arguments: object) -> str:
    result = CliRunner().invoke(COMMAND, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def rows_of(out: Path, **wanted: Any) -> list[dict[str, Any]]:
    rows = json.loads((out / "compare.json").read_text(encoding="utf-8"))["rows"]
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def row_of(out: Path, **wanted: Any) -> dict[str, Any]:
    (row,) = rows_of(out, **{"by": "", **wanted})
    return row


GOOD = {"fr": [1.0] * 8 + [0.0] * 2, "ru": [1.0] * 7 + [0.0] * 3}
BAD = {"fr": [0.0] * 6 + [1.0] * 4, "ru": [0.0] * 7 + [1.0, None, 0.0]}
SHARES = [0.5, 0.75, 1.0, 0.25, 0.5, 0.0, 1.0, 0.75, 0.5, 0.25]


def two_models(folder: Path) -> tuple[Path, Path]:
    good = write(folder / "good", "good", {"language_correct": GOOD, "spelling": {"fr": SHARES}})
    bad = write(folder / "bad", "bad", {"language_correct": BAD, "spelling": {"fr": SHARES[::-1]}})
    return good, bad


def test_each_row_equals_the_paired_tests_of_scipy_and_a_bootstrap_by_hand_to_the_last_digit(
    tmp_path: Path,
) -> None:
    good, bad = two_models(tmp_path)
    run(good, bad, "--out", tmp_path / "out", "--draws", 400, "--seed", 5)
    whole = row_of(tmp_path / "out", metric="language_correct", language="fr")
    assert (whole["a"], whole["b"], whole["n"], whole["test"]) == ("good", "bad", 10, "mcnemar")
    assert (whole["a_higher"], whole["b_higher"]) == (6, 2)
    assert whole["p"] == stats.binomtest(6, 8).pvalue
    shares = row_of(tmp_path / "out", metric="spelling", language="fr")
    theirs = stats.permutation_test(
        (np.array(SHARES), np.array(SHARES[::-1])),
        lambda x, y: np.mean(x - y),
        permutation_type="samples",
        vectorized=False,
        n_resamples=math.inf,
    )
    assert (shares["p"], shares["test"], shares["exact"]) == (theirs.pvalue, "sign-flip", True)

    # One matrix of indices for every metric and language: five instructions of each task, of which four are drawn.
    strata = [[k for k in range(10) if k % 2 == task] for task in (0, 1)]
    uniform = np.random.default_rng(5).random((400, 8))
    index = [[strata[place // 4][int(5 * u)] for place, u in enumerate(line)] for line in uniform]
    cells = {
        ("language_correct", "fr"): (GOOD["fr"], BAD["fr"]),
        ("language_correct", "ru"): (GOOD["ru"], BAD["ru"]),
        ("spelling", "fr"): (SHARES, SHARES[::-1]),
    }
    for (metric, language), (a, b) in cells.items():
        row = row_of(tmp_path / "out", metric=metric, language=language)
        means = []
        for drawn in index:
            differences = [a[k] - b[k] for k in drawn if b[k] is not None]
            means.append(sum(differences) / len(differences))
        assert [row["low"], row["high"]] == list(np.quantile(means, [0.025, 0.975]))
        common = [x - y for x, y in zip(a, b, strict=True) if y is not None]
        assert (row["difference"], row["n"]) == (sum(common) / len(common), len(common))
    # Over both languages the two answers to an instruction are drawn together.
    both = row_of(tmp_path / "out", metric="language_correct", language="all")
    means = []
    for drawn in index:
        differences = [
            GOOD[lang][k] - BAD[lang][k] for k in drawn for lang in GOOD if BAD[lang][k] is not None
        ]
        means.append(sum(differences) / len(differences))
    assert [both["low"], both["high"]] == list(np.quantile(means, [0.025, 0.975]))
    assert (both["n"], both["instructions"], both["test"]) == (19, 10, "sign-flip")


def test_an_abstention_never_flatters(tmp_path: Path) -> None:
    # B abstains where it would fail: on common answers it is level, but the bounds show what may lie behind.
    a = write(tmp_path / "a", "a", {"lpr": {"fr": [1.0] * 8 + [1.0, 1.0]}})
    b = write(tmp_path / "b", "b", {"lpr": {"fr": [1.0] * 8 + [None, None]}})
    output = run(a, b, "--out", tmp_path / "out")
    row = row_of(tmp_path / "out")
    assert (row["difference"], row["n"], row["answers"]) == (0.0, 8, 10)
    assert (row["coverage_a"], row["coverage_b"]) == (1.0, 0.8)
    assert (row["unscored_as_0"], row["bound_low"], row["bound_high"]) == (0.2, 0.0, 0.2)
    assert "(.000 to +.200)" in output
    assert "100/80" in output
    assert "no letters: lpr 2 (such as 8-fr, 9-fr)" in output


def test_a_significant_difference_that_unscored_answers_could_turn_is_marked(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "a", {"lpr": {"fr": [1.0] * 12 + [None] * 20}})
    b = write(tmp_path / "b", "b", {"lpr": {"fr": [0.0] * 12 + [1.0] * 20}})
    output = run(a, b, "--out", tmp_path / "out")
    assert row_of(tmp_path / "out")["bound_low"] < 0 < row_of(tmp_path / "out")["difference"]
    assert "<.001*?" in output


def test_holm_corrects_within_the_declared_family(tmp_path: Path) -> None:
    draw = random.Random(0)
    folders = [
        write(
            tmp_path / name,
            name,
            {"lpr": {lang: [float(draw.random() < p) for _ in range(40)] for lang in ("en", "fr")}},
        )
        for name, p in (("m1", 0.9), ("m2", 0.6), ("m3", 0.5))
    ]
    output = run(*folders, "--out", tmp_path / "out", "--draws", 50)
    for family, members in (
        ("lpr, each language", [row for row in rows_of(tmp_path / "out") if row["language"] != "all"]),
        ("lpr, languages together", rows_of(tmp_path / "out", language="all")),
    ):
        assert {row["family"] for row in members} == {family}
        assert {row["family_size"] for row in members} == {len(members)}
        expected = multipletests([row["p"] for row in members], method="holm")[1]
        assert [row["p_holm"] for row in members] == pytest.approx(list(expected), abs=1e-12)
    assert "Tests in a family: each language 6, languages together 3 (lpr)." in output


def test_copies_of_a_model_have_the_same_rows_beside_any_other(tmp_path: Path) -> None:
    draw = random.Random(1)
    values = [{"spelling": {"fr": [draw.random() for _ in range(30)]}} for _ in range(3)]
    folders = [
        write(tmp_path / name, name, values[k]) for name, k in (("x", 0), ("y", 1), ("z", 2), ("copy", 0))
    ]
    run(*folders, "--out", tmp_path / "out", "--baseline", "y")
    x, copy = (row_of(tmp_path / "out", a=name) for name in ("x", "copy"))
    assert {**copy, "a": "x"} == x
    run(folders[3], folders[1], "--out", tmp_path / "pair")
    alone = row_of(tmp_path / "pair")
    assert (alone["low"], alone["high"], alone["p"]) == (x["low"], x["high"], x["p"])
    run(folders[0], folders[3], "--out", tmp_path / "same")
    same = row_of(tmp_path / "same")
    assert (same["difference"], same["low"], same["high"], same["p"]) == (0.0, 0.0, 0.0, 1.0)
    assert same["detectable"] is None


def test_the_order_of_the_files_changes_only_the_sign(tmp_path: Path) -> None:
    good, bad = two_models(tmp_path)
    run(good, bad, "--out", tmp_path / "one")
    run(bad, good, "--out", tmp_path / "two")
    one, two = (row_of(tmp_path / out, metric="spelling", language="fr") for out in ("one", "two"))
    assert (one["difference"], one["p"], one["detectable"]) == (
        -two["difference"],
        two["p"],
        two["detectable"],
    )


def test_groups_are_the_values_of_any_key(tmp_path: Path) -> None:
    good, bad = two_models(tmp_path)
    output = run(good, bad, "--out", tmp_path / "out", "--by", "task", "--metrics", "language_correct")
    grouped = rows_of(tmp_path / "out", by="task", language="fr")
    assert [(row["group"], row["n"]) for row in grouped] == [("t0", 5), ("t1", 5)]
    # Even instructions: 1 1 1 1 0 against 0 0 0 1 1.
    assert grouped[0]["difference"] == pytest.approx(4 / 5 - 2 / 5)
    assert grouped[0]["p"] == stats.binomtest(3, 4).pvalue
    assert {row["family"] for row in grouped} == {"language_correct, each language by task"}
    assert grouped[0]["family_size"] == 4
    assert "good − bad, language_correct by task" in output


def test_modifiers_and_keys_of_the_users_own_divide_answers(tmp_path: Path) -> None:
    folders = []
    for model in ("a", "b"):
        rows = []
        for number, modifier in itertools.product(range(6), (None, "list_n", "briefly")):
            told = {"name": modifier, "params": {"n": 2}} if modifier else None
            response = dataclasses.replace(
                answer(model, number, "en", modifier=told, extra={"level": number % 3}),
                id=f"{number}-{modifier}",
            )
            rows.append((response, [Score(response.id, "lpr", float(model == "a"), model=model)]))
        folders.append(tmp_path / model)
        folders[-1].mkdir()
        save_results(folders[-1], rows, ["lpr"], "test", {})
    run(*folders, "--out", tmp_path / "out", "--by", "modifier,level")
    found = {(row["by"], row["group"]): (row["n"], row["instructions"]) for row in rows_of(tmp_path / "out")}
    assert found == {
        ("", ""): (18, 6),
        ("modifier", "(none)"): (6, 6),
        ("modifier", "briefly"): (6, 6),
        ("modifier", "list_n"): (6, 6),
        ("level", "0"): (6, 2),
        ("level", "1"): (6, 2),
        ("level", "2"): (6, 2),
    }
    with pytest.raises(UserError, match=r"--by nothing: no answer has this key; .*level, modifier, task"):
        run(*folders, "--out", tmp_path / "out", "--by", "nothing")


def test_a_key_that_describes_the_answer_does_not_divide_pairs(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "a", {"lpr": {"fr": [1.0, 0.0]}}, finish_reason="stop")
    b = write(tmp_path / "b", "b", {"lpr": {"fr": [1.0, 0.0]}}, finish_reason="length")
    with pytest.raises(UserError, match="describes the prompt and not the answer"):
        run(a, b, "--out", tmp_path / "out", "--by", "finish_reason")


def test_what_only_one_model_has_is_named_and_not_compared(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "a", {"lpr": {"fr": [1.0] * 6}, "relevance": {"fr": [1.0] * 6}})
    b = write(tmp_path / "b", "b", {"lpr": {"fr": [0.0] * 4}})
    c = write(tmp_path / "c", "c", {"relevance": {"fr": [0.0] * 6}})
    output = " ".join(run(a, b, c, "--out", tmp_path / "out").split())
    assert (row_of(tmp_path / "out", metric="lpr")["answers"], len(rows_of(tmp_path / "out"))) == (4, 2)
    assert "The scores of b have no line for 2 prompts of other models (such as 4-fr, 5-fr) on lpr;" in output
    assert "The scores of b have nothing on relevance;" in output


def scores_file(path: Path, model: str, ids: list[str], **keys: Any) -> Path:
    rows = [
        {
            "id": id,
            "model": model,
            "metric": "lpr",
            "value": float(k % 2),
            "state": "ok",
            "detail": {},
            **keys,
        }
        for k, id in enumerate(ids)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def test_answers_under_other_ids_are_matched_by_instruction_or_by_its_text(tmp_path: Path) -> None:
    texts, named = [], []
    for model in ("a", "b"):
        scores_file(tmp_path / f"{model}.jsonl", model, [f"{model}/{k}" for k in range(4)])
        for collected, key in ((texts, "instruction"), (named, "instruction_id")):
            path = tmp_path / f"{model}.{key}.jsonl"
            rows = [
                {"id": f"{model}/{k}", "model": model, "response": "!", "language": "fr", key: f"ask {k}"}
                for k in range(4)
            ]
            path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            collected += ["--responses", path]
    files = (tmp_path / "a.jsonl", tmp_path / "b.jsonl", "--out", tmp_path / "out")
    for given, how in ((texts, "the text of the instruction"), (named, "instruction_id")):
        output = " ".join(run(*files, *given).split())
        assert f"were matched by {how}" in output
        assert (row_of(tmp_path / "out")["n"], row_of(tmp_path / "out")["language"]) == (4, "fr")
    with pytest.raises(UserError, match="no prompts in common"):
        run(*files)


def test_other_instructions_under_the_same_ids_are_named(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "a", {"lpr": {"fr": [1.0, 0.0]}})
    b = write(tmp_path / "b", "b", {"lpr": {"fr": [1.0, 0.0]}}, instruction="another")
    output = " ".join(run(a, b, "--out", tmp_path / "out").split())
    assert "asked different instructions, for 2 prompts (such as 0-fr, 1-fr)" in output


def test_one_model_in_two_settings_is_compared_under_given_names(tmp_path: Path) -> None:
    first = write(tmp_path / "1", "m", {"lpr": {"fr": [1.0, 0.0, 1.0]}})
    second = write(tmp_path / "2", "m", {"lpr": {"fr": [1.0, 1.0, 1.0]}})
    run(f"greedy={first}", f"sampled={second}", "--out", tmp_path / "out", "--by", "task")
    assert {(row["a"], row["b"]) for row in rows_of(tmp_path / "out")} == {("greedy", "sampled")}
    with pytest.raises(UserError, match=r"'m' has two scores of lpr for '0-fr' .*NAME=PATH"):
        run(first, second, "--out", tmp_path / "out")


def test_scores_of_several_commands_and_folders_are_joined(tmp_path: Path) -> None:
    write(tmp_path / "s1", "a", {"lpr": {"fr": [1.0, 0.0]}})
    write(tmp_path / "s2", "a", {"spelling": {"fr": [0.5, 0.25]}})
    write(tmp_path / "s3", "b", {"lpr": {"fr": [1.0, 1.0]}, "spelling": {"fr": [0.5, 0.5]}})
    run(*(tmp_path / s for s in ("s1", "s2", "s3")), "--out", tmp_path / "out")
    assert [row["metric"] for row in rows_of(tmp_path / "out")] == ["lpr", "spelling"]


def test_modified_answers_count_under_the_language_of_their_instruction(tmp_path: Path) -> None:
    rows = [
        {"id": "plain", "language": "fr", "instruction": "Dis bonjour.", "response": "Bonjour à tous mes amis."},
        {"id": "in-ru", "language": "ru", "instruction": "Dis bonjour. En russe.", "response": "Привет, мои друзья.",
         "modifier": {"name": "answer_in", "params": {"language": "ru"}}},
    ]  # fmt: skip
    for model in ("a", "b"):
        path = tmp_path / f"{model}.jsonl"
        told = [{**row, "model": model, "instruction_id": "q"} for row in rows]
        path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
        arguments = [str(path), "--out", str(tmp_path / model)]
        assert CliRunner().invoke(modifiers.COMMAND, arguments).exit_code == 0
    run(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "out")
    assert row_of(tmp_path / "out", metric="modifier_strict")["language"] == "fr"


def test_files_are_read_back_and_latex_compiles_in_form(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "7b_ft & 50%", {"lpr": {"fr": [1.0, 0.0, 1.0]}})
    b = write(tmp_path / "b", "b|c", {"lpr": {"fr": [1.0, 1.0, None]}})
    output = run(a, b, "--out", tmp_path / "out")
    with (tmp_path / "out" / "compare.csv").open(encoding="utf-8") as file:
        (line,) = csv.DictReader(file)
    row = row_of(tmp_path / "out")
    assert (line["a"], float(line["difference"]), line["n"]) == ("7b_ft & 50%", row["difference"], "2")
    markdown = (tmp_path / "out" / "compare.md").read_text(encoding="utf-8")
    assert "| 7b_ft & 50% − b\\|c | lpr | fr | 2 |" in markdown
    latex = (tmp_path / "out" / "compare.tex").read_text(encoding="utf-8")
    body = [each for each in latex.splitlines() if not each.startswith("%")]
    assert body[:2] == ["\\begin{tabular}{llrrrrrrr}", "\\toprule"]
    assert body[-2:] == ["\\bottomrule", "\\end{tabular}"]
    assert "7b\\_ft \\& 50\\% $-$ b|c" in latex
    columns = {each.count(" & ") for each in body if each.endswith("\\\\") and "multicolumn" not in each}
    assert len(columns) == 1
    assert len(body[0].removeprefix("\\begin{tabular}{").rstrip("}")) == columns.pop() + 1
    assert max(map(len, output.splitlines()[:-1])) <= 80


def test_a_family_too_large_for_the_draws_is_named(tmp_path: Path) -> None:
    draw = random.Random(2)
    folders = [
        write(tmp_path / f"m{k}", f"m{k}", {"spelling": {"fr": [draw.random() for _ in range(30)]}})
        for k in range(4)
    ]
    output = " ".join(run(*folders, "--out", tmp_path / "out", "--draws", 99).split())
    assert (
        "99 random sign flips cannot give p below 0.01, too much for a family of 6: raise --draws" in output
    )
    assert "raise --draws" not in run(*folders, "--out", tmp_path / "out", "--draws", 2000)


def test_mistakes_are_one_line_and_leave_no_file(tmp_path: Path) -> None:
    good, bad = two_models(tmp_path)
    out = tmp_path / "out"
    (tmp_path / "empty").mkdir()
    french, russian, odd = tmp_path / "fr.jsonl", tmp_path / "ru.jsonl", tmp_path / "odd.jsonl"
    for path, language in ((french, "fr"), (russian, "ru")):
        row = {"id": "1", "model": path.stem, "language": language, "metric": "lpr", "value": 1.0}
        path.write_text(json.dumps({**row, "detail": None}) + "\n")
    odd.write_text(json.dumps({"id": "1", "metric": "lpr", "value": None, "state": 3}) + "\n")
    cases = {
        "no scores given": ("--out", out),
        "--out is missing": (good, bad),
        "does not exist": (good, tmp_path / "nowhere", "--out", out),
        "has no scores.jsonl; run an evaluator": (good, tmp_path / "empty", "--out", out),
        "has no scores.jsonl; did you mean": (good, tmp_path, "--out", out),
        "all scores are of one model, 'good'": (good, "--out", out),
        "did you mean 'good'": (good, bad, "--baseline", "god", "--out", out),
        "did you mean 'spelling'": (good, bad, "--metrics", "speling", "--out", out),
        "--level must be": (good, bad, "--level", "1", "--out", out),
        "share neither ids in one language": (french, russian, "--out", out),
        "line 1: not a score": (good, odd, "--out", out),
    }
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message.replace(".", r"\.")):
            run(*arguments)
    assert not out.exists()


def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    good, bad = two_models(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    for name, content in (("compare.md", "mine"), ("compare.json", '{"mine": 1}')):
        (out / name).write_text(content)
        with pytest.raises(UserError, match="was not written by this command"):
            run(good, bad, "--out", out)
        assert (out / name).read_text() == content


def test_running_again_gives_the_same_files(tmp_path: Path) -> None:
    good, bad = two_models(tmp_path)
    out = tmp_path / "out"
    run(good, bad, "--out", out, "--by", "task")
    first = {path.name: path.read_bytes() for path in out.iterdir()}
    run(good, bad, "--out", out, "--by", "task")
    assert {path.name: path.read_bytes() for path in out.iterdir()} == first
    assert set(first) == {"compare.json", "compare.csv", "compare.md", "compare.tex"}


def test_the_scale_of_a_shipped_criterion_is_known_where_nobody_gave_its_highest_value(
    tmp_path: Path,
) -> None:
    a = write(tmp_path / "a", "a", {"judge/fluency": {"fr": [1.0, 1.0, None, 1.0]}})
    b = write(tmp_path / "b", "b", {"judge/fluency": {"fr": [0.0, 1.0, 1.0, 1.0]}})
    run(a, b, "--out", tmp_path / "out")
    row = row_of(tmp_path / "out")
    assert (row["bound_low"], row["bound_high"]) == (0.0, 0.5)


def test_scores_of_a_judge_in_stars_have_bounds_on_their_scale(tmp_path: Path) -> None:
    a = write(tmp_path / "a", "a", {"helpfulness": {"fr": [2.0, 2.0, None, 1.0]}})
    b = write(tmp_path / "b", "b", {"helpfulness": {"fr": [0.0, 1.0, 2.0, 1.0]}})
    run(a, b, "--out", tmp_path / "out")
    row = row_of(tmp_path / "out")
    assert row["difference"] == 1.0
    assert (row["unscored_as_0"], row["bound_low"], row["bound_high"]) == (0.25, 0.25, 0.75)
    assert row["test"] == "sign-flip"
