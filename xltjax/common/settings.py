"""Settings: frozen dataclasses filled from YAML files and the command line, validated in one place.

A command's settings are one flat frozen dataclass. Its fields are the keys of the YAML files and, with
hyphens, the flags of the command line; ``setting`` attaches the help text. Later sources win:
defaults < ``--config`` files in order < flags.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_text

Config = TypeVar("Config")


def setting(
    default: Any,
    help: str,
    *,
    section: str = "Settings",
    positional: bool = False,
    paths: bool = False,
) -> Any:
    """A dataclass field that is also a YAML key and a command-line flag.

    Args:
        default: the value when neither file nor flag gives one.
        help: one sentence for ``--help``, with the unit.
        section: the heading of ``--help`` under which the flag stands.
        positional: given without a flag on the command line.
        paths: a tuple of file names, which commas do not split.
    """
    metadata = {"help": help, "section": section, "positional": positional, "paths": paths}
    return dataclasses.field(default=default, metadata=metadata)


def build(config_class: type[Config], values: Mapping[str, Any]) -> Config:
    """Fill ``config_class`` from ``values``, converting each to its field's type.

    Raises:
        UserError: for an unknown key (naming the nearest valid one) or a value of the wrong type.
    """
    hints = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(config_class)}  # type: ignore[arg-type]
    converted = {}
    for key, value in values.items():
        if key not in fields:
            raise UserError(f"unknown setting {key!r}; {did_you_mean(key, fields)}")
        if isinstance(value, str) and fields[key].metadata["paths"]:
            value = [value]
        converted[key] = _convert(value, hints[key], key)
    return config_class(**converted)


def _convert(value: Any, hint: Any, key: str) -> Any:
    """``value`` (from YAML or a string of the command line) as the type ``hint``.

    Numbers are parsed from strings too: YAML 1.1 reads ``1e-5`` as a string.
    """
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
            return None
        return _convert(value, next(a for a in arguments if a is not type(None)), key)
    if origin is Literal:
        if value not in arguments:
            raise UserError(f"{key}: {value!r} is not known; {did_you_mean(str(value), map(str, arguments))}")
        return value
    if origin is tuple:
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",")] if value else []
        if not isinstance(value, Sequence):
            value = [value]
        return tuple(_convert(item, arguments[0], key) for item in value)
    try:
        if hint is bool:
            return {"true": True, "false": False}[str(value).lower()]
        if hint is int:
            number = float(value) if isinstance(value, str) else value
            if isinstance(value, bool) or number != int(number):
                raise ValueError
            return int(value) if isinstance(value, str) and value.lstrip("+-").isdigit() else int(number)
        if hint is float:
            if isinstance(value, bool):
                raise ValueError
            return float(value)
        # YAML 1.1 reads no (Norwegian) and on as truth values.
        if hint is str and isinstance(value, (str, int, float)) and not isinstance(value, bool):
            return str(value)
        raise ValueError
    except (ValueError, TypeError, KeyError, OverflowError):
        kind = {
            bool: "true or false",
            int: "a whole number",
            float: "a number",
            str: "text (put it in quotes)",
        }.get(hint, hint)
        raise UserError(f"{key}: {value!r} is not {kind}") from None


def read_config_files(names: Sequence[str]) -> dict[str, Any]:
    """Merge YAML files, later ones winning; a name without a file is looked up among the shipped configs.

    Raises:
        UserError: when a file is missing, is not YAML, or is not a mapping of settings.
    """
    merged: dict[str, Any] = {}
    for name in names:
        path = _find_config(name)
        try:
            values = yaml.safe_load(read_text(path))
        except (yaml.YAMLError, ValueError, RecursionError) as problem:
            raise UserError(f"{name} is not valid YAML: {problem}") from None
        if values is None:
            continue
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise UserError(f"{name} must be a mapping of settings, such as 'learning_rate: 1e-5'")
        merged.update(values)
    return merged


def shipped_configs() -> dict[str, Path]:
    """The configurations that come with xltjax, by the name ``--config`` takes (``paper/llama2-7b-...``)."""
    root = Path(str(resources.files("xltjax.configs")))
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.yaml"))}


def _find_config(name: str) -> Path:
    path = Path(name)
    if path.is_file():
        return path
    shipped = shipped_configs()
    key = name.removeprefix("configs/").removesuffix(".yaml")
    if key in shipped:
        return shipped[key]
    raise UserError(f"config {name!r} is neither a file nor a shipped config; {did_you_mean(key, shipped)}")


def to_yaml(config: Any) -> str:
    """The resolved settings as YAML that ``--config`` reads back to an equal config."""
    values = {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in dataclasses.asdict(config).items()
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
