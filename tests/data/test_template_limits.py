"""What a chat template must not do in silence: ids that the model lacks, other dates, turns and tools left out."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import transformers
from transformers import AutoTokenizer
from transformers.utils import chat_template_utils

from xltjax.common.errors import UserError
from xltjax.converters.conversions.settings import ToHfConfig
from xltjax.converters.conversions.work import to_hf
from xltjax.data import templates
from xltjax.data.conversations import Message
from xltjax.data.corpora import load_corpora
from xltjax.data.reading.report import RowReport
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.generate import GenerateConfig, answering
from xltjax.train import fitting
from xltjax.training.config import TrainConfig
from xltjax.training.run import Run

EXCHANGE = (Message("user", "q"), Message("assistant", "a"))
TOOL_CHAT = (*EXCHANGE, Message("tool", "4"), Message("assistant", "It is 4."))
TOOLS = [{"type": "function", "function": {"name": "add", "description": "Adds.", "parameters": {}}}]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
DATED = "{{ 'Today is ' + strftime_now('%d %b %Y') + '.\n' }}" + CHATML
WITH_TOOLS = "{% if tools %}{{ 'Tools: ' + tools | tojson + '\n' }}{% endif %}" + CHATML


@pytest.fixture
def model(chat_model: Path, tmp_path: Path) -> Callable[..., Path]:
    """``model(template, tokens)``: the tiny model of 700 pieces with this template and more special tokens."""

    def make(template: str, tokens: tuple[str, ...] = ()) -> Path:
        directory = tmp_path / "model"
        shutil.copytree(chat_model, directory)
        loaded = AutoTokenizer.from_pretrained(directory)
        if tokens:
            loaded.add_special_tokens({"additional_special_tokens": list(tokens)})
        loaded.chat_template = template
        loaded.save_pretrained(directory)
        return directory

    return make


def settings(model: Path, data: Path, out: Path, **more: Any) -> TrainConfig:
    small = {
        "sequence_length": 128,
        "tokens_per_batch": 256,
        "accumulation": 1,
        "steps": 1,
        "precision": "float32",
    }
    return TrainConfig(model=str(model), data=(str(data),), out=str(out), **{**small, **more})


def write(path: Path, *rows: Any) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


ROW = {"instruction": "q", "response": "a"}


# The vocabulary


def test_a_template_with_ids_beyond_the_vocabulary_is_refused_before_the_model_is_loaded(
    model: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = model(CHATML, ("<|im_start|>", "<|im_end|>"))  # 700 and 701, as 32000 and 32001 for LLaMA-2
    for command in (fitting, answering):
        monkeypatch.setattr(command, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    data, prompts = write(tmp_path / "d.jsonl", ROW), write(tmp_path / "p.jsonl", {"instruction": "q"})
    expected = (
        rf"the tokenizer of {directory} gives the token ids 700 \('<\|im_start\|>'\), 701 \('<\|im_end\|>'\) with "
        r"the chat template 'chatml', .* only the ids 0 to 699 \(vocab_size 700\)"
    )
    with pytest.raises(UserError, match=expected):
        fitting.fit(settings(directory, data, tmp_path / "run", template="chatml"))
    asked = GenerateConfig(
        model=str(directory),
        prompts=str(prompts),
        out=str(tmp_path / "o.jsonl"),
        languages=("en",),
        template="chatml",
    )
    with pytest.raises(UserError, match=expected):
        answering.generate(asked)
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "o.jsonl").exists()


def test_ids_of_the_data_beyond_the_vocabulary_are_refused(tokenizer_directory: Path, tmp_path: Path) -> None:
    shutil.copytree(tokenizer_directory, tmp_path / "t")
    longer = AutoTokenizer.from_pretrained(tmp_path / "t")
    longer.add_tokens(["zebra"])  # not special: a text may contain it
    longer.save_pretrained(tmp_path / "t")
    fitting = ChatTokenizer(tmp_path / "t", vocab_size=700)
    assert len(fitting.examples([EXCHANGE])) == 1
    for use in (fitting.examples, fitting.prompts):
        with pytest.raises(UserError, match=r"gives the token ids 700 \('▁zebra'\) .*vocab_size 700"):
            use([EXCHANGE, (Message("user", "a zebra"), Message("assistant", "a"))])
    assert ChatTokenizer(tmp_path / "t", vocab_size=701).prompts([[Message("user", "a zebra")]])


# The date


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets the date of today, for xltjax and transformers."""

    def turn_to(day: str) -> None:
        class Day(date):
            @classmethod
            def today(cls) -> date:
                return date.fromisoformat(day)

        class Now(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> datetime:
                return datetime.fromisoformat(day)

        for module in (fitting, answering, templates):
            monkeypatch.setattr(module, "date", Day)
        monkeypatch.setattr(chat_template_utils, "datetime", Now)

    return turn_to


def test_a_run_with_a_dated_template_learns_the_same_tokens_on_another_day(
    model: Callable[..., Path], tmp_path: Path, clock: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    directory, data = (
        model(DATED.replace("<|im_start|>", "<s>").replace("<|im_end|>", "</s>")),
        tmp_path / "d.jsonl",
    )
    write(data, ROW)
    learned = []
    read_examples = fitting.read_examples
    monkeypatch.setattr(fitting, "read_examples", lambda *a: learned.append(read_examples(*a)) or learned[-1])
    config = settings(directory, data, tmp_path / "run", template="tokenizer")
    clock("2024-07-26")
    fitting.fit(config)
    assert Run(tmp_path / "run").config.template_date == "2024-07-26"
    clock("2025-01-01")
    fitting.fit(dataclasses.replace(config, steps=2))
    first, second = (each.learned[0].examples[0].ids for each in learned)
    np.testing.assert_array_equal(first, second)
    reference = AutoTokenizer.from_pretrained(directory)
    expected = "Today is 26 Jul 2024.\n" + reference.apply_chat_template(
        [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}], tokenize=False
    ).split("\n", 1)[1].removesuffix("\n")
    assert reference(expected, add_special_tokens=False)["input_ids"] == first.tolist()
    # And so does its export, in transformers.
    to_hf(ToHfConfig(src=str(tmp_path / "run"), dst=str(tmp_path / "hf")))
    exported = AutoTokenizer.from_pretrained(tmp_path / "hf")
    assert exported.apply_chat_template([{"role": "user", "content": "q"}], tokenize=False).startswith(
        "Today is 26 Jul 2024.\n"
    )
    with pytest.raises(UserError, match=r"template_date \(was '2024-07-26', now '2025-01-01'\)"):
        fitting.fit(dataclasses.replace(config, template_date="2025-01-01"))
    # Generation from the run asks with the date of the run.
    prompts = write(tmp_path / "p.jsonl", {"instruction": "q"})
    asked = GenerateConfig(model=str(tmp_path / "run"), prompts=str(prompts), out=str(tmp_path / "o.jsonl"))
    assert [each.date for each in answering._answerers(asked, tmp_path / "run")] == ["2024-07-26"]
    base = dataclasses.replace(asked, model=str(directory), template="tokenizer")
    assert [each.date for each in answering._answerers(base, directory)] == ["2025-01-01"]
    # A file that was begun earlier keeps its date.
    assert [each.date for each in answering._answerers(base, directory, "2024-12-31")] == ["2024-12-31"]


@pytest.mark.parametrize(
    "form",
    ["%d %b %Y", "%Y-%m-%d", "%B %-d, %Y", "%A %d/%m/%y", "%%d %H:%M:%S", "100%", "%x %X %j", "d %p Y"],
)
def test_the_date_of_a_template_is_written_as_transformers_does(
    form: str, tokenizer_directory: Path, clock: Callable[[str], None]
) -> None:
    clock("2024-07-06")
    jinja = (
        "{%- if strftime_now is defined -%}{%- set day = strftime_now('"
        + form
        + "') -%}{%- endif -%}{{ day }}|"
    )
    reference = AutoTokenizer.from_pretrained(tokenizer_directory)
    options = {"chat_template": jinja, "tokenize": False}
    expected = reference.apply_chat_template([{"role": "user", "content": "q"}], **options)
    clock("2031-12-25")
    options["chat_template"] = templates.with_date(jinja, date(2024, 7, 6))
    assert reference.apply_chat_template([{"role": "user", "content": "q"}], **options) == expected


def test_a_date_is_a_date() -> None:
    for config in (TrainConfig, GenerateConfig):
        with pytest.raises(
            UserError, match="template_date must be a date such as 2024-07-26, not 'tomorrow'"
        ):
            config(template_date="tomorrow")


# Turns and tools


@pytest.fixture
def with_tools(tokenizer_directory: Path, tmp_path: Path) -> Callable[[str], ChatTokenizer]:
    def make(template: str) -> ChatTokenizer:
        directory = tmp_path / f"tokenizer{len(list(tmp_path.iterdir()))}"
        shutil.copytree(tokenizer_directory, directory)
        loaded = AutoTokenizer.from_pretrained(directory)
        loaded.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
        loaded.chat_template = template
        loaded.save_pretrained(directory)
        return ChatTokenizer(directory, "tokenizer")

    return make


def reference_tokens(chat: ChatTokenizer, conversation: tuple[Message, ...], **options: Any) -> list[int]:
    rendered = chat.hf.apply_chat_template(
        [{"role": m.role, "content": m.content} for m in conversation], tokenize=False, **options
    )
    return chat.hf(rendered.removesuffix("\n"), add_special_tokens=False)["input_ids"]


def test_tools_and_their_turns_are_what_transformers_writes(
    with_tools: Callable[[str], ChatTokenizer], tmp_path: Path
) -> None:
    chat = with_tools(WITH_TOOLS)
    rows = {"messages": [{"role": m.role, "content": m.content} for m in TOOL_CHAT]}
    data = write(tmp_path / "d.jsonl", rows, {**rows, "tools": TOOLS}, {**rows, "tools": json.dumps(TOOLS)})
    (corpus,), _ = load_corpora([str(data)], (), chat, 1000)
    plain, *called = corpus.examples
    assert plain.ids.tolist() == reference_tokens(chat, TOOL_CHAT)
    for example in called:
        assert example.ids.tolist() == reference_tokens(chat, TOOL_CHAT, tools=TOOLS)
        assert example.loss_mask.sum() == plain.loss_mask.sum()
    learned = chat.hf.decode([i for i, on in zip(plain.ids, plain.loss_mask, strict=True) if on])
    assert learned.split("<|im_end|>") == ["a", "It is 4.", ""]


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages if m.role != 'tool' %}" + CHATML.split("%}", 1)[1], "does not write the tool turn 3"),
        ("{% for m in messages %}{% if m.role == 'tool' %}{{ raise_exception('no tools') }}{% endif %}"
         + CHATML.split("%}", 1)[1], "cannot write user, assistant, tool: no tools"),
    ],
)  # fmt: skip
def test_a_turn_that_the_template_cannot_write_is_a_bad_row(
    template: str, reason: str, with_tools: Callable[[str], ChatTokenizer], tmp_path: Path
) -> None:
    chat = with_tools(template)
    row = {"messages": [{"role": m.role, "content": m.content} for m in TOOL_CHAT]}
    data = write(tmp_path / "d.jsonl", row, ROW)
    with pytest.raises(UserError, match=rf"d.jsonl, line 1: .*{reason}"):
        load_corpora([str(data)], (), chat, 1000)
    report = RowReport("skip")
    (corpus,), _ = load_corpora([str(data)], (), chat, 1000, report=report)
    assert (len(corpus.examples), len(report.skipped)) == (1, 1)


def test_a_system_prompt_that_the_template_drops_is_a_bad_row(
    with_tools: Callable[[str], ChatTokenizer],
) -> None:
    chat = with_tools("{% for m in messages if m.role != 'system' %}" + CHATML.split("%}", 1)[1])
    chat.check(EXCHANGE)
    with pytest.raises(UserError, match="does not write the system turn 1"):
        chat.check((Message("system", "s"), *EXCHANGE))


def test_a_special_token_in_the_description_of_a_tool_is_refused(
    with_tools: Callable[[str], ChatTokenizer],
) -> None:
    chat = with_tools(WITH_TOOLS)
    with pytest.raises(
        UserError, match=r"the description of a tool contains the special token '<\|im_end\|>'"
    ):
        chat.check((Message("tools", json.dumps([{"name": "<|im_end|>"}])), *EXCHANGE))


# The notice of a template of the tokenizer


def test_a_template_of_the_tokenizer_that_is_not_used_is_noticed_once(
    model: Callable[..., Path], messages: Callable[[], list[str]]
) -> None:
    directory = model("{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}"
                      "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}")  # fmt: skip
    for template in ("tokenizer", "plain", "llama-2", "llama-2"):
        ChatTokenizer(directory, template)
    assert messages() == [
        f"notice: the tokenizer of {directory} has a chat template of its own, and llama-2 is used; "
        "--template tokenizer uses its own"
    ]


def test_the_same_template_and_one_that_cannot_be_used_are_not_noticed(
    model: Callable[..., Path], messages: Callable[[], list[str]]
) -> None:
    same = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
    )
    directory = model(same)
    ChatTokenizer(directory)
    loaded = transformers.AutoTokenizer.from_pretrained(directory)
    loaded.chat_template = "{{ messages[0].content }}"
    loaded.save_pretrained(directory.rename(directory.with_name("other")))
    ChatTokenizer(directory.with_name("other"))
    assert messages() == []


# One row as tokens


def show(capsys: pytest.CaptureFixture[str], config: TrainConfig) -> list[str]:
    fitting.run(config)
    return capsys.readouterr().out.splitlines()


def test_an_example_is_shown_as_its_tokens_with_what_is_learned(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fitting, "load_model", lambda *_, **__: pytest.fail("the model was loaded"))
    chat = {
        "messages": [
            {"role": "user", "content": "Où ?"}, {"role": "assistant", "content": "no", "weight": 0},
            {"role": "user", "content": "r"}, {"role": "assistant", "content": "Au nord."},
        ]
    }  # fmt: skip
    data = write(tmp_path / "d.jsonl", ROW, chat)
    head, *lines = show(capsys, settings(chat_model, data, tmp_path / "run", show_example=2))
    (example,) = load_corpora([str(data)], (), ChatTokenizer(chat_model), 129)[0][0].examples[1:]
    assert head.startswith(
        f"{data}, line 2: {len(example.ids)} tokens, {example.loss_mask.sum()} of them learned"
    )
    assert head.endswith("end token 2 '</s>'")
    fields = [re.fullmatch(r" *(\d+) +(\d+)  (learned|-) +('.*'|\".*\")(  <- .*)?", line) for line in lines]
    assert [int(field[2]) for field in fields if field] == example.ids.tolist()
    assert [field[3] == "learned" for field in fields if field] == example.loss_mask.tolist()
    begin, end = np.flatnonzero(example.loss_mask)[[0, -1]]
    assert [index for index, field in enumerate(fields) if field and field[5]] == [begin, end]
    assert lines[begin].endswith("<- answer begins")
    assert lines[end].endswith("'</s>'  <- answer ends")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("number", "more", "reason"),
    [
        (2, {}, "line 2 is not learned: response: expected text, found null"),
        (3, {}, "line 3 is not learned: an empty answer"),
        (5, {}, "--show-example 5: the data has only 4 rows"),
        (4, {}, "line 4 is not learned: it has .* tokens, more than 40; see --overlong"),
        (
            4,
            {"overlong": "truncate"},
            "line 4: the answer that begins at token .* no end token is learned .*cut off",
        ),
        (
            4,
            {"overlong": "truncate", "max_length": 5},
            "line 4: nothing is learned, .* cut off after 5 tokens",
        ),
    ],
)
def test_a_row_that_does_not_teach_to_stop_fails(
    number: int, more: dict[str, Any], reason: str, chat_model: Path, tmp_path: Path
) -> None:
    rows = [ROW, {**ROW, "response": None}, {**ROW, "response": " "}, {**ROW, "response": "7" * 60}]
    data = write(tmp_path / "d.jsonl", *rows)
    config = settings(chat_model, data, tmp_path / "run", show_example=number, **{"max_length": 40, **more})
    with pytest.raises(UserError, match=reason) as raised:
        fitting.run(config)
    assert len(str(raised.value).splitlines()) == 1


def test_what_a_run_skips_is_listed_in_its_directory(chat_model: Path, tmp_path: Path) -> None:
    data = write(tmp_path / "d.jsonl", ROW, {**ROW, "response": None}, {**ROW, "response": "7" * 400})
    config = settings(chat_model, data, tmp_path / "run")
    with pytest.raises(UserError, match=r"d.jsonl, line 2: response: expected text, found null"):
        fitting.fit(config)
    assert not (tmp_path / "run").exists()
    fitting.fit(dataclasses.replace(config, bad_rows="skip"))
    listed = [json.loads(line) for line in (tmp_path / "run" / "skipped.jsonl").read_text().splitlines()]
    assert [row["row"] for row in listed] == [f"{data}, line 2", f"{data}, line 3"]
    assert listed[0]["reason"] == "response: expected text, found null"
    assert re.fullmatch(r"\d+ tokens, more than 129", listed[1]["reason"])
