"""What ``--prompts`` may name."""

from __future__ import annotations

from pathlib import Path


def find_prompts(name: str) -> str | Path:
    """A set, file or folder as ``eval.instruction_sets.load_set`` takes it, or the miniature's questions."""
    if name != "miniature":
        return name
    from xltjax.miniature.build import ensure

    return ensure() / "evaluation"
