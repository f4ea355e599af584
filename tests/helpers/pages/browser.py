"""Pages of ours in a real browser: the system's Chromium, and what axe-core says about accessibility."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Self

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
WIDE, PHONE = {"width": 1440, "height": 900}, {"width": 390, "height": 844}


@dataclass
class Watched:
    """A page in the browser with all that it said and asked for."""

    page: Page
    said: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, page: Page) -> Self:
        """Watch a page that is not yet open."""
        watched = cls(page)
        page.set_default_timeout(10_000)
        page.on("console", lambda message: watched.said.append(message.text))
        page.on("pageerror", lambda error: watched.said.append(str(error)))
        page.on("request", lambda request: watched.requests.append(request.url))
        return watched


@contextlib.contextmanager
def running_browser() -> Iterator[Browser]:
    """The browser, without a window; a test that needs it is skipped where there is none."""
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("NO CHROMIUM: the page was NOT tested in a browser (apt-get install chromium)")
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path)
        yield running
        running.close()


def violations(page: Page) -> list[str]:
    """What axe-core has to say, rule by rule."""
    found = Axe().run(page).response["violations"]
    return [
        f"{rule['id']}: {node['html']} {node['failureSummary']}" for rule in found for node in rule["nodes"]
    ]
