"""The files of a model besides its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

# The files that are copied with a model, whatever happens to its weights.
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
    """Copy the ``COMPANIONS`` that exist in the directory ``base`` into ``target``, which is created."""
    target.mkdir(parents=True, exist_ok=True)
    for name in COMPANIONS:
        if (base / name).is_file():
            shutil.copyfile(base / name, target / name)
