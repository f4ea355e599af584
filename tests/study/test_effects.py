"""The claims of a study: which cells they compare, and the verdict, from scores made by hand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.scored import answer, score, write_lines

from xltjax.common.errors import UserError
from xltjax.study.grid import cells
from xltjax.study.identity import Identity, Record
from xltjax.study.results.comparisons import Comparison, comparisons, write_comparisons
from xltjax.study.results.effects import EffectsConfig, effects, together
from xltjax.study.settings import read_study
from xltjax.study.stage import Stage
from xltjax.study.stages import stages

LOW, HIGH = "a/d/ft/lr-1e-05", "a/d/ft/lr-0.0001"
CLAIM = {
    "claim": "High is better",
    "metric": ["relevance", "spelling"],
    "cells": {"adaptation": "ft"},
    "higher": {"learning_rate": 1e-4},
    "lower": {"learning_rate": "1e-5"},
}


def write(folder: Path, *claims: Any, **changes: Any) -> str:
    values = {
        "models": {"a": "DIR"},
        "data": {"d": "d.jsonl"},
        "adaptations": {"ft": {}, "lora": {"lora_rank": 2}},
        "generate": {"prompts": "miniature"},
        "grid": [
            {"adaptations": ["ft"], "learning_rates": [1e-5, 1e-4], "seeds": [0, 1]},
            {"adaptations": ["lora"], "learning_rates": [1e-4], "seeds": [1, 2]},
        ],
        "effects": list(claims),
        **changes,
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(values))
    return str(folder / "s.yaml")


def compared(folder: Path, *claims: Any) -> list[Comparison]:
    study = read_study(write(folder, *claims))
    return comparisons(study, cells(study))


def test_a_claim_compares_the_seeds_that_both_sides_have(tmp_path: Path) -> None:
    lora = {"claim": "c", "metric": "relevance", "higher": {"adaptation": "lora"}, "languages": ["French"],
            "lower": {"adaptation": "ft", "learning_rate": 1e-4}, "margin": 0.1}  # fmt: skip
    first, second, third = compared(tmp_path, CLAIM, lora)
    assert (first.metric, second.metric) == ("relevance", "spelling")
    assert first.higher == (f"{HIGH}/seed-0", f"{HIGH}/seed-1")
    assert first.lower == (f"{LOW}/seed-0", f"{LOW}/seed-1")
    assert (third.higher, third.lower) == (("a/d/lora/lr-0.0001/seed-1",), (f"{HIGH}/seed-1",))
    assert (third.languages, third.margin) == (("fr",), 0.1)


def test_the_stage_reads_the_scores_of_its_claims_alone(tmp_path: Path) -> None:
    study = read_study(write(tmp_path, CLAIM))
    stage: Stage = next(each for each in stages(study, cells(study), tmp_path) if each.path == "effects")
    assert {each.stage for each in stage.upstream} == {
        f"{rate}/seed-{seed}/{kind}" for rate in (LOW, HIGH) for seed in (0, 1) for kind in ("surface", "relevance")
    }  # fmt: skip
    assert stage.partial
    assert str(tmp_path) not in json.dumps(dict(stage.settings))
    assert Stage.from_json(json.loads(json.dumps(vars(stage), default=vars))).settings == stage.settings


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lower": {"learning_rate": 1e-3}}, "claim 1: the grid has no cell with adaptation ft, learning_rate 0.001"),
        ({"cells": {}}, "effects, claim 1: several cells have learning_rate 0.0001; name one adaptation of ft, lora"),
        ({"lower": {"learning_rates": [1e-5]}}, "claim 1: lower: unknown setting 'learning_rates'; did you mean"),
        ({"lowr": {}}, "effects, claim 1: unknown key 'lowr'; did you mean 'lower'"),
        ({"metric": "relevanse"}, "effects, claim 1: unknown metric 'relevanse'; did you mean 'relevance'"),
        ({"metric": []}, "effects, claim 1: metric is missing"),
        ({"lower": {"learning_rate": 1e-4}}, "effects, claim 1: higher and lower are the same cells"),
        ({"margin": 5}, "effects, claim 1: margin must be at least 0 and less than 1"),
        ({"metric": "judge/fluency"}, f"effects: {HIGH}/seed-0 gets no scores of judge; describe judge"),
        ({"cells": {}, "higher": {"adaptation": "ft"}, "lower": {"adaptation": "lora"}}, "name one learning_rate"),
    ],
)  # fmt: skip
def test_mistakes_in_a_claim_are_named(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    def plan() -> None:
        study = read_study(write(tmp_path, {**CLAIM, **change}))
        stages(study, cells(study), tmp_path)

    with pytest.raises(UserError, match=re.escape(message)) as refused:
        plan()
    assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(UserError, match="effects must be a list of claims"):
        read_study(write(tmp_path, effects={"claim": "x"}))


def scored(folder: Path, cell: str, values: Mapping[str, Sequence[float | None]], state: Any = "done") -> str:
    """A stage with scores of ``relevance`` by language, and of an answer with a modifier, which is right."""
    place = folder / cell / "relevance"
    answers = [answer(cell, n, language) for language, found in values.items() for n in range(len(found))]
    modified = answer(cell, 0, "fr", id="q0-fr-briefly", modifier={"name": "briefly"})
    found = [value for values in values.values() for value in values]
    rows = [
        score(each, "relevance", value, language=each["language"])
        for each, value in zip(answers, found, strict=True)
    ]
    rows.append(score(modified, "relevance", 1.0, language="fr"))
    write_lines(place / "answers.jsonl", [*answers, modified])
    write_lines(place / "scores.jsonl", rows)
    Record(Identity("relevance", "1", {}, {}), state).write(place)
    return str(place)


def verdicts(folder: Path, folders: Sequence[str], *asked: Comparison) -> list[dict[str, Any]]:
    write_comparisons(folder / "claims.json", asked)
    effects(EffectsConfig(tuple(folders), str(folder / "claims.json"), str(folder / "effects"), draws=4000))
    document = json.loads((folder / "effects" / "effects.json").read_text())
    assert document["verdicts"] == together(document["rows"])
    return document["rows"]


def asked(claim: str, higher: str, lower: str, seeds: int = 2, **more: Any) -> Comparison:
    paths = [tuple(f"{cell}/seed-{seed}" for seed in range(seeds)) for cell in (higher, lower)]
    values = {"languages": (), "margin": 0.0, **more}
    return Comparison(claim, "relevance", values["languages"], values["margin"], *paths)


def test_differences_are_of_the_same_question_and_seed_in_other_languages_than_english(
    tmp_path: Path,
) -> None:
    ones, none, half = [1.0] * 6, [0.0] * 6, [1.0, 0.0] * 3
    lost = [*ones[:5], None]
    folders = [
        scored(tmp_path, f"{HIGH}/seed-0", {"en": none, "fr": ones, "ru": ones}),
        scored(tmp_path, f"{HIGH}/seed-1", {"en": none, "fr": ones, "ru": lost}),
        scored(tmp_path, f"{LOW}/seed-0", {"en": ones, "fr": none, "ru": none}),
        scored(tmp_path, f"{LOW}/seed-1", {"en": ones, "fr": none, "ru": half}),
    ]
    better, worse, english, safe, lossy = verdicts(
        tmp_path, folders,
        asked("a", HIGH, LOW), asked("b", LOW, HIGH), asked("c", HIGH, LOW, languages=("en",)),
        asked("d", HIGH, HIGH, margin=0.01), asked("e", HIGH, HIGH),
    )  # fmt: skip
    # 24 answers of each side, one of which has no score: it differs in 17 + 3 of 23 with it.
    assert (better["n"], better["instructions"], better["seeds"], better["languages"]) == (23, 6, 2, "fr,ru")
    assert better["difference"] == pytest.approx((18 + 2) / 23, abs=1e-15)
    assert (better["mean_higher"], better["mean_lower"]) == (1.0, pytest.approx(3 / 23, abs=1e-15))
    assert (better["higher"], better["lower"]) == (HIGH, LOW)
    assert 0 < better["low"] < better["difference"] < better["high"] <= 1
    assert worse["difference"] == -better["difference"]
    assert (worse["low"], worse["high"]) == (-better["high"], -better["low"])
    assert (english["difference"], english["low"], english["high"]) == (-1.0, -1.0, -1.0)
    assert [row["verdict"] for row in (better, worse, english, safe, lossy)] == [
        "appears", "the opposite", "the opposite", "appears", "not reproduced"
    ]  # fmt: skip
    table = (tmp_path / "effects" / "effects.md").read_text()
    assert table.startswith("| claim | verdict | metric |")


def test_the_interval_is_that_of_an_independent_bootstrap_over_questions(tmp_path: Path) -> None:
    draw = np.random.default_rng(1)
    values = {
        (cell, seed): (draw.random((40, 2)) < share).astype(float)
        for cell, share in ((HIGH, 0.6), (LOW, 0.4))
        for seed in (0, 1)
    }
    folders = [
        scored(tmp_path, f"{cell}/seed-{seed}", {"fr": list(found[:, 0]), "pt": list(found[:, 1])})
        for (cell, seed), found in values.items()
    ]
    (row,) = verdicts(tmp_path, folders, asked("a", HIGH, LOW))
    by_question = sum(values[HIGH, seed] - values[LOW, seed] for seed in (0, 1)).mean(axis=1) / 2
    assert row["difference"] == pytest.approx(by_question.mean(), abs=1e-12)
    # Pairs of questions are a task, which takes nothing from it here.
    spread = by_question.std(ddof=1) / np.sqrt(40)
    assert row["high"] - row["low"] == pytest.approx(2 * 1.96 * spread, rel=0.25)


def test_a_claim_about_a_cell_that_is_not_done_is_not_known(tmp_path: Path) -> None:
    folders = [scored(tmp_path, f"{HIGH}/seed-0", {"fr": [1.0, 1.0]})]
    folders.append(scored(tmp_path, f"{LOW}/seed-0", {"fr": [0.0, 0.0]}, state="failed"))
    (row,) = verdicts(tmp_path, folders, asked("a", HIGH, LOW, seeds=1))
    assert (row["verdict"], row["note"]) == ("not known", f"{LOW}/seed-0 has no scores of relevance")


def test_a_claim_is_as_good_as_its_worst_comparison() -> None:
    rows = [
        {"claim": claim, "verdict": verdict}
        for claim, found in {
            "a": ["appears", "appears"],
            "b": ["appears", "not known"],
            "c": ["not known", "not reproduced"],
            "d": ["the opposite", "appears"],
        }.items()
        for verdict in found
    ]
    assert together(rows) == {"a": "appears", "b": "not known", "c": "not reproduced", "d": "the opposite"}
