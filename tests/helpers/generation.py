"""Prompts and settings of a short generation."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xltjax.generate import GenerateConfig


def write_prompts(path: Path, count: int = 12) -> Path:
    words = [
        "Name",
        "three",
        "things",
        "that",
        "are",
        "blue",
        "and",
        "tell",
        "me",
        "why",
        "you",
        "like",
        "them",
    ]
    rows = [
        {"id": f"p{n}", "instruction_id": f"p{n}", "language": "en", "instruction": " ".join(words[: n + 1])}
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(chat_model: Path, tmp_path: Path, **changes: Any) -> GenerateConfig:
    values: dict[str, Any] = {
        "model": str(chat_model), "prompts": str(write_prompts(tmp_path / "prompts.jsonl")),
        "out": str(tmp_path / "responses.jsonl"), "max_new_tokens": 8, "batch_size": 4, "dtype": "float32",
    }  # fmt: skip
    return GenerateConfig(**{**values, **changes})
