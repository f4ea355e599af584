"""The tokenizer is LLaMA's kind, and Hugging Face encodes with it exactly as SentencePiece does."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import sentencepiece
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer

from xltjax.common.errors import UserError
from xltjax.miniature.text import evaluation_rows, instruction_rows, pretraining_documents
from xltjax.miniature.tokenizer import train_tokenizer, write_hf_tokenizer

TEXTS = pretraining_documents(0, 2000)
SIZE = 1000
MODEL = train_tokenizer(TEXTS, SIZE, characters="[]/INST")
REFERENCE = sentencepiece.SentencePieceProcessor(model_proto=MODEL)
SPECIAL = ("<s>", "</s>", "<unk>")


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tokenizer")
    (folder / "trained.model").write_bytes(MODEL)
    write_hf_tokenizer(folder / "trained.model", folder / "hf")
    return folder / "hf"


@pytest.fixture(scope="module")
def tokenizer(directory: Path) -> Any:
    return AutoTokenizer.from_pretrained(directory)


def test_training_is_deterministic_and_gives_the_size_asked() -> None:
    assert train_tokenizer(TEXTS, SIZE, characters="[]/INST") == MODEL
    assert REFERENCE.get_piece_size() == SIZE


def test_special_ids_are_llamas(tokenizer: Any) -> None:
    assert [REFERENCE.unk_id(), REFERENCE.bos_id(), REFERENCE.eos_id(), REFERENCE.pad_id()] == [0, 1, 2, -1]
    assert [tokenizer.unk_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id] == [0, 1, 2]
    assert [tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token] == ["<s>", "</s>", None]
    assert len(tokenizer) == SIZE


def test_the_template_needs_no_bytes_though_the_texts_lack_its_word() -> None:
    assert not any("INST" in text for text in TEXTS)
    pieces = REFERENCE.encode("[INST] What? [/INST] Yes.", out_type=str)
    assert not [piece for piece in pieces if piece.startswith("<0x")]


def test_unseen_characters_become_bytes_and_digits_stay_single(tokenizer: Any) -> None:
    assert tokenizer.tokenize("中") == ["▁", "<0xE4>", "<0xB8>", "<0xAD>"]
    assert REFERENCE.encode("1212", out_type=str)[-4:] == ["1", "2", "1", "2"]


def test_the_beginning_is_marked_by_default_and_the_end_is_not(tokenizer: Any) -> None:
    assert tokenizer("Hello")["input_ids"] == [1, *REFERENCE.encode("Hello")]
    assert tokenizer("Hello", add_special_tokens=False)["input_ids"] == REFERENCE.encode("Hello")


def test_every_text_of_the_miniature_is_encoded_alike(tokenizer: Any) -> None:
    texts = TEXTS + [row["instruction"] for row in evaluation_rows(0)]
    texts += [
        f"[INST] {row['instruction']}\n{row['context']} [/INST] {row['response']} "
        for row in instruction_rows(0)
    ]
    assert tokenizer(texts, add_special_tokens=False)["input_ids"] == REFERENCE.encode(texts)


@settings(max_examples=400)
@given(
    st.one_of(
        st.text(alphabet=sorted({letter for text in TEXTS for letter in text} | set("[]/INST  \n"))),
        st.text(alphabet="ab lo e▁ \n\t"),
        st.text(alphabet=st.characters(codec="utf-8")),
    ).filter(lambda text: not any(token in text for token in SPECIAL))
)
def test_any_text_is_encoded_and_decoded_alike(tokenizer: Any, text: str) -> None:
    ids = REFERENCE.encode(text)
    assert tokenizer(text, add_special_tokens=False)["input_ids"] == ids
    assert tokenizer.decode(ids) == REFERENCE.decode(ids)


def test_an_unspaced_language_and_repetitions_are_merged_alike(tmp_path: Path) -> None:
    # Long runs of one letter have many ways to merge; the order of the merges decides.
    model = train_tokenizer(["aaaaaaa aaa aaaa", "abab ababab abababab", "aab aabaab"] * 20, 275)
    (tmp_path / "runs.model").write_bytes(model)
    write_hf_tokenizer(tmp_path / "runs.model", tmp_path / "hf")
    reference = sentencepiece.SentencePieceProcessor(model_proto=model)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "hf")
    for text in ["a" * length for length in range(40)] + ["ab" * length for length in range(20)]:
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == reference.encode(text)


def test_the_directory_still_loads_beside_a_llama_config(directory: Path, tmp_path: Path) -> None:
    for file in directory.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama", "vocab_size": SIZE}))
    assert AutoTokenizer.from_pretrained(tmp_path)("  two spaces")["input_ids"] == [
        1,
        *REFERENCE.encode("  two spaces"),
    ]


def test_saving_and_loading_again_changes_nothing(tokenizer: Any, tmp_path: Path) -> None:
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert again(TEXTS[:50])["input_ids"] == tokenizer(TEXTS[:50])["input_ids"]


def test_the_directory_has_the_files_of_a_hugging_face_tokenizer(directory: Path) -> None:
    assert (directory / "tokenizer.model").read_bytes() == MODEL
    assert {file.name for file in directory.iterdir()} == {
        "tokenizer.model",
        "tokenizer.json",
        "tokenizer_config.json",
        "special_tokens_map.json",
    }


def test_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        write_hf_tokenizer(tmp_path / "none.model", tmp_path / "hf")
    (tmp_path / "text.model").write_text("hello")
    with pytest.raises(UserError, match="not a SentencePiece model"):
        write_hf_tokenizer(tmp_path / "text.model", tmp_path / "hf")
    with pytest.raises(UserError, match="300 pieces"):
        train_tokenizer(TEXTS, 300)
    with pytest.raises(UserError, match="90000 pieces"):
        train_tokenizer(TEXTS, 90_000)


def test_a_unigram_model_is_refused(tmp_path: Path) -> None:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS), model_writer=model, model_type="unigram", vocab_size=500, minloglevel=2
    )
    (tmp_path / "unigram.model").write_bytes(model.getvalue())
    with pytest.raises(UserError, match="BPE"):
        write_hf_tokenizer(tmp_path / "unigram.model", tmp_path / "hf")
