"""The site of `make docs`: built without a warning, with the reference of what is public, and with no broken link."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml

import xltjax

ROOT = Path(__file__).parents[2]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A copy of what the site is made of, with the package put together as `make docs` does."""
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    shutil.copytree(ROOT / "docs", tmp_path / "docs")
    (tmp_path / "build/docs/xltjax").mkdir(parents=True)
    for path in (*(ROOT / "xltjax").iterdir(), ROOT / "eval", ROOT / "converters", ROOT / "configs"):
        (tmp_path / "build/docs/xltjax" / path.name).symlink_to(path)
    return tmp_path


def build(place: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", "site"],
        cwd=place, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True,
    )  # fmt: skip


class Page(HTMLParser):
    """The anchors of a page, and what it loads by itself."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors: set[str] = set()
        self.loaded: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = dict(attributes)
        self.anchors.add(values.get("id") or "")
        if tag in ("script", "img", "iframe") or (tag == "link" and values.get("rel") == "stylesheet"):
            self.loaded.add(values.get("src") or values.get("href") or "")


def test_it_is_built_without_a_warning_and_documents_what_is_public(place: Path) -> None:
    done = build(place)
    assert done.returncode == 0, done.stderr
    assert "WARNING" not in done.stderr
    reference = Page(place / "site/reference/index.html")
    for name in ("api.load", "api.fit", "api.Model.generate", "eval.api.evaluate", "converters.load.load_hf"):
        assert f"xltjax.{name}" in reference.anchors
    assert {"load", "fit", "Model", "UserError", "evaluate"} <= set(xltjax.__all__)
    # A reader's browser asks nobody else.
    pages = [Page(path) for path in (place / "site").rglob("*.html")]
    assert [link for page in pages for link in page.loaded if link.startswith(("http", "//"))] == []


def test_every_guide_is_in_the_navigation() -> None:
    config = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = {page for item in config["nav"] for value in item.values() for page in _pages(value)}
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}
    index = (ROOT / "docs" / "index.md").read_text()
    assert [page for page in sorted(listed - {"index.md"}) if f"({page})" not in index] == []


def _pages(value: object) -> list[str]:
    return [page for item in value for page in item.values()] if isinstance(value, list) else [str(value)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "broken",
    ["[a](no-such-page.md)", "[a](training.md#no-such-heading)", "\n::: xltjax.api.no_such_name\n"],
)
def test_a_broken_link_fails(broken: str, place: Path) -> None:
    with (place / "docs" / "index.md").open("a") as file:
        file.write(f"\n{broken}\n")
    assert build(place).returncode != 0
