"""``xltjax COMMAND ...`` is the same as ``python -m xltjax.COMMAND ...``."""

from __future__ import annotations

import importlib
import importlib.metadata
import sys

from xltjax.common.errors import did_you_mean
from xltjax.common.signals import exit_when_interrupted

COMMANDS = {
    "train": "instruction-tune a LLaMA on a mesh, fully or with LoRA",
    "generate": "answer prompts greedily with a repetition penalty",
    "converters": "to-flax, to-hf, to-peft, check: between Hugging Face, PEFT and our checkpoints",
    "translate": "instruction data in other languages, by CTranslate2 or a server",
    "eval": "score responses of any model: language, spelling, modifiers, agreement",
    "study": "models x data x learning rates x seeds: train, generate and score every cell",
    "doctor": "what is installed and what is missing",
    "miniature": "build the four-language toy world used by default",
}
PACKAGES = {
    "converters",
    "eval",
    "miniature",
    "study",
    "translate",
}  # the commands that are folders with a __main__


def main() -> None:
    """Entry point of the console script."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print("usage: xltjax COMMAND ...   (xltjax COMMAND --help for each)\n")
        for name, purpose in COMMANDS.items():
            print(f"  {name:<11} {purpose}")
        sys.exit(0)
    if sys.argv[1] == "--version":
        print(f"xltjax {importlib.metadata.version('xltjax')}")
        sys.exit(0)
    exit_when_interrupted()
    name = sys.argv.pop(1)
    if name not in COMMANDS:
        print(f"error: unknown command {name!r}; {did_you_mean(name, COMMANDS)}", file=sys.stderr)
        sys.exit(2)
    importlib.import_module(f"xltjax.{name}.__main__" if name in PACKAGES else f"xltjax.{name}").main()


if __name__ == "__main__":
    main()
