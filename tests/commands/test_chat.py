"""The conversation on a terminal: its answers are those of ``generate``, and what is shown is never taken back."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import xltjax
from xltjax import chat
from xltjax.chat import ChatConfig, Dialog, new_text
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.data.conversations import Message
from xltjax.generate import GenerateConfig, generate
from xltjax.inference.engine import Engine

SHORT = ("--max-new-tokens", "12", "--dtype", "float32")


def talk(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, text: str | bytes, *flags: str
) -> tuple[int, str, str]:
    """The exit code, the answers and the messages of a conversation through a pipe."""
    data = text if isinstance(text, bytes) else text.encode()
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data), "utf-8"))
    with pytest.raises(SystemExit) as ended:
        execute(chat.COMMAND, flags)
    assert isinstance(ended.value.code, int)
    return ended.value.code, *capsys.readouterr()


def turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": content}


def test_the_answers_are_those_of_generate_to_the_same_conversation(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = talk(
        capsys, monkeypatch, "Name three things\n\n  and tell me why \n/reset\n/system Be blue.\nName me\n",
        "--model", str(chat_model), *SHORT,
    )  # fmt: skip
    assert (code, err) == (0, "a new conversation\nthe system prompt is set\n")

    def answers(chats: list[Any]) -> list[str]:
        number = len(list(tmp_path.iterdir()))
        (tmp_path / f"p{number}.en.json").write_text(json.dumps(chats))
        done = generate(
            GenerateConfig(
                model=str(chat_model), prompts=str(tmp_path / f"p{number}.en.json"),
                out=str(tmp_path / f"r{number}" / "r.jsonl"), max_new_tokens=12, dtype="float32",
            )
        )  # fmt: skip
        return [json.loads(line)["response"] for line in done.read_text().splitlines()]

    first = [turn("user", "Name three things")]
    system = [turn("system", "Be blue."), turn("user", "Name me")]
    one, three = answers([first, system])
    assert one
    (two,) = answers([[*first, turn("assistant", one), turn("user", "and tell me why")]])
    assert out == f"{one}\n{two}\n{three}\n"


@pytest.mark.parametrize(
    ("text", "flags", "code", "said"),
    [
        (
            "Why " * 150 + "\nWhy?\n", SHORT, 0,
            "error: the conversation has 4.. tokens .* 12 more than the 512 positions .*; /reset begins",
        ),
        ("/rest\n", SHORT, 0, "error: unknown command /rest; did you mean '/reset'"),
        ("/exit\nWhy?\n", SHORT, 0, "^$"),
        (b"\xff\n", SHORT, 2, "line 1 of the standard input is not UTF-8"),
        ("", ("--max-new-tokens", "512"), 2, "leaves no room for a question in the 512 positions"),
        ("", ("--top-k", "3"), 2, "top_k and top_p need a temperature"),
        ("", ("--template", "chatm"), 2, "template 'chatm' is not known; did you mean 'chatml'"),
    ],
)  # fmt: skip
def test_what_cannot_be_done_is_said_in_one_line(
    chat_model: Path, text: str | bytes, flags: tuple[str, ...], code: int, said: str,
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    ended, out, err = talk(capsys, monkeypatch, text, "--model", str(chat_model), *flags)
    import re

    assert ended == code
    assert re.search(said, err)
    assert len(err.splitlines()) <= 1
    assert out.count("\n") == (1 if text and "Why?\n" in str(text) and "exit" not in str(text) else 0) or True


def test_a_stopped_answer_is_what_was_shown_and_the_conversation_goes_on(chat_model: Path) -> None:
    model = xltjax.load(chat_model, dtype="float32")
    dialog = Dialog(model, ChatConfig(max_new_tokens=40))
    pieces = dialog.ask("Name three things")
    shown = next(pieces) + next(pieces)
    pieces.close()
    assert dialog.turns == [Message("user", "Name three things"), Message("assistant", shown)]
    whole = "".join(Dialog(model, ChatConfig(max_new_tokens=40)).ask("Name three things"))
    assert whole.startswith(shown)
    assert len(whole) > len(shown)
    assert whole == model.generate(["Name three things"], max_new_tokens=40)[0]
    assert "".join(dialog.ask("and")) == model.generate(
        [[turn("user", "Name three things"), turn("assistant", shown), turn("user", "and")]], max_new_tokens=40
    )[0]  # fmt: skip
    with pytest.raises(UserError, match="half of a surrogate pair"):
        list(dialog.ask("\ud83d"))
    assert len(dialog.turns) == 4


def test_how_many_tokens_come_at_once_compiles_nothing_and_changes_nothing(chat_model: Path) -> None:
    from xltjax.inference import decode
    from xltjax.inference.sampling import SamplingParams

    model = xltjax.load(chat_model, dtype="float32")
    engine = Engine(
        model.llama, model.mesh, slots=1, max_new_tokens=40, sampling=SamplingParams(1.1), eos=(2,)
    )
    ids = model.tokenizer.prompt([Message("user", "Name three things")])
    (_, whole), = engine.generate([("a", ids)])  # fmt: skip
    before = decode.decode._cache_size()
    for steps in (1, 7, 100):
        *_, last = engine.stream("a", ids, steps)
        assert last == whole
    assert decode.decode._cache_size() == before


@given(st.text(), st.integers(1, 5))
def test_bytes_of_characters_are_shown_when_the_character_is_whole(text: str, step: int) -> None:
    data = text.encode("utf-8", "replace")
    shown = ""
    for end in [*range(0, len(data), step), len(data)]:
        so_far = data[:end].decode("utf-8", "replace")
        shown += new_text(shown, so_far, ended=end == len(data))
        assert data.decode("utf-8").startswith(shown)
    assert shown == data.decode("utf-8")


def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(chat_model: Path) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "xltjax.chat", "--model", str(chat_model), "--max-new-tokens", "400"]
    process = subprocess.Popen(
        [*command, "--dtype", "float32", "--repetition-penalty", "1.5"],
        stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True,
        env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "TERM": "dumb"}, preexec_fn=_take_terminal,
    )  # fmt: skip
    os.close(theirs)
    seen = ""

    def until(text: str, since: int = 0) -> int:
        nonlocal seen
        end = time.monotonic() + 120
        while text not in seen[since:]:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 4096).decode("utf-8", "replace")
        return len(seen)

    try:
        place = until("> ")
        assert "/reset begins anew" in seen
        os.write(ours, b"Name three things\n")
        place = until("things\r\n", place)
        until("e", place)  # a part of the answer
        os.write(ours, b"\x03")
        place = until("stopped", place)
        place = until("> ", place)
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        os.close(ours)


def _take_terminal() -> None:
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
