"""A run directory is opened, described and compared by one type."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import yaml

from xltjax.common.errors import UserError
from xltjax.training.config import TrainConfig
from xltjax.training.run import Base, Run

HASH = "0" * 64


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "rows.jsonl"
    path.parent.mkdir()
    path.write_text('{"instruction": "Say a.", "response": "a"}\n')
    return path


def begin(out: Path, data: Path, **changes: object) -> tuple[Run, TrainConfig]:
    """A run that has written its settings and two empty checkpoints."""
    model = out.parent / "model"
    model.mkdir(exist_ok=True)
    (model / "config.json").write_text("{}")
    values = {
        "model": str(model),
        "data": (str(data),),
        "out": str(out),
        "plan": True,
        "force": True,
        **changes,
    }
    config = TrainConfig(**values)  # type: ignore[arg-type]
    run = Run(out)
    run.write_settings(config, Base(str(model), HASH), model, config.data)
    for step in (2, 10):
        (out / "checkpoints" / str(step)).mkdir(parents=True)
    return run, dataclasses.replace(config, force=False)


def test_a_run_or_one_of_its_checkpoints_is_opened_and_nothing_else(tmp_path: Path, data: Path) -> None:
    begin(tmp_path / "run", data, template="alpaca", lora_rank=4)
    newest, older = Run.open(tmp_path / "run"), Run.open(tmp_path / "run" / "checkpoints" / "2")
    assert (newest.step, newest.steps, newest.name) == (10, [2, 10], "run")
    assert (older.step, older.path, older.name) == (2, tmp_path / "run", "run-2")
    assert newest.checkpoint == tmp_path / "run" / "checkpoints" / "10"
    assert (newest.template, newest.lora, newest.config.lora_rank) == ("alpaca", True, 4)
    assert newest.base == Base(str(tmp_path / "model"), HASH)
    assert (newest.model_files / "config.json").is_file()
    assert Run.find(tmp_path / "model") is None
    with pytest.raises(UserError, match="is not a run or a checkpoint"):
        Run.open(tmp_path / "model")
    with pytest.raises(UserError, match="has no complete checkpoint 3"):
        _ = Run.open(tmp_path / "run" / "checkpoints" / "3").step
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "10")
    shutil.rmtree(tmp_path / "run" / "checkpoints" / "2")
    with pytest.raises(UserError, match=r"has no complete checkpoint$"):
        _ = Run.open(tmp_path / "run").step


def test_only_settings_of_the_run_are_saved(tmp_path: Path, data: Path) -> None:
    begin(tmp_path / "run", data)
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved.keys().isdisjoint({"plan", "force", "coordinator", "process_id", "processes"})
    assert {"model", "data", "learning_rate", "mesh", "validation_rows"} <= saved.keys()


def test_what_changes_the_result_may_not_change_and_everything_else_may(tmp_path: Path, data: Path) -> None:
    run, config = begin(tmp_path / "run", data)
    free = {
        "mesh": "2x1", "save_every": 7, "keep": 9, "log_every": 3, "remat": "none", "rows_per_device": 2,
        "offload": True, "validation_data": ("x",), "validation_every": 5, "sample_every": 4,
        "sample_prompts": "y", "tensorboard": True, "wandb": "z", "steps": 5000, "processes": 1,
    }  # fmt: skip
    run.check_resumable(dataclasses.replace(config, **free), config.data, HASH)
    for name, value in {
        "learning_rate": 1e-3, "seed": 1, "precision": "float32", "validation_rows": 3, "template": "plain",
        "accumulation": 2, "schedule": "constant", "lora_rank": 2, "max_length": 9,
    }.items():  # fmt: skip
        with pytest.raises(UserError, match=rf"other settings: {name} \(was .*, now {value!r}\)"):
            run.check_resumable(dataclasses.replace(config, **{name: value}), config.data, HASH)
    linear, shorter = (dataclasses.replace(config, schedule="linear", steps=n) for n in (1000, 500))
    other, _ = begin(tmp_path / "other", data, schedule="linear")
    other.check_resumable(dataclasses.replace(linear, out=str(other.path)), config.data, HASH)
    with pytest.raises(UserError, match=r"steps \(was 1000, now 500\)"):  # this schedule ends with the run
        other.check_resumable(shorter, config.data, HASH)


def test_a_model_that_moved_is_the_same_and_other_weights_are_not(tmp_path: Path, data: Path) -> None:
    run, config = begin(tmp_path / "run", data)
    run.check_resumable(dataclasses.replace(config, model="elsewhere"), config.data, HASH)
    with pytest.raises(UserError, match="the weights in elsewhere"):
        run.check_resumable(dataclasses.replace(config, model="elsewhere"), config.data, "1" * 64)
    # Where the weights were never recorded, the name must do.
    record = json.loads((run.path / "provenance.json").read_text())
    (run.path / "provenance.json").write_text(json.dumps({**record, "base": None}))
    shutil.rmtree(run.path / "checkpoints")
    with pytest.raises(UserError, match=r"model \(was .*, now 'elsewhere'\)"):
        Run(run.path).check_resumable(dataclasses.replace(config, model="elsewhere"), config.data, HASH)


def test_the_data_are_the_files_with_their_contents(tmp_path: Path, data: Path) -> None:
    run, config = begin(tmp_path / "run", data.parent)
    run.check_resumable(config, config.data, HASH)
    moved = tmp_path / "moved"
    shutil.copytree(data.parent, moved)
    run.check_resumable(dataclasses.replace(config, data=(str(moved),)), (str(moved),), HASH)
    second = data.with_name("more.jsonl")
    shutil.copy(data, second)
    with pytest.raises(UserError, match=r"more\.jsonl is new"):
        run.check_resumable(config, config.data, HASH)
    second.unlink()
    data.write_text('{"instruction": "Say b.", "response": "b"}\n')
    with pytest.raises(UserError, match=r"the rows of .*rows\.jsonl"):
        run.check_resumable(config, config.data, HASH)
    data.rename(second)
    with pytest.raises(UserError, match=r"more\.jsonl is new, .*rows\.jsonl is gone"):
        run.check_resumable(config, config.data, HASH)
    run.check_resumable(dataclasses.replace(config, force=True), config.data, HASH)


def test_several_files_that_were_moved_are_the_same_data(tmp_path: Path, data: Path) -> None:
    second = data.with_name("second.jsonl")
    second.write_text('{"instruction": "Say b.", "response": "b"}\n')
    _, config = begin(tmp_path / "run", data)
    config = dataclasses.replace(config, data=(str(data), str(second)))
    run = Run(tmp_path / "run")
    run.write_settings(config, Base(config.model, HASH), Path(config.model), config.data)
    shutil.copytree(data.parent, tmp_path / "moved")
    moved = tuple(str(tmp_path / "moved" / path.name) for path in (data, second))
    run.check_resumable(dataclasses.replace(config, data=moved), moved, HASH)
    with pytest.raises(UserError, match=r"data \(was"):
        run.check_resumable(dataclasses.replace(config, data=moved[::-1]), moved[::-1], HASH)


def test_a_file_where_a_run_should_be_is_refused(tmp_path: Path, data: Path) -> None:
    with pytest.raises(UserError, match="is a file, not a directory"):
        Run(data).check_resumable(TrainConfig(), (), HASH)
