"""The file of a study: its grid, what it refuses, and the shipped ones."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml

from xltjax import generate, train
from xltjax.common.errors import UserError
from xltjax.common.settings import build, shipped_configs
from xltjax.eval.surface import SurfaceConfig
from xltjax.generate import GenerateConfig
from xltjax.study.__main__ import StudyConfig, study
from xltjax.study.arguments import flags
from xltjax.study.grid import Cell, cells
from xltjax.study.launch.jobs import next_jobs
from xltjax.study.settings import read_study
from xltjax.study.stages import stages
from xltjax.study.state import State
from xltjax.training.config import TrainConfig

SHIPPED = [name for name in shipped_configs() if name.startswith("study/")]
SMALL: dict[str, Any] = {
    "models": {"a": "DIR-A", "b": {"model": "DIR-B", "precision": "bfloat16"}},
    "data": {"d": "d.jsonl", "e": {"data": ["e1.jsonl", "e2.jsonl"], "data_weights": [1, 3]}},
    "adaptations": {"ft": {}, "lora": {"lora_rank": 4, "precision": "float32"}},
    "learning_rates": [1e-5, "1e-4"],
    "train": {"steps": 7},
}


def write(path: Path, **changes: Any) -> str:
    values = {key: value for key, value in {**SMALL, **changes}.items() if value is not None}
    path.write_text(yaml.safe_dump(values))
    return str(path)


def grid_of(path: Path, **changes: Any) -> list[Cell]:
    return cells(read_study(write(path / "s.yaml", **changes)))


def test_without_a_grid_everything_is_combined_and_families_stay_together(tmp_path: Path) -> None:
    found = grid_of(tmp_path, seeds=[0, 1])
    assert len(found) == len({cell.path for cell in found}) == 2 * 2 * 2 * 2 * 2
    assert found[0].path == "a/d/ft/lr-1e-05/seed-0"
    assert [cell.learning_rate for cell in found[:4]] == [1e-5, 1e-4, 1e-5, 1e-4]
    assert [cell.seed for cell in found[:4]] == [0, 0, 1, 1]


def test_blocks_choose_and_a_cell_in_two_blocks_is_one(tmp_path: Path) -> None:
    blocks = [
        {"models": ["a"], "data": ["d"], "adaptations": ["ft"]},
        {"models": ["a"], "data": ["d"], "adaptations": ["ft", "lora"], "learning_rates": [1e-4], "modifiers": True},
    ]  # fmt: skip
    found = {cell.path: cell.modifiers for cell in grid_of(tmp_path, grid=blocks)}
    assert found == {
        "a/d/ft/lr-1e-05/seed-0": False, "a/d/ft/lr-0.0001/seed-0": True, "a/d/lora/lr-0.0001/seed-0": True
    }  # fmt: skip


def test_the_adaptation_wins_over_the_data_the_model_and_all(tmp_path: Path) -> None:
    described = read_study(write(tmp_path / "s.yaml"))
    config = Cell("b", "e", "lora", 1e-4, 3).training(described)
    assert (config.model, config.data, config.data_weights) == ("DIR-B", ("e1.jsonl", "e2.jsonl"), (1.0, 3.0))
    assert (config.precision, config.lora_rank, config.steps) == ("float32", 4, 7)
    assert (config.learning_rate, config.seed) == (1e-4, 3)
    assert Cell("b", "d", "ft", 1e-4, 0).training(described).precision == "bfloat16"


def test_a_section_builds_upon_shipped_configs(tmp_path: Path) -> None:
    described = read_study(write(tmp_path / "s.yaml", train={"config": "protocols/released", "steps": 9}))
    config = Cell("a", "d", "ft", 1e-4, 0).training(described)
    assert (config.schedule, config.accumulation, config.steps) == ("linear", 10, 9)
    assert config.learning_rate == 1e-4  # the grid's and not the config's


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"modles": {}}, "unknown section 'modles'; did you mean 'models'"),
        (
            {"train": {"lerning_rate": 1}},
            "train: unknown setting 'lerning_rate'; did you mean 'learning_rate'",
        ),
        ({"train": {"learning_rate": 1}}, "train: learning_rate is an axis of the grid; give learning_rates"),
        ({"train": {"data": "x"}}, "train: data is an axis of the grid; name it under data"),
        ({"models": ["a"]}, "models must give each entry a name, such as 'models: {mine: ...}'"),
        ({"models": {"a" * 101: "x"}}, "cannot be the name of a directory"),
        ({"data": {"d": {"data": "d", "data_weights": [1, 2]}}}, "data_weights has 2 numbers for 1 data"),
        ({"judge": {"judge": "gpt-4"}}, "judge: 'gpt-4' is not known; give openai:MODEL or jax:DIR"),
        ({"train": {"out": "x"}}, "train: out is given by the study"),
        ({"train": {"steps": "many"}}, "train: steps: 'many' is not a whole number"),
        ({"models": {"a": {"modle": "x"}}}, "models.a: unknown setting 'modle'; did you mean 'model'"),
        ({"models": {"a": {"mesh": "1x1"}}}, "models.a: model is missing"),
        ({"models": {"a/b": "x"}}, "models: 'a/b' cannot be the name of a directory"),
        ({"models": {"logs": "x"}}, "models: 'logs' cannot be the name of a directory"),
        ({"models": {True: "x"}}, "models: the name True is not text; put it in quotes"),
        ({"models": None}, "models is missing or empty"),
        ({"data": {"d": {}}}, "data.d: data is missing"),
        ({"generate": {"prompt": "x"}}, "generate: unknown setting 'prompt'; did you mean 'prompts'"),
        (
            {"models": {"a": {"model": "x", "generate": {"prompts": "y"}}}},
            "models.a.generate: prompts is the same for all models",
        ),
        ({"relevance": {"preset": "paper"}}, "relevance: judge_model is missing"),
        ({"learning_rates": None}, "grid, block 1: learning_rates is missing or empty"),
        ({"grid": [{"models": ["c"]}]}, "grid, block 1: models: unknown name 'c'; valid: a, b"),
        ({"grid": [{"modles": ["a"]}]}, "grid, block 1: unknown setting 'modles'; did you mean 'models'"),
        ({"grid": [{"seeds": [1, 1]}]}, "grid, block 1: seeds names a value twice"),
        ({"grid": {}}, "grid must be a list of blocks"),
        ({"accelerator": "a1000"}, "accelerator 'a1000' is unknown; did you mean 'a100"),
        (
            {"train": {"mesh": "64x1", "accumulation": 1}},
            "a/d/ft/lr-1e-05/seed-0: 2 rows x 1 micro-batches cannot be split",
        ),
    ],
)
def test_mistakes_name_the_place_and_the_nearest_name(
    changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        grid_of(tmp_path, **changes)
    assert len(str(refused.value).splitlines()) == 1


def test_a_key_that_is_given_twice_is_named_with_its_lines(tmp_path: Path) -> None:
    place = tmp_path / "s.yaml"
    write(place)
    lines = place.read_text().splitlines()
    place.write_text(
        "\n".join([*lines, "grid:", "- {seeds: [1], models: [a], seeds: [0]}", "train: {steps: 3}"])
    )
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith("train:"))
    with pytest.raises(
        UserError, match=f"s.yaml: train is given twice, in lines {first} and {len(lines) + 3}"
    ):
        read_study(str(place))


def test_numbers_may_be_names(tmp_path: Path) -> None:
    assert {cell.data for cell in grid_of(tmp_path, data={2024: "d"}, grid=[{"data": [2024]}])} == {"2024"}


def test_the_judge_of_relevance_may_be_named_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    file = write(tmp_path / "s.yaml")
    study(StudyConfig(study=file, dry_run=True))
    assert "seed-0/relevance" not in capsys.readouterr().out
    study(StudyConfig(study=file, dry_run=True, relevance_judge="jax:./gone"))
    said = capsys.readouterr().out
    assert re.search(r"seed-0/relevance +│ blocked by model directory ./gone does not exist", said)
    with pytest.raises(
        UserError, match="openai:m is not jax:DIR; a judge behind a server is described in the"
    ):
        study(StudyConfig(study=file, dry_run=True, relevance_judge="openai:m"))


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_studies_print_their_plan_without_any_model(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XLTJAX_CACHE", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    study(StudyConfig(study=name, dry_run=True))
    said = capsys.readouterr().out
    assert "does not fit" not in said
    assert re.search(r"^\d+ cells, \d+ stages: ", said, re.MULTILINE)
    assert shipped_configs()[name].read_text().startswith("# ")
    assert list(tmp_path.iterdir()) == []  # nothing is made


def test_the_papers_study_has_its_seven_models_and_the_sample_of_the_size_of_lima() -> None:
    described = read_study("study/paper")
    found = cells(described)
    families = {cell.path.partition("/lr-")[0] for cell in found}
    assert len(families) == 8
    assert len(found) == 8 * 3
    for name in (each for each in shipped_configs() if each.startswith("paper/")):
        model, data, adaptation = re.fullmatch(r"paper/(.+?b)-(.+)-(ft|lora)", name).groups()  # type: ignore[union-attr]
        assert f"{model}/{data}/{adaptation}" in families
    assert {cell.path.partition("/lr-")[0] for cell in found if cell.modifiers} == {"llama2-13b/dolly-en/ft"}
    sample = next(cell for cell in found if cell.data == "dolly-en-1030").training(described)
    assert (sample.rows, sample.data) == (1030, ("databricks/databricks-dolly-15k",))


def parsed(command: click.Command, config_class: type[Any], words: Sequence[str]) -> Any:
    """The settings that a command line gives a command."""
    given = command.make_context("x", list(words)).params
    return build(
        config_class, {key: value for key, value in given.items() if key in vars(config_class()) and value}
    )


@pytest.mark.parametrize(
    ("command", "config"),
    [
        (train.COMMAND, TrainConfig(
            model="m n", data=("a, b.jsonl", "c"), data_weights=(1.0, 0.1), end_learning_rate=1e-7,
            tensorboard=True, lora_rank=2, lora_targets=("q_proj",), steps=3)),
        (generate.COMMAND, GenerateConfig(model="m", languages=("en", "fr"), modifiers=True, temperature=0.3)),
    ],
)  # fmt: skip
def test_flags_give_a_command_the_same_settings(command: click.Command, config: Any) -> None:
    assert parsed(command, type(config), flags(config)) == config
    assert flags(type(config)()) == []
    assert flags(SurfaceConfig(responses=("r",), workers=2)) == ["--workers", "2"]


def test_a_sweep_is_one_job_unless_accelerators_would_stay_idle(tmp_path: Path) -> None:
    described = read_study(write(tmp_path / "s.yaml", models={"a": "DIR"}, data={"d": "d"}, seeds=[0, 1]))
    every = stages(described, cells(described), tmp_path)
    found = {
        each.path: State("to do") if each.kind == "train" else State("blocked", "train", waiting=True)
        for each in every
    }

    def sizes(slots: int) -> list[int]:
        jobs = next_jobs(every, found, tmp_path, begun=(), failed=(), slots=slots)
        return [len(job.stages) for job in jobs]

    assert sizes(1) == sizes(4) == [2, 2, 2, 2]
    assert sizes(8) == [1] * 8
    job = next_jobs(every, found, tmp_path, begun=(), failed=(), slots=1)[0]
    assert job.command()[-4:] == [
        "--learning-rates", "1e-05,0.0001", "--out", f"{tmp_path}/a/d/ft/lr-{{rate}}/seed-0/train"
    ]  # fmt: skip
    assert job.command(job.stages[1:])[-4:] == [
        "--learning-rate", "0.0001", "--out", f"{tmp_path}/a/d/ft/lr-0.0001/seed-0/train"
    ]  # fmt: skip


def test_the_study_in_the_guide_is_one(tmp_path: Path) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "study.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```yaml\n(.*?)^```$", guide, re.DOTALL | re.MULTILINE)
    (tmp_path / "mine.yaml").write_text(text)
    described = read_study(str(tmp_path / "mine.yaml"))
    found = cells(described)
    assert "effects" in {stage.path for stage in stages(described, found, tmp_path)}
    assert len(found) == 2 * (2 * 3 + 3 + 1)
    assert "mine/english/ft/lr-1e-05/seed-0" in {cell.path for cell in found}
