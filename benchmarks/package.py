"""``python benchmarks/package.py WHEEL [SDIST]``: what its users get, away from the repository.

Installs each file with its dependencies into an empty environment, in a temporary folder, and there runs the program,
the parts that read files of the package, and the first step of the quickstart: the miniature is built and trained for
two updates. It needs the network or a pip cache, and some minutes, mostly for the miniature; with ``$XLTJAX_CACHE`` a
miniature that was built before is used.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

RESPONSE = {
    "id": "1",
    "model": "m",
    "language": "fr",
    "response": "La capitale de la France est la ville de Paris.",
}
COMMANDS = (
    ("--version",),
    ("doctor",),
    ("train", "--config", "paper/llama2-7b-dolly-en-ft", "--plan"),
    ("study", "study/paper-7b", "--dry-run"),
    ("eval", "sets", "--export", "prompts", "--modifiers"),
    ("eval", "surface", "responses.jsonl", "--out", "scores"),
    ("eval", "report", "scores", "responses.jsonl", "--out", "report.html"),
    ("train", "--mesh", "2x1", "--learning-rates", "1e-4", "--steps", "2", "--out", "runs/quickstart"),
    ("converters", "to-hf", "runs/quickstart/lr-0.0001", "hf"),
)


def try_out(package: Path) -> None:
    """Install ``package`` in an empty environment and run ``COMMANDS`` there.

    Raises:
        subprocess.CalledProcessError: when a command fails.
        AssertionError: when the code that runs is not that of the package.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        venv.create(place / "environment", with_pip=True)
        programs = place / "environment" / "bin"
        environment = {
            key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL"))
        }
        environment.setdefault("XLTJAX_CACHE", str(place / "cache"))

        def run(*words: str | Path) -> str:
            shown = " ".join(map(str, words)).replace(f"{programs}/", "")
            print(f"$ {shown}", flush=True)
            done = subprocess.run(
                words, cwd=place, env=environment, stdout=subprocess.PIPE, text=True, check=True
            )
            return done.stdout

        run(programs / "pip", "install", "--quiet", f"{package.resolve()}[eval,report]")
        where = run(programs / "python", "-c", "import xltjax.eval; print(xltjax.eval.__file__)")
        assert Path(where.strip()).is_relative_to(place / "environment"), where
        (place / "responses.jsonl").write_text(json.dumps(RESPONSE) + "\n")
        for words in COMMANDS:
            run(programs / "xltjax", *words)
        for made in ("prompts", "scores/summary.md", "report.html", "hf/model.safetensors"):
            assert (place / made).exists(), made
    print(f"{package.name}: installed and tried in an empty environment")


if __name__ == "__main__":
    for name in sys.argv[1:]:
        try_out(Path(name))
