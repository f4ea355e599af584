"""A command line that stands for settings, as a user would type it."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from typing import Any


def flags(config: Any, without: Collection[str] = ()) -> list[str]:
    """The flags that give a command the settings ``config``: those that are not the defaults.

    Args:
        config: a dataclass of settings, see ``common.settings``.
        without: names of settings that are left out. Positional ones always are.
    """
    words: list[str] = []
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        if value == field.default or field.name in without or field.metadata["positional"]:
            continue
        flag = "--" + field.name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else f"--no-{flag[2:]}")
        elif isinstance(value, tuple) and field.metadata["paths"]:
            words += [word for each in value for word in (flag, str(each))]
        else:
            words += [flag, ",".join(map(_text, value)) if isinstance(value, tuple) else _text(value)]
    return words


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)
