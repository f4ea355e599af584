"""What travels with a model besides its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

MODEL_FILES = (
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


def copy_model_files(source: Path, target: Path) -> None:
    """Copy those of ``MODEL_FILES`` that ``source`` holds into the directory ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
