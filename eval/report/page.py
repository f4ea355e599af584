"""The report as one HTML file that opens by a double click: no server, no network, nothing beside it.

Nothing that a model or a user wrote becomes markup: the template escapes all text, and the answers are compressed
data that the page's script writes as text. A policy in the page forbids every request, and every script and style but
its own.
"""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from xltjax.common.files import atomic_write
from xltjax.eval.report.content import Figure, Report, Table
from xltjax.eval.report.drawings import inline_svg
from xltjax.eval.report.packing import pack
from xltjax.eval.table_files import encodable

_ASSETS = "xltjax.eval.report"
SCRIPTS = ("element.js", "data.js", "address.js", "filters.js", "answer.js", "browser.js")
STYLES = ("base.css", "page.css", "answers.css", "print.css")
_COMMAND = re.compile(r"`([^`\n]+)`")
OPEN_ROWS = 14  # a table with more rows is closed until a reader opens it


def write_page(report: Report, path: Path) -> None:
    """Write the page, completely or not at all.

    Raises:
        UserError: when the file cannot be written.
        ValueError: when a figure is not SVG.
    """
    text = page_html(report)
    with atomic_write(path) as file:
        file.write(text)


def page_html(report: Report) -> str:
    """The whole page.

    Raises:
        ValueError: when a figure is not SVG.
    """
    style = "\n".join(map(asset, STYLES))
    script = "\n".join(map(asset, SCRIPTS))
    environment = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_visible,
    )
    return environment.from_string(asset("page.html.jinja")).render(
        report=report,
        policy=policy(style, script),
        style=Markup(style),
        script=Markup(script),
        answers=pack(report.answers, report.model_colors, report.language_colors) if report.answers else "",
        drawing=_drawing,
        prose=_prose,
        is_long=_is_long,
    )


def policy(style: str, script: str) -> str:
    """The Content-Security-Policy: nothing but this one style and this one script, known by their hashes."""
    return (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def asset(name: str, package: str = _ASSETS) -> str:
    """A file of the folder ``assets`` of a package."""
    return (resources.files(package) / "assets" / name).read_text(encoding="utf-8")


def _visible(value: object) -> object:
    """Text that every file and every browser takes."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return value
    kept = (
        letter for letter in encodable(value) if letter in "\n\t" or letter.isprintable() or ord(letter) > 159
    )
    return "".join(kept)


def _prose(text: str) -> Markup:
    """Plain text in which `commands` stand between backticks."""
    return Markup(_COMMAND.sub(r"<code>\1</code>", str(escape(_visible(text)))))


def _drawing(figure: Figure) -> Markup:
    return Markup(inline_svg(figure.svg, figure.name, figure.description or figure.caption or figure.title))


def _is_long(table: Table) -> bool:
    return len(table.rows) > OPEN_ROWS
