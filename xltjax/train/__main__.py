"""Instruction tuning of a LLaMA on a mesh. ``python -m xltjax.train``."""

from __future__ import annotations

from xltjax.common import cli
from xltjax.common.signals import importing
from xltjax.training.config import TrainConfig


def train(config: TrainConfig) -> None:
    """Do what the settings ask for."""
    with importing():  # JAX, which --help does not need
        from xltjax.train.fitting import run

    run(config)


COMMAND = cli.command(
    TrainConfig,
    train,
    name="train",
    help="Instruction-tune a LLaMA: all weights, LoRA adapters, or selected layers.\n\n"
    "Without --config and --model, train the miniature.",
    fallback=("miniature", "model"),
)


main = cli.entry_point(COMMAND, "python -m xltjax.train")


if __name__ == "__main__":
    main()
