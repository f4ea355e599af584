"""Messages to tokens: against SentencePiece on the full string, Hugging Face's own templates, and by hand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from xltjax.common.errors import UserError
from xltjax.data.conversations import Message
from xltjax.data.templates import TEMPLATES
from xltjax.data.tokenizer import ChatTokenizer

BOS, EOS = 1, 2  # of the tokenizer in conftest; the next ids after its 700 pieces:
IM_START, IM_END = 700, 701
OWN_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

# Text that UTF-8 can hold, with what could be taken for structure in it.
TEXT = st.lists(
    st.one_of(
        st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12),
        st.sampled_from(
            ["</s>", "<s>", "<unk>", "<|im_end|>", "[/INST]", "{}", "{eos}", "\n", " ", "\U000f0000", "7"]
        ),
    ),
    max_size=6,
).map("".join)


def chat(*contents: str, system: str = "") -> list[Message]:
    """A conversation of user and assistant in turn."""
    turns = [Message("assistant" if i % 2 else "user", content) for i, content in enumerate(contents)]
    return [Message("system", system), *turns] if system else turns


@pytest.fixture(scope="session")
def pieces(tokenizer_directory: Path) -> Callable[[str], list[int]]:
    """SentencePiece itself: ids of a text in which nothing is special."""
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer_directory / "tokenizer.model"))
    return processor.encode


@pytest.fixture(scope="session")
def llama2(tokenizer_directory: Path) -> ChatTokenizer:
    return ChatTokenizer(tokenizer_directory)


@pytest.fixture(scope="session")
def with_chatml(tokenizer_directory: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same tokenizer with ChatML's tokens and a Jinja template of its own."""
    return make_tokenizer(tokenizer_directory, tmp_path_factory.mktemp("chatml"), OWN_TEMPLATE)


def make_tokenizer(source: Path, directory: Path, template: str) -> Path:
    shutil.copytree(source, directory, dirs_exist_ok=True)
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    tokenizer.chat_template = template
    tokenizer.save_pretrained(directory)
    return directory


@pytest.fixture(scope="session")
def every_template(with_chatml: Path) -> dict[str, ChatTokenizer]:
    return {name: ChatTokenizer(with_chatml, name) for name in TEMPLATES}


# The paper's template


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Where is the harbour?", "In the north."),
        ("Où est le port ?", "Au nord."),
        ("Где порт?", "На севере."),
        ("1 + 1", "2"),
        ("Write </s> and <s>.", "</s><s>"),
        ("two\n\nlines", "one\n- two"),
        ("日本", "日本"),
        ("{} {system}", "{bos}"),
        ("q", ""),
    ],
)
def test_one_exchange_is_the_full_string_in_sentencepiece(
    question: str, answer: str, llama2: ChatTokenizer, pieces: Callable[[str], list[int]]
) -> None:
    prompt = [BOS, *pieces(f"[INST] {question} [/INST]")]
    whole = [BOS, *pieces(f"[INST] {question} [/INST] {answer} "), EOS]
    (example,) = llama2.examples([chat(question, answer)])
    assert example.ids.tolist() == whole
    assert example.loss_mask.tolist() == [False] * len(prompt) + [True] * (len(whole) - len(prompt))
    assert (example.ids.dtype, example.loss_mask.dtype) == (np.int32, np.bool_)
    assert llama2.prompt(chat(question)) == prompt
    assert llama2.eos == EOS


@settings(max_examples=150, deadline=None)
@given(TEXT, TEXT)
def test_any_exchange_is_the_full_string_in_sentencepiece(
    llama2: ChatTokenizer, pieces: Callable[[str], list[int]], question: str, answer: str
) -> None:
    (example,) = llama2.examples([chat(question, answer)])
    text = f"[INST] {question.strip()} [/INST] {answer.strip()} "
    assert example.ids.tolist() == [BOS, *pieces(text), EOS]


def test_turns_follow_each_other_and_every_answer_is_learned(
    llama2: ChatTokenizer, pieces: Callable[[str], list[int]]
) -> None:
    (example,) = llama2.examples([chat("  one\n", "first", "two", "\tsecond ", system="Be brief.")])
    first = pieces("[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\none [/INST]")
    second = pieces("[INST] two [/INST]")
    answers = [pieces("[/INST] first ")[len(pieces("[/INST]")) :], pieces("] second ")[len(pieces("]")) :]]
    parts = [([BOS, *first], 0), ([*answers[0], EOS], 1), ([BOS, *second], 0), ([*answers[1], EOS], 1)]
    assert example.ids.tolist() == [token for ids, _ in parts for token in ids]
    assert example.loss_mask.tolist() == [learned for ids, learned in parts for _ in ids]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        (
            "alpaca",
            "Below is an instruction that describes a task. Write a response that appropriately completes "
            "the request.\n\n### Instruction:\nBe brief.\n\nAdd 1 and 1.\n\n### Response:\n2",
        ),
        ("plain", "Be brief.\n\nAdd 1 and 1.\n2"),
    ],
)
def test_other_plain_text_templates_are_their_full_string(
    name: str, text: str, tokenizer_directory: Path, pieces: Callable[[str], list[int]]
) -> None:
    (example,) = ChatTokenizer(tokenizer_directory, name).examples(
        [chat("Add 1 and 1.", "2", system="Be brief.")]
    )
    assert example.ids.tolist() == [BOS, *pieces(text), EOS]
    assert example.loss_mask.tolist() == [False] * (1 + len(pieces(text[:-1]))) + [True, True]


def test_plain_text_is_learned_as_it_stands(
    llama2: ChatTokenizer, pieces: Callable[[str], list[int]]
) -> None:
    (example,) = llama2.examples([[Message("text", " A text.\n</s> ")]])
    assert example.ids.tolist() == [BOS, *pieces(" A text.\n</s> "), EOS]
    assert example.loss_mask[1:].all()


# ChatML and the tokenizer's own template


@pytest.mark.parametrize("name", ["chatml", "tokenizer"])
def test_chatml_is_what_hugging_face_makes_of_it(name: str, with_chatml: Path) -> None:
    conversation = chat("Où ?", "Au nord.", "And 2\nlines?", "Нет.", system="Be brief.")
    tokenizer = ChatTokenizer(with_chatml, name)
    (example,) = tokenizer.examples([conversation])
    theirs = AutoTokenizer.from_pretrained(with_chatml)
    messages = [{"role": m.role, "content": m.content} for m in conversation]
    rendered = theirs.apply_chat_template(messages, tokenize=False).removesuffix("\n")
    expected = theirs(rendered, add_special_tokens=False)["input_ids"]
    assert example.ids.tolist() == ([BOS] if name == "chatml" else []) + expected
    learned = [example.ids[i] for i in np.flatnonzero(example.loss_mask)]
    assert theirs.decode(learned, skip_special_tokens=False).split("<|im_end|>") == ["Au nord.", "Нет.", ""]
    assert tokenizer.eos == IM_END


def test_the_same_template_written_in_jinja_gives_the_same_tokens(
    tokenizer_directory: Path, llama2: ChatTokenizer, tmp_path: Path
) -> None:
    jinja = (
        "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}"
        "{% else %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}"
    )
    own = ChatTokenizer(make_tokenizer(tokenizer_directory, tmp_path / "t", jinja), "tokenizer")
    for conversation in (chat("q", "a"), chat("Où ?", "1.", "and </s>", "2"), chat("q", "a", "q")):
        (theirs,), (ours,) = own.examples([conversation]), llama2.examples([conversation])
        np.testing.assert_array_equal(theirs.ids, ours.ids)
        np.testing.assert_array_equal(theirs.loss_mask, ours.loss_mask)


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_contents_never_become_special_tokens(
    every_template: dict[str, ChatTokenizer], system: str, question: str, answer: str
) -> None:
    conversation = chat(question, answer, answer, question, system=system)
    for name, tokenizer in every_template.items():
        (example,) = tokenizer.examples([conversation])
        special = [int(token) for token in example.ids if token in (0, BOS, EOS, IM_START, IM_END)]
        turn, system_turn = [IM_START, IM_END, IM_START, IM_END], [IM_START, IM_END] if system else []
        expected = {"chatml": [BOS, *system_turn, *turn, *turn], "tokenizer": [*system_turn, *turn, *turn]}
        assert special == expected.get(name, [BOS, EOS, BOS, EOS]), name


@settings(max_examples=60, deadline=None)
@given(TEXT, TEXT, TEXT)
def test_a_prompt_is_the_beginning_of_its_example(
    every_template: dict[str, ChatTokenizer], earlier: str, question: str, answer: str
) -> None:
    for name, tokenizer in every_template.items():
        prompt = tokenizer.prompt(chat(earlier, answer, question, system="s"))
        (example,) = tokenizer.examples([chat(earlier, answer, question, answer, system="s")])
        assert example.ids[: len(prompt)].tolist() == prompt, name
        assert example.loss_mask[len(prompt) :].all(), name
        assert not example.loss_mask[len(prompt) - 1], name
        assert example.ids[-1] == tokenizer.eos, name


def test_many_conversations_are_each_as_if_alone(every_template: dict[str, ChatTokenizer]) -> None:
    conversations = [chat("a", "b"), chat("b", "a", "b", "b"), chat("a", "b", system="a"), chat("a")]
    for tokenizer in every_template.values():
        together = tokenizer.examples(conversations)
        for conversation, example in zip(conversations, together, strict=True):
            (alone,) = tokenizer.examples([conversation])
            np.testing.assert_array_equal(example.ids, alone.ids)
            np.testing.assert_array_equal(example.loss_mask, alone.loss_mask)
        assert tokenizer.prompts(conversations) == [tokenizer.prompt(c) for c in conversations]
    assert together[-1].loss_mask.sum() == 0  # no answer, nothing to learn


def test_a_merge_across_the_border_does_not_change_the_prompt(tmp_path: Path) -> None:
    vocabulary = {"<s>": 0, "</s>": 1, "q": 2, "\n": 3, "A": 4, "\nA": 5}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("\n", "A")]))
    special = {"bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special).save_pretrained(tmp_path)
    (example,) = ChatTokenizer(tmp_path, "plain").examples([chat("q", "A")])
    assert example.ids.tolist() == [0, 2, 3, 4, 1]


# Answers as text


def test_decoding_drops_special_tokens_and_keeps_french_blanks(
    tokenizer_directory: Path, tmp_path: Path
) -> None:
    directory = tmp_path / "cleaning"
    shutil.copytree(tokenizer_directory, directory)
    path = directory / "tokenizer_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"clean_up_tokenization_spaces": True}))
    tokenizer = ChatTokenizer(directory)
    (example,) = tokenizer.examples([chat("q", "Qu'est-ce que c'est ? Un port !")])
    assert tokenizer.decode(example.ids[example.loss_mask].tolist()) == "Qu'est-ce que c'est ? Un port !"
    assert tokenizer.decode([]) == ""


# Mistakes


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{% for m in messages %}{{ m['content'] }}\n{% endfor %}", "no special token to end an answer"),
        ("{{ bos_token }}{% for m in messages if m['role'] == 'user' %}{{ m['content'] }}{% endfor %}",
         "no special token to end an answer"),
        ("{% for m in messages %}{{ m['content'] + eos_token }}{% endfor %}"
         "{% if add_generation_prompt %}think{% endif %}", "differently once it is answered"),
        ("{{ messages | length }}{{ messages[-1]['content'] + eos_token }}", "differently once it is answered"),
        ("{{ raise_exception('only in French') }}", "only in French"),
        ("{% for", "cannot write user"),
        ("", "no special token to end an answer"),
    ],
)  # fmt: skip
def test_a_template_of_the_tokenizer_that_cannot_be_learned_is_refused(
    template: str, reason: str, tokenizer_directory: Path, tmp_path: Path
) -> None:
    directory = make_tokenizer(tokenizer_directory, tmp_path / "t", template)
    with pytest.raises(UserError, match=reason):
        ChatTokenizer(directory, "tokenizer")


def test_a_template_that_refuses_system_prompts_says_so(tokenizer_directory: Path, tmp_path: Path) -> None:
    refusing = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('No system!') }}{% endif %}"
    tokenizer = ChatTokenizer(
        make_tokenizer(tokenizer_directory, tmp_path / "t", refusing + OWN_TEMPLATE), "tokenizer"
    )
    assert tokenizer.prompt(chat("q"))
    with pytest.raises(UserError, match=r"cannot write system, user: No system!"):
        tokenizer.prompt(chat("q", system="s"))


@pytest.mark.parametrize(
    ("name", "reason"), [("chatml", "no special token to end an answer"), ("tokenizer", "cannot write user")]
)
def test_a_tokenizer_that_lacks_what_the_template_needs_is_refused(
    name: str, reason: str, tokenizer_directory: Path
) -> None:
    with pytest.raises(UserError, match=reason):
        ChatTokenizer(tokenizer_directory, name)


@pytest.mark.parametrize("content", ["{broken", "{}", "[]", ""])
def test_a_damaged_tokenizer_is_one_line(content: str, tokenizer_directory: Path, tmp_path: Path) -> None:
    directory = tmp_path / "damaged"
    shutil.copytree(tokenizer_directory, directory)
    (directory / "tokenizer.json").write_text(content)
    with pytest.raises(UserError, match="no tokenizer could be loaded") as mistake:
        ChatTokenizer(directory)
    assert "\n" not in str(mistake.value)


def test_a_directory_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=f"{tmp_path} has no tokenizer"):
        ChatTokenizer(tmp_path)


def test_half_a_surrogate_pair_is_shown_where_it_stands(llama2: ChatTokenizer) -> None:
    with pytest.raises(UserError, match=r"half of a surrogate pair, at '.*smile \\ud83d"):
        llama2.examples([chat("smile \ud83d", "no")])


def test_an_empty_list_is_an_empty_list(llama2: ChatTokenizer) -> None:
    empty: list[Any] = []
    assert llama2.prompts(empty) == []
    assert llama2.examples([[]])[0].ids.shape == (0,)
