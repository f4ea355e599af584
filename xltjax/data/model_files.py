"""Where a model lies, and what travels with it besides its weights: config, tokenizer and chat template."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, first_line
from xltjax.common.files import atomic_write, read_json_object
from xltjax.common.provenance import sha256
from xltjax.data.tokenizer import ChatTokenizer

GENERATION_CONFIG = "generation_config.json"
TOKENIZER_FILES = (
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
MODEL_FILES = ("config.json", GENERATION_CONFIG, *TOKENIZER_FILES)


def model_directory(name: str, patterns: Sequence[str]) -> Path:
    """The directory of a model, given by its path or by a Hugging Face id, which is downloaded into the hub's cache.

    Args:
        name: the path or the id.
        patterns: of the names of the files that are downloaded.

    Raises:
        UserError: when there is no such directory and the hub does not have the model or does not answer.
    """
    path = Path(name)
    if path.is_dir():
        return path
    if path.exists():
        raise UserError(f"{name} is a file; a model is a directory")
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise UserError(f"model directory {name} does not exist")
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(patterns)))
    except Exception as problem:  # of the hub or of its HTTP library
        raise UserError(
            f"{name} is neither a directory nor a model that can be downloaded: {first_line(problem)}"
        ) from None


def tokenizer_hashes(directory: Path) -> dict[str, str]:
    """SHA-256 of each file of the tokenizer in ``directory`` by its name, its chat template included."""
    files = [directory / name for name in TOKENIZER_FILES]
    return {file.name: sha256(file) for file in files if file.is_file()}


def copy_model_files(source: Path, target: Path, names: tuple[str, ...] = MODEL_FILES) -> None:
    """Copy those of the files ``names`` that ``source`` holds into the directory ``target``."""
    target.mkdir(parents=True, exist_ok=True)
    for name in names:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


def set_vocabulary(directory: Path, size: int) -> None:
    """Write the number of tokens for which a model has rows into the ``config.json`` in ``directory``."""
    file = directory / "config.json"
    settings = read_json_object(file)
    if settings.get("vocab_size") != size:
        with atomic_write(file) as written:
            json.dump({**settings, "vocab_size": size}, written, indent=2)
            written.write("\n")


def end_ids(tokenizer: ChatTokenizer) -> tuple[int, ...]:
    """The ids of all tokens that end an answer of a model, in rising order.

    They are the end of the chat template, the tokenizer's own, and those of ``config.json`` and
    ``generation_config.json``.

    Args:
        tokenizer: the model's tokenizer with its chat template, loaded from the directory of the model.

    Raises:
        UserError: naming the file that cannot be read or that names something else than ids.
    """
    ids = {tokenizer.eos}
    if tokenizer.hf.eos_token_id is not None:
        ids.add(tokenizer.hf.eos_token_id)
    for name in ("config.json", GENERATION_CONFIG):
        if (file := tokenizer.directory / name).is_file():
            ids.update(_named_ids(file))
    return tuple(sorted(ids))


def _named_ids(file: Path) -> list[int]:
    named = read_json_object(file).get("eos_token_id")
    ids = named if isinstance(named, list) else [] if named is None else [named]
    if not all(type(each) is int for each in ids):
        raise UserError(f"{file}: eos_token_id = {named!r} is neither a token id nor a list of them")
    return ids


def write_end_ids(directory: Path, ids: tuple[int, ...], tokenizer: ChatTokenizer) -> None:
    """Write ``ids`` as the ends of an answer into ``generation_config.json``, beside what it holds already."""
    file = directory / GENERATION_CONFIG
    settings: dict[str, Any] = read_json_object(file) if file.is_file() else {
        name: value
        for name in ("bos_token_id", "pad_token_id")
        if (value := getattr(tokenizer.hf, name)) is not None
    }  # fmt: skip
    settings["eos_token_id"] = ids[0] if len(ids) == 1 else list(ids)
    file.write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
