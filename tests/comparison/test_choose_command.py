"""``xltjax.eval choose``: runs told apart, the rule by hand, files, and each mistake named."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any, get_args

import pytest
from click.testing import CliRunner

from xltjax.common.errors import UserError
from xltjax.eval.comparison import command as compare
from xltjax.eval.comparison.candidates import Candidate, find_sources, parse_name
from xltjax.eval.comparison.choose import COMMAND, RuleName
from xltjax.eval.comparison.rules import RULES
from xltjax.eval.scores import Score

LANGUAGES = ("en", "fr", "ru")
Values = dict[str, dict[str, list[float | None]]]


def scores(
    path: Path, values: Values, model: str = "m", modifier: dict[str, Any] | None = None, suffix: str = ""
) -> Path:
    """A directory of scores, {metric: {language: values by instruction}}, with the answers beside them."""
    path.mkdir(parents=True, exist_ok=True)
    rows, answers = [], {}
    for metric, of in values.items():
        for language, found in of.items():
            for k, value in enumerate(found):
                id = f"{k}-{language}{suffix}"
                state = "ok" if value is not None else "abstain"
                rows.append(Score(id, metric, value, state, {"reason": "none"}, model, language).row())
                answers[id] = {"id": id, "model": model, "instruction_id": f"q{k}", "task": f"t{k % 2}"}
                if modifier:
                    answers[id]["modifier"] = modifier
    for name, lines in (("scores.jsonl", rows), ("answers.jsonl", list(answers.values()))):
        with (path / name).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps(line) + "\n" for line in lines)
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(COMMAND, [str(argument) for argument in arguments])
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output
    return result.output


def choice(out: Path) -> dict[str, Any]:
    return json.loads((out / "choice.json").read_text(encoding="utf-8"))


# Ten instructions. The low rate keeps the language but does not answer, the high rate answers in English.
ONES, HALF, NONE = [1.0] * 10, [1.0, 0.0] * 5, [0.0] * 10
LOW: Values = {
    "language_correct": {"en": ONES, "fr": ONES, "ru": ONES},
    "relevance": {"en": HALF, "fr": [1.0] * 2 + [0.0] * 8, "ru": NONE},
    "spelling": {"en": ONES, "fr": ONES, "ru": ONES},
}
MIDDLE: Values = {
    "language_correct": {"en": ONES, "fr": [1.0] * 9 + [0.0], "ru": [0.0] * 2 + [1.0] * 8},
    "relevance": {"en": ONES, "fr": ONES, "ru": [1.0] * 5 + [0.0] * 5},
    "spelling": {"en": ONES, "fr": [0.75] * 10, "ru": [0.5] * 10},
}
HIGH: Values = {
    "language_correct": {"en": ONES, "fr": HALF, "ru": NONE},
    "relevance": {"en": ONES, "fr": ONES, "ru": ONES},
    "spelling": {"en": ONES, "fr": HALF, "ru": NONE},
}
BY_RATE = {"1e-06": LOW, "1e-05": MIDDLE, "0.0001": HIGH}


def sweep(root: Path, *, seed: int | None = None, **without: Any) -> list[Path]:
    """A sweep as ``train --learning-rates`` lays it out, with the same model name in every run's scores."""
    return [
        scores(
            root / f"lr-{rate}" / ("" if seed is None else f"seed-{seed}") / "scores",
            {metric: of for metric, of in values.items() if metric not in without},
        )
        for rate, values in BY_RATE.items()
    ]


def test_the_rule_is_the_share_in_the_language_and_relevant_to_the_last_digit(tmp_path: Path) -> None:
    output = run(*sweep(tmp_path / "7b"), "--out", tmp_path / "out", "--select-on", "all", "--draws", 100)
    (found,) = choice(tmp_path / "out")["families"].values()
    values = {row["learning_rate"]: row["value"] for row in found["rates"]}
    # French and Russian: 2/10 and 0; 9/10 and 3/10 (relevant 0-4, in Russian 2-9); 5/10 and 0.
    assert values == {1e-6: (0.2 + 0) / 2, 1e-5: (0.9 + 0.3) / 2, 1e-4: (0.5 + 0) / 2}
    assert (found["learning_rate"], found["rule"], found["languages"]) == (1e-5, "useful", ["fr", "ru"])
    assert {row["learning_rate"]: row["spelling"] for row in found["rates"]} == {
        1e-6: 1.0,
        1e-5: 0.625,
        1e-4: 0.25,
    }
    others = {other["rule"]: other["learning_rate"] for other in found["others"]}
    assert others == {
        "language": 1e-6,
        "relevance": 1e-4,
        "spelling": 1e-6,
        "useful-spelling": 1e-5,
        "language-spelling": 1e-6,
        "worst-language": 1e-5,
        "with-english": 1e-5,
    }
    assert "1e-05*" in output
    assert max(map(len, output.splitlines()[:-1])) <= 80


def test_ties_go_to_the_better_spelling_and_then_to_the_lower_rate(tmp_path: Path) -> None:
    level = {"language_correct": {"fr": ONES}, "relevance": {"fr": HALF}}
    for rate, spelling in (("1e-6", 0.5), ("1e-5", 0.75), ("1e-4", 0.75)):
        scores(tmp_path / f"lr-{rate}", {**level, "spelling": {"fr": [spelling] * 10}})
    run(*sorted(tmp_path.glob("lr-*")), "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    assert found["learning_rate"] == 1e-5
    assert [row["wins"] for row in found["rates"]] == [0.0, 1.0, 0.0]


def test_without_relevance_the_rule_says_that_it_uses_language_and_spelling_alone(tmp_path: Path) -> None:
    output = run(*sweep(tmp_path / "7b", relevance=None), "--out", tmp_path / "out", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    assert (found["rule"], found["learning_rate"]) == ("language", 1e-6)
    assert "the rule uses language and spelling alone" in " ".join(output.split())
    with pytest.raises(UserError, match="--rule relevance needs scores of relevance"):
        run(*sorted((tmp_path / "7b").glob("*/scores")), "--out", tmp_path / "out", "--rule", "relevance")


def test_relevance_of_some_runs_only_is_not_used(tmp_path: Path) -> None:
    first, *rest = sweep(tmp_path / "7b")
    lines = [line for line in (first / "scores.jsonl").read_text().splitlines() if '"relevance"' not in line]
    (first / "scores.jsonl").write_text("\n".join(lines) + "\n")
    run(first, *rest, "--out", tmp_path / "out", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    assert found["rule"] == "language"
    assert found["warnings"]


def test_the_split_is_reported_and_final_numbers_can_leave_it_out(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b")
    run(*folders, "--out", tmp_path / "out", "--select-share", 0.4, "--draws", 20)
    document = choice(tmp_path / "out")
    assert (len(document["selection"]), len(document["evaluation"])) == (4, 6)
    assert sorted(document["selection"] + document["evaluation"]) == sorted(f"q{k}" for k in range(10))
    assert sum(int(name[1:]) % 2 for name in document["selection"]) == 2  # two of each task
    (found,) = document["families"].values()
    chosen_on = [int(name[1:]) for name in document["selection"]]
    middle = next(row for row in found["rates"] if row["learning_rate"] == 1e-5)
    french = sum(k < 9 for k in chosen_on) / 4
    russian = sum(2 <= k < 5 for k in chosen_on) / 4
    assert middle["value"] == (french + russian) / 2
    assert found["others"][-1]["rule"] == "useful, all instructions"

    arguments = [f"a={folders[0]}", f"b={folders[1]}", "--split", tmp_path / "out" / "choice.json"]
    arguments += ["--out", tmp_path / "compared", "--metrics", "language_correct"]
    assert CliRunner().invoke(compare.COMMAND, list(map(str, arguments))).exit_code == 0
    rows = json.loads((tmp_path / "compared" / "compare.json").read_text())["rows"]
    assert {row["answers"] for row in rows if row["language"] != "all"} == {6}
    # Chosen on all instructions, the final numbers have all of them too.
    run(*folders, "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    assert CliRunner().invoke(compare.COMMAND, list(map(str, arguments))).exit_code == 0
    rows = json.loads((tmp_path / "compared" / "compare.json").read_text())["rows"]
    assert {row["answers"] for row in rows if row["language"] != "all"} == {10}


def test_seeds_of_a_rate_are_averaged(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b", seed=0) + sweep(tmp_path / "7b", seed=1)
    worse = scores(tmp_path / "7b" / "lr-1e-05" / "seed-2" / "scores", HIGH)
    output = run(*folders, worse, "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    row = next(row for row in found["rates"] if row["learning_rate"] == 1e-5)
    assert row["seeds"] == {"0": 0.6, "1": 0.6, "2": 0.25}
    assert row["value"] == pytest.approx((0.6 + 0.6 + 0.25) / 3, abs=1e-15)
    assert "The rates have from 2 to 3 seeds." in " ".join(output.split())


def test_an_answer_without_a_score_counts_as_0_and_the_bound_as_1(tmp_path: Path) -> None:
    values: Values = {
        # Wrong language decides, whatever relevance says; without a language nothing is known.
        "language_correct": {"fr": [1.0, 1.0, 0.0, None, None]},
        "relevance": {"fr": [1.0, None, None, 0.0, 1.0]},
        "spelling": {"fr": [1.0, 1.0, 1.0, None, 1.0]},
    }
    for rate in ("1e-5", "1e-4"):
        scores(tmp_path / f"lr-{rate}", values)
    output = run(*tmp_path.glob("lr-*"), "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    row = next(iter(choice(tmp_path / "out")["families"].values()))["rates"][0]
    assert (row["value"], row["unscored_as_1"], row["coverage"], row["spelling"]) == (0.2, 0.6, 0.6, 0.8)
    assert "(unscored as 1: .600)" in output


def test_answers_with_a_modifier_do_not_count(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b")
    for folder in folders:
        wrong: Values = {"language_correct": {"fr": NONE}, "relevance": {"fr": NONE}}
        scores(folder, wrong, modifier={"name": "x"}, suffix="-x")
    run(*folders, "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    assert (found["answers"], found["rates"][1]["value"]) == (20, 0.6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("runs/llama2-7b/dolly-en/ft/lr-1e-05/seed-0/generate", ("runs/llama2-7b/dolly-en/ft", 1e-5, 0)),
        ("7b-lr-1e-05", ("7b", 1e-5, None)),
        ("7b_lr0.0001_seed3_lora", ("7b_lora", 1e-4, 3)),
        ("tower learning_rate=2e-5", ("tower", 2e-5, None)),
        ("lr-1e-06", ("", 1e-6, None)),
        ("slr-1e-06", ("slr-1e-06", None, None)),
        ("7b-seed-1", ("7b", None, 1)),
        ("7b/alpaca-seed-1/lora-lr1e-3/lr-1e-05/seed-0", ("7b/alpaca-seed-1/lora-lr1e-3", 1e-5, 0)),
    ],
)
def test_paths_and_names_tell_the_run(text: str, expected: tuple[str, float | None, int | None]) -> None:
    assert parse_name(text) == expected


def test_families_are_the_parts_of_the_paths_in_which_runs_differ(tmp_path: Path) -> None:
    sweep(tmp_path / "7b" / "ft")
    sweep(tmp_path / "7b" / "lora")
    found = find_sources(sorted(str(path.parent) for path in tmp_path.glob("*/*/*/*/scores.jsonl")))
    assert {source.candidate.family for source in found} == {"ft", "lora"}
    run(*(source.path for source in found), "--out", tmp_path / "out", "--draws", 20)
    assert list(choice(tmp_path / "out")["families"]) == ["ft", "lora"]


def test_the_config_of_a_run_tells_rate_seed_and_family(tmp_path: Path) -> None:
    for name, rate, rank in (("a", "1e-5", 0), ("b", "0.0001", 0), ("c", "1e-4", 16)):
        folder = scores(tmp_path / name / "scores", MIDDLE)
        (folder.parent / "config.yaml").write_text(
            f"model: meta/Llama-2\ndata: [dolly]\nlearning_rate: {rate}\nseed: 3\nlora_rank: {rank}\nout: {name}\n"
        )
    found = [source.candidate for source in find_sources([str(tmp_path / name / "scores") for name in "abc"])]
    assert [(each.rate, each.seed) for each in found] == [(1e-5, 3), (1e-4, 3), (1e-4, 3)]
    assert found[0].family == found[1].family != found[2].family
    assert found[0].family.startswith("Llama-2 dolly ft")
    moved = tmp_path / "lr-1e-04"
    (tmp_path / "a").rename(moved)
    with pytest.raises(UserError, match=r"its path says learning rate 0\.0001, and .* says 1e-05"):
        find_sources([str(moved / "scores")])


def test_the_names_of_models_in_one_folder_tell_their_runs(tmp_path: Path) -> None:
    for rate, values in BY_RATE.items():
        scores(tmp_path / "scores", values, model=f"7b-lr-{rate}-seed-1")
    run(tmp_path / "scores", "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    found = choice(tmp_path / "out")["families"]["7b"]
    assert (found["learning_rate"], found["models"]) == (1e-5, ["7b-lr-1e-05-seed-1"])


@pytest.mark.parametrize("form", ["yaml", "json"])
def test_a_file_tells_the_runs(tmp_path: Path, form: str) -> None:
    entries = []
    for place, (rate, values) in enumerate(BY_RATE.items()):
        scores(tmp_path / f"cell{place}", values)
        entries.append({"scores": f"cell{place}", "family": "main", "learning_rate": float(rate), "seed": 7})
    listed = tmp_path / f"runs.{form}"
    listed.write_text(
        json.dumps({"runs": entries})
        if form == "json"
        else "".join(f"- {{scores: {e['scores']}, family: main, learning_rate: {r}, seed: 7}}\n"
                     for e, r in zip(entries, ("1e-6", "1e-5", "1e-4"), strict=True))
    )  # fmt: skip
    run("--runs", listed, "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    found = choice(tmp_path / "out")["families"]["main"]
    assert (found["learning_rate"], found["models"]) == (1e-5, ["main lr 1e-05 seed 7"])
    scores(tmp_path / "one", LOW, model="x")
    scores(tmp_path / "one", MIDDLE, model="y")
    listed.write_text(
        json.dumps(
            [{"model": "x", "learning_rate": 1e-6}, {"model": "y", "learning_rate": 1e-5, "scores": "one"}]
        )
    )
    run("--runs", listed, "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    assert choice(tmp_path / "out")["families"]["model"]["models"] == ["y"]


def test_the_scores_of_a_run_may_lie_in_several_folders(tmp_path: Path) -> None:
    entries = []
    for rate, values in BY_RATE.items():
        parts = [f"{rate}/{metric}" for metric in values]
        for part, (metric, of) in zip(parts, values.items(), strict=True):
            scores(tmp_path / part, {metric: of})
        entries.append({"scores": parts, "learning_rate": rate})
    (tmp_path / "runs.json").write_text(json.dumps(entries))
    run("--runs", tmp_path / "runs.json", "--out", tmp_path / "out", "--select-on", "all", "--draws", 20)
    found = choice(tmp_path / "out")["families"]["model"]
    assert (found["rule"], found["learning_rate"], found["rates"][1]["value"]) == ("useful", 1e-5, 0.6)


def test_runs_outside_of_a_family_of_folders_have_a_family_too(tmp_path: Path, monkeypatch: Any) -> None:
    sweep(tmp_path)
    (tmp_path / "config.yaml").write_text("- of another tool")
    monkeypatch.chdir(tmp_path)
    found = find_sources([f"lr-{rate}/scores" for rate in BY_RATE])
    assert {source.candidate.family for source in found} == {tmp_path.name}
    assert [source.candidate.rate for source in found] == [1e-6, 1e-5, 1e-4]


def test_files_are_read_back(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b")
    run(*folders, "--out", tmp_path / "out", "--draws", 20)
    (found,) = choice(tmp_path / "out")["families"].values()
    with (tmp_path / "out" / "choice.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["value"]) for row in rows] == pytest.approx([row["value"] for row in found["rates"]])
    markdown = (tmp_path / "out" / "choice.md").read_text(encoding="utf-8")
    assert "| 1e-05* |" in markdown
    first = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    run(*reversed(folders), "--out", tmp_path / "out", "--draws", 20)
    again = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert {name: again[name] for name in ("choice.csv", "choice.md")} == {
        name: first[name] for name in ("choice.csv", "choice.md")
    }


def test_mistakes_are_one_line_and_leave_no_file(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b")
    unnamed = scores(tmp_path / "plain" / "scores", LOW)
    out = tmp_path / "out"
    gaps = [scores(tmp_path / f"gaps/lr-{n}e-5/s", {"language_correct": {"fr": ONES[:n]}}) for n in (1, 9)]
    bad = tmp_path / "bad.yaml"
    cases: dict[str, tuple[object, ...]] = {
        "no scores given": ("--out", out),
        "--out is missing": (*folders,),
        "the learning rate of 'm' is not known": (unnamed, "--out", out),
        "--select-share must be": (*folders, "--select-share", 1, "--out", out),
        "cannot be split with --select-share 0.01": (*folders, "--select-share", 0.01, "--out", out),
        "--languages de": (*folders, "--languages", "de", "--out", out),
        "give a list of runs": ("--runs", tmp_path / "empty.yaml", "--out", out),
        "learning_rate 'fast' is not": ("--runs", bad, "--out", out),
        "none of the 1 instructions on which to choose": (*gaps, "--select-share", 0.1, "--out", out),
    }
    (tmp_path / "empty.yaml").write_text("{}")
    bad.write_text("- {scores: 7b/lr-1e-05/scores, learning_rate: fast}")
    for message, arguments in cases.items():
        with pytest.raises(UserError, match=message):
            run(*arguments)
    bad.write_text("- {scores: 7b/lr-1e-05/scores, learning_rat: 1e-5}")
    with pytest.raises(
        UserError, match=r"bad\.yaml, run 1: unknown key 'learning_rat'; did you mean 'learning_rate'"
    ):
        run("--runs", bad, "--out", out)
    bad.write_text(
        "- {scores: 7b/lr-1e-05/scores, learning_rate: 1e-5, model: m}\n- {model: n, learning_rate: 1e-5}"
    )
    scores(tmp_path / "7b" / "lr-1e-05" / "scores", LOW, model="n")
    with pytest.raises(UserError, match="are both the run"):
        run("--runs", bad, "--out", out)
    assert not out.exists()


def test_a_file_that_is_not_ours_is_not_overwritten(tmp_path: Path) -> None:
    folders = sweep(tmp_path / "7b")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "choice.md").write_text("mine")
    with pytest.raises(UserError, match="was not written by this command"):
        run(*folders, "--out", tmp_path / "out")
    assert (tmp_path / "out" / "choice.md").read_text() == "mine"


def test_the_rules_are_those_of_the_flag() -> None:
    assert tuple(RULES) == get_args(RuleName)
    assert Candidate("7b", 1e-5).name == "7b lr 1e-05 seed 0"
