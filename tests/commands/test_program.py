"""``xltjax`` itself: ``--help`` that imports little, and the completion of commands, flags and values in a shell."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.shell_completion import get_completion_class

from xltjax.__main__ import COMMANDS, COMPLETE, SHELLS, _Commands, main

GUIDE = Path(__file__).parents[2] / "docs" / "commands.md"
HELP = """
import contextlib, io, sys
import xltjax.__main__ as program
from click.testing import CliRunner

def leaves(command, words):
    if hasattr(command, "commands"):
        for name, inner in command.commands.items():
            yield from leaves(inner, [*words, name])
    else:
        yield command, words

modules = [program._module(name) for name in program.COMMANDS]
import xltjax.miniature.known, xltjax.study.results.effects, xltjax.study.results.tables
modules += [xltjax.miniature.known, xltjax.study.results.effects, xltjax.study.results.tables]
for module in modules:
    for command, words in leaves(getattr(module, "GROUP", None) or module.COMMAND, [module.__name__]):
        shown = CliRunner().invoke(command, ["--help"])
        heavy = sorted({"jax", "flax", "orbax", "transformers", "torch", "scipy", "pandas"} & set(sys.modules))
        print(*words, shown.exit_code, "--help" in shown.output, *heavy, sep="\\t")
"""


def test_help_of_every_command_imports_no_library_that_takes_seconds() -> None:
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = [line.split("\t") for line in done.stdout.splitlines()]
    assert len(lines) > 20
    assert [line for line in lines if line[-3:] != [line[-3], "0", "True"]] == []


def completed(*words: str) -> list[str]:
    """What the shell is told when it asks how the last of ``words`` goes on."""
    kind = get_completion_class("bash")
    assert kind is not None
    asked = kind(_Commands("xltjax"), {}, "xltjax", COMPLETE)
    return [f"{item.type},{item.value}" for item in asked.get_completions(list(words[1:-1]), words[-1])]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("xltjax", "ge"), ["plain,generate"]),
        (("xltjax", "train", "--learning-rate"), ["plain,--learning-rate", "plain,--learning-rates"]),
        (("xltjax", "train", "--schedule", "co"), ["plain,cosine", "plain,constant"]),
        (("xltjax", "train", "--config", "paper/tower-7b-dolly-d"), ["plain,paper/tower-7b-dolly-dt-ft"]),
        (("xltjax", "train", "--data", "mi"), ["file,mi"]),
        (("xltjax", "train", "--steps", "1"), []),
        (("xltjax", "eval", "sur"), ["plain,surface"]),
        (
            ("xltjax", "eval", "surface", "--lang"),
            ["plain,--language", "plain,--language-key", "plain,--languages"],
        ),
        (("xltjax", "eval", "surface", "resp"), ["file,resp"]),
        (("xltjax", "converters", "to-hf", "run", "out", "--dtype", "bf"), ["plain,bfloat16"]),
        (("xltjax", "cache", "--cl"), ["plain,--clear"]),
    ],
)
def test_commands_flags_and_values_are_completed(words: tuple[str, ...], expected: list[str]) -> None:
    assert sorted(completed(*words)) == sorted(expected)


def test_former_names_of_flags_are_not_offered() -> None:
    assert completed("xltjax", "train", "--held-out") == []


@pytest.mark.parametrize("shell", SHELLS)
def test_the_function_of_a_shell_is_printed(
    shell: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["xltjax", "--show-completion", shell])
    monkeypatch.delenv("_XLTJAX_COMPLETE", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert f"_XLTJAX_COMPLETE={shell}_complete" in capsys.readouterr().out


# After the line of the guide: what the shell itself offers.
OFFERED = {
    "bash": "COMP_WORDS=(xltjax eval agr) COMP_CWORD=2; _xltjax_completion xltjax; echo ${COMPREPLY[@]}",
    "zsh": "_describe() { echo ${(P)3} }; words=(xltjax eval agr) CURRENT=3; $_comps[xltjax]",
    "fish": 'complete -C "xltjax eval agr"',
}


@pytest.mark.parametrize("shell", SHELLS)
def test_the_shell_itself_completes_after_the_line_of_the_guide(shell: str, tmp_path: Path) -> None:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is not installed")
    program = tmp_path / "xltjax"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m xltjax "$@"\n')
    program.chmod(0o755)
    line = re.search(rf"^\| {shell}.*\| `(.*)` \|$", GUIDE.read_text(), re.MULTILINE)
    assert line
    script = line[1].replace("\\|", "|") + "\n" + OFFERED[shell]
    place = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path), "ZDOTDIR": str(tmp_path)}
    done = subprocess.run(
        [found, "-c", script], env={**os.environ, **place}, capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("agreement")
    assert done.stderr == ""


def test_an_unknown_shell_is_one_line_that_names_those_there_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["xltjax", "--show-completion", "tcsh"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err == "error: --show-completion 'tcsh' is not known; valid: bash, fish, zsh\n"


def test_the_program_lists_every_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["xltjax"])
    with pytest.raises(SystemExit):
        main()
    out = capsys.readouterr().out
    assert all(f"  {name} " in out for name in COMMANDS)
