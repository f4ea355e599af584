"""Instruction tuning as a command: ``python -m xltjax.train``. The training itself is in ``xltjax.training``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xltjax.common import lazy_names

if TYPE_CHECKING:
    from xltjax.train.__main__ import COMMAND
    from xltjax.train.fitting import fit
    from xltjax.training.config import TrainConfig

__all__ = ["COMMAND", "TrainConfig", "fit"]

__getattr__ = lazy_names(
    __name__,
    {
        "COMMAND": "xltjax.train.__main__",
        "TrainConfig": "xltjax.training.config",
        "fit": "xltjax.train.fitting",
    },
)
