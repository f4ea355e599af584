"""The conversation on a terminal: its answers are those of ``generate``, and what is shown is never taken back."""

from __future__ import annotations

import io
import itertools
import json
import os
import pty
import re
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
from xltjax.chat.__main__ import COMMAND
from xltjax.chat.dialog import Dialog
from xltjax.chat.settings import ChatConfig
from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.data.conversations import Message
from xltjax.data.tokenizer import ChatTokenizer
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
        execute(COMMAND, flags)
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
    assert (code, err) == (0, "new conversation\nthe system prompt is set\n")

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
            "error: the conversation has .* tokens .* 12 more than the 512 positions .*; /reset starts",
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
    assert ended == code
    assert re.search(said, err)
    assert len(err.splitlines()) <= 1
    assert bool(out) == ("Why " in str(text))  # the short question after the long one is answered


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


@given(st.lists(st.integers(3, 699), max_size=40) | st.text(max_size=12))
def test_what_is_shown_is_how_the_answer_begins_whatever_follows(
    tokenizer: ChatTokenizer, answer: list[int] | str
) -> None:
    ids = tokenizer.hf(answer, add_special_tokens=False)["input_ids"] if isinstance(answer, str) else answer
    whole, shown = tokenizer.decode(ids), ""
    for end in range(len(ids)):
        before, shown = shown, tokenizer.settled(ids[:end])
        assert shown.startswith(before)
    assert whole.startswith(shown)


def test_bytes_of_a_character_are_shown_together_with_byte_level_tokens_too(
    byte_level: ChatTokenizer,
) -> None:
    ids = byte_level.hf("Perché no? 好 😀!", add_special_tokens=False)["input_ids"]
    shown = [byte_level.settled(ids[:end]) for end in range(len(ids) + 1)]
    assert all(later.startswith(earlier) for earlier, later in itertools.pairwise(shown))
    assert not any("\ufffd" in text for text in shown)
    assert shown[-1] == "Perché no? 好 😀!"
    assert len(set(shown)) < len(ids)  # some tokens are parts of characters


@pytest.fixture(scope="module")
def byte_level(tmp_path_factory: pytest.TempPathFactory) -> ChatTokenizer:
    """A tokenizer whose tokens are bytes, as those of LLaMA-3 and Qwen are."""
    import tokenizers
    import transformers

    made = tokenizers.Tokenizer(tokenizers.models.BPE(unk_token=None))
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(special_tokens=["<s>", "</s>"], initial_alphabet=alphabet)
    made.train_from_iterator(["Perché no?"] * 3, trainer)
    directory = tmp_path_factory.mktemp("byte-level")
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, bos_token="<s>", eos_token="</s>"
    ).save_pretrained(directory)
    return ChatTokenizer(directory)


def test_on_a_terminal_ctrl_c_stops_an_answer_and_ctrl_d_leaves(chat_model: Path) -> None:
    ours, theirs = pty.openpty()
    # A terminal that the leader of a new session opens is the one whose Ctrl-C it gets.
    opened = 'exec "$@" <"$0" >"$0" 2>&1'
    process = subprocess.Popen(
        ["sh", "-c", opened, os.ttyname(theirs), sys.executable, "-m", "xltjax.chat", "--model", str(chat_model),
         "--max-new-tokens", "400", "--dtype", "float32", "--repetition-penalty", "1.5"],
        start_new_session=True, env={**os.environ, "JAX_NUM_CPU_DEVICES": "1", "TERM": "dumb"},
    )  # fmt: skip
    seen, place = "", 0

    def until(text: str) -> None:
        nonlocal seen, place
        end = time.monotonic() + 120
        while text not in seen[place:]:
            assert time.monotonic() < end, seen
            if select.select([ours], [], [], 1)[0]:
                seen += os.read(ours, 4096).decode("utf-8", "replace")
        place = seen.index(text, place) + len(text)

    try:
        until("/reset starts a new")
        until("> ")
        for _ in range(20):  # an answer may be whole before Ctrl-C arrives
            os.write(ours, b"Name three things\n")
            until("things\r\n")
            until("e")  # a part of the answer
            os.write(ours, b"\x03")
            until("\r\n> ")
            if "stopped" in seen:
                break
        assert "stopped" in seen
        os.write(ours, b"\x04")
        assert process.wait(timeout=60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)
