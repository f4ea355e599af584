"""The wheel and the sdist: every file of the package is in them, and they work away from the repository."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import xltjax

ROOT = Path(__file__).parents[2]
FOLDERS = {
    "xltjax": "xltjax",
    "eval": "xltjax/eval",
    "converters": "xltjax/converters",
    "configs": "xltjax/configs",
}
NOT_PACKAGED = ("__pycache__", ".mypy_cache")


def package_files() -> dict[Path, str]:
    """The files of the package in the checkout, and the name of each in the wheel."""
    return {
        path: f"{inside}/{path.relative_to(ROOT / folder)}"
        for folder, inside in FOLDERS.items()
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and not set(path.parts) & set(NOT_PACKAGED)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wheel and sdist, built from a copy of the checkout without what was built there."""
    source = tmp_path_factory.mktemp("source")
    for folder in (*FOLDERS, "docs"):
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns(*NOT_PACKAGED))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff"):
        shutil.copy(ROOT / name, source)
    out = source / "dist"
    done = subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return out


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert names == set(package_files().values())


def test_the_sdist_holds_them_too(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    assert names >= {str(path.relative_to(ROOT)) for path in package_files()}
    assert names >= {"README.md", "LICENSE", "pyproject.toml"}


def test_the_package_index_takes_them_and_shows_the_readme_whole(built: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *map(str, built.iterdir())],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_it_runs_away_from_the_repository(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        wheel.extractall(tmp_path / "site")
    (tmp_path / "r.jsonl").write_text(
        json.dumps(
            {"id": "1", "model": "m", "language": "fr", "response": "La ville de Paris est la capitale."}
        )
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}  # before the checkout

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    where = run(
        "-c", "import xltjax, xltjax.eval, xltjax.converters as c; print(xltjax.__file__, c.__file__)"
    )
    assert all(Path(each).is_relative_to(tmp_path / "site") for each in where.split())
    assert "learning_rate: 1.0e-05" in run(
        "-m", "xltjax.train", "--config", "paper/llama2-7b-dolly-en-ft", "--print-config"
    )
    run("-m", "xltjax", "eval", "sets", "--export", "prompts", "--modifiers")
    assert len(list((tmp_path / "prompts").glob("*.jsonl"))) == 5
    run("-m", "xltjax.eval", "surface", "r.jsonl", "--out", "scores")
    assert (tmp_path / "scores" / "summary.md").is_file()


def test_version_and_urls_are_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    repository = project["urls"]["Repository"]
    assert project["version"] == xltjax.__version__
    for name in ("mkdocs.yml", "CITATION.cff", "CONTRIBUTING.md", "CHANGELOG.md", "README.md"):
        assert repository in (ROOT / name).read_text(), name
    assert project["urls"]["Documentation"] in (ROOT / "mkdocs.yml").read_text()
    assert f"version: {xltjax.__version__}\n" in (ROOT / "CITATION.cff").read_text()
