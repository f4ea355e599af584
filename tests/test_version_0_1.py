"""Runs, responses and scores that version 0.1 wrote are still resumed, generated from, exported and scored."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path
from typing import Any

import click
import jax.numpy as jnp
import numpy as np
import pytest

from xltjax import generate, train
from xltjax.common.cli import execute
from xltjax.converters.__main__ import GROUP as CONVERTERS
from xltjax.converters.models import load_model
from xltjax.eval.surface import COMMAND as SURFACE
from xltjax.mesh import make_mesh
from xltjax.training.run import Run

ARCHIVE = Path(__file__).parent / "version_0_1" / "files.tar.gz"
SETTINGS = (
    "--model", "model", "--data", "data.jsonl", "--sequence-length", "256", "--tokens-per-batch", "512",
    "--accumulation", "2", "--learning-rate", "1e-3", "--template", "alpaca", "--max-length", "256",
)  # fmt: skip


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files, in the current directory: version 0.1 stored paths as they were typed."""
    with tarfile.open(ARCHIVE) as archive:
        archive.extractall(tmp_path, filter="data")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(command: click.Command, *arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        execute(command, arguments)
    return int(ended.value.code or 0)


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def loss(row: dict[str, Any]) -> float:
    (value,) = (row[key] for key in ("loss", "validation_loss", "held_out_loss") if key in row)
    return float(value)


def test_a_run_is_opened_with_all_that_it_knows(old: Path) -> None:
    run = Run.open(old / "full")
    assert (run.template, run.lora, run.steps, run.step) == ("alpaca", False, [2], 2)
    assert (run.config.validation_rows, run.config.validation_every, run.config.timescale) == (4, 2, 1.0)
    assert run.base.location == "model"
    assert len(run.base.fingerprint) == 64
    assert Run.open(old / "lora").lora


def test_a_run_is_resumed_by_its_old_flags(old: Path, caplog: pytest.LogCaptureFixture) -> None:
    flags = ("--steps", "4", "--save-every", "2", "--timescale", "1", "--out", "full")
    assert call(train.COMMAND, *SETTINGS, *flags, "--held-out-rows", "4", "--held-out-every", "2") == 0
    now, expected = rows(old / "full" / "metrics.jsonl"), rows(old / "full-of-4-updates.jsonl")
    assert [row["step"] for row in now] == [row["step"] for row in expected]
    for ours, theirs in zip(now, expected, strict=True):
        assert loss(ours) == pytest.approx(loss(theirs), rel=2e-3)  # bfloat16 compute on another processor
    assert Run.open("full").steps == [2, 4]


def test_a_run_is_not_continued_with_the_new_default_of_the_schedule(
    old: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(train.COMMAND, *SETTINGS, "--steps", "4", "--validation-rows", "4", "--out", "full") == 2
    assert "timescale (was 1.0, now 10000.0)" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["full", "lora"])
def test_a_run_is_exported(name: str, old: Path) -> None:
    assert call(CONVERTERS, "to-hf", name, "hf", "--merge-lora", "--dtype", "float32") == 0
    assert call(CONVERTERS, "check", name, "hf", "--tolerance", "0") == 0
    if name == "lora":
        assert call(CONVERTERS, "to-peft", name, "peft") == 0
        assert call(CONVERTERS, "check", name, "model", "--adapter-b", "peft") == 0


def test_an_unfinished_file_of_responses_is_completed(old: Path) -> None:
    responses, settings = old / "responses.jsonl", old / "responses.provenance.json"
    whole = rows(responses)
    responses.write_text("".join(responses.read_text(encoding="utf-8").splitlines(keepends=True)[:2]))
    # The archive cannot know where it is unpacked.
    settings.write_text(
        settings.read_text().replace('"model": "full"', f'"model": "{old.resolve() / "full"}"')
    )
    arguments = (
        "--model",
        "full",
        "--prompts",
        "prompts.fr.jsonl",
        "--max-new-tokens",
        "8",
        "--dtype",
        "float32",
    )
    assert call(generate.COMMAND, *arguments, "--out", "responses.jsonl") == 0
    now = rows(responses)
    assert now[:2] == whole[:2]
    assert [list(row) for row in now] == [list(row) for row in whole]
    assert [row["id"] for row in now] == [row["id"] for row in whole]


def test_old_scores_stay_beside_new_ones(old: Path) -> None:
    before = rows(old / "scores" / "scores.jsonl")
    assert call(SURFACE, "responses.jsonl", "--out", "scores") == 0
    after = rows(old / "scores" / "scores.jsonl")
    assert {(row["id"], row["metric"]) for row in after} == {(row["id"], row["metric"]) for row in before}


def test_the_weights_are_those_that_version_0_1_trained(old: Path) -> None:
    model = load_model(old / "full", make_mesh("1x1"), dtype=None)
    assert model.embed.weight.dtype == jnp.float32
    start = load_model(old / "model", make_mesh("1x1"), dtype=None)
    moved = np.abs(np.asarray(model.embed.weight[...]) - np.asarray(start.embed.weight[...])).max()
    assert 1e-4 < moved < 3e-3  # two updates of at most 1e-3 and 7e-4
