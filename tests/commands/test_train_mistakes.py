"""Training that cannot begin: every mistake is one line and exit code 2."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.caller import Caller

from xltjax import train


@pytest.fixture
def caller(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


@pytest.fixture(scope="module")
def dolly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dolly.jsonl"
    path.write_text('{"instruction": "Where is the harbour?", "response": "In the north."}\n')
    return path


def bin_only(model: Path) -> None:
    (model / "model.safetensors").rename(model / "pytorch_model.bin")


def unsupported(model: Path) -> None:
    values = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**values, "model_type": "gpt2"}))


def without_tokenizer(model: Path) -> None:
    for name in ("tokenizer.json", "tokenizer.model", "tokenizer_config.json"):
        (model / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (bin_only, r"holds only pickled weights \(\.bin\)"),
        (unsupported, r"model_type 'gpt2' is not supported; supported: "),
        (without_tokenizer, "has no tokenizer"),
        (shutil.rmtree, r"model directory .* does not exist"),
    ],
)
def test_a_model_that_cannot_be_read_is_one_line(
    change: Callable[[Path], None],
    message: str,
    chat_model: Path,
    dolly: Path,
    tmp_path: Path,
    caller: Caller,
) -> None:
    model = tmp_path / "model"
    shutil.copytree(chat_model, model)
    change(model)
    arguments = ["--model", str(model), "--data", str(dolly), "--out", str(tmp_path / "out")]
    arguments += ["--sequence-length", "512"]
    assert re.search(message, caller.mistake(train.COMMAND, *arguments))
    assert not any((tmp_path / "out").glob("**/*.*"))  # nothing half-written


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("instruction,response\n", r"d\.jsonl, line 1: not JSON \(Expecting value\)"),
        (
            '{"question": "q", "answer": "a"}',
            r"line 1: the row has the keys answer, question; accepted: Dolly",
        ),
        ("", "d.jsonl holds no rows"),
        ('{"instruction": "q", "response": "' + "7" * 200 + '"}', "none of its rows is usable"),
        (None, "d.jsonl does not exist"),
    ],
)
def test_data_that_cannot_be_used_is_one_line(
    text: str | None, message: str, chat_model: Path, tmp_path: Path, caller: Caller
) -> None:
    data = tmp_path / "d.jsonl"
    if text is not None:
        data.write_text(text)
    arguments = ["--model", str(chat_model), "--data", str(data), "--max-length", "64"]
    assert re.search(message, caller.mistake(train.COMMAND, *arguments, "--out", str(tmp_path / "out")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mesh", "abc"], "mesh 'abc' is not of the form DxT or RxDxT"),
        (["--mesh", "0x1"], "mesh '0x1' is not of the form DxT or RxDxT"),
        (["--mesh", "9x1", "--accumulation", "9"],
         "mesh 9x1 needs 9 devices and this machine has 8; use --mesh 8x1 or 1x8"),
        (["--mesh", "3x1"], r"2 rows x 4 micro-batches cannot be split over 3 data devices; use "
         "--tokens-per-batch 6144 or --accumulation 12"),
        (["--learning-rate", "0"], "learning_rate must be positive, not 0.0"),
        (["--overlong", "error", "--max-length", "8"], r"line 1 has \d+ tokens, more than 8; give --overlong skip"),
        (["--template", "chatml"], "has no special token to end an answer with"),
        (["--data-weights", "1,1"], "data_weights has 2 numbers for 1 data sources"),
        (["--lora-rank", "4", "--lora-targets", "q_prj"],
         "LoRA target 'q_prj' matches no part of the model; did you mean 'q_proj'?"),
    ],
)  # fmt: skip
def test_settings_that_cannot_work_are_one_line(
    arguments: list[str], message: str, chat_model: Path, dolly: Path, tmp_path: Path, caller: Caller
) -> None:
    base = ["--model", str(chat_model), "--data", str(dolly), "--out", str(tmp_path / "out")]
    if "3x1" not in arguments:
        base += ["--sequence-length", "512"]
    assert re.search(message, caller.mistake(train.COMMAND, *base, *arguments))


def test_an_output_directory_that_is_a_file_is_one_line(
    chat_model: Path, dolly: Path, tmp_path: Path, caller: Caller
) -> None:
    (tmp_path / "out").write_text("mine")
    base = ["--model", str(chat_model), "--data", str(dolly)]
    for out in (tmp_path / "out", tmp_path / "out" / "below"):
        message = caller.mistake(train.COMMAND, *base, "--out", str(out))
        assert (
            message
            == f"{out} cannot be created: {tmp_path / 'out'} is a file, not a directory; choose another path"
        )
    assert (tmp_path / "out").read_text() == "mine"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--mesh", "3x1"],
         "error: mesh 3x1 needs 3 devices and this machine has 2; use --mesh 2x1 or 1x2\n"),
        (["--lerning-rate", "1"], "error: unknown flag --lerning-rate; did you mean '--learning-rate'?\n"),
        (["--data", "GAIR/lima", "--config", "paper/llama2-13b-lima-en-ft", "--steps", "x"],
         "error: steps: 'x' is not a whole number\n"),
    ],
)  # fmt: skip
def test_the_program_itself_prints_one_line_and_exits_2(
    arguments: list[str], message: str, tmp_path: Path
) -> None:
    environment = {**os.environ, "JAX_NUM_CPU_DEVICES": "2", "JAX_PLATFORMS": "cpu"}
    base = ["--model", str(tmp_path), "--data", "none.jsonl", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [sys.executable, "-m", "xltjax.train", *base, *arguments],
        env=environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert (done.returncode, done.stdout, done.stderr) == (2, "", message)
