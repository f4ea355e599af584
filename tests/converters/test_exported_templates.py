"""Exported chat templates: ``transformers`` finds our tokens, ends where we end, and we know our own export again."""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import make_hf_model
from test_converters_command import make_run

from xltjax.common.errors import UserError
from xltjax.converters.conversions.settings import ToFlaxConfig, ToHfConfig, ToPeftConfig
from xltjax.converters.conversions.work import to_flax, to_hf, to_peft
from xltjax.data.chat_jinja import JINJA_FILE, JOINER, exported_template
from xltjax.data.conversations import Message
from xltjax.data.exported_tokenizer import write_tokenizer
from xltjax.data.model_files import end_ids
from xltjax.data.templates import TEMPLATES
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.generate import GenerateConfig, generate
from xltjax.train.fitting import _tell_template
from xltjax.training.config import TrainConfig

OWN = (
    "{% for message in messages %}{% if message['role'] == 'system' %}"
    "{{ bos_token + '<<' + message['content'] + '>>' }}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
PIECES = (
    "Why?", " ", "  two  blanks ", "</s>", "<s>", "<unk>", "<|im_end|>", "<|im_start|>", "<", "/s>", "\n",
    "\n\n", "\t", "{{ bos_token }}", "{% raw %}", "{}", "{system}", "[INST]", "[/INST]", "<<SYS>>", "'\"\\n\\", "été",
    "небо", "🙂", "▁", "### Response:", "\u00a0", "\ufeff", "</s", ">", "a", "I'm", "42", "\U000f0000", "\r\n", "-%}",
)  # fmt: skip


def conversations(seed: int, count: int = 50) -> list[list[Message]]:
    """Chats of up to three questions, with a system prompt or without, that end with a question or an answer."""
    choose = random.Random(seed)

    def text() -> str:
        return "".join(choose.choice(PIECES) for _ in range(choose.randint(0, 7)))

    made = []
    for _ in range(count):
        roles = ["system"] * choose.randint(0, 1) + ["user", "assistant"] * choose.randint(1, 3)
        made.append([Message(role, text()) for role in roles[: len(roles) - choose.randint(0, 1)]])
    return made


def llama_1(directory: Path) -> None:
    """As old conversions of LLaMA have it: special tokens are matched in normalized text, and eat blanks."""
    file = directory / "tokenizer.json"
    document = json.loads(file.read_text())
    for token in document["added_tokens"]:
        token.update(normalized=True, rstrip=token["content"] == "</s>")
    file.write_text(json.dumps(document))


def llama_class(directory: Path) -> None:
    """As transformers 5 loads LLaMA-2: no prefix space after a special token."""
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    settings |= {"tokenizer_class": "LlamaTokenizer", "legacy": False}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))


def byte_level(directory: Path) -> None:
    """As Llama 3 has it."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    special = ["<unk>", "<s>", "</s>", "<|im_start|>", "<|im_end|>"]
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )  # fmt: skip
    tokenizer.train_from_iterator(["Why is it so? user\n assistant\n\n ### Response:\n"] * 5, trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    (directory / "tokenizer.model").unlink()


def qwen2(directory: Path) -> None:
    """A class that builds the tokenizer anew from its vocabulary, whatever ``tokenizer.json`` says."""
    byte_level(directory)
    (directory / "config.json").write_text(json.dumps({"model_type": "qwen2"}))


KINDS = {
    "llama": lambda _: None,
    "llama-1": llama_1,
    "llama-2": llama_class,
    "llama-3": byte_level,
    "qwen2": qwen2,
}


@pytest.fixture
def base(request: pytest.FixtureRequest, tokenizer_directory: Path, tmp_path: Path) -> Path:
    directory = Path(shutil.copytree(tokenizer_directory, tmp_path / "base"))
    file = directory / "tokenizer.json"
    document = json.loads(file.read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"] += [
        {"id": 700 + i, "content": token, **flags} for i, token in enumerate(("<|im_start|>", "<|im_end|>"))
    ]
    file.write_text(json.dumps(document))
    settings = json.loads((directory / "tokenizer_config.json").read_text())
    (directory / "tokenizer_config.json").write_text(json.dumps({**settings, "chat_template": OWN}))
    (directory / "config.json").write_text(json.dumps({"model_type": "llama"}))
    KINDS[request.param](directory)
    return directory


def exported(base: Path, template: str) -> tuple[ChatTokenizer, Path]:
    ours = ChatTokenizer(base, template)
    target = Path(shutil.copytree(base, base.parent / f"exported-{template}"))
    write_tokenizer(ours, target)
    return ours, target


def rows(chat: list[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in chat]


@pytest.mark.parametrize("base", ["llama", "llama-1", "llama-2", "llama-3"], indirect=True)
def test_transformers_writes_exactly_our_prompts(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    from transformers import AutoTokenizer

    for template in TEMPLATES:
        ours, target = exported(base, template)
        theirs = AutoTokenizer.from_pretrained(target)
        for chat in conversations(0):
            found = theirs.apply_chat_template(
                rows(chat), add_generation_prompt=chat[-1].role == "user", return_dict=False
            )
            if chat[-1].role == "user":
                assert found == ours.prompt(chat), (template, chat)
            else:
                learned = ours.examples([chat])[0].ids.tolist()
                assert found[: len(learned)] == learned, (template, chat)
        assert exported_template(target) == template
    # That the base has a template of its own is said of llama-2; nothing else is.
    assert [message for message in caplog.messages if "a chat template of its own" not in message] == []


@pytest.mark.parametrize("base", ["qwen2"], indirect=True)
def test_where_transformers_builds_the_tokenizer_itself_literal_special_tokens_are_refused(
    base: Path,
) -> None:
    from jinja2.exceptions import TemplateError
    from transformers import AutoTokenizer

    ours, target = exported(base, "chatml")
    theirs = AutoTokenizer.from_pretrained(target)
    special = [token.content for token in theirs.added_tokens_decoder.values()]
    refused = 0
    for chat in conversations(1):
        if chat[-1].role != "user":
            continue
        if any(token in message.content for message in chat for token in special):
            with pytest.raises(TemplateError, match="a message may not contain <"):
                theirs.apply_chat_template(rows(chat))
            refused += 1
        else:
            assert theirs.apply_chat_template(rows(chat), return_dict=False) == ours.prompt(chat)
    assert 5 < refused < 45
    assert (target / "tokenizer.json").read_bytes() == (base / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("base", ["llama"], indirect=True)
def test_the_jinja_refuses_what_our_template_cannot_write(base: Path) -> None:
    from jinja2.exceptions import TemplateError
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(exported(base, "alpaca")[1])
    user, system = {"role": "user", "content": "Why?"}, {"role": "system", "content": "Be kind."}
    for messages, reason in (
        ([{"role": "tool", "content": "1"}, user], "system, user and assistant, not tool"),
        ([user, system], "a system message must be followed"),
        ([system, system, user], "a system message must be followed"),
        ([{"role": "user", "content": [{"type": "text", "text": "Why?"}]}], "must be a text"),
        ([{"role": "user", "content": f"a{JOINER}b"}], "may not contain"),
    ):
        with pytest.raises(TemplateError, match=reason):
            theirs.apply_chat_template(messages)


@pytest.mark.parametrize("base", ["llama"], indirect=True)
def test_a_jinja_that_was_changed_is_no_longer_ours(base: Path) -> None:
    _, target = exported(base, "alpaca")
    assert exported_template(target) == "alpaca"
    file = target / JINJA_FILE
    file.write_text(file.read_text().replace("Instruction", "Question"))
    assert exported_template(target) is None
    file.write_bytes(b"\xff")
    assert exported_template(target) is None
    assert exported_template(base) is None


@pytest.mark.parametrize("base", ["llama"], indirect=True)
def test_an_export_of_an_export_changes_nothing(base: Path) -> None:
    _, once = exported(base, "chatml")
    before = {file.name: file.read_bytes() for file in once.iterdir()}
    for template in ("chatml", "tokenizer"):
        write_tokenizer(ChatTokenizer(once, template), once)
        assert {file.name: file.read_bytes() for file in once.iterdir()} == before


@pytest.fixture(scope="module")
def chatml_run(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> Path:
    """A run with the template chatml whose model answers ``Why?`` with six tokens and <|im_end|>."""
    import torch

    root = tmp_path_factory.mktemp("chatml")
    model = make_hf_model("llama-2-7b", root / "base", vocab_size=702)
    shutil.copytree(tokenizer_directory, root / "base", dirs_exist_ok=True)
    file = root / "base" / "tokenizer.json"
    document = json.loads(file.read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"] += [
        {"id": 700 + i, "content": token, **flags} for i, token in enumerate(("<|im_start|>", "<|im_end|>"))
    ]
    file.write_text(json.dumps(document))
    prompt = ChatTokenizer(root / "base", "chatml").prompt([Message("user", "Why?")])
    answer = model.generate(torch.tensor([prompt]), max_new_tokens=12, do_sample=False, eos_token_id=700)
    answer = answer[0, len(prompt) :].tolist()
    last = next(token for index, token in enumerate(answer) if index >= 6 and token not in answer[:index])
    head = model.lm_head.weight.data
    head[[last, 701]] = head[[701, last]]
    model.save_pretrained(root / "base")
    made = make_run(root / "run", root / "base")
    with (made / "config.yaml").open("a") as settings:
        settings.write("template: chatml\n")
    return made


def answers(model: Path, out: Path, **settings: Any) -> list[dict[str, Any]]:
    prompts = out.with_suffix(".en.jsonl")
    prompts.write_text('{"id": "1", "instruction": "Why?"}\n')
    config = GenerateConfig(
        model=str(model), prompts=str(prompts), out=str(out), max_new_tokens=12, dtype="float32",
        repetition_penalty=1.0, **settings,
    )  # fmt: skip
    return [json.loads(line) for line in generate(config).read_text().splitlines()]


def test_transformers_stops_where_we_do_and_our_generate_knows_the_template_of_an_export(
    chatml_run: Path, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    ours = answers(chatml_run, tmp_path / "run.jsonl")[0]
    assert ours["finish_reason"] == "stop"
    assert 6 <= ours["response_tokens"] < 12
    to_hf(ToHfConfig(src=str(chatml_run), dst=str(tmp_path / "hf")))
    assert json.loads((tmp_path / "hf" / "generation_config.json").read_text())["eos_token_id"] == [2, 701]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "Why?"}], add_generation_prompt=True, return_tensors="pt"
    )
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    found = model.generate(**prompt, max_new_tokens=12, do_sample=False)[0, prompt["input_ids"].shape[1] :]
    assert len(found) == ours["response_tokens"] + 1  # with the end
    assert tokenizer.decode(found, skip_special_tokens=True).strip() == ours["response"]
    again = answers(tmp_path / "hf", tmp_path / "hf.jsonl")[0]
    assert [again[key] for key in ("response", "prompt_tokens", "finish_reason")] == [
        ours[key] for key in ("response", "prompt_tokens", "finish_reason")
    ]
    # A copy of a run keeps its template, also on the way through another copy.
    to_flax(ToFlaxConfig(src=str(tmp_path / "hf"), dst=str(tmp_path / "flax")))
    assert answers(tmp_path / "flax", tmp_path / "flax.jsonl")[0]["response"] == ours["response"]


def test_an_adapter_of_a_run_brings_tokenizer_template_and_ends(
    chatml_run: Path, tmp_path: Path, tokenizer_directory: Path
) -> None:
    from transformers import AutoTokenizer

    base = chatml_run.parent / "base"
    lora = make_run(tmp_path / "lora", base, rank=2)
    with (lora / "config.yaml").open("a") as settings:
        settings.write("template: alpaca\n")
    to_peft(ToPeftConfig(src=str(lora), dst=str(tmp_path / "adapter")))
    assert exported_template(tmp_path / "adapter") == "alpaca"
    assert json.loads((tmp_path / "adapter" / "generation_config.json").read_text())["eos_token_id"] == 2
    chat = [Message("user", " Why </s>? ")]
    found = AutoTokenizer.from_pretrained(tmp_path / "adapter").apply_chat_template(
        rows(chat), return_dict=False
    )
    assert found == ChatTokenizer(base, "alpaca").prompt(chat)
    adapter = answers(base, tmp_path / "adapter.jsonl", adapter=(str(tmp_path / "adapter"),))[0]
    assert adapter["response"] == answers(lora, tmp_path / "lora.jsonl")[0]["response"]
    to_hf(ToHfConfig(src=str(base), dst=str(tmp_path / "merged"), adapter=str(tmp_path / "adapter")))
    assert exported_template(tmp_path / "merged") == "alpaca"
    assert adapter["prompt_tokens"] == len(ChatTokenizer(base, "alpaca").prompt([Message("user", "Why?")]))


def test_training_says_when_it_uses_another_template_than_the_model_was_trained_with(
    chatml_run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "xltjax")
    for template in ("chatml", "llama-2"):
        _tell_template(TrainConfig(model=str(chatml_run), template=template), chatml_run)
    assert [record.getMessage() for record in caplog.records] == [
        f"{chatml_run} was trained with the chat template 'chatml'; this run uses 'llama-2' (--template chatml "
        "continues with it)"
    ]


def test_the_ends_of_an_answer_come_from_every_file_that_names_them(chatml_run: Path, tmp_path: Path) -> None:
    directory = Path(shutil.copytree(chatml_run.parent / "base", tmp_path / "model"))
    config, generation = directory / "config.json", directory / "generation_config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "eos_token_id": [5, 6]}))
    generation.unlink()
    assert end_ids(ChatTokenizer(directory, "chatml")) == (2, 5, 6, 701)
    generation.write_text('{"eos_token_id": 7}')
    assert end_ids(ChatTokenizer(directory, "llama-2")) == (2, 5, 6, 7)
    for torn, reason in (
        ("null", "is not a JSON object"), ("[1]", "is not a JSON object"), ('{"eos_token_id": [', "not JSON"),
        ('{"eos_token_id": "</s>"}', "neither a token id nor a list"),
        ('{"eos_token_id": [true]}', "neither a token id nor a list"),
    ):  # fmt: skip
        generation.write_text(torn)
        with pytest.raises(UserError, match=reason):
            end_ids(ChatTokenizer(directory, "llama-2"))


def test_every_damaged_json_of_a_tokenizer_is_named(tmp_path: Path, tokenizer_directory: Path) -> None:
    directory = Path(shutil.copytree(tokenizer_directory, tmp_path / "model"))
    for name in ("tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "config.json"):
        file = directory / name
        before = file.read_bytes() if file.exists() else None
        for text in ("null", "[1]", '{"a": ', ""):
            file.write_text(text)
            with pytest.raises(UserError, match=name) as caught:
                ChatTokenizer(directory)
            assert "\n" not in str(caught.value)
        file.unlink() if before is None else file.write_bytes(before)


LOADED = """
import sys
from xltjax.common.errors import UserError
from xltjax.data.tokenizer import ChatTokenizer
for directory in sys.argv[1:]:
    try:
        ChatTokenizer(directory)
    except UserError as mistake:
        print(mistake)
"""


def test_code_of_a_tokenizer_is_never_run_whatever_is_typed(
    tmp_path: Path, tokenizer_directory: Path
) -> None:
    directories = []
    for name in ("Evil", "PreTrainedTokenizerFast"):
        directory = Path(shutil.copytree(tokenizer_directory, tmp_path / name))
        directories.append(directory)
        settings = json.loads((tokenizer_directory / "tokenizer_config.json").read_text())
        settings |= {"auto_map": {"AutoTokenizer": ["evil.Evil", "evil.Evil"]}, "tokenizer_class": name}
        (directory / "tokenizer_config.json").write_text(json.dumps(settings))
        (directory / "config.json").write_text(
            '{"model_type": "unheard-of", "auto_map": {"AutoConfig": "evil.C"}}'
        )
        (directory / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w').close()\n")
    done = subprocess.run(
        [sys.executable, "-c", LOADED, *directories], input="y\n" * 9, capture_output=True, text=True, check=False,
        env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
    )  # fmt: skip
    assert not (tmp_path / "ran").exists()
    assert done.returncode == 0
    assert f"tokenizer of {directories[0]} brings its own code (auto_map), which is never run" in done.stdout
    assert "[y/N]" not in done.stdout + done.stderr
