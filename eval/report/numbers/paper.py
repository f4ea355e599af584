"""The numbers that the paper reports, to show beside a user's own."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from importlib import resources
from typing import Any

import yaml


@functools.cache
def _paper() -> Mapping[str, Any]:
    text = (resources.files("xltjax.eval.report.numbers") / "paper.yaml").read_text(encoding="utf-8")
    values: Mapping[str, Any] = yaml.safe_load(text)
    return values


def paper_modifiers() -> dict[tuple[str, str], dict[str, float]]:
    """Table 1 by modifier and language: the share that is fulfilled, and helpfulness from 0 to 2."""
    return {
        (modifier, language): {"fulfilled": values[0], "helpfulness": values[1]}
        for modifier, by_language in _paper()["modifiers"].items()
        for language, values in by_language.items()
    }


def paper_reports() -> list[Mapping[str, Any]]:
    """The numbers of the text: configuration, by, metric, languages, value and where."""
    found: list[Mapping[str, Any]] = _paper()["reported"]
    return found


def paper_rates() -> Mapping[str, float]:
    """The best learning rate by adaptation."""
    found: Mapping[str, float] = _paper()["rates"]
    return found


def same_configuration(paper: str, name: str) -> bool:
    """Whether a configuration of a study or a run is one of the paper's, whatever separates its parts.

    >>> same_configuration("llama2-13b/dolly-en/ft", "LLaMA-2-13B / Dolly-En / FT")
    True
    >>> same_configuration("llama2-13b/dolly-en/ft", "llama2-7b-dolly-en-ft")
    False
    """
    return re.sub(r"[^a-z0-9]", "", paper.lower()) == re.sub(r"[^a-z0-9]", "", name.lower())
