"""What the inputs and outputs of stages contain: hashes that know neither path nor host."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xltjax import miniature
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.common.provenance import sha256
from xltjax.converters.models import config_directory, find_model, known_architecture, weights_directory
from xltjax.data.model_files import tokenizer_hashes
from xltjax.data.prompt_sets import Instruction, load_set
from xltjax.data.reading.files import find_files
from xltjax.data.rows import SUFFIXES, file_format
from xltjax.llama import LlamaConfig
from xltjax.study.stage import ANY_LANGUAGE, MODIFIED, Input
from xltjax.training.run import Run

WEIGHTS = "weights"  # the output of a training
COMBINED = "model"  # the output of combine: a directory
# Outputs that take the room of a model, and may be removed when nothing is made of them any more.
MODELS = (WEIGHTS, COMBINED)


class Contents:
    """Reads each input once.

    Args:
        fetch: whether what can be downloaded or built is, when it is not here.
    """

    def __init__(self, *, fetch: bool) -> None:
        self._fetch = fetch
        self._found: dict[Input, Any] = {}

    def of(self, each: Input) -> Any:
        """The content of an input, ready for JSON; None when it is not here and can be fetched later.

        Raises:
            UserError: when it is not there.
        """
        if self._found.get(each) is None:
            self._found[each] = self._read(each)
        return self._found[each]

    def count(self, each: Input) -> int | None:
        """How many prompts an input of prompts has; None when they are not here yet."""
        content = self.of(each)
        return content["prompts"] if content else None

    def _read(self, each: Input) -> Any:
        read: Callable[[Input], Any] = {
            "model": self._model, "data": self._data, "prompts": self._prompts, "file": self._file
        }[each.kind]  # fmt: skip
        try:
            return read(each)
        except OSError as problem:
            raise UserError(
                f"{problem.filename or each.where[0]} cannot be read: {problem.strerror}"
            ) from None

    def _model(self, each: Input) -> Any:
        (name,) = each.where
        if name == miniature.NAME:
            if not self._fetch and not miniature.is_built():
                return None
            path = Path(miniature.model_path(name))
        elif Path(name).is_dir() or self._fetch:
            path = find_model(name)
        else:
            snapshot = _downloaded(name, "model", functools.partial(find_model, name))
            if snapshot is None:
                return None
            path = snapshot
        return {
            "weights": fingerprint(weights_directory(path)),
            "tokenizer": _digest(tokenizer_hashes(config_directory(path))),
        }

    def _data(self, each: Input) -> Any:
        (split,) = each.options
        hashes = []
        for source in each.where:
            if miniature.is_data(source):
                if not self._fetch and not miniature.is_built():
                    return None
                source = miniature.data_path(source)
            elif not self._fetch and not Path(source).exists() and not _is_pattern(source):
                snapshot = _downloaded(source, "dataset", functools.partial(find_files, source, split))
                if snapshot is None:
                    return None
                source = str(snapshot)
            hashes.append([sha256(path) for path in find_files(source, split)])
        return hashes

    def _prompts(self, each: Input) -> Any:
        name, *columns = each.where
        if name == miniature.NAME and not self._fetch and not miniature.is_built():
            return None
        languages = [option for option in each.options if option not in (MODIFIED, ANY_LANGUAGE)]
        chosen = prompts(name, languages, modified=MODIFIED in each.options, columns=columns)
        if ANY_LANGUAGE not in each.options and not any(row.language for row in chosen):
            raise UserError(
                f"{name} does not say in which language answers are expected, which surface needs; give it under "
                "generate, as in languages: [it], or under surface, as in language: it"
            )
        rows = [row.row() for row in chosen]
        return {"prompts": len(rows), "sha256": _digest(rows)}

    def _file(self, each: Input) -> Any:
        hashes: dict[str, str] = {}
        for place in map(Path, each.where):
            files = sorted(path for path in place.rglob("*") if path.is_file()) if place.is_dir() else [place]
            for path in files:
                name = path.relative_to(place).as_posix() if place.is_dir() else path.name
                while name in hashes:  # in another folder
                    name += "'"
                hashes[name] = sha256(path)
        return hashes


def prompts(
    name: str, languages: Sequence[str], *, modified: bool, columns: Sequence[str] = ()
) -> list[Instruction]:
    """The instructions of a prompt set as they are, or those with modifiers; the miniature is built when it is meant.

    Raises:
        UserError: as ``load_set`` does, and when there is no instruction with a modifier.
    """
    found = load_set(miniature.prompts_path(name), languages or None, modified, columns)
    if not modified:
        return found
    chosen = [each for each in found if each.modifier is not None]
    if not chosen:
        raise UserError(f"{name} has no instructions with modifiers; leave out modifiers: true")
    return chosen


def output(directory: Path, name: str) -> str | None:
    """The hash of an output of a stage; None when it is not there."""
    if name == WEIGHTS:
        run = Run.find(directory)
        return (run.weights_digest() or fingerprint(run.checkpoint)) if run and run.steps else None
    path = directory / name
    if name == COMBINED:
        return fingerprint(path) if path.is_dir() else None
    return _file_hash(path, *_stamp(path)) if path.is_file() else None


def architecture(model: str) -> LlamaConfig:
    """The architecture of a model that is here or well known, without loading it.

    Raises:
        UserError: when it is not known.
    """
    return miniature.architecture() if model == miniature.NAME else known_architecture(model)


def trained(directory: Path, steps: int) -> bool:
    """Whether a training has come to its end in ``directory``."""
    run = Run.find(directory)
    if run is None or not run.steps:
        return False
    return run.steps[-1] >= (run.config.steps if run.config.epochs else steps)  # which follow from the data


def _stamp(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns


@functools.lru_cache(maxsize=4096)
def _file_hash(path: Path, size: int, modified: int) -> str:
    return sha256(path)


def _downloaded(name: str, kind: str, complain: Callable[[], Any]) -> Path | None:
    """The directory of a model or dataset of the hub in the hub's cache; None when it is not there.

    Raises:
        UserError: when ``name`` cannot be an id of the hub: what ``complain`` says.
    """
    if name.count("/") != 1 or name.startswith((".", "/", "~")) or file_format(Path(name)) in SUFFIXES:
        complain()
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, repo_type=kind, local_files_only=True))
    except Exception:  # an error of the hub's, of one of several types
        return None


def _is_pattern(source: str) -> bool:
    return any(sign in source for sign in "*?[")


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
