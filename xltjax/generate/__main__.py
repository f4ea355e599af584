"""Answers to prompts. ``python -m xltjax.generate``."""

from __future__ import annotations

from xltjax.common import cli
from xltjax.common.signals import importing
from xltjax.generate.settings import GenerateConfig


def generate(config: GenerateConfig) -> None:
    """Do what the settings ask for."""
    with importing():  # JAX, which --help does not need
        from xltjax.generate.answering import run

    run(config)


COMMAND = cli.command(
    GenerateConfig,
    generate,
    name="generate",
    help="Answer prompts in batches, greedily by default. A run that was killed resumes where it stopped.",
)


main = cli.entry_point(COMMAND, "python -m xltjax.generate")


if __name__ == "__main__":
    main()
