"""The prose of an answer: what remains when code, tags, addresses and formulas are removed.

Text in a fence stays where it is prose (``fences``).
"""

from __future__ import annotations

import functools
import re
import unicodedata

from markdown_it import MarkdownIt
from markdown_it.rules_inline import StateInline

from xltjax.eval.text.fences import fence_kind, html_text, is_json, json_values, strip_tags
from xltjax.eval.text.scripts import unspaced

# Without one of these there is nothing to parse. Prose is then only normalized, which is 15 times faster.
_MARKUP = re.compile(
    r"[`<$\\&@\[{]|~~~|://|www\.|\w\.(?:[a-zà-öø-ÿ]{2}|рф|бел|укр|рус|онлайн|сайт)|(?i:\.(?:com|org|net|edu|gov|io|co)\b)"
)
# Format characters that stand inside words and cannot be seen (soft hyphen, zero-width space, bidirectional
# marks). Joiners, which some scripts need, stay.
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u2069\ufeff]")
_UNUSABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_LINE_END = re.compile("\r\n?|[\u0085\u2028\u2029]")
# A domain of any top level is a name of two characters or more, a period and lower-case letters without a space
# between, so that "т.д." and "z.B." are none; the most common ones may stand in capitals.
_ADDRESS = re.compile(
    r"(?i:[a-z][a-z0-9+.\-]{0,20}://\S+"
    r"|\bwww\.\S+"
    r"|(?<![\w.+\-])[\w.+\-]{1,64}@[\w\-]+(?:\.[\w\-]+)*"
    r"|(?<![\w.\-])(?:[\w\-]{1,63}\.){1,5}(?:com|org|net|edu|gov|io|co)\b(?!\.\w)(?:/\S*)?)"
    r"|(?<![\w.\-])[\w\-]{2,63}\.(?:[\w\-]{1,63}\.){0,4}"
    r"(?:[a-zà-öø-ÿ]{2,24}|рф|бел|укр|рус|онлайн|сайт)(?![\w\-])(?!\.\w)(?::\d+)?(?:/\S*)?"
)
_FORMULA_SIGN = re.compile(r"[\\^_=+<>{|]")
# Letters in another dress: ligatures of typesetting, fullwidth and "𝐛𝐨𝐥𝐝" ones.
_DRESSED = re.compile("[\ufb00-\ufb06\uff21-\uff3a\uff41-\uff5a\U0001d400-\U0001d7ff]+")
_DEEPEST_FENCE = 3  # fences within fences
_LONGEST_FORMULA = 2000  # characters; without a bound, unclosed delimiters would cost quadratic time
_DELIMITERS = (("$$", "$$"), ("\\[", "\\]"), ("\\(", "\\)"), ("$", "$"))
_ENVIRONMENT = re.compile(
    r"\\begin\{((?:equation|align|alignat|flalign|gather|multline|eqnarray|split|cases|array|(?:display)?math"
    r"|[bpvBV]?matrix)\*?)\}"
)
_COMMAND = re.compile(r"\\[A-Za-z]+\*?(?=\{)")  # of LaTeX: \textbf{word}


@functools.lru_cache(maxsize=16)
def prose(text: str) -> str:
    r"""The running text of a Markdown, HTML, JSON or plain answer, one line per line of text.

    It is without fenced and inline code (an unclosed fence reaches to the end, as in CommonMark), HTML tags,
    comments, scripts and styles, web and e-mail addresses, images, formulas in ``$ $``, ``$$ $$``, ``\( \)``,
    ``\[ \]`` and environments of LaTeX, the names of its commands, NUL and other control characters, lone surrogates
    and invisible format characters.
    The words of links, emphasis, lists, tables and HTML elements stay. Of fenced text, Markdown and plain text stay,
    the text of HTML, the values of JSON that are strings, and what is mostly words in a fence without an info
    string or with one that names no language of programming. Indented text stays too, because models
    indent lists more often than code. The result is in Unicode's composed form (NFC), with plain letters for
    ligatures and for fullwidth, bold and italic ones.
    """
    text = _INVISIBLE.sub("", _UNUSABLE.sub(" ", _LINE_END.sub("\n", text)))
    if _MARKUP.search(text):
        if is_json(text):
            text = json_values(text)
        text = strip_tags(_text_of_markdown(text, _DEEPEST_FENCE))
        text = _ADDRESS.sub(" ", _COMMAND.sub(" ", text))
    if not text.isascii():
        text = _DRESSED.sub(lambda run: unicodedata.normalize("NFKC", run.group()), text)
    return unicodedata.normalize("NFC", text)


def _text_of_markdown(text: str, depth: int) -> str:
    lines = []
    for block in _parser().parse(text):
        if block.type == "inline":
            for child in block.children or ():
                if child.type in ("softbreak", "hardbreak"):
                    lines.append("\n")
                elif child.type == "code_inline" and len(child.markup) >= 3:
                    # A fence on one line, as models write it, is inline code for CommonMark.
                    lines.append(_text_of_fence("", child.content, depth))
                elif child.type in ("code_inline", "math", "image"):
                    lines.append(" ")
                else:
                    lines.append(child.content)
            lines.append("\n")
        elif block.type == "fence":
            lines += [_text_of_fence(block.info, block.content, depth), "\n"]
    return "".join(lines)


def _text_of_fence(info: str, content: str, depth: int) -> str:
    kind = fence_kind(info, content)
    if kind == "text" and depth:
        return _text_of_markdown(content, depth - 1)
    if kind in ("html", "json"):
        text = html_text(content) if kind == "html" else json_values(content)
        return text if len(text.split()) > 1 or unspaced(text) else " "  # a single word is a sample of code
    return " "


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
    environment = _ENVIRONMENT.match(source, start)
    pairs = _DELIMITERS if environment is None else ((environment[0], f"\\end{{{environment[1]}}}"),)
    for opening, closing in pairs:
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
