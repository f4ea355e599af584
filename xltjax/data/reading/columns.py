"""Columns that the user names: ``prompt=domanda,completion=risposta`` for files whose columns have other names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.data.reading.report import BadRowError
from xltjax.data.rows import listed


def parse_columns(pairs: Sequence[str], known: Sequence[str]) -> dict[str, str]:
    """The columns of the user by our names.

    Args:
        pairs: each is ``ours=theirs``.
        known: our names that can be meant.

    Raises:
        UserError: for a pair that is none, a name that is not ours, and one that is given twice.
    """
    columns: dict[str, str] = {}
    for pair in pairs:
        ours, sign, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and sign and theirs):
            raise UserError(f"columns: {pair!r:.60} is not NAME=COLUMN, such as {known[0]}=question")
        if ours not in known:
            raise UserError(
                f"columns: {ours!r:.40} is not one of our names, which come first; {did_you_mean(ours, known)}"
            )
        if ours in columns:
            raise UserError(f"columns: {ours} is given twice")
        columns[ours] = theirs
    return columns


def renamed(row: Any, columns: Mapping[str, str]) -> dict[str, Any]:
    """The named columns of a row under our names.

    Raises:
        BadRowError: for a row without one of them.
    """
    if not isinstance(row, dict):
        raise BadRowError("the row is not a JSON object, so that it has no columns; leave out --columns")
    return {ours: value_under(row, theirs, "--columns") for ours, theirs in columns.items()}


def value_under(row: Mapping[str, Any], key: str, flag: str, others: str = "") -> Any:
    """The value under a key, or under a path of keys and places in lists with periods between.

    Args:
        row: the row.
        key: such as ``answer``, ``doc.language`` or ``choices.0.text``.
        flag: where the user has named it, for messages.
        others: where else that may have been.

    Raises:
        BadRowError: when there is none.
    """
    if key in row:
        return row[key]
    value: Any = row
    for part in key.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdecimal() and int(part) < len(value):
            value = value[int(part)]
        else:
            raise BadRowError(f"there is no key {key!r:.60}, which {flag} names{others}; keys: {listed(row)}")
    return value


def with_value(row: Mapping[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy of the row with another value where ``value_under`` finds one."""
    return {**row, key: value} if key in row else _with_value(row, key.split("."), value)


def _with_value(holder: Any, path: Sequence[str], value: Any) -> Any:
    if not path:
        return value
    first, *rest = path
    if isinstance(holder, list):
        at = int(first)
        return [*holder[:at], _with_value(holder[at], rest, value), *holder[at + 1 :]]
    return {**holder, first: _with_value(holder[first], rest, value)}
