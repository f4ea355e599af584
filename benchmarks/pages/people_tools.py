"""Ratings through Label Studio and Pearmut themselves: imported, rated in a browser, exported, and read back whole.

    python -m venv label-studio && label-studio/bin/pip install label-studio
    python3.12 -m venv pearmut && pearmut/bin/pip install pearmut
    python benchmarks/pages/people_tools.py --label-studio label-studio/bin/label-studio --pearmut pearmut/bin/pearmut

Each tool gets answers with markup, emoji, right-to-left text, 50,000 characters and none at all, is clicked through
in Chromium, and its exports are compared with what was clicked. --record DIRECTORY keeps the exports, as
tests/people/recorded has those of the first answers (--answers 3). Needs `pip install 'xltjax[test]'`.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import requests
from browser import chromium
from playwright.sync_api import Page, sync_playwright

from xltjax.data.responses import Response
from xltjax.eval.people.exports import label_studio_config, label_studio_tasks, pearmut_campaign
from xltjax.eval.people.plan import Item
from xltjax.eval.people.schema import CANNOT_JUDGE, Record, Span
from xltjax.eval.people.tools import read_export

CRITERIA = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
SCALES = {name: range(3) for name in CRITERIA}
LEVELS = {name: {0: 'bad "<&', 1: "so-so", 2: "good"} for name in CRITERIA}
ANSWERS = (
    "=SUM(A1:A9) <script>alert(1)</script> & <b>bold</b> <img src=x onerror=alert(1)> error",
    "\U0001f600 emoji before the error, ligne\r\nsuivante",
    'مرحبا \u202eabc\u202c עברית <br> "quoted"; , \t error tab',
    "x" * 50_000 + " error",
    "",
)
WORD = "error"  # is marked
COMMENT = "à « lire »\n=1+1 \U0001f600 <b>"
RANGE = """(word) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT, (node) =>
    node.parentElement.closest('[class*=richtext]') ? NodeFilter.FILTER_ACCEPT : NodeFilter.FILTER_SKIP);
  for (let node; (node = walker.nextNode());) {
    const at = node.data.indexOf(word);
    if (at < 0) continue;
    const range = document.createRange();
    range.setStart(node, at);
    range.setEnd(node, at + word.length);
    node.parentElement.scrollIntoView({block: 'end'});
    const rects = range.getClientRects(), box = rects[rects.length - 1];
    return [box.left, box.top, box.right, box.bottom];
  }
}"""


def main() -> None:
    """Run what is given and print what came back."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--label-studio", type=Path)
    parser.add_argument("--pearmut", type=Path)
    parser.add_argument("--record", type=Path)
    parser.add_argument("--answers", type=int, default=len(ANSWERS), help="how many of the answers")
    options = parser.parse_args()
    items = [
        Item(
            f"{number:012x}",
            Response(f"q{number}", "secret", "fr", instruction=f"<i>{number}</i>\né", response=text),
        )
        for number, text in enumerate(ANSWERS[: options.answers], start=1)
    ]
    program = chromium()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program)
        for name, run in (("label_studio", _label_studio), ("pearmut", _pearmut)):
            tool = getattr(options, name)
            if tool:
                page = browser.new_page(viewport={"width": 1300, "height": 1400})
                page.on("dialog", lambda _: print("A DIALOG OPENED: markup has run"))
                for path in run(tool.absolute(), items, page, Path(folder) / name):
                    _compare(path, items, options.record)
        browser.close()


def clicked(number: int) -> Mapping[str, int | str]:
    """The ratings of an item: each criterion and each item has another."""
    places = [*SCALES["language"], CANNOT_JUDGE]
    return {name: places[(number + index) % 4] for index, name in enumerate(CRITERIA)}


def _compare(path: Path, items: Sequence[Item], record: Path | None) -> None:
    found = {each.item: each for each in read_export(path, SCALES).records}
    whole = sum(
        _told(found[item.id]) == _expected(number, item)
        for number, item in enumerate(items)
        if item.id in found
    )
    print(f"{path.name}: {whole} of {len(items)} answers came back as they were rated", flush=True)
    for number, item in enumerate(items):
        if item.id not in found or _told(found[item.id]) != _expected(number, item):
            print("  ", found.get(item.id), "\n  ", _expected(number, item))
    if record:
        record.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, record / path.name)


def _told(record: Record) -> tuple[Any, ...]:
    return (record.sheet, record.language, record.order, dict(record.scores), record.comment, record.spans)


def _expected(number: int, item: Item) -> tuple[Any, ...]:
    text = item.response.response.encode("utf-16-le")
    start = text.find(WORD.encode("utf-16-le")) // 2
    spans = (Span(start, start + len(WORD), "minor", "fluency"),) if WORD in item.response.response else ()
    return ("sheetfr1", "fr", number + 1, clicked(number), COMMENT if number == 0 else "", spans)


@contextlib.contextmanager
def _served(command: Sequence[str], url: str, log: Path, **environment: str) -> Iterator[None]:
    """A server, once it answers."""
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env={**os.environ, **environment})
        try:
            for _ in range(1200):  # Label Studio makes its database first
                with contextlib.suppress(requests.ConnectionError):
                    if requests.get(url, timeout=5).ok:
                        break
                time.sleep(1)
            else:
                raise SystemExit(f"{command[0]} does not answer:\n{log.read_text()[-2000:]}")
            yield
        finally:
            process.terminate()
            process.wait()


def _port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def _label_studio(tool: Path, items: Sequence[Item], page: Page, folder: Path) -> Iterator[Path]:
    folder.mkdir()
    base, word = f"http://localhost:{_port()}", secrets.token_hex(20)
    command = [str(tool), "start", "--no-browser", "--port", base.rpartition(":")[2], "--username", "a@example.org",
               "--password", word, "--data-dir", str(folder)]  # fmt: skip
    quiet = {"LABEL_STUDIO_BASE_DATA_DIR": str(folder),
             "LATEST_VERSION_CHECK": "false", "COLLECT_ANALYTICS": "false", "SENTRY_DSN": "",
             "LABEL_STUDIO_USER_TOKEN": word, "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true"}  # fmt: skip
    with _served(command, f"{base}/health", folder / "log", **quiet):

        def call(method: str, path: str, **more: Any) -> requests.Response:
            answer = requests.request(
                method, base + path, headers={"Authorization": f"Token {word}"}, timeout=60, **more
            )
            answer.raise_for_status()
            return answer

        config = label_studio_config(SCALES, LEVELS, "je ne peux pas juger", {"language": "Langue & code"})
        project = call("POST", "/api/projects", json={"title": "people", "label_config": config}).json()["id"]
        tasks = json.dumps(label_studio_tasks(items, sheet="sheetfr1", language="fr"))
        call("POST", f"/api/projects/{project}/import",
             files={"file": ("tasks.json", tasks.encode(), "application/json")})  # fmt: skip
        numbers = {
            t["data"]["item"]: t["id"] for t in call("GET", f"/api/tasks?project={project}").json()["tasks"]
        }
        page.goto(f"{base}/user/login")
        page.fill("input[name=email]", "a@example.org")
        page.fill("input[name=password]", word)
        page.keyboard.press("Enter")
        page.wait_for_url("**/*", wait_until="networkidle")
        for number, item in enumerate(items):
            page.goto(f"{base}/projects/{project}/data?task={numbers[item.id]}")
            page.wait_for_selector(".lsf-choices")
            page.wait_for_timeout(2000)
            for index, score in enumerate(clicked(number).values()):
                boxes = page.locator(".lsf-choices").nth(index).locator("input[type=radio]")
                boxes.nth(3 if score == CANNOT_JUDGE else int(score)).click()
            if number == 0:
                page.locator("textarea").first.fill(COMMENT)
            if WORD in item.response.response:
                page.locator(".lsf-label").first.click()
                left, top, right, bottom = page.evaluate(RANGE, WORD)
                page.mouse.move(left + 0.5, (top + bottom) / 2)
                page.mouse.down()
                page.mouse.move((left + right) / 2, (top + bottom) / 2)
                page.mouse.move(right - 0.5, (top + bottom) / 2)
                page.mouse.up()
                page.wait_for_timeout(500)
            page.locator("button:has-text('Submit')").first.click()
            page.wait_for_timeout(2500)
        for form, name in {"JSON": "label-studio.json", "JSON_MIN": "label-studio-min.json",
                           "CSV": "label-studio.csv", "TSV": "label-studio.tsv"}.items():  # fmt: skip
            path = folder / name
            path.write_bytes(call("GET", f"/api/projects/{project}/export?exportType={form}").content)
            yield path


def _pearmut(tool: Path, items: Sequence[Item], page: Page, folder: Path) -> Iterator[Path]:
    for part in ("progress", "campaigns", "annotations", "outputs", "backup", "assets"):
        (folder / "data" / part).mkdir(parents=True)
    campaign = pearmut_campaign(
        [("sheetfr1", items)], language="fr", scales=SCALES, instructions="Rate <all>"
    )
    (folder / "fr.json").write_text(json.dumps(campaign))
    place = {"PEARMUT_ROOT": str(folder)}
    subprocess.run(
        [tool, "add", folder / "fr.json"], env={**os.environ, **place}, check=True, capture_output=True
    )
    (user,) = json.loads((folder / "data/progress/people-fr.json").read_text()).values()
    base = f"http://localhost:{_port()}"
    with _served([str(tool), "run", "--port", base.rpartition(":")[2]], base, folder / "log", **place):
        page.goto(f"{base}/{user['url']}")
        for number, item in enumerate(items):
            page.wait_for_selector(f".output_src:has-text('i>{number + 1}')")
            if WORD in item.response.response:
                places = page.evaluate(
                    "[...document.querySelectorAll('.tgt_char')].map(it => it.textContent)"
                )
                first = next(at for at in range(len(places)) if "".join(places[at : at + 5]) == WORD)
                page.locator(".tgt_char").nth(first).click()
                page.locator(".tgt_char").nth(first + 4).click()
                box = page.locator(".span_toolbox_parent").last
                box.locator(".error_minor").first.click()
                box.locator("select").first.select_option("fluency")
            for name, score in clicked(number).items():
                slider = page.locator(f"input[data-slider='{name}']")
                slider.evaluate(
                    "(it, value) => { it.value = value; for (const name of ['input', 'change'])"
                    " it.dispatchEvent(new Event(name, {bubbles: true})) }",
                    str(-1 if score == CANNOT_JUDGE else score),
                )
            if number == 0:
                page.locator("textarea.output_textfield").fill(COMMENT)
            page.wait_for_timeout(700)
            page.locator("#button_next").click()
        page.wait_for_timeout(1500)
        log = folder / "data/annotations/people-fr.jsonl"
        download = folder / "pearmut.json"
        download.write_bytes(
            requests.get(f"{base}/download-annotations?campaign_id=people-fr", timeout=60).content
        )
        shutil.copyfile(log, folder / "pearmut.jsonl")
        yield download
        yield folder / "pearmut.jsonl"


if __name__ == "__main__":
    main()
