"""Settings of a short training, and a run of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from xltjax import train
from xltjax.training.config import TrainConfig


def settings(chat_model: Path, instructions: Path, out: Path, **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "model": str(chat_model), "data": (str(instructions),), "out": str(out), "precision": "float32",
        "sequence_length": 128, "tokens_per_batch": 256, "accumulation": 2, "steps": 4, "save_every": 2,
        "learning_rate": 1e-3, "mesh": "2x1",
    }  # fmt: skip
    return TrainConfig(**{**values, **changes})


def fit(config: TrainConfig) -> Path:
    """Train to the end; returns the run's directory."""
    (out,) = train.fit(config)
    return out
