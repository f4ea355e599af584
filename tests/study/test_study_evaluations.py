"""The stages that score: what identifies a judge, and when a learning rate is chosen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from helpers.small_study import SmallStudy, write_study

from xltjax.study.contents import Contents
from xltjax.study.stage import Input, Stage


def opened(folder: Path, model: Path, **changes: Any) -> dict[str, Stage]:
    study = SmallStudy(write_study(folder, model, **changes), folder / "out")
    return {stage.path.rpartition("/")[2]: stage for stage in study.stages}


def test_a_judge_is_known_by_its_model_and_not_by_its_server(tmp_path: Path) -> None:
    def judge(**settings: Any) -> Stage:
        return opened(tmp_path, tmp_path, judge=settings)["judge"]

    here = judge(judge=["openai:m@http://a:1/v1"], concurrency=4)
    there = judge(judge=["openai:m"], base_url="http://b:2/v1", key_variable="OTHER")
    assert here.settings == there.settings
    assert "//" not in json.dumps([here.settings, there.settings])
    assert here.settings != judge(judge=["openai:n"]).settings
    assert here.settings != judge(judge=["openai:m"], criteria="relevance").settings
    assert (here.devices, here.inputs) == (0, ())
    local = judge(judge=["jax:/models/judge"], mesh="2x1")
    assert [(each.kind, each.where) for each in local.inputs] == [("model", ("/models/judge",))]
    assert "/models" not in json.dumps(dict(local.settings))
    assert local.devices == 2


def test_dictionaries_of_one_name_in_two_folders_both_count(tmp_path: Path) -> None:
    files = [tmp_path / folder / "fr.dic" for folder in ("a", "b", "c/deep", "d/deep")]
    places = tuple(str(tmp_path / name) for name in "abcd")
    for file in files:
        file.parent.mkdir(parents=True)
        file.write_text("1")

    def content() -> Any:
        return Contents(fetch=False).of(Input("dictionaries", "file", places))

    before = content()
    for file in files:
        file.write_text("2")
        assert content() != before
        before = content()


def test_a_rubric_for_modifiers_reads_the_answers_with_modifiers(tmp_path: Path) -> None:
    stages = opened(tmp_path, tmp_path, judge={"judge": ["openai:m"], "criteria": "modifier"})
    assert [each.stage.rpartition("/")[2] for each in stages["judge"].upstream] == ["generate-modified"]


def test_the_rate_is_chosen_by_language_and_relevance(tmp_path: Path) -> None:
    stages = opened(tmp_path, tmp_path, relevance={"judge_model": "j"}, choose={"select_on": "all"})
    choose = stages["choose"]
    kinds = {each.stage.rpartition("/")[2] for each in choose.upstream}
    assert kinds == {"surface", "relevance"}
    assert choose.settings["select_on"] == "all"
    assert choose.arguments[-4:-1] == ("--select-on", "all", "--out")


def test_nothing_is_chosen_among_one_rate_or_without_another_language(tmp_path: Path) -> None:
    assert "choose" not in opened(tmp_path / "a", tmp_path, learning_rates=[1e-3])
    english = {"prompts": str(tmp_path), "languages": ["English"]}
    assert "choose" not in opened(tmp_path / "b", tmp_path, generate=english)
