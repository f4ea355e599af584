"""Rating sheets that are open in a browser, and what a test does with them by the keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from helpers.pages.browser import WIDE, Watched
from playwright.sync_api import Browser, BrowserContext, expect


class Opened(Watched):
    """A sheet in the browser."""

    def press(self, keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys.split():
            self.page.keyboard.press(key)

    def place(self) -> str:
        """Which item is shown."""
        return self.page.locator("h1").inner_text()

    def text(self) -> str:
        """The response as it stands in the page, which is not always what can be seen."""
        found = self.page.locator(".response-text").evaluate("it => it.textContent")
        return str(found)

    def notices(self) -> list[str]:
        """The lines above the item, without their buttons."""
        return self.page.locator(".notice:visible > span").all_text_contents()

    def export(self, folder: Path, name: str = "Save as JSON") -> Path:
        """Export by the keyboard alone; the file that the browser saves."""
        self.press("e")
        with self.page.expect_download() as download:
            button = self.page.get_by_role("button", name=name)
            while not button.evaluate("it => it === document.activeElement"):
                self.page.keyboard.press("Tab")
            self.page.keyboard.press("Enter")
        path = folder / download.value.suggested_filename
        download.value.save_as(path)
        self.press("Escape")
        return path

    def give(self, path: Path) -> str:
        """Import a file; what the page says."""
        self.page.get_by_role("button", name="Import", exact=True).click()
        self.page.locator("input[type=file]").set_input_files(path)
        status = self.page.locator("dialog [role=status]")
        expect(status).not_to_be_empty()
        return status.inner_text()


def opened_sheets(browser: Browser) -> Iterator[Any]:
    """A function that opens a sheet; at the end, no page may have said anything or asked for anything."""
    opened: list[Opened] = []

    def make(path: Path, context: BrowserContext | None = None, script: str = "", **settings: Any) -> Opened:
        context = context or browser.new_context(**({"viewport": WIDE} | settings))
        if script:
            context.add_init_script(script)
        result = Opened.of(context.new_page())
        result.page.goto(path.as_uri())
        result.page.wait_for_selector("h1")
        opened.append(result)
        return result

    yield make
    for each in opened:
        assert each.said == []
        outside = [url for url in each.requests if not url.startswith(("blob:", each.page.url))]
        assert outside == []
    for each in opened:
        each.page.context.close()
