"""LLaMA-like tokenizers: training with SentencePiece, and conversion to Hugging Face's format.

``write_hf_tokenizer`` works for any SentencePiece BPE model with LLaMA's settings, including that of LLaMA-2.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import sentencepiece
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, processors

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, make_output_directory

SPACE = "▁"
"""How SentencePiece writes a space inside its pieces."""


def train_tokenizer(texts: Iterable[str], vocabulary_size: int = 1500, characters: str = "") -> bytes:
    """Train a SentencePiece model with LLaMA's settings: BPE, byte fallback, single digits, no normalization.

    The same texts in the same order give the same bytes.

    Args:
        texts: the documents, which may contain line breaks.
        vocabulary_size: the number of pieces, including 3 special ones, 256 bytes and every character.
        characters: characters that become pieces even when they do not occur in the texts.

    Returns:
        The content of a ``tokenizer.model`` file. Id 0 is the unknown token, 1 BOS and 2 EOS; there is no padding
        token.

    Raises:
        UserError: when ``vocabulary_size`` is too small for the characters of the texts, or too large
            for the amount of text.
    """
    model = io.BytesIO()
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocabulary_size,
            byte_fallback=True,
            split_digits=True,
            character_coverage=1.0,
            required_chars=characters,
            normalization_rule_name="identity",
            add_dummy_prefix=True,
            remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=-1,
            num_threads=1,
            minloglevel=2,
        )
    except RuntimeError as problem:
        reason = str(problem).rsplit("] ", 1)[-1].strip()
        raise UserError(f"no tokenizer with {vocabulary_size} pieces for these texts: {reason}") from None
    return model.getvalue()


def write_hf_tokenizer(model_file: Path, directory: Path) -> None:
    """Write a LLaMA-like SentencePiece model as a tokenizer that ``AutoTokenizer.from_pretrained`` loads.

    It writes ``tokenizer.model`` (a copy), ``tokenizer.json``, ``tokenizer_config.json`` and
    ``special_tokens_map.json``. The tokenizer adds BOS by default, and not EOS.

    Raises:
        UserError: when the file is missing or not a SentencePiece BPE model, or the directory
            cannot be created.
    """
    if not model_file.is_file():
        raise UserError(f"{model_file} does not exist")
    try:
        processor = sentencepiece.SentencePieceProcessor(model_file=str(model_file))
    except RuntimeError:
        raise UserError(f"{model_file} is not a SentencePiece model") from None
    scores = [processor.get_score(index) for index in range(processor.get_piece_size())]
    if any(score != int(score) for score in scores) or min(processor.bos_id(), processor.eos_id()) < 0:
        # The scores of BPE are ranks, hence whole numbers; those of other models are log-probabilities.
        raise UserError(f"{model_file} is not LLaMA-like: it must be a BPE model with <s> and </s>")
    make_output_directory(directory)
    copy = directory / "tokenizer.model"
    if not (copy.exists() and copy.samefile(model_file)):
        shutil.copyfile(model_file, copy)
    unknown, beginning, end = (
        processor.id_to_piece(index) for index in (processor.unk_id(), processor.bos_id(), processor.eos_id())
    )
    tokenizer = _tokenizer(processor, unknown, beginning, end)
    special = {"bos_token": beginning, "eos_token": end, "unk_token": unknown}
    settings = {
        **special,
        # LlamaTokenizer of transformers 5 would rebuild the encoding from the vocabulary and lose the space that
        # SentencePiece puts before a text that itself begins with a space.
        "tokenizer_class": "PreTrainedTokenizerFast",
        "add_bos_token": True,
        "add_eos_token": False,
        "clean_up_tokenization_spaces": False,
    }
    for name, content in (
        ("tokenizer.json", json.loads(tokenizer.to_str())),
        ("tokenizer_config.json", settings),
        ("special_tokens_map.json", special),
    ):
        with atomic_write(directory / name) as file:
            json.dump(content, file, ensure_ascii=False, indent=2)
            file.write("\n")


def _tokenizer(
    processor: sentencepiece.SentencePieceProcessor, unknown: str, beginning: str, end: str
) -> Tokenizer:
    """A tokenizer of the library ``tokenizers`` that encodes as ``processor`` does."""
    pieces = {processor.id_to_piece(index): index for index in range(processor.get_piece_size())}
    tokenizer = Tokenizer(
        models.BPE(
            vocab=pieces,
            merges=_merges(processor, pieces),
            unk_token=unknown,
            fuse_unk=True,
            byte_fallback=True,
        )
    )
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(SPACE), normalizers.Replace(" ", SPACE)])
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace(SPACE, " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(content=" ", left=1),
        ]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{beginning} $A",
        pair=f"{beginning} $A {beginning}:1 $B:1",
        special_tokens=[(beginning, pieces[beginning])],
    )
    tokenizer.add_special_tokens(
        [AddedToken(token, normalized=False, special=True) for token in (unknown, beginning, end)]
    )
    return tokenizer


def _merges(processor: sentencepiece.SentencePieceProcessor, pieces: dict[str, int]) -> list[tuple[str, str]]:
    """The pairs of pieces that merge, in the order of their priority.

    SentencePiece stores the score of a piece and not the pair that it was merged from. So every split of a piece into
    two others is a merge, in the order of the scores of the pieces that result.
    """
    merges = []
    for piece, index in pieces.items():
        if processor.is_byte(index) or processor.is_control(index) or processor.is_unknown(index):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in pieces and right in pieces:
                merges.append((-processor.get_score(index), pieces[left], pieces[right], (left, right)))
    return [pair for *_, pair in sorted(merges)]
