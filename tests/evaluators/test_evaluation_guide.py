"""docs/evaluation.md: its Python runs, its numbers and names are those of the code."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from xltjax.eval import relevance, surface
from xltjax.eval.__main__ import COMMANDS
from xltjax.eval.comparison.rules import RULES
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.scores import Score
from xltjax.eval.stats.power import detectable_between_models, minimal_detectable_difference

GUIDE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_python_in_the_guide_runs() -> None:
    names: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", GUIDE, re.DOTALL)[1], names)
    # Of the two common instructions the first model is one better on one.
    assert names["found"]["a - b"].difference.estimate == 0.5
    assert names["means"]["b"].estimate == pytest.approx(4 / 3)


def test_the_score_in_the_guide_is_one() -> None:
    Score(**json.loads(re.search(r"```json\n(.*?)```", GUIDE, re.DOTALL)[1]))


def test_the_power_in_the_guide_is_computed() -> None:
    assert [round(minimal_detectable_difference(0.7, n), 2) for n in (113, 30)] == [0.19, 0.37]
    prose = " ".join(GUIDE.split())
    assert "a true difference of .19" in prose
    assert round(detectable_between_models({1.0: 90, 0.0: 23}), 2) == 0.15
    assert "can show a difference of .15" in prose
    assert "it must be .37" in prose


def test_every_metric_modifier_and_command_stands_in_the_guide() -> None:
    names = {*RULES, *surface.METRICS, *relevance.METRICS, *modifiers.METRICS, *modifiers.MODIFIERS}
    commands = {each.name for each in COMMANDS}
    assert {name for name in names if f"`{name}`" not in GUIDE} == set()
    assert {name for name in commands if f"xltjax.eval {name}" not in GUIDE} == set()


def test_every_flag_in_the_guide_exists() -> None:
    known = {flag for each in COMMANDS for parameter in each.params for flag in parameter.opts}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", GUIDE)) - known == {"--help"}
