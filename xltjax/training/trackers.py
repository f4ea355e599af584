"""Trackers that show metrics during a run: TensorBoard and Weights & Biases, both optional."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import atomic_write


class Tracker(Protocol):
    """Receives the metrics of each logged update."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""

    def close(self) -> None:
        """Write everything that is still buffered."""


def check_trackers(*, tensorboard: bool, wandb: bool) -> None:
    """Refuse to begin with a tracker whose library is missing.

    Raises:
        UserError: saying what to install.
    """
    for asked, flag, module in ((tensorboard, "--tensorboard", "tensorboardX"), (wandb, "--wandb", "wandb")):
        if not asked:
            continue
        try:
            import_module(module)
        except ImportError:
            raise UserError(f"{flag} needs {module}: pip install 'xltjax[track]'") from None


class TensorBoard:
    """Event files that ``tensorboard --logdir`` shows."""

    def __init__(self, directory: Path, step: int):
        """Write to ``directory``, and hide what a killed run wrote there after update ``step``.

        Raises:
            UserError: when tensorboardX is not installed.
        """
        check_trackers(tensorboard=True, wandb=False)
        from tensorboardX import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=step + 1)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Write everything that is still buffered."""
        self._writer.close()


class WeightsAndBiases:
    """A run on Weights & Biases. The library itself reads the API key from the user's environment."""

    def __init__(self, project: str, directory: Path, settings: Mapping[str, Any]):
        """Begin a run with the name of ``directory``, or continue the one whose id lies in ``directory``.

        Raises:
            UserError: when wandb is not installed or does not start.
        """
        check_trackers(tensorboard=False, wandb=True)
        import wandb

        name = directory / "wandb-id"
        if not name.exists():
            with atomic_write(name) as file:
                file.write(secrets.token_hex(8))
        try:
            self._run = wandb.init(
                project=project, name=directory.name, id=name.read_text(), resume="allow",
                dir=str(directory), config=dict(settings),
            )  # fmt: skip
        except Exception as problem:  # wandb raises exceptions of its own
            raise UserError(f"Weights & Biases did not start: {first_line(problem)}") from None

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Record ``values`` at update ``step``."""
        self._run.log(dict(values), step=step)

    def close(self) -> None:
        """Send everything that is still buffered."""
        self._run.finish()
