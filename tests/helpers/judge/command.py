"""Running ``eval judge`` in this process, and reading what it leaves."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from xltjax.eval import __main__ as program
from xltjax.eval.judge.api import client

KEY = "sk-proj-0123456789abcdef"


def judge(
    folder: Path,
    rows: Iterable[Mapping[str, Any]],
    *flags: str,
    key: str | None = KEY,
    environment: Mapping[str, str] | None = None,
) -> int:
    """Judge ``rows`` with --out ``folder``/out; the exit code."""
    path = folder / "responses.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["eval", "judge", str(path), "--out", str(folder / "out"), *flags])
        patch.setattr(client, "FIRST_DELAY", 0.02)
        for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
            patch.delenv(name, raising=False)
        for name, value in {**({"OPENAI_API_KEY": key} if key else {}), **(environment or {})}.items():
            patch.setenv(name, value)
        with pytest.raises(SystemExit) as stop:
            program.main()
    assert isinstance(stop.value.code, int)
    return stop.value.code


def lines(path: Path) -> list[dict[str, Any]]:
    """The lines of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def scores(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """The scores by id and criterion; no two have the same."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for score in lines(folder / "out" / "scores.jsonl"):
        key = score["id"], score["metric"].removeprefix("judge/")
        assert key not in found
        found[key] = score
    return found


def states(folder: Path, criterion: str = "fluency") -> dict[str, str]:
    """The state of one criterion's score by id."""
    return {id: score["state"] for (id, name), score in scores(folder).items() if name == criterion}
