"""The tokenizer that goes with an exported model, whose chat template gives ``transformers`` our prompts."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xltjax.common.files import read_json_object
from xltjax.data.chat_jinja import JINJA_FILE, JOINER, chat_jinja, exported_template
from xltjax.data.conversations import Message
from xltjax.data.model_files import (
    GENERATION_CONFIG,
    TOKENIZER_FILES,
    copy_model_files,
    end_ids,
    write_end_ids,
)
from xltjax.data.tokenizer import ChatTokenizer

log = logging.getLogger("xltjax")

CONFIG = "tokenizer_config.json"
# What the written tokenizer.json says itself, or what would lead transformers to another tokenizer.
DROPPED = (
    "auto_map", "chat_template", "added_tokens_decoder", "tokenizer_file", "legacy", "add_prefix_space",
    "sp_model_kwargs", "special_tokens_map_file", "name_or_path", "processor_class", "split_special_tokens",
    "use_default_system_prompt", "backend", "is_local",
)  # fmt: skip


def write_chat_files(tokenizer: ChatTokenizer, target: Path) -> None:
    """Write into ``target`` what makes others prompt and stop a model as we do.

    These are the tokenizer, its chat template (see ``write_tokenizer``), and ``generation_config.json`` with all ids
    that end an answer.

    Args:
        tokenizer: the tokenizer with its template, loaded from the directory of the model.
        target: the directory of the export, which may hold the model's ``config.json`` already.
    """
    copy_model_files(tokenizer.directory, target, (GENERATION_CONFIG, *TOKENIZER_FILES))
    write_tokenizer(tokenizer, target)
    write_end_ids(target, end_ids(tokenizer), tokenizer)


def write_tokenizer(tokenizer: ChatTokenizer, target: Path) -> None:
    """Give the tokenizer files in ``target`` the chat template of ``tokenizer``.

    ``transformers`` splits a chat at its special tokens only after the contents are in it. So that it finds the
    tokens that we find, ``tokenizer.json`` is rewritten: each text between special tokens is encoded by itself,
    and ``chat_jinja.JOINER`` is removed. Where ``transformers`` would not use that file (as for ``model_type:
    qwen2``), the files stay as they are, and the chat template refuses contents with literal special tokens.

    Args:
        tokenizer: the tokenizer with its template.
        target: a directory that holds the ``config.json`` and the tokenizer of the model.
    """
    written = exported_template(target)
    if written and tokenizer.template in (written, "tokenizer"):
        return  # the target is a copy of what an earlier export has written
    before = {name: (target / name).read_bytes() for name in TOKENIZER_FILES if (target / name).is_file()}
    if hasattr(tokenizer.hf, "backend_tokenizer"):
        _write_joined(tokenizer, target)
        if _same_prompts(tokenizer, target, literal=True):
            return
        for name in TOKENIZER_FILES:
            (target / name).unlink(missing_ok=True)
        for name, data in before.items():
            (target / name).write_bytes(data)
    _write_jinja(tokenizer, target, joined=False)
    if not _same_prompts(tokenizer, target, literal=False):
        log.warning(
            "warning: apply_chat_template of transformers gives other tokens than our template %r does",
            tokenizer.template,
        )


def _write_joined(tokenizer: ChatTokenizer, target: Path) -> None:
    document = json.loads(tokenizer.hf.backend_tokenizer.to_str())
    document["truncation"] = document["padding"] = None
    for token in document["added_tokens"]:
        if token["special"]:
            # Such a token is matched as it is, and takes nothing of the text around it.
            token.update(single_word=False, lstrip=False, rstrip=False, normalized=False)
    for step in _steps(document["pre_tokenizer"]):
        if step.get("prepend_scheme") == "first":
            step["prepend_scheme"] = "always"
    first = {"type": "Replace", "pattern": {"String": JOINER}, "content": ""}
    old = document["normalizer"]
    if first not in (old or {}).get("normalizers", ()):
        document["normalizer"] = {"type": "Sequence", "normalizers": [first, *([old] if old else [])]}
    settings = read_json_object(target / CONFIG) if (target / CONFIG).is_file() else {}
    settings = {key: value for key, value in settings.items() if key not in DROPPED}
    special = {
        key: str(value) for key, value in tokenizer.hf.special_tokens_map.items() if isinstance(value, str)
    }
    settings |= {**_plain(settings), **special, "tokenizer_class": "PreTrainedTokenizerFast"}
    for name in ("special_tokens_map.json", "added_tokens.json"):
        (target / name).unlink(missing_ok=True)
    _write_json(target / "tokenizer.json", document)
    _write_json(target / CONFIG, settings)
    _write_jinja(tokenizer, target, joined=True)


def _write_jinja(tokenizer: ChatTokenizer, target: Path, *, joined: bool) -> None:
    """Write the chat template, and remove those that stand elsewhere."""
    own = tokenizer.own_jinja if tokenizer.template == "tokenizer" else ""
    jinja = chat_jinja(tokenizer.template, _special(tokenizer), own, joined=joined)
    (target / JINJA_FILE).write_text(jinja, encoding="utf-8")
    (target / "chat_template.json").unlink(missing_ok=True)
    if (target / CONFIG).is_file():
        settings = read_json_object(target / CONFIG)
        if settings.pop("chat_template", None) is not None:
            _write_json(target / CONFIG, settings)


def _same_prompts(tokenizer: ChatTokenizer, target: Path, *, literal: bool) -> bool:
    """Whether ``transformers`` finds our tokens for a few conversations with the files in ``target``.

    Args:
        tokenizer: ours.
        target: the directory with the written files.
        literal: whether contents may hold special tokens.
    """
    special = "".join(_special(tokenizer)) if literal else ""
    question, answer = Message("user", f" a{special}\nb \u00e9 "), Message("assistant", f"1 {special} two\n")
    try:
        written = ChatTokenizer(target, "tokenizer").hf
        for chat in ((question,), (Message("user", "x"), answer, question)):
            messages = [{"role": message.role, "content": message.content} for message in chat]
            found = written.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
            if found != tokenizer.prompt(chat):
                return False
    except Exception:  # one of Jinja's, or whatever a tokenizer or its template runs into
        return False
    return True


def _special(tokenizer: ChatTokenizer) -> list[str]:
    """The special tokens, named or not."""
    return [token.content for token in tokenizer.hf.added_tokens_decoder.values() if token.special]


def _steps(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A pre-tokenizer and those that it consists of."""
    if step is not None:
        yield step
        for part in step.get("pretokenizers", ()):
            yield from _steps(part)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The special tokens among the settings as texts, without flags of their own."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict) and "content" in value:
            return value["content"]
        return [plain(each) for each in value] if isinstance(value, list) else value

    return {key: plain(value) for key, value in settings.items()}


def _write_json(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
