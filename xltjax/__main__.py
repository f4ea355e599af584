"""``xltjax COMMAND ...`` is the same as ``python -m xltjax.COMMAND ...``."""

from __future__ import annotations

import importlib
import importlib.metadata
import os
import sys
from typing import Any, NoReturn

import click
from click.shell_completion import get_completion_class

from xltjax.common.errors import did_you_mean
from xltjax.common.signals import exit_when_interrupted

COMMANDS = {
    "train": "instruction-tune a LLaMA: all weights, LoRA adapters, or selected layers",
    "generate": "answer prompts in batches",
    "chat": "chat with a model in the terminal",
    "converters": "convert, combine and compare models: Hugging Face, PEFT, and runs of xltjax",
    "translate": "translate instruction data into other languages",
    "eval": "score, judge, compare and report the responses of any model",
    "study": "train, generate and score models x data x adaptations x learning rates x seeds",
    "doctor": "show what is installed, found and missing",
    "cache": "show and clear what is kept in the cache folder",
    "miniature": "run the whole pipeline on an embedded toy world in four languages",
}
# The commands that are folders with a __main__.
PACKAGES = {"train", "generate", "chat", "converters", "eval", "miniature", "study", "translate"}
SHELLS = ("bash", "zsh", "fish")
COMPLETE = "_XLTJAX_COMPLETE"  # by which the shell's function asks for completions


class _Commands(click.Group):
    """The commands for the shell's completion, each imported when it is needed."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        found = _module(name)
        command: click.Command = found.GROUP if hasattr(found, "GROUP") else found.COMMAND
        # Beside its name the shell shows the one line that `xltjax --help` has.
        command.short_help = COMMANDS[name]
        return command


def main() -> None:
    """Entry point of the console script."""
    if COMPLETE in os.environ:
        _Commands("xltjax").main(prog_name="xltjax", complete_var=COMPLETE)
    words = sys.argv[1:]
    if not words or words[0] in ("-h", "--help"):
        print("usage: xltjax COMMAND ...   (xltjax COMMAND --help for each)\n")
        for name, purpose in COMMANDS.items():
            print(f"  {name:<11} {purpose}")
        print("\n  --version                 print the version")
        print(f"  --show-completion SHELL   print what makes {', '.join(SHELLS)} complete commands and flags")
        sys.exit(0)
    if words[0] == "--version":
        print(f"xltjax {importlib.metadata.version('xltjax')}")
        sys.exit(0)
    if words[0] == "--show-completion":
        _show_completion(words[1] if len(words) > 1 else "")
    exit_when_interrupted()
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        _complain(f"unknown command {name!r}; {did_you_mean(name, COMMANDS)}")
    _module(name).main()


def _module(name: str) -> Any:
    return importlib.import_module(f"xltjax.{name}.__main__" if name in PACKAGES else f"xltjax.{name}")


def _show_completion(shell: str) -> NoReturn:
    """Print the shell's function that completes ``xltjax``."""
    kind = get_completion_class(shell)
    if kind is None:
        _complain(f"--show-completion {shell!r} is not known; {did_you_mean(shell, SHELLS)}")
    if shell == "zsh":  # whose completion is off until it is asked for
        print("(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i; }")
    print(kind(_Commands("xltjax"), {}, "xltjax", COMPLETE).source())
    sys.exit(0)


def _complain(message: str) -> NoReturn:
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
