"""One command at a time writes to one place, and a killed one leaves it open to the next."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest

from xltjax.common.cli import execute
from xltjax.common.directories import new_directory
from xltjax.common.errors import UserError
from xltjax.common.locks import lock_directory, lock_file
from xltjax.eval import sets_command, surface
from xltjax.eval.modifiers import command as modifiers
from xltjax.generate import GenerateConfig, generate

HOLD = """
import sys, time
from pathlib import Path
from xltjax.common.locks import lock_directory
with lock_directory(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


def holder(directory: Path) -> subprocess.Popen[str]:
    """Another process that has the lock of ``directory``."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(directory)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_second_is_refused_in_one_line_and_a_killed_first_leaves_it_open(tmp_path: Path) -> None:
    out = tmp_path / "run"
    with holder(out) as process:
        with pytest.raises(
            UserError, match=rf"^{out} is being written by another command \(process {process.pid} on"
        ):
            lock_directory(out).__enter__()
        process.kill()
    (out / "mine").touch()
    with lock_directory(out):
        pass
    assert [file.name for file in out.iterdir()] == ["mine"]


def test_a_lock_leaves_nothing_behind(tmp_path: Path) -> None:
    with lock_directory(tmp_path / "a" / "b"), pytest.raises(UserError, match="by another command"):
        lock_directory(tmp_path / "a" / "b").__enter__()
    with lock_file(tmp_path / "c" / "responses.jsonl"):
        assert (tmp_path / "c").is_dir()
    assert list(tmp_path.iterdir()) == []


def test_of_many_at_once_one_at_a_time_has_the_lock(tmp_path: Path) -> None:
    inside, held, most = 0, 0, 0

    def fight() -> None:
        nonlocal inside, held, most
        mine = 0
        while mine < 20:
            try:
                with lock_directory(tmp_path / "run"):
                    inside += 1
                    most, held, mine = max(most, inside), held + 1, mine + 1
                    inside -= 1
            except UserError:
                continue

    threads = [threading.Thread(target=fight) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, held) == (1, 160)  # written under the lock, so that none is lost


def test_a_file_system_without_locks_is_a_notice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with lock_directory(tmp_path / "run"):
        (tmp_path / "run" / "mine").touch()
    assert [record.message for record in caplog.records] == [
        f"notice: the file system of {tmp_path / 'run'} has no locks; start no second command with it"
    ]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine"]


@pytest.mark.parametrize("path", ["/proc/none/run", "/proc/self"])
def test_a_place_where_no_file_can_be_is_one_line(path: str) -> None:
    with pytest.raises(UserError, match=rf"^{path} cannot be (created|written): .*; choose another path$"):
        lock_directory(Path(path)).__enter__()


def test_a_directory_that_is_being_made_or_trained_in_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "hf"
    with new_directory(target, overwrite=True), pytest.raises(UserError, match=f"^{target} is being written"):
        new_directory(target, overwrite=True).__enter__()
    with lock_directory(target), pytest.raises(UserError, match=f"^{target} is being written"):
        new_directory(target, overwrite=True).__enter__()


@pytest.mark.parametrize("command", [surface.COMMAND, modifiers.COMMAND, sets_command.COMMAND])
def test_two_evaluations_do_not_write_to_one_folder(
    command: click.Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    responses = tmp_path / "responses.jsonl"
    row = {"id": "a", "model": "m", "language": "en", "instruction": "List.", "response": "a\nb"}
    rows = [row, {**row, "id": "b", "modifier": {"name": "list_n", "params": {"n": 2}}}]
    responses.write_text("".join(json.dumps(each) + "\n" for each in rows))
    flags = ["--export"] if command is sets_command.COMMAND else [str(responses), "--out"]
    out = tmp_path / "scores"
    with lock_directory(out), pytest.raises(SystemExit) as ended:
        execute(command, [*flags, str(out)])
    assert ended.value.code == 2
    assert f"error: {out} is being written by another command" in capsys.readouterr().err
    assert not out.exists()


def test_two_generations_do_not_write_to_one_file(tmp_path: Path, chat_model: Path) -> None:
    prompts = tmp_path / "p.jsonl"
    prompts.write_text('{"id": "a", "language": "en", "instruction": "Say a."}\n')
    out = tmp_path / "r.jsonl"
    with lock_file(out), pytest.raises(UserError, match=f"^{out} is being written by another command"):
        generate(GenerateConfig(model=str(chat_model), prompts=str(prompts), out=str(out)))
    assert list(tmp_path.iterdir()) == [prompts]


def test_an_empty_directory_is_filled(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / ".lock").touch()  # of a command that was killed
    with new_directory(tmp_path / "hf", overwrite=False) as staging:
        (staging / "ours").touch()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("hf"), Path("hf/ours")]


def test_what_a_killed_process_left_of_a_directory_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".model.4711.tmp").mkdir()
    (tmp_path / ".model.4711.tmp" / "half.safetensors").touch()
    (tmp_path / ".model-2.4712.tmp").mkdir()  # another one's
    with new_directory(tmp_path / "model", overwrite=False) as staging:
        (staging / "whole").touch()
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_dir()) == [".model-2.4712.tmp", "model"]


def test_what_cannot_be_put_in_place_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf" / "before").touch()
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(UserError, match="cannot be replaced"), new_directory(tmp_path / "hf", overwrite=True):
        pass
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("hf"), Path("hf/before")]


def test_what_appeared_meanwhile_is_not_replaced(tmp_path: Path) -> None:
    target = tmp_path / "hf"
    with pytest.raises(UserError, match="is not empty"), new_directory(target, overwrite=False) as staging:  # noqa: PT012
        (staging / "ours").touch()
        target.mkdir()
        (target / "theirs").touch()
    assert [path.relative_to(tmp_path) for path in tmp_path.rglob("*")] == [Path("hf"), Path("hf/theirs")]


def test_a_file_system_that_cannot_rename_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "rename", refuse)
    monkeypatch.setattr(Path, "rename", refuse)
    with (
        pytest.raises(UserError, match="hf cannot be replaced: Function not implemented"),
        new_directory(tmp_path / "hf", overwrite=False),
    ):
        pass
    assert list(tmp_path.iterdir()) == []
