"""Commands: flags over files over defaults, and every mistake one line and exit code 2."""

from __future__ import annotations

import errno
import logging
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

import click
import pytest
import yaml
from helpers.caller import Caller

import xltjax
from xltjax import generate, train
from xltjax.common.cli import command, execute, group
from xltjax.common.errors import UserError
from xltjax.common.progress import progress
from xltjax.common.settings import setting, shipped_configs


@dataclass(frozen=True)
class Settings:
    """One field of each kind of flag."""

    files: tuple[str, ...] = setting((), "Files.", positional=True, paths=True)
    model: str = setting("", "A model.", section="Model")
    learning_rate: float = setting(1e-5, "A rate.", section="Rates")
    end: float | None = setting(None, "Another rate.", section="Rates")
    kind: Literal["full", "half"] = setting("full", "A choice.")
    force: bool = setting(False, "A switch.")
    words: tuple[str, ...] = setting(("a", "b"), "Words.")
    data: tuple[str, ...] = setting((), "Paths.", paths=True, former=("corpora",))
    steps: int = setting(3, "Renamed.", former=("updates", "iterations"))
    fast: bool = setting(True, "A renamed switch.", former=("turbo",))


@pytest.fixture
def caller(capsys: pytest.CaptureFixture[str]) -> Caller:
    return Caller(capsys)


def settings(caller: Caller, *arguments: str, **options: Any) -> Settings:
    assert caller.run(command(Settings, caller.keep, name="t", help="Try.", **options), *arguments)[0] == 0
    return caller.called  # type: ignore[no-any-return]


@pytest.fixture
def toy(caller: Caller) -> click.Command:
    return command(Settings, caller.keep, name="toy", help="Try.")


def failing(problem: BaseException) -> click.Command:
    def function(_: Any) -> None:
        raise problem

    return command(Settings, function, name="fail", help="Fail.")


# Settings


def test_flags_win_over_files_and_files_over_defaults(caller: Caller, tmp_path: Path) -> None:
    for name, text in (("a", "learning_rate: 1e-3\nend: 1e-4\nwords: [c]"), ("b", "learning_rate: 1e-2")):
        (tmp_path / f"{name}.yaml").write_text(text)
    files = ["--config", f"{tmp_path}/a.yaml", "--config", f"{tmp_path}/b.yaml"]
    assert settings(caller) == Settings()
    assert settings(caller, *files) == Settings(learning_rate=1e-2, end=1e-4, words=("c",))
    given = settings(caller, *files, "--learning-rate", "3e-4", "--end=none", "--words", "x,y")
    assert given == Settings(learning_rate=3e-4, words=("x", "y"))
    assert settings(caller, "--words", "").words == ()


def test_every_kind_of_flag_is_read(caller: Caller) -> None:
    given = settings(
        caller, "one", "two,2", "--force", "--kind", "half", "--data", "a,1.jsonl", "--data", "b.jsonl"
    )
    assert given == Settings(files=("one", "two,2"), force=True, kind="half", data=("a,1.jsonl", "b.jsonl"))
    assert settings(caller, "--force", "--no-force").force is False


def test_former_flags_are_read_with_a_notice_on_stderr(caller: Caller, toy: click.Command) -> None:
    code, out, err = caller.run(toy, "--updates", "5", "--no-turbo", "--corpora", "a,b", "--corpora", "c")
    assert (code, out) == (0, "")
    assert caller.called == Settings(steps=5, fast=False, data=("a,b", "c"))
    assert err.splitlines() == [
        "notice: updates is now called steps",
        "notice: turbo is now called fast",
        "notice: corpora is now called data",
    ]


def test_former_names_in_files_and_flags_override_each_other_like_the_current_ones(
    caller: Caller, tmp_path: Path
) -> None:
    (tmp_path / "old.yaml").write_text("updates: 7")
    old = ["--config", str(tmp_path / "old.yaml")]
    assert settings(caller, *old) == Settings(steps=7)
    assert settings(caller, *old, "--steps", "8") == Settings(steps=8)
    assert settings(caller, *old, "--iterations", "9") == Settings(steps=9)
    code, out, _ = caller.run(command(Settings, caller.keep, name="t", help="Try."), *old, "--print-config")
    assert (code, yaml.safe_load(out)["steps"], "updates" in out) == (0, 7, False)


def test_print_config_prints_what_config_reads_and_does_nothing_else(
    caller: Caller, toy: click.Command, tmp_path: Path
) -> None:
    arguments = ("f,1", "--learning-rate", "1e-6", "--force", "--data", "a,b", "--words", "x,y", "--end", "0")
    code, out, err = caller.run(toy, *arguments, "--print-config")
    assert (code, err, caller.called) == (0, "", None)
    (tmp_path / "c.yaml").write_text(out)
    assert settings(caller, "--config", str(tmp_path / "c.yaml")) == settings(caller, *arguments)


def test_the_fallback_config_holds_when_neither_config_nor_its_setting_is_given(
    caller: Caller, tmp_path: Path
) -> None:
    (tmp_path / "fallback.yaml").write_text("model: fallback\nkind: half")
    (tmp_path / "other.yaml").write_text("end: 1")
    option = {"fallback": (str(tmp_path / "fallback.yaml"), "model")}
    assert settings(caller, **option) == Settings(model="fallback", kind="half")
    assert settings(caller, "--kind", "full", **option) == Settings(model="fallback")
    assert settings(caller, "--model", "m", **option) == Settings(model="m")
    assert settings(caller, "--config", str(tmp_path / "other.yaml"), **option) == Settings(end=1.0)


def test_help_names_every_flag_with_its_default_under_its_section(caller: Caller, toy: click.Command) -> None:
    code, out, _ = caller.run(toy, "--help")
    assert code == 0
    assert caller.run(toy, "-h") == (code, out, "")
    text = " ".join(out.split())
    assert not any(former in text for former in ("--updates", "--iterations", "--turbo", "--corpora"))
    for part in (
        "Usage: test [OPTIONS] FILES...", "FILES... Files.", "--model TEXT A model.",
        "--learning-rate X A rate. [default: 1e-05]", "--end X Another rate.",
        "--kind full|half A choice. [default: full]", "--force / --no-force A switch. [default: false]",
        "--words TEXT,... Words. [default: a,b]", "--data PATH Paths.", "--config FILE", "--print-config",
    ):  # fmt: skip
        assert part in text
    assert re.findall(r"^(\w+):$", out, re.MULTILINE) == [
        "Arguments", "Model", "Rates", "Settings", "General",
    ]  # fmt: skip


def test_a_flag_far_from_all_of_many_is_answered_without_the_list_of_them(caller: Caller) -> None:
    assert caller.mistake(train.COMMAND, "-z") == "unknown flag -z; --help lists those there are"


@pytest.mark.parametrize("module", [train, generate])
def test_every_setting_of_the_commands_has_a_flag_and_help(module: Any, caller: Caller) -> None:
    code, out, _ = caller.run(module.COMMAND, "--help")
    assert code == 0
    config = train.TrainConfig if module is train else generate.GenerateConfig
    for field in fields(config):
        assert f"--{field.name.replace('_', '-')}" in out
        assert field.metadata["help"].endswith(".")


# Mistakes


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--learing-rate", "1"], "unknown flag --learing-rate; did you mean '--learning-rate'?"),
        (["--zzz"], "unknown flag --zzz; valid: --config, --data, --end, --fast, --force, --help, --kind, "
         "--learning-rate, --model, --print-config, --quiet, --steps, --verbose, --version, --words"),
        (["--lr", "1"], "unknown flag --lr; did you mean '--learning-rate'?"),
        (["--model-directory", "x"], "unknown flag --model-directory; did you mean '--model'?"),
        (["--quiet", "--verbose"], "give --quiet or --verbose, not both"),
        (["--iteration", "1"], "unknown flag --iteration; valid: --config, --data, --end, --fast, --force, "
         "--help, --kind, --learning-rate, --model, --print-config, --quiet, --steps, --verbose, --version, --words"),
        (["--updates", "x"], "steps: 'x' is not a whole number"),
        (["--updates", "1", "--steps", "2"], "updates and steps are the same setting; give steps alone"),
        (["--learning-rate"], "Option '--learning-rate' requires an argument."),
        (["--learning-rate", "fast"], "learning_rate: 'fast' is not a number"),
        (["--kind", "hlaf"], "kind: 'hlaf' is not known; did you mean 'half'?"),
        (["--force=1"], "Option '--force' does not take a value."),
        (["--config", "nowhere.yaml"], "config 'nowhere.yaml' is neither a file nor a shipped config; valid: "
         + ", ".join(sorted(shipped_configs()))),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_that_names_what_was_meant(
    arguments: list[str], message: str, caller: Caller, toy: click.Command
) -> None:
    assert caller.mistake(toy, *arguments) == message
    assert caller.called is None


def test_an_unknown_key_of_a_file_names_the_nearest(
    caller: Caller, toy: click.Command, tmp_path: Path
) -> None:
    (tmp_path / "c.yaml").write_text("learing_rate: 1")
    message = caller.mistake(toy, "--config", str(tmp_path / "c.yaml"))
    assert message == "unknown setting 'learing_rate'; did you mean 'learning_rate'?"


@pytest.mark.parametrize(
    ("problem", "message"),
    [
        (UserError("two\n  lines\tof it"), "two lines of it"),
        (MemoryError(), "out of memory; use a smaller batch, a smaller model or a larger mesh"),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), "No space left on device: /x"),
        (OSError(errno.EROFS, "Read-only file system"), "Read-only file system: while writing"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied: /x"),
        (OSError(errno.EIO, "Input/output error", "/x"), "Input/output error: /x"),
        (OSError(errno.ENOSYS, "Function not implemented", "/x"), "Function not implemented: /x"),
        (OSError(errno.EMFILE, "Too many open files", "/x"), "Too many open files: /x"),
        (RuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.\nBuffers: ..."),
         "the device is out of memory; lower --rows-per-device or --batch-size, or use more devices "
         "(RESOURCE_EXHAUSTED: Out of memory allocating 7 bytes.)"),
    ],
)  # fmt: skip
def test_what_the_user_can_mend_is_one_line(problem: BaseException, message: str, caller: Caller) -> None:
    assert caller.mistake(failing(problem)) == message


def test_a_name_too_long_for_a_file_is_one_line(caller: Caller, tmp_path: Path) -> None:
    def function(config: Settings) -> None:
        Path(config.model).read_text()

    one = command(Settings, function, name="t", help="Try.")
    assert caller.mistake(one, "--model", "x" * 300).startswith("File name too long: xxx")


@pytest.mark.parametrize("problem", [ValueError("ours"), OSError(errno.EBADF, "Bad file descriptor")])
def test_a_mistake_of_ours_keeps_its_traceback(problem: Exception) -> None:
    with pytest.raises(type(problem)):
        execute(failing(problem), [])


def test_what_a_command_logs_is_plain_lines_on_stderr_and_logging_is_then_as_before(caller: Caller) -> None:
    log = logging.getLogger("xltjax")
    before = log.level, log.propagate, list(log.handlers)

    def function(_: Any) -> None:
        log.info("step %d", 1)
        log.setLevel(logging.ERROR)
        raise UserError("no")

    one = command(Settings, function, name="t", help="Try.")
    assert caller.run(one) == (2, "", "step 1\nerror: no\n")
    assert (log.level, log.propagate, log.handlers) == before


def test_an_interrupt_is_said_and_exits_130(caller: Caller) -> None:
    code, out, err = caller.run(failing(KeyboardInterrupt()))
    assert (code, out, err.strip()) == (130, "", "interrupted")


def test_a_group_names_the_command_that_was_meant(caller: Caller, toy: click.Command) -> None:
    several = group([toy, failing(UserError("no"))], name="several", help="Several commands.")
    assert caller.mistake(several, "tyo") == "unknown command 'tyo'; did you mean 'toy'?"
    assert caller.mistake(several, "toy", "--kin", "x") == "unknown flag --kin; did you mean '--kind'?"
    assert caller.mistake(several, "fail") == "no"
    code, out, _ = caller.run(several)
    assert code == 0
    assert "toy" in out
    assert "fail" in out
    assert caller.run(several, "toy", "--model", "m")[0] == 0
    assert caller.called == Settings(model="m")


def test_print_config_of_training_resolves_a_paper_config_with_a_protocol(caller: Caller) -> None:
    code, out, err = caller.run(
        train.COMMAND, "--config", "paper/llama2-13b-dolly-en-ft", "--config", "protocols/released",
        "--steps", "5", "--print-config",
    )  # fmt: skip
    assert (code, err) == (0, "")
    values = yaml.safe_load(out)
    assert (values["steps"], values["accumulation"], values["model"]) == (5, 10, "meta-llama/Llama-2-13b-hf")
    assert values.keys() == {field.name for field in fields(train.TrainConfig)}


# Progress


@pytest.mark.parametrize("quiet", [False, True])
def test_quiet_shows_warnings_alone(quiet: bool, caller: Caller) -> None:
    log = logging.getLogger("xltjax")

    def function(_: Any) -> None:
        log.info("step")
        log.warning("odd")
        with progress("training", 1) as advance:
            advance()

    one = command(Settings, function, name="t", help="Try.")
    code, out, err = caller.run(one, *(["--quiet"] if quiet else []))
    assert (code, out) == (0, "")
    assert err == ("odd\n" if quiet else "step\nodd\ntraining: 1/1, 0 s left\n")


def test_the_version_is_printed_and_nothing_else_is_done(caller: Caller, toy: click.Command) -> None:
    assert caller.run(toy, "--version", "--model", "m") == (0, f"xltjax {xltjax.__version__}\n", "")
    assert caller.called is None


def test_print_config_says_what_each_setting_is(caller: Caller, toy: click.Command) -> None:
    code, out, _ = caller.run(toy, "--print-config")
    assert code == 0
    assert "# A rate.\nlearning_rate: 1.0e-05\n" in out
    assert yaml.safe_load(out)["learning_rate"] == 1e-5


def test_progress_without_a_terminal_is_a_plain_line_at_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("training", 4, start=1) as advance:
        for index in range(3):
            advance(1, f"loss {index}")
    assert capsys.readouterr().err == "training: 4/4, 0 s left loss 2\n"
