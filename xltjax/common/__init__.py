"""What every part of xltjax uses: settings and commands, files, errors, progress, and facts about the machine.

Nothing in this folder imports anything of xltjax outside of it.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any


def lazy_names(package: str, homes: Mapping[str, str]) -> Callable[[str], Any]:
    """The ``__getattr__`` of a package that imports the names it exports when they are first used.

    Args:
        package: the package, for the message about other names.
        homes: for each exported name, the module that defines it.
    """

    def get(name: str) -> Any:
        if name not in homes:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(importlib.import_module(homes[name]), name)

    return get
