"""Which files of a data source are read: those of its split, and no bookkeeping of models, datasets and runs."""

from __future__ import annotations

import glob
import os
import re
from pathlib import Path

from xltjax.common.errors import UserError, first_line
from xltjax.data.rows import SUFFIXES, file_format

# What the parts of a file's path say about its split, as the library ``datasets`` reads them.
SPLITS = {
    "train": ("train", "training"),
    "validation": ("validation", "valid", "val", "dev"),
    "test": ("test", "testing", "eval", "evaluation"),
}
# Files beside data that are none. Others are recognized by the directory, see ``_is_run``.
BOOKKEEPING = re.compile(
    r"dataset_infos?\.json|dataset_dict\.json|state\.json|trainer_state\.json|.*provenance\.json|"
    r"(generation_|tokenizer_|adapter_|preprocessor_|processor_)?config\.json|(added_tokens|special_tokens_map)\.json|"
    r"(tokenizer|vocab|chat_template|package|package-lock)\.json|.*\.safetensors\.index\.json"
)


def find_files(source: str, split: str = "", default: str = "train") -> list[Path]:
    """The data files of a source, see ``choose_files``."""
    return choose_files(source, split, default)[0]


def choose_files(source: str, split: str = "", default: str = "train") -> tuple[list[Path], list[Path]]:
    """The data files of a source, and those of a directory or dataset that belong to other splits.

    Of a directory or dataset, the files of the split ``default`` are read; when none is named after this split, all
    files that are named after no split. A file that is named itself, or matches a pattern, is always read.

    Args:
        source: a file, a directory, a glob pattern, or a dataset id on the Hugging Face Hub.
        split: a split that every directory or dataset must have, instead of ``default``; may be empty.
        default: a key of ``SPLITS``.

    Raises:
        UserError: when there are no files to read.
    """
    path = Path(source)
    if path.is_file():
        return [path], []
    if path.is_dir():
        return _of_split(source, path, split, default)
    if glob.has_magic(source):
        found = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())
        if not found:
            raise _none(source)
        return found, []
    if source.count("/") == 1 and not source.startswith((".", "/")) and file_format(path) not in SUFFIXES:
        return _of_split(source, _download(source), split, default)
    raise UserError(f"data file {source} does not exist")


def _none(source: str) -> UserError:
    return UserError(f"{source} holds no data files ({', '.join(SUFFIXES)}, optionally .gz)")


def _of_split(source: str, root: Path, split: str, default: str) -> tuple[list[Path], list[Path]]:
    """The files under ``root`` of a split, and the others; see ``choose_files``."""
    files = _data_files(root)
    if not files:
        raise _none(source)
    names = [str(path.relative_to(root)).lower() for path in files]
    splits = [_split(name) for name in names]
    wanted = [False] * len(files)
    if split:
        asked = re.compile(rf"(?<![a-z]){re.escape(split.lower())}(?![a-z])")
        # ``val`` also stands for ``validation``, and so on.
        same = next((key for key, words in SPLITS.items() if split.lower() in words), split)
        wanted = [bool(asked.search(name)) or of == same for name, of in zip(names, splits, strict=True)]
    else:
        wanted = [of == default for of in splits]
        if not any(wanted):
            wanted = [not of for of in splits]
    if not any(wanted):
        there = ", ".join(dict.fromkeys(of or "files of no split" for of in sorted(splits)))
        advice = "name its files" if default != "train" else "choose one with --split, or name its files"
        raise UserError(f"{source} has no split {split or default!r}, but {there}; {advice}")
    pairs = [*zip(files, wanted, strict=True)]
    return [path for path, chosen in pairs if chosen], [path for path, chosen in pairs if not chosen]


def _split(name: str) -> str:
    """The key of ``SPLITS`` that the last word in a path names that names any; empty when none does."""
    for word in reversed(re.findall("[a-z]+", name)):
        for split, words in SPLITS.items():
            if word in words or (split == "train" and word.startswith("train")):
                return split
    return ""


def _data_files(root: Path) -> list[Path]:
    """The data files under ``root``, without hidden files and folders, runs of xltjax, and bookkeeping."""
    found = []
    for folder, folders, names in os.walk(root):
        here = Path(folder)
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not _is_run(here / name))
        found += [
            here / name
            for name in names
            if not name.startswith(".")
            and file_format(Path(name)) in SUFFIXES
            and not BOOKKEEPING.fullmatch(name)
            and (here / name).is_file()
        ]
    return sorted(found)


def _is_run(folder: Path) -> bool:
    """Whether a folder is the directory of a run, whose files are metrics and answers and no data."""
    marks = ("checkpoints", "provenance.json", "base")
    return (folder / "config.yaml").is_file() and any((folder / mark).exists() for mark in marks)


def _download(dataset: str) -> Path:
    """The directory of a dataset of the Hugging Face Hub, downloaded into the hub's cache unless it is there."""
    from huggingface_hub import snapshot_download

    patterns = [f"**{suffix}{gz}" for suffix in SUFFIXES for gz in ("", ".gz")]
    try:
        return Path(snapshot_download(dataset, repo_type="dataset", allow_patterns=patterns))
    except Exception as problem:  # an error of the hub, of its HTTP library, or a malformed name
        raise UserError(
            f"{dataset} is neither a file nor a Hugging Face dataset that can be downloaded: {first_line(problem)}"
        ) from None
