"""Answers to prompts as a command: ``python -m xltjax.generate``. The decoding itself is in ``xltjax.inference``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xltjax.common import lazy_names

if TYPE_CHECKING:
    from xltjax.generate.__main__ import COMMAND
    from xltjax.generate.answering import generate
    from xltjax.generate.settings import GenerateConfig

__all__ = ["COMMAND", "GenerateConfig", "generate"]

__getattr__ = lazy_names(
    __name__,
    {
        "COMMAND": "xltjax.generate.__main__",
        "GenerateConfig": "xltjax.generate.settings",
        "generate": "xltjax.generate.answering",
    },
)
