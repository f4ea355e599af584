"""What travels with a model besides its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

# What travels with a model besides its weights.
COMPANIONS = (
    "config.json",
    "generation_config.json",
    "tokenizer.model",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "chat_template.jinja",
    "chat_template.json",
)


def copy_companions(base: Path, target: Path) -> None:
    """Copy config, tokenizer, generation config and chat template, those of them that exist."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
