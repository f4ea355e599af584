"""Metrics on TensorBoard and Weights & Biases: optional, each a few lines over its own library."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import atomic_write


class Tracker(Protocol):
    """Takes the metrics of an update."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""

    def close(self) -> None:
        """Write what is still held back."""


class TensorBoard:
    """Event files that ``tensorboard --logdir`` shows."""

    def __init__(self, directory: Path, step: int):
        """Write to ``directory``; what an earlier, killed run wrote after update ``step`` is hidden.

        Raises:
            UserError: when tensorboardX is not installed.
        """
        try:
            from tensorboardX import SummaryWriter
        except ImportError:
            raise UserError("--tensorboard needs tensorboardX: pip install 'xltjax[track]'") from None
        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write what is still held back."""
        self._writer.close()


class WeightsAndBiases:
    """A run on Weights & Biases; the key comes from the user's environment, as ever."""

    def __init__(self, project: str, directory: Path, settings: Mapping[str, Any]):
        """Begin a run named as ``directory``, or go on with the one that it holds.

        Raises:
            UserError: when wandb is not installed or does not start.
        """
        try:
            import wandb
        except ImportError:
            raise UserError("--wandb needs wandb: pip install 'xltjax[track]'") from None
        name = directory / "wandb-id"
        if not name.exists():
            with atomic_write(name) as file:
                file.write(secrets.token_hex(8))
        try:
            self._run = wandb.init(
                project=project, name=directory.name, id=name.read_text(), resume="allow",
                dir=str(directory), config=dict(settings),
            )  # fmt: skip
        except Exception as problem:  # wandb raises its own kinds; none of them is worth a traceback
            raise UserError(f"Weights & Biases did not start: {first_line(problem)}") from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Send what is still held back."""
        self._run.finish()
