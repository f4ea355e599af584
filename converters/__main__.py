"""The conversion commands: ``python -m xltjax.converters to-flax | to-hf | to-peft | combine | check``."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn

from xltjax.common import cli
from xltjax.common.signals import importing
from xltjax.converters.conversions.settings import (
    CheckConfig,
    CombineConfig,
    ToFlaxConfig,
    ToHfConfig,
    ToPeftConfig,
)


def _later(name: str) -> Callable[[Any], None]:
    """The work of that name, imported when it is called, so that ``--help`` needs no JAX."""

    def function(config: Any) -> None:
        with importing():
            from xltjax.converters.conversions import work

        getattr(work, name)(config)

    return function


COMMANDS = (
    cli.command(
        ToFlaxConfig,
        _later("to_flax"),
        name="to-flax",
        help="Copy a model into an Orbax checkpoint (never required).",
    ),
    cli.command(ToHfConfig, _later("to_hf"), name="to-hf", help="Write a run as a Hugging Face directory."),
    cli.command(
        ToPeftConfig,
        _later("to_peft"),
        name="to-peft",
        help="Write a LoRA run's adapters as a PEFT directory.",
    ),
    cli.command(
        CombineConfig,
        _later("combine"),
        name="combine",
        help="Combine the layers of a tuned model with those of its base or of a second tuned model.",
    ),
    cli.command(
        CheckConfig,
        _later("check"),
        name="check",
        help="Compare the tensors of two models bit for bit, and their logits.",
    ),
)

GROUP = cli.group(
    COMMANDS,
    name="converters",
    help="Convert, combine and compare models: Hugging Face, PEFT, and runs of xltjax.",
)


def main() -> NoReturn:
    """Entry point of ``python -m xltjax.converters``."""
    logging.getLogger("absl").setLevel(logging.CRITICAL)  # Orbax logs tracebacks of what it raises anyway
    cli.execute(GROUP, program="python -m xltjax.converters")


if __name__ == "__main__":
    main()
