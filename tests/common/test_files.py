"""Files are whole or not there, and what cannot be read is named."""

from __future__ import annotations

import errno
import gzip
import json
import os
import resource
import subprocess
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import (
    append,
    atomic_write,
    cache_directory,
    json_line,
    make_output_directory,
    read_jsonl,
    read_text,
    write_jsonl,
)
from xltjax.common.provenance import provenance
from xltjax.data.rows import iterate_rows


def test_readers_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with atomic_write(path) as file:
        file.write("old\n")
    with pytest.raises(OSError, match="full"), atomic_write(path) as file:  # noqa: PT012
        file.write("half of the n")
        file.flush()
        assert path.read_text() == "old\n"
        raise OSError(errno.ENOSPC, "full")
    assert path.read_text() == "old\n"
    assert list(path.parent.iterdir()) == [path]


@given(st.dictionaries(st.text(st.characters()), st.text(st.characters()), max_size=3))
def test_any_row_is_one_line_that_reads_back_equal(row: dict[str, str]) -> None:
    line = json_line(row)
    assert line.endswith("\n")
    assert line.count("\n") == 1
    assert json.loads(line.encode("utf-8")) == row


def test_gzipped_and_plain_lines_read_alike(tmp_path: Path) -> None:
    rows = [{"text": "où\u2028"}, {"text": "\ud83d"}]
    write_jsonl(tmp_path / "d.jsonl", rows)
    (tmp_path / "d.jsonl.gz").write_bytes(gzip.compress((tmp_path / "d.jsonl").read_bytes()))
    assert read_jsonl(tmp_path / "d.jsonl") == read_jsonl(tmp_path / "d.jsonl.gz") == rows


def test_rows_know_where_they_stand(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text("\n1\n\n2\n")
    assert list(iterate_rows(path)) == [(f"{path}, line 2", 1), (f"{path}, line 4", 2)]
    path.write_text("[1,\n2]")
    assert list(iterate_rows(path)) == [(f"{path}, item 1", 1), (f"{path}, item 2", 2)]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    cases = {
        tmp_path: "is a directory, not a file",
        tmp_path / "none": "does not exist",
        tmp_path / "file" / "below": "does not exist",
    }
    for path, reason in cases.items():
        with pytest.raises(UserError, match=f"^{path} {reason}$"):
            read_text(path)


def test_a_file_in_the_way_of_a_directory_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(UserError, match=f"^{path} cannot be created: {tmp_path / 'file'} is a file, not"):
            make_output_directory(path)
    with pytest.raises(UserError, match="cannot be created"), atomic_write(tmp_path / "file" / "x"):
        pass
    assert make_output_directory(tmp_path / "a" / "b").is_dir()


def test_the_nearest_name_is_offered_or_all_of_them() -> None:
    assert did_you_mean("trian", ["generate", "train"]) == "did you mean 'train'?"
    assert did_you_mean("A100", ["h100", "a100-80g"]) == "did you mean 'a100-80g'?"
    assert did_you_mean("zzz", ["train", "generate"]) == "valid: generate, train"


def test_the_cache_lies_where_the_environment_says_and_an_empty_word_says_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLTJAX_CACHE", str(tmp_path / "mine"))
    assert cache_directory() == tmp_path / "mine"
    monkeypatch.setenv("XLTJAX_CACHE", "")
    if sys.platform == "linux":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        assert cache_directory() == tmp_path / "xltjax"
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert cache_directory() == tmp_path / ".cache" / "xltjax"


def test_provenance_names_the_revision_of_the_checkout_and_the_hashes_of_the_data(tmp_path: Path) -> None:
    (tmp_path / "d.jsonl").write_text("abc")
    record = provenance([tmp_path / "d.jsonl"])
    # The example of FIPS 180-4.
    digest = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert record["data"] == {str(tmp_path / "d.jsonl"): digest}
    root = Path(__file__).parents[2]
    if (root / ".git").exists():
        revision = ["git", "-C", str(root), "rev-parse", "HEAD"]
        assert record["git"]["revision"] == subprocess.check_output(revision, text=True).strip()
    else:
        assert record["git"] is None


def test_every_folder_of_code_or_data_is_an_installed_package() -> None:
    root = Path(__file__).parents[2]
    listed = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    found = set()
    for folder, package in (
        ("xltjax", ""),
        ("eval", ".eval"),
        ("converters", ".converters"),
        ("configs", ".configs"),
    ):
        for path in (root / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                found.add(".".join([f"xltjax{package}", *path.parent.relative_to(root / folder).parts]))
    assert sorted(listed) == sorted(found)


def test_text_is_appended_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    append(path, "one\n")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (8, limits[1]))
        with pytest.raises(OSError, match="File too large"):
            append(path, "two and more than fits\n")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_text() == "one\n"
    append(path, "two\n")
    assert path.read_text() == "one\ntwo\n"


@pytest.mark.parametrize(
    "write", [lambda path: append(path, "x"), lambda path: write_jsonl(path, [{"a": 1}])]
)
def test_a_disk_that_is_full_is_said_of_the_file(
    write: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "out.jsonl"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
        with pytest.raises(OSError, match="File too large") as caught:
            write(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert caught.value.filename == str(path)


def test_a_file_system_that_cannot_rename_is_one_line_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.json"
    path.write_text("old")

    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(UserError, match=f"^{path} cannot be written: Function not implemented"):
        write_jsonl(path, [])
    assert [(each, each.read_text()) for each in tmp_path.iterdir()] == [(path, "old")]


@pytest.mark.parametrize("path", ["/proc/none", "/proc/none/run", "/sys/run"])
def test_a_directory_that_the_system_refuses_is_one_line(path: str) -> None:
    with pytest.raises(UserError, match=rf"^{path} cannot be created: .*; choose another path$"):
        make_output_directory(Path(path))
