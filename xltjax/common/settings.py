"""Settings: frozen dataclasses filled from YAML files and the command line, validated in one place.

A command's settings are one flat frozen dataclass. Its fields are the keys of the YAML files and, with
hyphens, the flags of the command line; ``setting`` attaches the help text and what else is known about a
setting. Later sources win: defaults < ``--config`` files in order < flags.
"""

from __future__ import annotations

import dataclasses
import logging
import re
import textwrap
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import yaml

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger("xltjax")

Config = TypeVar("Config", bound="DataclassInstance")


def setting(
    default: Any,
    help: str,
    *,
    section: str = "Settings",
    positional: bool = False,
    paths: bool = False,
    metavar: str = "PATH",
    affects_result: bool = True,
    saved: bool = True,
    former: tuple[str, ...] = (),
    instead_of: str = "",
    mapping: bool = False,
) -> Any:
    """A dataclass field that is also a YAML key and a command-line flag.

    Args:
        default: the value when neither file nor flag gives one.
        help: one sentence for ``--help``, with the unit.
        section: the heading of ``--help`` under which the flag stands.
        positional: whether the value is given without a flag on the command line.
        paths: whether the value is a tuple of file names or the like, which are not split at commas.
        metavar: what ``--help`` calls one of them.
        affects_result: whether another value gives another result. A setting that only changes speed,
            logging or place may differ when a run is resumed.
        saved: whether the setting belongs to the run and is written into its ``config.yaml``, unlike
            ``--plan`` or ``--force``, which concern a single call.
        former: earlier names of the setting, which files and flags may still use.
        instead_of: another setting that says the same otherwise. One place may name only one of them, and the one
            that a later place names wins.
        mapping: whether the value is a tuple of ``name=value``, which YAML and Python may give as a mapping.
    """
    metadata = {
        "help": help, "section": section, "positional": positional, "paths": paths, "metavar": metavar,
        "affects_result": affects_result, "saved": saved, "former": former, "instead_of": instead_of,
        "mapping": mapping,
    }  # fmt: skip
    return dataclasses.field(default=default, metadata=metadata)


def result_settings(config_class: type[Any]) -> frozenset[str]:
    """The names of the settings that a run's result depends on; they must not differ when it is resumed."""
    return frozenset(
        field.name
        for field in dataclasses.fields(config_class)
        if field.metadata["affects_result"] and field.metadata["saved"]
    )


def current_names(
    config_class: type[Any], values: Mapping[str, Any], *, notify: bool = True
) -> dict[str, Any]:
    """``values`` with the former names of settings replaced by the current ones, with a notice for each.

    Raises:
        UserError: when a setting is given under two of its names.
    """
    current = {old: f.name for f in dataclasses.fields(config_class) for old in f.metadata["former"]}
    given: dict[str, str] = {}  # by current name, the name that was used
    for key in values:
        name = current.get(key, key)
        if name in given:
            raise UserError(f"{given[name]} and {key} are the same setting; give {name} alone")
        given[name] = key
        if name != key and notify:
            log.warning("notice: %s is now called %s", key, name)
    return {name: values[key] for name, key in given.items()}


def build(config_class: type[Config], values: Mapping[str, Any], *, notify: bool = True) -> Config:
    """Fill ``config_class`` from ``values``, converting each to its field's type.

    Raises:
        UserError: for an unknown key (naming the nearest valid one), a value of the wrong type, or a setting
            that is given under two of its names.
    """
    hints = typing.get_type_hints(config_class)
    fields = {field.name: field for field in dataclasses.fields(config_class)}
    converted = {}
    for key, value in current_names(config_class, values, notify=notify).items():
        if key not in fields:
            raise UserError(f"unknown setting {key!r}; {did_you_mean(key, fields)}")
        if isinstance(value, str) and fields[key].metadata["paths"]:
            value = [value]
        if fields[key].metadata["mapping"]:
            value = _pairs(value)
        converted[key] = _convert(value, hints[key], key)
    return config_class(**converted)


def overlay(config_class: type[Any], lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """The settings ``lower`` with those of a later place, which also end what they are given instead of."""
    ended = {
        field.metadata["instead_of"] for field in dataclasses.fields(config_class) if field.name in upper
    }
    return {key: value for key, value in lower.items() if key not in ended} | dict(upper)


def refuse_both(config_class: type[Any], given: Mapping[str, Any]) -> None:
    """Refuse two settings that one place gives, where each is instead of the other.

    Settings that say nothing, such as 0, do not count, nor does a place that gives every setting of a run, as the
    record of a run does.

    Raises:
        UserError: naming both.
    """
    fields = dataclasses.fields(config_class)
    if all(field.name in given for field in fields if field.metadata["saved"]):
        return
    for field in fields:
        other = field.metadata["instead_of"]
        if given.get(field.name) and given.get(other):
            both = " or ".join(f"--{name.replace('_', '-')}" for name in sorted((field.name, other)))
            raise UserError(f"give {both}, not both")


def _pairs(value: Any) -> Any:
    """A mapping, or texts of one such as ``a=b,c=d``, as a list of ``name=value``; a value may have commas."""
    if isinstance(value, Mapping):
        return [f"{name}={part}" for name, part in value.items()]
    texts = [value] if isinstance(value, str) else value
    if not isinstance(texts, Sequence) or not all(isinstance(text, str) for text in texts):
        return value
    return [pair.strip() for text in texts for pair in re.split(r",(?=\s*\w+=)", text) if pair.strip()]


def _convert(value: Any, hint: Any, key: str) -> Any:
    """``value`` (from YAML or a string of the command line) of the setting ``key`` as the type ``hint``."""
    origin = typing.get_origin(hint)
    if origin is not None:
        return COMPOUND[origin](value, typing.get_args(hint), key)
    parse, kind = SIMPLE[hint]
    try:
        return parse(value)
    except (ValueError, TypeError, KeyError, OverflowError):
        raise UserError(f"{key}: {value!r} is not {kind}") from None


def _bool(value: Any) -> bool:
    return {"true": True, "false": False}[str(value).lower()]


def _int(value: Any) -> int:
    """A whole number; from a string too, because YAML 1.1 reads ``1e3`` as one."""
    if isinstance(value, str) and value.lstrip("+-").isdigit():
        return int(value)  # whole numbers that a float cannot hold
    number = _float(value) if isinstance(value, str) else value
    if isinstance(value, bool) or number != int(number):
        raise ValueError
    return int(number)


def _float(value: Any) -> float:
    """A number; from a string too, because YAML 1.1 reads ``1e-5`` as one."""
    if isinstance(value, bool):
        raise ValueError
    return float(value)


def _str(value: Any) -> str:
    # YAML 1.1 reads no (Norwegian) and on as truth values.
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Path)):
        raise ValueError
    return str(value)


def _optional(value: Any, arguments: tuple[Any, ...], key: str) -> Any:
    if value is None or (isinstance(value, str) and value.lower() in ("none", "null")):
        return None
    return _convert(value, next(hint for hint in arguments if hint is not type(None)), key)


def _choice(value: Any, arguments: tuple[Any, ...], key: str) -> Any:
    if isinstance(value, bool) and "yes" in arguments:  # as YAML 1.1 and Python say it
        value = "yes" if value else "no"
    if value not in arguments:
        raise UserError(f"{key}: {value!r} is not known; {did_you_mean(str(value), map(str, arguments))}")
    return value


def _items(value: Any, arguments: tuple[Any, ...], key: str) -> tuple[Any, ...]:
    """A list of YAML, a single value, or a string that commas split."""
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",")] if value else []
    if not isinstance(value, Sequence):
        value = [value]
    return tuple(_convert(item, arguments[0], key) for item in value)


# How values of each type are parsed, and what messages call the type.
SIMPLE: dict[Any, tuple[Callable[[Any], Any], str]] = {
    bool: (_bool, "true or false"),
    int: (_int, "a whole number"),
    float: (_float, "a number"),
    str: (_str, "text (put it in quotes)"),
}
COMPOUND: dict[Any, Callable[[Any, tuple[Any, ...], str], Any]] = {
    typing.Union: _optional,
    types.UnionType: _optional,
    Literal: _choice,
    tuple: _items,
}


def read_config_files(config_class: type[Any], names: Sequence[str]) -> dict[str, Any]:
    """Merge YAML files of settings for ``config_class``; later files win.

    Args:
        config_class: the settings, whose former names are replaced by the current ones.
        names: paths, or names of shipped configs.

    Raises:
        UserError: when a file is missing, is not YAML, is not a mapping of settings, or names two settings of which
            each is instead of the other.
    """
    merged: dict[str, Any] = {}
    for name in names:
        values = current_names(config_class, read_mapping(name))
        try:
            refuse_both(config_class, values)
        except UserError as problem:
            raise UserError(f"{name}: {problem}") from None
        merged = overlay(config_class, merged, values)
    return merged


def read_mapping(name: str) -> dict[str, Any]:
    """The mapping in a YAML file.

    Args:
        name: a path, or the name of a shipped config.

    Raises:
        UserError: when the file is missing, is not YAML, names a key twice, or is not a mapping with texts as keys.
    """
    path = _find_config(name)
    try:
        text = read_text(path)
        _refuse_twice(yaml.compose(text, yaml.SafeLoader), name)
        values = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, RecursionError) as problem:
        raise UserError(f"{name} is not valid YAML: {problem}") from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise UserError(f"{name} must be a mapping of settings, such as 'learning_rate: 1e-5'")
    return values


def _refuse_twice(node: yaml.Node | None, name: str) -> None:
    """Refuse a key that a mapping names twice: YAML's reader would take the last one without a word."""
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if isinstance(key, yaml.ScalarNode) and lines.setdefault(key.value, line) != line:
                raise UserError(f"{name}: {key.value} is given twice, in lines {lines[key.value]} and {line}")
            _refuse_twice(value, name)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _refuse_twice(value, name)


def shipped_configs() -> dict[str, Path]:
    """The configs that come with xltjax, by the name that ``--config`` takes (``paper/llama2-7b-...``)."""
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


def to_yaml(config: Any, *, saved_only: bool = False, explained: bool = False) -> str:
    """The resolved settings as YAML that ``--config`` reads back to an equal config.

    Args:
        config: a dataclass of settings.
        saved_only: leave out the settings that do not belong to the run (``setting(..., saved=False)``).
        explained: write the help text of each setting above it, as a comment.
    """
    lines = []
    for field in dataclasses.fields(config):
        if field.metadata["saved"] or not saved_only:
            value = getattr(config, field.name)
            if explained:
                lines += [f"# {line}\n" for line in textwrap.wrap(field.metadata["help"], 100)]
            item = {field.name: list(value) if isinstance(value, tuple) else value}
            lines.append(yaml.safe_dump(item, allow_unicode=True))
    return "".join(lines)
