"""Which fenced text is prose: a model that puts its whole answer into a fence has still answered in a language."""

from __future__ import annotations

import functools
import html
import json

import regex

from xltjax.eval.text.scripts import length, unspaced

# The first word of a fence's info string, in lower case. Text of other kinds is read if it is mostly words.
MARKDOWN = frozenset(("markdown", "md", "mdx", "gfm", "rmarkdown"))
_KINDS = {
    "text": "text txt plain plaintext text/plain text/markdown",
    "html": "html htm xhtml xml text/html svg",
    "json": "json jsonc json5 jsonl ndjson",
    "code": (
        "abap actionscript ada apache applescript arduino asm assembly awk bash basic bat batch "
        "bibtex c c# c++ cc clojure cmake cmd cobol coffeescript console cpp crystal cs csharp "
        "csh css cuda cxx cypher d dart delphi diff django docker dockerfile dos elixir elm "
        "env erb erlang excel f# fish fortran fsharp gcode gdscript git gitignore glsl go golang "
        "gradle graphql groovy h hack haml handlebars haskell hcl hlsl hpp http ini ipython java "
        "javascript jinja jinja2 js jsx julia kotlin latex less lisp lua make makefile math "
        "mathematica matlab mermaid mips mysql nasm nginx nim nix objc objective-c objectivec "
        "ocaml octave pascal patch perl pgsql php plantuml plpgsql postgres postgresql powershell "
        "prolog properties protobuf ps1 pseudocode py py3 pycon python python2 python3 r raku rb "
        "regex regexp rs ruby rust sas scala scheme scss sed sh shell smalltalk sol solidity "
        "spark sparql sql sqlite stata swift systemd tcl terminal terraform tex toml ts tsql tsx "
        "twig typescript v vb vba vbnet verilog vhdl vim vue wasm xaml xquery xsl xslt yaml yml "
        "zig zsh"
    ),
}
_KIND = {name: kind for kind, names in _KINDS.items() for name in names.split()} | dict.fromkeys(
    MARKDOWN, "text"
)

LEAST_WORDS = 5
LEAST_SHARE = 0.75  # of the tokens with a letter or a sign of code
LEAST_LETTERS = 20  # in scripts without spaces

_TOKEN = regex.compile(r"[^\s,，、]+")  # the cells of a table in CSV are tokens too
_WORD = regex.compile(
    r"[\p{Ps}\p{Pi}\"'*_#¿¡]*[\p{L}\p{M}]+(?:['’\-‐‑.·/][\p{L}\p{M}]+)*[\p{Pe}\p{Pf}\"'*_.,;:!?…।。、，]*"
)
_NEUTRAL = regex.compile(r"[\p{N}\p{P}\p{Sc}]+")
_SIGNS = regex.compile(r"[{};=<>|\\`$@^~]|\(\)|::|->|//|\+\+|&&")
# Lines that only a program has, also those made of words.
_CODE_LINE = regex.compile(
    r"\s*(?:import [\w.{*]+|from \S+ import "
    r"|(?:def|class|func|fn|function|struct|interface|enum|package|namespace|using|module|require|include) [\w.]+\s*"
    r"[({:;]?\s*$"
    r"|(?:def|function|func|fn) \w+ ?\(|(?:if|for|while|elif|switch|else if) ?\("
    r"|(?:if|for|while|elif|else|try|except|with)\b.*:\s*$|return\b(?! (?:the|to)\b)"
    r"|(?:const|let|var|int|float|double|char|string|bool|void|public|private|static|final) \w+"
    r"|(?:SELECT|INSERT|UPDATE|DELETE|CREATE|ALTER|DROP|FROM|WHERE|JOIN) "
    r"|(?:\$ ?|sudo )?(?:pip3?|npm|npx|yarn|git|cd|ls|mkdir|rm|cp|mv|docker|curl|wget|apt|apt-get|brew|conda|echo"
    r"|chmod|cat|python3?|node|java|cargo|go|make|source|export) [\w./\-]"
    r"|#!|#include|print\b|console\.|@\w+$|<\?)"
)
_JSON_START = regex.compile(r'[\[{]\s*(?:[\[{]\s*)*"')
_JSON_STRING = regex.compile(r'"((?:[^"\\]|\\.)*+)(?:"(\s*:)?|\Z)', regex.DOTALL)
_HTML_BLOCK = regex.compile(
    r"<!--.*?(?:-->|\Z)|<(script|style)\b[^<>]*>.*?(?:</\1\s*>|\Z)", regex.DOTALL | regex.IGNORECASE
)
_HTML_TAG = regex.compile(r"</?[a-zA-Z][^<>]*>|<[!?][^<>]*>")


def fence_name(info: str) -> str:
    """What a fence calls its content, such as ``python``: the first word of its info string; empty without one."""
    return (info.split() or [""])[0].strip("{}.").lower()


def fence_kind(info: str, content: str) -> str:
    """What stands in a fence: ``text`` (Markdown or plain), ``html``, ``json`` or ``code``.

    Args:
        info: what follows the opening fence.
        content: the lines between the fences.
    """
    name = fence_name(info)
    if name in _KIND:
        return _KIND[name]
    stripped = content.lstrip()
    if stripped.startswith("<") and _HTML_TAG.match(stripped) is not None:
        return "html"
    if is_json(stripped):
        return "json"
    return "text" if mostly_words(content) else "code"


@functools.lru_cache(maxsize=64)
def mostly_words(text: str) -> bool:
    """Whether ``text`` is prose rather than a program.

    It is when it has at least five words (or 20 letters in scripts without spaces), three quarters of its tokens are
    words, and fewer than a third of its lines could only stand in a program.
    """
    words = signs = 0
    for token in _TOKEN.findall(text):
        if _WORD.fullmatch(token):
            words += 1
        elif not _NEUTRAL.fullmatch(token) or _SIGNS.search(token):
            signs += 1
    if unspaced(text) and length(text) >= LEAST_LETTERS:
        enough = not _SIGNS.search(text) or 2 * unspaced(text) > len("".join(text.split()))
    else:
        enough = words >= LEAST_WORDS and words >= LEAST_SHARE * (words + signs)
    if not enough:
        return False
    lines = [line for line in text.split("\n") if line.strip()]
    coded = sum(
        _CODE_LINE.match(line) is not None or line.rstrip().endswith(("{", "}", ";")) for line in lines
    )
    return 3 * coded < len(lines)


def is_json(text: str) -> bool:
    """Whether ``text`` is an object or a list of JSON, also one that is cut off at its end."""
    text = text.strip()
    if not text.startswith(("{", "[")):
        return False
    try:
        json.loads(text, strict=False)
    except json.JSONDecodeError as problem:
        cut = problem.msg.startswith("Unterminated string") or problem.pos >= len(text)
        return cut and _JSON_START.match(text) is not None
    except RecursionError:
        return False
    return True


def json_values(content: str) -> str:
    """The strings of JSON that are no keys, one on each line; also of JSON that is cut off or not quite valid."""
    values = []
    for match in _JSON_STRING.finditer(content):
        if match[2] is None:
            try:
                values.append(str(json.loads(f'"{match[1]}"', strict=False)))
            except ValueError:
                values.append(match[1])
    return "\n".join(values)


def html_text(content: str) -> str:
    """The text of a page or a fragment, without tags, comments, scripts and styles."""
    return html.unescape(strip_tags(content))


def strip_tags(text: str) -> str:
    """``text`` with a space for each HTML tag, comment, script and style."""
    return _HTML_TAG.sub(" ", _HTML_BLOCK.sub(" ", text))
