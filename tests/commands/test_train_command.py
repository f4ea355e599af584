"""What ``train`` refuses to mix or to overwrite, in which order it looks, and what its exit code says."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.short_training import fit, settings

from xltjax import __main__ as program
from xltjax import train
from xltjax.checkpoint import Checkpoints
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.common.locks import lock_directory
from xltjax.converters.models import known_architecture, load_model
from xltjax.data.packing import PackedData
from xltjax.mesh import make_mesh
from xltjax.miniature.text import instruction_rows
from xltjax.train import fitting
from xltjax.training.config import TrainConfig, rate_texts
from xltjax.training.plan import checkpoint_bytes
from xltjax.training.run import Run

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "resume_train.py"


@pytest.fixture(scope="module")
def instructions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "dolly.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:40]))
    return path


@pytest.fixture(scope="module")
def trained(chat_model: Path, instructions: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two updates, with a checkpoint after each."""
    return fit(quick(chat_model, instructions, tmp_path_factory.mktemp("trained") / "run", remat="auto"))


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(trained, tmp_path / "run"))


def quick(chat_model: Path, instructions: Path, out: Path, **changes: Any) -> TrainConfig:
    return settings(chat_model, instructions, out, **{"steps": 2, "save_every": 1, "mesh": "1x1", **changes})


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes() for path in directory.rglob("*") if path.is_file()
    }


def flags(config: TrainConfig) -> list[str]:
    return [
        "--model", config.model, "--data", *config.data, "--out", config.out, "--precision", config.precision,
        "--sequence-length", "128", "--tokens-per-batch", "256", "--accumulation", "2", "--mesh", "1x1",
        "--steps", str(config.steps), "--save-every", "1", "--learning-rate", "1e-3",
    ]  # fmt: skip


# Nothing is overwritten


def test_a_run_of_which_no_checkpoint_can_be_read_is_left_as_it_is(
    run: Path, chat_model: Path, instructions: Path
) -> None:
    for file in (run / "checkpoints").rglob("*"):
        if file.is_file():
            file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    before = contents(run)
    with pytest.raises(UserError, match=r"checkpoint 2 in .* is damaged: .*nothing was changed"):
        train.fit(quick(chat_model, instructions, run, steps=4))
    assert contents(run) == before
    with pytest.raises(UserError, match=r"checkpoint 2 in .* is damaged"):
        load_model(run, make_mesh("1x1"), dtype=None)


def test_other_shapes_do_not_begin_a_run_again(run: Path, chat_model: Path, instructions: Path) -> None:
    before = contents(run)
    with pytest.raises(UserError, match="belongs to another model or other adapters"):
        train.fit(quick(chat_model, instructions, run, steps=4, lora_rank=2, force=True))
    assert contents(run) == before


def test_too_little_memory_does_not_begin_a_run_again(
    run: Path, chat_model: Path, instructions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = contents(run)

    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Checkpoints, "_read", fail)
    with pytest.raises(MemoryError):
        train.fit(quick(chat_model, instructions, run, steps=4))
    assert contents(run) == before


@pytest.mark.parametrize("name", ["config.yaml", "metrics.jsonl", "base/config.json", "checkpoints/7/mine"])
def test_a_directory_with_files_of_the_users_own_is_refused(
    name: str, chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    (out / name).parent.mkdir(parents=True)
    (out / name).write_text("steps: 3\n")
    with pytest.raises(UserError, match=rf"holds {name.split('/')[0]} and is no run of xltjax"):
        train.fit(quick(chat_model, instructions, out, force=True))
    assert contents(out) == {name: b"steps: 3\n"}


# One process for a run


def test_a_run_that_is_being_trained_is_refused(run: Path, chat_model: Path, instructions: Path) -> None:
    config = quick(chat_model, instructions, run, steps=4)
    before = contents(run)
    with lock_directory(run), pytest.raises(UserError, match=f"^{run} is being written by another command"):
        train.fit(config)
    assert contents(run) == before


def fight(kills: int, steps: int, chat_model: Path) -> str:
    """The output of two processes that fight for one run, of which the one that trains is killed."""
    command = [sys.executable, str(BENCHMARK), "--fight", "--model", str(chat_model)]
    done = subprocess.run(
        [*command, "--kills", str(kills), "--steps", str(steps)],
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1"}, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_two_processes_fight_for_a_run_and_are_killed(chat_model: Path) -> None:
    assert "3 kills; the other process was refused" in fight(3, 12, chat_model)


@pytest.mark.slow
def test_two_processes_fight_for_a_run_and_are_killed_twenty_times(chat_model: Path) -> None:
    assert "20 kills; the other process was refused" in fight(20, 120, chat_model)


# What a run learned from


def test_a_changed_tokenizer_is_named_on_resuming(
    run: Path, chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(chat_model, tmp_path / "model"))
    config = quick(model, instructions, run, steps=3)
    settled = Run(run)
    base = settled.base.fingerprint
    settled.check_resumable(config, config.data, base, model)
    text = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps(text, indent=1))
    (model / "chat_template.jinja").write_text("{{ messages }}")
    with pytest.raises(
        UserError, match=r"chat_template\.jinja of the tokenizer, tokenizer\.json of the tokenizer"
    ):
        train.fit(config)
    # A run of an earlier version has no record of its tokenizer.
    record = json.loads((run / "provenance.json").read_text())
    del record["tokenizer"]
    (run / "provenance.json").write_text(json.dumps(record))
    Run(run).check_resumable(config, config.data, base, model)


@pytest.mark.parametrize(
    ("rates", "texts"),
    [
        ((1e-3, 1e-5), ["0.001", "1e-05"]),
        ((1.0000001e-3, 1.0000002e-3), ["0.0010000001", "0.0010000002"]),
        ((1e-3, 1.0000001e-3, 5e-5), ["0.001", "0.0010000001", "5e-05"]),
        ((1e-4, 1e-4), ["0.0001"]),
        ((0.1 + 0.2, 0.3), ["0.30000000000000004", "0.29999999999999999"]),
        ((1.23456789e-5,), ["1.23457e-05"]),
    ],
)
def test_directories_tell_rates_apart(rates: tuple[float, ...], texts: list[str]) -> None:
    assert list(rate_texts(rates).values()) == texts
    runs = TrainConfig(learning_rates=rates, out="o").runs()
    assert [(each.out, each.learning_rate) for each in runs] == [
        (f"o/lr-{text}", rate) for text, rate in zip(texts, dict.fromkeys(rates), strict=True)
    ]


def test_out_can_say_where_the_rate_stands() -> None:
    runs = TrainConfig(learning_rates=(1e-3, 1.0000001e-5), out="o/lr-{rate}/seed-0/train").runs()
    assert [each.out for each in runs] == ["o/lr-0.001/seed-0/train", "o/lr-1.0000001e-05/seed-0/train"]


# What can be checked in a second comes first


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": ("bad.jsonl",)}, r"bad\.jsonl, line 2: not JSON"),
        ({"data": ("none.jsonl",)}, r"none\.jsonl does not exist"),
        ({"data": ("odd.jsonl",)}, r"odd\.jsonl, line 1: the row has the keys a"),
        ({"validation_data": ("bad.jsonl",)}, r"bad\.jsonl, line 2: not JSON"),
        ({"sequence_length": 4096}, "sequence_length 4096 is more than the 512 positions of miniature"),
        ({"out": "good.jsonl/run"}, "cannot be created"),
        ({"mesh": "99x1"}, "needs 99 devices"),
    ],
)
def test_a_mistake_is_found_before_the_miniature_is_built(
    changes: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("xltjax.miniature.build.ensure", lambda: pytest.fail("the miniature is built"))
    row = '{"instruction": "Say a.", "response": "a"}\n'
    for name, text in {"good": row, "bad": row + "no", "odd": '{"a": 1}\n'}.items():
        Path(f"{name}.jsonl").write_text(text)
    values = {"data": ("good.jsonl",), "sequence_length": 128, "out": "run", "accumulation": 99, **changes}
    with pytest.raises(UserError, match=message):
        train.fit(TrainConfig(model="miniature", **values))
    assert not Path("run").exists()


def test_a_kernel_that_cannot_run_here_is_refused_before_the_work_and_the_one_taken_is_recorded(
    run: Path, chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    forced = quick(chat_model, instructions, tmp_path / "forced", attention="cudnn-packed")
    with pytest.raises(
        UserError, match="--attention cudnn-packed cannot be used here: it needs an NVIDIA GPU"
    ):
        fit(forced)
    assert not (tmp_path / "forced" / "config.yaml").exists()
    record = json.loads((run / "provenance.json").read_text())
    assert record["attention"] == [{"window": None, "kernel": "portable", "not": {}}]
    assert (record["remat"], Run(run).config.remat) == ("none", "auto")  # a tiny model fits as it is


def test_rows_longer_than_the_model_has_positions_are_refused(
    chat_model: Path, instructions: Path, tmp_path: Path
) -> None:
    config = quick(chat_model, instructions, tmp_path / "run", sequence_length=513)
    with pytest.raises(
        UserError, match=r"sequence_length 513 is more than the 512 positions of .*length 512 or"
    ):
        train.fit(config)
    assert not (tmp_path / "run").exists()


def test_a_disk_without_room_for_a_checkpoint_is_refused_before_the_work(
    run: Path, chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = sum(file.stat().st_size for file in (run / "checkpoints" / "2").rglob("*") if file.is_file())
    complete = quick(chat_model, instructions, run)
    new = quick(chat_model, instructions, tmp_path / "new")
    needed = checkpoint_bytes(new, known_architecture(str(chat_model)))
    assert 0.75 * needed < written < 1.2 * needed
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(total=10**9, free=1000))
    with pytest.raises(
        UserError, match=r"new has room for 0\.0 MiB, and a checkpoint takes about \d\.\d MiB"
    ):
        train.fit(new)
    assert not (tmp_path / "new").exists()
    assert fit(complete) == run  # it has nothing to write


def test_what_is_asked_beside_the_training_is_looked_at_first(
    chat_model: Path, instructions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "find_model", lambda _: pytest.fail("the model is looked for"))
    monkeypatch.setitem(sys.modules, "wandb", None)
    for message, changes in {
        "--wandb needs wandb: pip install": {"wandb": "project"},
        "none.jsonl": {"sample_every": 1, "sample_prompts": "none.jsonl"},
        "LoRA target 'q_prj' matches no part": {"lora_targets": ("q_prj",)},
    }.items():
        with pytest.raises(UserError, match=message):
            train.fit(quick(chat_model, instructions, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(("model", "prompts"), [("miniature", "miniature"), ("elsewhere", "xlt113")])
def test_the_next_command_fits_the_model(
    model: str, prompts: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fitting, "fit", lambda config, stop: [Path("runs/x")])
    with pytest.raises(SystemExit):
        execute(train.COMMAND, ["--model", model, "--data", "d"])
    assert f"xltjax.generate --model runs/x --prompts {prompts} --out" in capsys.readouterr().out


# Exit codes


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_that_a_signal_stopped_is_no_success(
    number: int, code: int, run: Path, chat_model: Path, instructions: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    batch_at = PackedData.batch_at

    def signalled(self: PackedData, step: int, rows: slice) -> Any:
        if step in (2, 4):  # within the third update, and within the last one
            os.kill(os.getpid(), number)
        return batch_at(self, step, rows)

    monkeypatch.setattr(PackedData, "batch_at", signalled)
    command = flags(quick(chat_model, instructions, run, steps=5))
    for expected, printed in ((code, False), (0, True)):
        with pytest.raises(SystemExit) as ended:
            execute(train.COMMAND, command, program="python -m xltjax.train")
        assert ended.value.code == expected
        assert ("trained:" in capsys.readouterr().out) == printed
    # And what is recorded can be typed again.
    record = json.loads((run / "provenance.json").read_text())
    assert record["command"] == ["python", "-m", "xltjax.train", *command]


@pytest.mark.parametrize(
    "command", [["-m", "xltjax.train"], ["-m", "xltjax", "train"], ["-m", "xltjax.eval"]]
)
def test_an_interrupt_while_a_command_starts_is_one_line(command: list[str], tmp_path: Path) -> None:
    # A module that the imports reach after a moment, and that says so and waits.
    (tmp_path / "rich.py").write_text(
        "import sys, time\nprint('importing', flush=True)\ntry:\n    time.sleep(60)\nexcept BaseException: raise\n"
    )
    process = subprocess.Popen(
        [sys.executable, *command], env={**os.environ, "PYTHONPATH": str(tmp_path)}, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "importing\n"
    time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert (process.returncode, errors) == (130, "interrupted\n")


def test_the_program_records_its_subcommand(
    run: Path, chat_model: Path, instructions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(quick(chat_model, instructions, run))
    monkeypatch.setattr(sys, "argv", ["/usr/bin/xltjax", "train", *flags(config)])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 0
    record = json.loads((run / "provenance.json").read_text())
    assert record["command"] == ["python", "-m", "xltjax.train", *flags(config)]
