"""Our chat templates as Jinja, the form in which ``transformers`` and servers of models read them.

The Jinja does what ``tokenizer.ChatTokenizer`` does: it trims contents, and a literal special token in a content
stays text. For the latter, it puts ``JOINER`` into such a literal, so that the tokenizer does not find the special
token there; an exported tokenizer removes the joiner again before it encodes (see ``exported_tokenizer``).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from xltjax.data.templates import TEMPLATES, Template

JINJA_FILE = "chat_template.jinja"
JOINER = "\ufdd0"  # a noncharacter, which Unicode keeps out of texts that are exchanged

_HEAD = re.compile(r"\{#- xltjax template ([\w-]+), sha256 ([0-9a-f]{16}) -#\}\n")


def chat_jinja(template: str, special: Sequence[str], own: str, *, joined: bool) -> str:
    """A chat template as Jinja, with a first line that names it, by which ``exported_template`` knows it.

    Args:
        template: a name in ``templates.TEMPLATES``.
        special: the special tokens of the tokenizer.
        own: the tokenizer's own Jinja, for the template ``tokenizer``.
        joined: whether the tokenizer removes ``JOINER``. If not, a content with a literal special token is refused.
    """
    form = TEMPLATES[template]
    body = _prelude(special, joined, strict=form is not None) + (own if form is None else _exchanges(form))
    return f"{{#- xltjax template {template}, sha256 {_digest(body)} -#}}\n{body}"


def exported_template(directory: Path) -> str | None:
    """The name of the template whose Jinja we have written into ``directory``.

    None without such a file, and for one that was changed since.
    """
    file = directory / JINJA_FILE
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return None
    head = _HEAD.match(text)
    if head is None or _digest(text[head.end() :]) != head[2] or head[1] not in TEMPLATES:
        return None
    return head[1]


def _digest(body: str) -> str:
    return hashlib.sha256(body.encode()).hexdigest()[:16]


def _prelude(special: Sequence[str], joined: bool, *, strict: bool) -> str:
    """Jinja that trims the contents of ``messages`` and keeps special tokens in them from being special.

    Args:
        special: the special tokens.
        joined: see ``chat_jinja``.
        strict: whether a content that is not a text is refused, and not left to what follows.
    """
    whole = [token for token in special if len(token) > 1] if joined else []
    refused = [token for token in special if token not in whole] + ([JOINER] if joined else [])
    lines = [
        "{%- set ns = namespace(messages=[], content='', system='') -%}",
        "{%- for message in messages -%}",
        "{%- if message['content'] is string -%}",
        "{%- set ns.content = message['content'] | trim -%}",
        f"{{%- for token in {_list(refused)} -%}}",
        "{%- if token in ns.content -%}",
        "{{- raise_exception('a message may not contain ' ~ (token | string)) -}}",
        "{%- endif -%}",
        "{%- endfor -%}",
        f"{{%- for token in {_list(whole)} -%}}",
        f"{{%- set ns.content = ns.content | replace(token, token[0] ~ {_text(JOINER)} ~ token[1:]) -%}}",
        "{%- endfor -%}",
        "{%- set ns.messages = ns.messages + [dict(message, content=ns.content)] -%}",
        "{%- else -%}",
        "{{- raise_exception('the content of a message must be a text') -}}" if strict
        else "{%- set ns.messages = ns.messages + [message] -%}",
        "{%- endif -%}",
        "{%- endfor -%}",
        "{%- set messages = ns.messages -%}",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def _exchanges(form: Template) -> str:
    """Jinja that writes ``messages`` as ``Template.render`` does, and refuses what it cannot write."""
    lines = [
        f"{{{{- {_expression(form.start)} -}}}}" if form.start else "",
        "{%- for message in messages -%}",
        "{%- if message['role'] == 'system' -%}",
        "{%- if loop.last or loop.nextitem['role'] != 'user' -%}",
        "{{- raise_exception('a system message must be followed by a user message') -}}",
        "{%- endif -%}",
        f"{{%- set ns.system = {_expression(form.system)} -%}}",
        "{%- elif message['role'] == 'user' -%}",
        f"{{{{- {_expression(form.user)} -}}}}",
        "{%- set ns.system = '' -%}",
        "{%- elif message['role'] == 'assistant' -%}",
        f"{{{{- {_expression(form.assistant)} -}}}}",
        "{%- else -%}",
        "{{- raise_exception('the roles of messages are system, user and assistant, not ' ~ message['role']) -}}",
        "{%- endif -%}",
        "{%- endfor -%}",
    ]
    return "\n".join(filter(None, lines)) + "\n"


def _expression(pattern: str) -> str:
    """A part of a ``Template`` as an expression of Jinja."""
    values = {
        "{}": "message['content']",
        "{system}": "ns.system",
        "{bos}": "(bos_token or '')",
        "{eos}": "(eos_token or '')",
    }
    parts = filter(None, re.split(r"(\{\w*\})", pattern))
    return " ~ ".join(values[part] if part in values else _text(part) for part in parts)


def _list(tokens: Sequence[str]) -> str:
    return f"[{', '.join(map(_text, tokens))}]"


def _text(text: str) -> str:
    """A literal of Jinja. Its lexer finds the tags first, so that braces must not stand in it as they are."""
    return (
        json.dumps(text, ensure_ascii=False)
        .replace("{", "\\x7b")
        .replace("}", "\\x7d")
        .replace(JOINER, "\\ufdd0")
    )
