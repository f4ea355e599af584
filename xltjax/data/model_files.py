"""What travels with a model besides its weights: config, tokenizer, generation config and chat template."""

from __future__ import annotations

import shutil
from pathlib import Path

from xltjax.common.provenance import sha256

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


# Those that have no part in the ids of a text.
_OTHERS = ("config.json", "generation_config.json")


def tokenizer_hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of each file of the tokenizer in ``directory`` by its name, its chat template included."""
    files = [directory / name for name in MODEL_FILES if name not in _OTHERS]
    return {file.name: sha256(file) for file in files if file.is_file()}


def copy_model_files(source: Path, target: Path) -> None:
    """Copy those of ``MODEL_FILES`` that ``source`` holds into the directory ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name in MODEL_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)
