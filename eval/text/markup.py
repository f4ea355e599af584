"""The prose of an answer: what remains when code, tags, addresses and formulas are removed."""

from __future__ import annotations

import functools
import re
import unicodedata

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

# Without one of these there is nothing to parse. Prose is then only normalized, which is 15 times faster.
_MARKUP = re.compile(r"[`<$\\&@\[]|~~~|://|www\.|\.(?:com|org|net|edu|gov|io)\b")
# Format characters that stand inside words and cannot be seen (soft hyphen, zero-width space, bidirectional
# marks). Joiners, which some scripts need, stay.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\u0085\u2028\u2029]")
# html.parser takes time that is quadratic in the length of an unclosed tag (88 s for 100,000 characters), while
# these patterns take linear time. As in HTML, an unclosed comment or script reaches to the end.
_HTML_BLOCK = re.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)", re.DOTALL | re.IGNORECASE
)
_HTML_TAG = re.compile(r"</?[a-zA-Z][^<>]*>|<[!?][^<>]*>")
_ADDRESS = re.compile(
    r"[a-z][a-z0-9+.\-]{0,20}://\S+"
    r"|\bwww\.\S+"
    r"|(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]+(?:\.[\w\-]+)*"
    r"|(?<![\w.\-])(?:[\w\-]{1,63}\.){1,5}(?:com|org|net|edu|gov|io)\b(?:/\S*)?",
    re.IGNORECASE,
)
_FORMULA_SIGN = re.compile(r"[\\^_=+<>{|]")
_LONGEST_FORMULA = 2000  # characters; without a bound, unclosed delimiters would cost quadratic time
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))


@functools.lru_cache(maxsize=16)
def prose(text: str) -> str:
    r"""The running text of a Markdown, HTML or plain answer, one line per line of text.

    It is without fenced and inline code (an unclosed fence reaches to the end, as in CommonMark), HTML tags,
    comments, scripts and styles, web and e-mail addresses, images, formulas in ``$ $``, ``$$ $$``, ``\( \)``
    and ``\[ \]``, NUL and other control characters, lone surrogates and invisible format characters.
    The words of links, emphasis, lists, tables and HTML elements stay. Indented text stays too, because models
    indent lists more often than code. The result is in Unicode's composed form (NFC).
    """
    text = _INVISIBLE.sub("", _UNUSABLE.sub(" ", _LINE_END.sub("\n", text)))
    if _MARKUP.search(text):
        text = _text_of_markdown(text)
        text = _HTML_TAG.sub(" ", _HTML_BLOCK.sub(" ", text))
        text = _ADDRESS.sub(" ", text)
    return unicodedata.normalize("NFC", text)


def _text_of_markdown(text: str) -> str:
    lines = []
    for block in _parser().parse(text):
        if block.type == "inline":
            for child in block.children or ():
                if child.type in ("softbreak", "hardbreak"):
                    lines.append("\n")
                elif child.type in ("code_inline", "math", "image"):
                    lines.append(" ")
                else:
                    lines.append(child.content)
            lines.append("\n")
    return "".join(lines)


@functools.lru_cache(maxsize=1)
def _parser() -> MarkdownIt:
    # The patterns above remove tags, since CommonMark ends a block of HTML at the first blank line, after which
    # the styles of a page would count as words. A line such as "[Anna]: Ja." is speech, not a link's definition.
    parser = MarkdownIt("commonmark", {"html": False}).disable(["code", "reference"])
    parser.inline.ruler.before("escape", "math", _math)
    return parser


def _math(state: StateInline, silent: bool) -> bool:
    """A rule for markdown-it, which makes a formula at ``state.pos`` one token."""
    source, start = state.src, state.pos
    for opening, closing in _DELIMITERS:
        if source.startswith(opening, start):
            inside = start + len(opening)
            end = source.find(closing, inside, inside + _LONGEST_FORMULA)
            if end <= inside or (opening == "$" and not _is_formula(source, inside, end)):
                return False
            if not silent:
                state.push("math", "", 0).content = source[inside:end]
            state.pos = end + len(closing)
            return True
    return False


def _is_formula(source: str, start: int, end: int) -> bool:
    """Whether ``$`` at start - 1 and at end enclose a formula rather than stand for money."""
    content = source[start:end]
    return not (
        source[start - 2 : start - 1].isalnum()  # R$ 50
        or source[end + 1 : end + 2].isdigit()  # $5 or $6
        or content != content.strip()
        or "\n" in content
        or (" " in content and not _FORMULA_SIGN.search(content))
    )
