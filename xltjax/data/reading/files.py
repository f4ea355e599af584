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
# What ``translate`` writes beside translated data.
BESIDE_TRANSLATIONS = ("translate.json", "summary.json", "quality.jsonl", "calls.jsonl", "skipped.jsonl")
# Where the files to read are looked for, in this order; the empty split is that of files named after no split.
ORDER = {"train": ("train", ""), "validation": ("validation", "test", "", "train")}
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

    Of a directory or dataset, the files of one split are read: the first in ``ORDER`` that has any. A file that is
    named itself is always read, and so is one that matches a pattern, unless it belongs to a run or is bookkeeping.

    Args:
        source: a file, a directory, a glob pattern, or a dataset id on the Hugging Face Hub.
        split: a split that every directory or dataset must have; when empty, one is chosen by ``default``.
        default: a key of ``ORDER``.

    Raises:
        UserError: when there are no files to read.
    """
    path = Path(source)
    if not source:
        raise UserError("the name of a data source is empty; give a file, a directory or a dataset id")
    if path.is_file():
        return [path], []
    if path.is_dir():
        return _of_split(source, path, split, default)
    if glob.has_magic(source):
        found = sorted(Path(p) for p in glob.glob(source, recursive=True) if Path(p).is_file())
        found = [p for p in found if not _is_bookkeeping(p) and not any(map(_is_run, p.parents))]
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
    if split:
        asked = re.compile(rf"(?<![a-z]){re.escape(split.lower())}(?![a-z])")
        # ``val`` also stands for ``validation``, and so on.
        same = next((key for key, words in SPLITS.items() if split.lower() in words), split)
        wanted = [bool(asked.search(name)) or of == same for name, of in zip(names, splits, strict=True)]
    else:
        first = next((each for each in ORDER[default] if each in splits), None)
        wanted = [of == first for of in splits]
    if not any(wanted):
        there = ", ".join(dict.fromkeys(of or "files of no split" for of in sorted(splits)))
        raise UserError(
            f"{source} has no split {split or default!r}, but {there}; choose one with --split, or name its files"
        )
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
    """The data files under ``root``, without hidden files and folders, runs of xltjax, and bookkeeping.

    Links to folders are followed, and a folder that is reached twice is read once.

    Raises:
        OSError: when a folder cannot be listed.
    """
    found: list[Path] = []
    seen: set[Path] = set()
    for folder, folders, names in os.walk(root, followlinks=True, onerror=_fail):
        here = Path(folder)
        if here.resolve() in seen or _is_run(here):
            folders.clear()
            continue
        seen.add(here.resolve())
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        visible = (here / name for name in names if not name.startswith("."))
        found += [
            path
            for path in visible
            if file_format(path) in SUFFIXES and not _is_bookkeeping(path) and path.is_file()
        ]
    return sorted(found)


def _fail(problem: OSError) -> None:
    raise problem


def _is_bookkeeping(path: Path) -> bool:
    """Whether a file lies beside data and is none, or holds responses that xltjax has generated."""
    if path.name in BESIDE_TRANSLATIONS and path.with_name("translate.json").is_file():
        return True
    records = (path.with_suffix(".provenance.json"), path.with_name(f"{path.name}.provenance.json"))
    return BOOKKEEPING.fullmatch(path.name) is not None or any(record.is_file() for record in records)


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
