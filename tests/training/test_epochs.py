"""Epochs: how many updates they are, that a run with them goes on exactly, and what is said of many."""

from __future__ import annotations

import json
import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers.short_training import fit, settings

import xltjax
from xltjax import train
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.common.settings import build, overlay, read_config_files, to_yaml
from xltjax.data.corpora import Corpus
from xltjax.data.packing import BatchShape, PackedData
from xltjax.data.tokenizer import Tokens
from xltjax.miniature.text import instruction_rows
from xltjax.training.config import TrainConfig
from xltjax.training.epochs import Passes, passes, warn_of_many
from xltjax.training.metrics import MEASURED
from xltjax.training.run import Run


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:40]))
    return path


def packed(count: int, shape: BatchShape) -> PackedData:
    lengths = np.random.default_rng(count).integers(10, 120, count)
    examples = [Tokens(np.zeros(n, np.int32), np.ones(n, bool)) for n in lengths]
    return PackedData([Corpus(examples, 1.0)], shape, seed=0, even=True)


@pytest.mark.parametrize("epochs", [0.5, 1.0, 3.0])
@pytest.mark.parametrize("count", [60, 700])
def test_epochs_end_with_the_first_update_that_has_seen_so_many_examples(count: int, epochs: float) -> None:
    data = packed(count, BatchShape(2, 2, 128, 250))
    steps = data.steps_for(epochs)
    dealt = Counter(
        index for step in range(steps) for batch in data.examples_at(step) for row in batch for index in row
    )
    seen, last = sum(dealt.values()), sum(len(row) for batch in data.examples_at(steps - 1) for row in batch)
    assert seen - last < epochs * count <= seen
    assert all(abs(dealt[index] - epochs) <= 1.5 for index in range(count))


def test_a_run_of_epochs_has_its_updates_on_record_and_goes_on_exactly(
    chat_model: Path, instructions: Path, tmp_path: Path, messages: Callable[[], list[str]]
) -> None:
    options: dict[str, Any] = {"epochs": 1.5, "schedule": "linear", "save_every": 3, "mesh": "1x1"}
    whole = fit(settings(chat_model, instructions, tmp_path / "whole", **options))
    config = Run(whole).config
    assert (config.epochs, config.steps > 3) == (1.5, True)
    record = json.loads((whole / "provenance.json").read_text())["passes"]
    assert record["updates"] == config.steps
    assert record["rows"] == 40
    assert 1.5 <= record["epochs"] < 1.5 + 1.5 / config.steps * 2
    (line,) = [said for said in messages() if "updates per epoch" in said]
    rows, _, each, per_epoch, updates, epochs = (
        float(number.replace(",", "")) for number in re.findall(r"[\d,.]*\d", line)
    )
    assert (rows, updates, epochs) == (40, config.steps, pytest.approx(record["epochs"], rel=0.01))
    assert each <= 512
    assert per_epoch == pytest.approx(config.steps / record["epochs"], rel=0.01)
    # The schedule ends where the epochs do.
    last = Run(whole).metrics[-1]
    assert last["step"] == config.steps
    n = config.steps
    assert last["learning_rate"] == pytest.approx(1e-3 * (1 - 0.9 * (n - 1) / n), rel=1e-5)
    # In two parts: the checkpoint after update 3 is the newest when it goes on.
    halves = tmp_path / "halves"
    fit(settings(chat_model, instructions, halves, **options))
    shutil.rmtree(halves / "checkpoints" / str(n))
    fit(settings(chat_model, instructions, halves, **options))

    def exact(run: Path) -> list[dict[str, Any]]:
        return [{key: value for key, value in row.items() if key not in MEASURED} for row in Run(run).metrics]

    assert exact(halves) == exact(whole)
    # A schedule that ends elsewhere is another one.
    with pytest.raises(UserError, match=r"epochs \(was 1.5, now 2.0\)"):
        train.fit(settings(chat_model, instructions, halves, **{**options, "epochs": 2.0}))
    with pytest.raises(UserError, match=r"epochs \(was 1.5, now 0.0\)"):  # they are packed otherwise
        train.fit(settings(chat_model, instructions, halves, **{**options, "epochs": 0.0, "steps": n}))


def test_steps_and_epochs_are_one_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def said(*flags: str) -> str:
        with pytest.raises(SystemExit):
            execute(train.COMMAND, [*flags, "--print-config"])
        found = capsys.readouterr()
        return found.out + found.err

    assert said("--steps", "3", "--epochs", "2") == "error: give --epochs or --steps, not both\n"
    both = tmp_path / "both.yaml"
    both.write_text("steps: 3\nepochs: 2\n")
    assert said("--config", str(both)) == f"error: {both}: give --epochs or --steps, not both\n"
    with pytest.raises(UserError, match=r"^give epochs= or steps=, not both$"):
        xltjax.fit("m", "d", tmp_path / "o", steps=3, epochs=2)
    with pytest.raises(UserError, match=r"^epochs must be 0 or more, not -1"):
        TrainConfig(epochs=-1.0)
    assert said("--learning-rate", "1e-4", "--learning-rates", "1e-5").endswith(
        "give --learning-rate or --learning-rates, not both\n"
    )
    # A later place wins over an earlier one, the record of a run included.
    both.write_text("learning_rates: [1e-5, 1e-4]\n")
    assert "learning_rates: []\n" in said("--config", str(both), "--learning-rate", "1e-3")
    paper = said("--config", "protocols/released", "--epochs", "0.5")
    assert "epochs: 0.5\n" in paper
    record = tmp_path / "config.yaml"
    record.write_text(to_yaml(TrainConfig(epochs=3.0, steps=77), saved_only=True))
    read = build(TrainConfig, read_config_files(TrainConfig, [str(record)]))
    assert (read.epochs, read.steps) == (3.0, 77)
    assert (
        build(TrainConfig, overlay(TrainConfig, yaml.safe_load(record.read_text()), {"steps": 5})).epochs == 0
    )


def test_many_epochs_are_warned_of_with_the_number_of_updates_that_makes_fewer(
    messages: Callable[[], list[str]],
) -> None:
    shown = str(Passes(60, 2585, 1000, 15938.0, 6170.6, 90))
    assert shown.endswith("0.162 updates per epoch, 1,000 updates: 6,171 epochs")
    data = packed(40, BatchShape(2, 2, 128, 250))
    for steps in (1, 400):
        warn_of_many(passes(TrainConfig(steps=steps), data))
    (said,) = messages()
    found = re.fullmatch(
        r"warning: each row is learned about (\d+) times; --epochs 3 or --steps (\d+) would be 3 times", said
    )
    assert found
    assert int(found[1]) == round(passes(TrainConfig(steps=400), data).epochs)
    assert data.steps_for(3) == pytest.approx(int(found[2]), abs=2)


def test_a_study_takes_epochs_for_any_training(tmp_path: Path) -> None:
    from xltjax.study.grid import cells
    from xltjax.study.settings import read_study

    path = tmp_path / "s.yaml"
    path.write_text(
        "models: {m: DIR}\ndata: {small: {data: d.csv, epochs: 3, columns: {prompt: q, completion: a}}, "
        "big: {data: e.csv}}\nlearning_rates: [1e-5]\ntrain: {steps: 7}\n"
    )
    study = read_study(str(path))
    found = {cell.data: cell.training(study) for cell in cells(study)}
    assert (found["small"].epochs, found["small"].columns) == (3.0, ("prompt=q", "completion=a"))
    assert (found["big"].epochs, found["big"].steps) == (0.0, 7)
    path.write_text(
        "models: {m: DIR}\ndata: {d: {data: d.csv, epochs: 3, steps: 4}}\nlearning_rates: [1e-5]\n"
    )
    with pytest.raises(UserError, match=r"data\.d: give --epochs or --steps, not both"):
        read_study(str(path))
