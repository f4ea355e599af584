"""Readers of single fields of ``config.json``, whose errors name the field."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from xltjax.common.errors import UserError

NONE, FALSE, ZERO, ONE = (None,), (None, False), (None, 0), (None, 1)  # values that change nothing


def _value(fields: Mapping[str, Any], name: str, default: Any) -> Any:
    """The value of a field, or ``default`` where it is missing or null."""
    value = default if fields.get(name) is None else fields[name]
    if value is None:
        raise UserError(f"config.json lacks {name!r}")
    return value


def whole(fields: Mapping[str, Any], name: str, default: int | None = None) -> int:
    """The value of a field that must be a positive whole number."""
    value = _value(fields, name, default)
    if type(value) is not int or value < 1:
        raise UserError(f"config.json: {name} = {value!r} is not a positive whole number")
    return value


def number(fields: Mapping[str, Any], name: str, default: float | None = None) -> float:
    """The value of a field that must be a positive number."""
    value = _value(fields, name, default)
    if type(value) not in (int, float) or not 0 < value < math.inf:
        raise UserError(f"config.json: {name} = {value!r} is not a positive number")
    return float(value)


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """The value of a field that must be true or false; false where it is missing."""
    value = fields.get(name)
    if value not in (None, False, True):
        raise UserError(f"config.json: {name} = {value!r} is not true or false")
    return bool(value)
