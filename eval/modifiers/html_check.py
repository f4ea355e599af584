"""The check for the modifier "format your answer as an HTML page"."""

from __future__ import annotations

from html.parser import HTMLParser

import regex

from xltjax.eval.modifiers.verdict import Verdict, decided
from xltjax.eval.text.segmentation import Span, is_empty, trim

_VOID = {
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
}  # fmt: skip
# Elements whose end tag is optional in HTML.
_OPTIONAL_END = {
    "li", "dt", "dd", "p", "rt", "rp", "optgroup", "option", "colgroup", "caption", "thead", "tbody", "tfoot",
    "tr", "td", "th", "head",
}  # fmt: skip
# Elements that may stand before the body; any other one, or text behind the title, begins a body without a tag.
_HEAD_ELEMENTS = {
    "html", "head", "title", "base", "link", "meta", "style", "script", "noscript", "template",
}  # fmt: skip
_HIDDEN = {"script", "style", "title", "noscript", "template"}

# With any info string ("html", "html:index.html", "html title=…"), or all in one line.
_FENCE = regex.compile(
    r"(?ms)[ \t]*(```++|~~~++|''')[^\n`~<]*+(?:\n|(?=<))(?P<page>.*?)(?:^[ \t]*\1[`~]*[ \t]*$|\1\Z|\Z)"
)
_INLINE_CODE = regex.compile(r"(?<!`)(`++)[^\n`]+\1(?!`)")
_PROLOG = regex.compile(r"(?s)\A(?:\s|\ufeff|<\?xml[^<>]*\?>|<!--.*?-->)*")
# The lookbehind excludes strings in a program.
_OPENING = regex.compile(r"(?i)(?<![^\s>])(?:<!doctype\s+html[^<>]*>|<html(?=[\s>]))")
_TAG_START = regex.compile(r"<[A-Za-z/!?]")
_CLOSING = regex.compile(r"(?i)</html\s*>")
_ELEMENT = regex.compile(
    r"(?i)</?(?:html|head|title|body|h[1-6]|p|br|hr|div|span|ul|ol|li|dl|dt|dd|table|tr|td|th|a|b|i|u|strong|em|"
    r"img|section|article|header|footer|main|nav|pre|code|blockquote|style|script|meta|link|form|input|button)"
    r"(?:\s[^<>]*)?/?>"
)


def html_page(response: str) -> Verdict:
    """Whether ``response`` is an HTML page.

    Strict: there is nothing but the page, bare or in one code fence. It has ``<html>`` or a doctype and a body
    that shows some text, and every element is closed, except those whose end tag is optional. As in HTML5, the tag
    ``<body>`` may be left out behind a ``<title>``. Loose: such a page may stand among other text and leave
    elements open, as a truncated answer does, and a page with a doctype needs no title.

    The detail's ``grade`` is ``page``, ``fragment`` (HTML elements, no page) or ``none``.
    """
    start, stop = _unfenced(response)
    page = _PROLOG.sub("", response[start:stop], count=1)
    if _OPENING.match(page) and _parse(page).complete:
        return decided(True, True, (start, stop), grade="page", problem=None)
    # Tags that are quoted in prose, such as `<html>`, only talk about a page.
    prose = _INLINE_CODE.sub(lambda code: " " * len(code.group()), response)
    span, problem = _page_inside(prose)
    if span is not None:
        return decided(False, True, span, grade="page", problem=problem)
    element = _ELEMENT.search(prose)
    if element is not None:
        return decided(False, False, element.span(), grade="fragment", problem=problem)
    return decided(False, False, grade="none", problem="no HTML")


def _unfenced(response: str) -> Span:
    """The span of the response without surrounding spaces, or of what stands inside its only fence."""
    start = len(response) - len(response.lstrip())
    stop = max(start, len(response.rstrip()))
    fence = _FENCE.match(response, start, stop)
    if fence is not None and fence.end() == stop:
        return trim(response, fence.span("page"))
    code = _INLINE_CODE.match(response, start, stop)
    if code is not None and code.end() == stop:
        marks = len(code[1])
        return trim(response, (start + marks, stop - marks))
    return start, stop


def _page_inside(text: str) -> tuple[Span | None, str]:
    """The span of the page within other text and what is wrong with it, or None and why there is no page."""
    opening = _OPENING.search(text)
    if opening is None:
        return None, "neither <html> nor doctype"
    closings = [closing.end() for closing in _CLOSING.finditer(text, opening.end())]
    stop = closings[-1] if closings else len(text.rstrip())
    page = _parse(text[opening.start() : stop])
    if page.strays:
        return None, "text before the body"
    if not page.in_body:
        return None, "no body"
    if not page.shows_text:
        return None, "the body shows nothing"
    return (opening.start(), stop), page.problem or "text around the page"


class _Page(HTMLParser):
    """A parser that keeps track of the open elements of a page."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.in_body = False  # whether <body> has come, or what shows that its tag is left out
        self.has_doctype = False
        self.has_title = False
        self.ended = False
        self.strays = False
        self.shows_text = False
        self.problem: str | None = None

    def handle_decl(self, decl: str) -> None:
        self.has_doctype |= decl.lower().startswith("doctype")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        # A second start of the body: what stood before it was a stray.
        self.strays |= tag == "body" and self.in_body
        self.has_title |= tag == "title"
        if tag == "body" or (tag not in _HEAD_ELEMENTS and (self.has_title or self.has_doctype)):
            self._begin_body(tag)
        self.shows_text |= tag == "img" and self.in_body
        if tag not in _VOID:
            self.open.append(tag)

    def _begin_body(self, tag: str = "") -> None:
        if not self.in_body and tag != "body" and not self.has_title:
            self.problem = self.problem or "neither <body> nor <title>"
        self.in_body = True

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in _HEAD_ELEMENTS and (self.has_title or self.has_doctype):
            self._begin_body(tag)
        self.shows_text |= tag == "img" and self.in_body

    def handle_endtag(self, tag: str) -> None:
        if tag in _VOID:
            return
        if tag not in self.open:
            self.problem = self.problem or f"</{tag}> closes nothing"
            return
        while (last := self.open.pop()) != tag:
            self._unclosed(last)
        self.ended |= tag in ("html", "body") and "html" not in self.open

    def handle_data(self, data: str) -> None:
        if is_empty(data) or (self.open and self.open[-1] in _HIDDEN):
            return
        if self.ended:
            self.problem = self.problem or "text after the page"
        elif self.in_body or self.has_title:
            self._begin_body()
            self.shows_text = True
        else:
            self.strays = True

    def close(self) -> None:
        super().close()
        for tag in self.open:
            self._unclosed(tag)
        if not self.in_body:
            self.problem = self.problem or "no body"

    def _unclosed(self, tag: str) -> None:
        if tag not in _OPTIONAL_END:
            self.problem = self.problem or f"<{tag}> is not closed"

    @property
    def complete(self) -> bool:
        return self.shows_text and self.problem is None and not self.strays


def _parse(html: str) -> _Page:
    page = _Page()
    # The parser takes quadratic time for a long tail of tags that never close, so the tail is cut off.
    tail = _TAG_START.search(html, html.rfind(">") + 1)
    page.feed(html if tail is None else html[: tail.start()])
    page.close()
    if tail is not None:
        page.problem = page.problem or "ends inside a tag"
    return page
