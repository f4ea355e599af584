"""What is copied inside a line: code, addresses, tags, formulas, frames of links, pictures, unusable characters."""

from __future__ import annotations

import re

import regex

Span = tuple[int, int]

# Each alternative begins with a character of its own and has a bound, so that unclosed ones cost linear time.
_URL_CHARACTER = r"[^\s()<>\"“”«»„`|\u3000-\u303f\uff00-\uffef]"
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
# A period or a bracket behind an address does not belong to it.
_PATH = (
    rf"(?:{_URL_CHARACTER}|\([^\s()]{{0,200}}\))*"
    rf"(?<![.,;:!?'’…*_~\]}}])"
)
_HOST = rf"[^\s()<>\"“”«»„`|/?#\u3000-\u303f\uff00-\uffef{_UNSPACED}]++"
_TOP_LEVEL = (
    r"com|org|net|edu|gov|mil|int|info|biz|io|ai|dev|app|fr|de|uk|ru|br|pt|eu|jp|cn|ch|nl|pl|ua|ca|au|рф"
)
_PICTURE = (
    r"(?:(?:\p{RI}{2}|[\#*0-9]\uFE0F?\u20E3|[\p{Emoji_Presentation}--\p{RI}]"
    r"|[\p{Extended_Pictographic}--[©®™‼⁉ℹ\u2194-\u21aa]]|\p{Extended_Pictographic}\uFE0F)"
    r"[\uFE0E\uFE0F\p{EMod}\u200D\U000E0020-\U000E007F]*+)++"
)
_ALTERNATIVES = (
    # Inline code: closed by as many backticks as open it. TeX's ``quotes'' are none.
    r"(?<![`\\])(?P<ticks>`{1,9})(?!`)(?:[^']|'(?!')){1,1000}?(?<!`)(?P=ticks)(?!`)",
    # Formulas; "$5 or $6" is money.
    r"(?<!\\)\$\$[^$]{1,2000}\$\$",
    r"(?<![\p{L}\p{N}\\$])\$(?![\s$])(?=[^\s$]{1,500}\$|[^$\n]{0,500}?[\\^_=+<>{|])"
    r"(?:[^$\n\\]|\\.){1,500}(?<!\s)\$(?![\p{N}$])",
    r"\\\((?P<round>(?s:.{1,2000}?))\\\)|\\\[(?P<square>(?s:.{1,2000}?))\\\]",
    r"<(?P<tag>code|kbd|samp|pre|script|style|svg|math)\b[^<>]{0,1000}>(?s:.{0,2000}?)</(?P=tag)>",
    # HTML and XML, also <https://…> and the <|tokens|> of chat templates. "a < b" and "<3" are none.
    r"<(?:!--(?s:.{0,2000}?)-->|/?[A-Za-z][\w:.\-]{0,60}(?:\s[^<>]{0,2000})?/?>|[!?][A-Za-z][^<>]{0,2000}>"
    r"|[A-Za-z][A-Za-z0-9+.\-]{1,30}:[^\s<>]{1,2000}>|[^\s<>@]{1,64}@[^\s<>@]{1,255}>|\|[^\s<>|]{1,60}\|>)",
    r"&(?:[A-Za-z][A-Za-z0-9]{1,30}|\#\d{1,7}|\#[xX][0-9A-Fa-f]{1,6});",
    # Links and images of Markdown: all but the words. Footnotes; definitions of links.
    r"!?\[(?=[^\[\]\n]{1,500}\](?:\(|\[))",
    r"\](?:\((?:[^()\s]|\([^()\s]{0,200}\)){0,2000}(?:\s+(?:\"[^\"\n]{0,300}\"|'[^'\n]{0,300}'))?\s?\)"
    r"|\[[^\[\]\n]{0,100}\])",
    r"\[\^[^\]\s]{1,50}\]:?|^\s*\[[^\[\]\n]{1,100}\]:\s+<?\S*[:/.]\S*",
    # Addresses.
    rf"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.\-]{{1,20}}://{_HOST}(?<![.,;:!?'’…*_~\]}}])(?:[/?\#]{_PATH})?",
    rf"(?<![\w.\-])www\.{_HOST}(?<![.,;:!?'’…*_~\]}}])(?:[/?\#]{_PATH})?",
    r"(?<![\w.+\-])(?:mailto:)?[\w.+\-]{1,64}@[\p{L}\p{N}\-]{1,63}(?:\.[\p{L}\p{N}\-]{1,63}){1,6}",
    rf"(?<![\w.\-@])(?:[\p{{L}}\p{{N}}\-]{{1,63}}\.){{1,5}}(?:{_TOP_LEVEL})(?![\w\-]|\.\w)(?:/{_PATH})?",
    r"\bdoi:\s?10\.\S{1,200}(?<![.,;)])",
    # Paths.
    r"(?<![\w/.<])(?:~|\.{1,2})?(?:/[\w.\-+@]{1,255}){2,64}+/?(?<![.])|(?<![\w\\])[A-Za-z]:\\[^\s<>|\"?*]{1,500}",
    # Names to be filled in by a program.
    r"\{\{[^{}\n]{1,100}\}\}|\{%[^{}\n]{1,100}%\}|\$?\{(?:[A-Za-z_][\w.]{0,60}|\d{0,2})\}"
    r"|(?<![\w%])%(?:\([A-Za-z_]\w{0,60}\)|\d\$)?(?:\.\d)?[dfisu](?!\w)",
    # LaTeX; an escaped line end or tab that was left in the data.
    r"\\(?:begin|end|label|ref|eqref|cite[pt]?|usepackage|documentclass|includegraphics|input|include|bibliography)"
    r"\*?(?:\[[^\[\]\n]{0,200}\])?\{[^{}\n]{0,200}\}",
    r"\\[nrt](?![a-z])|\\[A-Za-z]{1,40}\*?\{?",
    # Keys, hashes and encoded data.
    r"(?<![A-Za-z0-9+/=_\-])[A-Za-z0-9+/=_\-]{48,}+",
    # Pictures, and what an engine could not read or would lose.
    _PICTURE,
    r"[\p{Cc}\p{Cs}\p{Co}\uFDD0-\uFDEF\uFFFE\uFFFF[\p{Cn}--[\u0000-\uFFFF]]--[\t\n\r]]++",
)
_COPIED = regex.compile("|".join(f"(?:{each})" for each in _ALTERNATIVES), regex.V1)
# Without one of these there is nothing to copy; to see that is 20 times faster.
_HINT = re.compile(
    r"[`$\\<&\[\]@{/%\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u20e3\u2100-\u2bff\u3030\u303d\u3297\u3299\ud800-\uf8ff"
    r"\ufdd0-\ufdef\ufffe\uffff\U00010000-\U0010ffff]|www\.|doi:|\w\.\w|[A-Za-z0-9+/=_\-]{48}"
)
_FORMULA_SIGN = regex.compile(r"[\\^_=+<>{|\d]")
_COMMAND = regex.compile(r"\\[A-Za-z]{1,40}\*?\{")
_BRACE = regex.compile(r"\}")


def copied_spans(text: str) -> list[Span]:
    """The spans of ``text`` that are copied, in order; time is linear in its length.

    Args:
        text: a line, or a paragraph with line ends in it.
    """
    if _HINT.search(text) is None:
        return []
    spans = [match.span() for match in _COPIED.finditer(text) if _is_copied(match)]
    if _COMMAND.search(text) is not None:  # \textbf{word}: the brace that closes it belongs to the command
        inside = iter([*spans, (len(text), len(text))])
        current = next(inside)
        braces = []
        for brace in _BRACE.finditer(text):
            while current[1] <= brace.start():
                current = next(inside)
            if brace.start() < current[0]:
                braces.append(brace.span())
        spans = sorted(spans + braces)
    return spans


def _is_copied(match: regex.Match[str]) -> bool:
    r"""Not so where Markdown only escapes brackets, as in "\[Your Name\]"."""
    content = match["round"] or match["square"]
    return content is None or len(content) <= 3 or _FORMULA_SIGN.search(content) is not None
