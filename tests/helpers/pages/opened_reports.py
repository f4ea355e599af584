"""Reports that are open in a browser, and what a test reads there."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from helpers.pages.browser import WIDE, Watched
from playwright.sync_api import Browser, Locator

READY = "#browser:not([aria-busy])"


class Opened(Watched):
    """A report in the browser."""

    def models(self) -> list[str]:
        """The models whose answers are shown."""
        return self.page.locator(".answer h4").all_text_contents()

    def card(self, model: str) -> Locator:
        """The answer of a model."""
        return self.page.locator(".answer").filter(has=self.page.locator("h4", has_text=model)).first

    def go(self, hash: str) -> None:
        """Follow an address within the page."""
        with self.following():
            self.page.evaluate("hash => { location.hash = hash }", hash)

    @contextmanager
    def following(self) -> Iterator[None]:
        """Wait at the end until the browser has told the page of a new address, if it has one."""
        self.page.evaluate(
            "() => { window.before = location.href; window.told = new Promise(done => "
            "addEventListener('hashchange', () => setTimeout(done), {once: true})) }"
        )
        yield
        self.page.evaluate("() => location.href === window.before || window.told")

    def status(self) -> str:
        """How many answers match."""
        return self.page.locator("#browser-status").inner_text()

    def question(self) -> str:
        """The instruction that is shown."""
        return self.page.locator(".question h3").inner_text()


def opened_reports(browser: Browser) -> Iterator[Any]:
    """A function that opens a report; at the end, no page may have said anything or asked for anything."""
    opened: list[Opened] = []

    def make(path: Path, hash: str = "", **settings: Any) -> Opened:
        context = browser.new_context(**({"viewport": WIDE} | settings))
        result = Opened.of(context.new_page())
        result.page.goto(path.as_uri() + hash)
        if settings.get("java_script_enabled", True) and 'id="answers"' in path.read_text(encoding="utf-8"):
            result.page.wait_for_selector(READY)
        opened.append(result)
        return result

    yield make
    for each in opened:
        assert each.said == []
        assert {url.partition("#")[0] for url in each.requests} == {each.page.url.partition("#")[0]}
        each.page.context.close()
