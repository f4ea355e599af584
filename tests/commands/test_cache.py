"""``python -m xltjax.cache``: what is shown, and what is deleted and what never is."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from xltjax.cache import COMMAND
from xltjax.common.cli import execute
from xltjax.common.locks import unused, use_directory


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with one of each kind, and files of the user."""
    root = tmp_path / "cache"
    monkeypatch.setenv("XLTJAX_CACHE", str(root))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    for name, size in (
        ("compiled/jit_step-0a1b-cache", 1500),
        ("compiled/jit_step-0a1b-atime", 8),
        ("miniature-v1/model/model.safetensors", 2_000_000),
        ("ctranslate2/nllb-0a1b-int8/model.bin", 700_000),
        (".miniature-abc_1/miniature/tokenizer.model", 10),
        ("mine/notes.txt", 3),
        ("miniature-of-mine/model/x", 3),
        ("notes.txt", 3),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x" * size)
    day_ago = time.time() - 3 * 86400 - 60
    os.utime(root / "miniature-v1/model/model.safetensors", (day_ago, day_ago))
    return root


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        execute(COMMAND, words)
    out, err = capsys.readouterr()
    assert isinstance(ended.value.code, int)
    return ended.value.code, out, err


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


MINE = {"mine/notes.txt", "miniature-of-mine/model/x", "notes.txt"}


@pytest.mark.parametrize("words", [(), ("--show",)])
def test_kinds_sizes_and_ages_are_shown_and_nothing_is_deleted(
    words: tuple[str, ...], cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(cache)
    code, out, _ = run(capsys, *words)
    assert (code, files(cache)) == (0, before)
    rows = [line.split() for line in out.splitlines()]
    assert f"cache: {cache}" in out
    assert ["compiled", "compiled", "1.5", "kB", "just", "now"] in rows
    assert ["miniature", "miniature-v1", "2.0", "MB", "3", "days", "ago"] in rows
    assert ["ctranslate2", "ctranslate2", "700.0", "kB", "just", "now"] in rows
    assert ["unfinished", ".miniature-abc_1", "10", "bytes", "just", "now"] in rows
    assert "mine" not in out


def test_all_is_cleared_but_for_files_of_the_user(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (cache / "compiled" / "mine.txt").write_text("x")
    code, out, _ = run(capsys, "--clear")
    assert (code, files(cache)) == (0, MINE | {"compiled/mine.txt"})
    assert "freed: 2.7 MB" in out
    (cache / "compiled" / "mine.txt").unlink()
    (cache / "compiled" / "jit-1-cache").touch()
    run(capsys, "--clear")
    assert not (cache / "compiled").exists()


def test_one_kind_is_cleared_alone(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(capsys, "--clear", "--kinds", "compiled,unfinished")
    assert files(cache) == MINE | {
        "miniature-v1/model/model.safetensors",
        "ctranslate2/nllb-0a1b-int8/model.bin",
    }


def test_what_a_running_process_uses_is_kept_until_it_ends(
    cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    script = (
        "import sys, pathlib; from xltjax.common.locks import use_directory\n"
        "print([use_directory(pathlib.Path(each)) for each in sys.argv[1:]], flush=True); sys.stdin.read()"
    )
    used = [str(cache / name) for name in ("compiled", "miniature-v1")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *used], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "[True, True]\n"
        assert run(capsys)[1].count("in use") == 2
        out = run(capsys, "--clear")[1]
        assert files(cache) == MINE | {
            "compiled/jit_step-0a1b-cache", "compiled/jit_step-0a1b-atime", "miniature-v1/model/model.safetensors",
        }  # fmt: skip
        assert out.count("kept, since a running command uses it") == 2
        process.kill()
    run(capsys, "--clear")
    assert files(cache) == MINE


def test_links_out_of_the_cache_are_not_followed(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "jit-2-cache").write_text("x")
    (cache / "miniature-v2").symlink_to(elsewhere)
    (cache / "compiled" / "folder").symlink_to(elsewhere)
    run(capsys, "--clear")
    assert files(elsewhere) == {"jit-2-cache"}
    assert (cache / "miniature-v2").is_symlink()


def test_another_folder_of_compiled_programs_is_named_and_left(
    cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "jit-3-cache").write_text("x")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", str(tmp_path))
    assert f"compiled programs are in {tmp_path}" in run(capsys)[1].replace("\n", " ")
    run(capsys, "--clear")
    assert (tmp_path / "jit-3-cache").is_file()


def test_an_empty_cache_is_no_mistake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XLTJAX_CACHE", str(tmp_path / "none"))
    for words in ((), ("--clear",)):
        code, out, err = run(capsys, *words)
        assert (code, err) == (0, "")
        assert "0 bytes" in out
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--clear", "--kinds", "compild"), "kinds: 'compild' is not known; did you mean 'compiled'?"),
        (("--clear", "--show"), "give --show or --clear, not both"),
    ],
)
def test_mistakes_are_one_line(
    words: tuple[str, ...], message: str, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(cache)
    assert run(capsys, *words) == (2, "", f"error: {message}\n")
    assert files(cache) == before


def test_a_directory_that_is_gone_cannot_be_used_and_is_not_created(tmp_path: Path) -> None:
    assert not use_directory(tmp_path / "gone")
    assert not (tmp_path / "gone").exists()
    (tmp_path / "there").mkdir()
    with unused(tmp_path / "there") as free:
        assert free
    assert use_directory(tmp_path / "there")
    assert use_directory(tmp_path / "there")
    with unused(tmp_path / "there") as free:
        assert not free
