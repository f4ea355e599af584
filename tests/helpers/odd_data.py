"""Rows and files of data to read, and how a file of them is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.data.conversations import Conversation, Message
from xltjax.data.corpora import load_corpora
from xltjax.data.formats import read_rows
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer

USER, ANSWER = Message("user", "q"), Message("assistant", "a")
ASKED = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]


def turn(role: str, content: Any, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": content, **more}


def write(path: Path, *rows: Any) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def read_conversations(source: str) -> list[Conversation]:
    """The conversations of a source, where the first row that cannot be used is an error."""
    return [row.conversation for row in read_rows(source, RowReport())]


def refusal(path: Path, tokenizer: ChatTokenizer, max_length: int, report: RowReport) -> str:
    """Why the file is refused, in one line that names it; empty when it is read, and has something to learn."""
    try:
        (corpus,), _ = load_corpora([str(path)], (), tokenizer, max_length, report=report)
    except UserError as problem:
        said = str(problem)
    else:
        assert all(example.loss_mask[1:].any() for example in corpus.examples)
        return ""
    assert str(path) in said
    assert len(said.splitlines()) == 1
    return said
