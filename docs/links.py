"""A hook of MkDocs: links to files of the repository outside of ``docs/``, which GitHub follows, lead there."""

from __future__ import annotations

from typing import Any


def on_page_markdown(markdown: str, *, config: Any, **_: Any) -> str:
    """The text of a page with absolute links in the place of those that leave the folder."""
    return markdown.replace("](../", f"]({config['repo_url']}/blob/main/")
