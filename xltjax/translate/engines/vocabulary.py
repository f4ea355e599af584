"""The tokenizer of NLLB and M2M100 models, and how they are told the languages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, first_line
from xltjax.translate.languages import Language

FILES = ("tokenizer.json", "sentencepiece.bpe.model", "tokenizer_config.json", "vocab.json")


class Vocabulary:
    """The tokens of a model of translation.

    Args:
        directory: with the tokenizer.

    Raises:
        UserError: when there is none.
    """

    def __init__(self, directory: Path) -> None:
        if not any((directory / name).is_file() for name in FILES):
            raise UserError(
                f"{directory} has no tokenizer; give the directory of the original model with --tokenizer, "
                "such as --tokenizer facebook/nllb-200-3.3B"
            )
        import transformers

        try:
            self._tokenizer: Any = transformers.AutoTokenizer.from_pretrained(directory)
        except Exception as problem:  # whatever transformers raises for files that it cannot read
            raise UserError(f"the tokenizer in {directory} cannot be read: {first_line(problem)}") from None
        self.end = str(self._tokenizer.eos_token)

    def code(self, language: Language) -> str:
        """The token of a language: ``fra_Latn`` in NLLB, ``__fr__`` in M2M100.

        Raises:
            UserError: when the model has no such token.
        """
        names = [language.flores, f"__{language.iso}__"]
        for name in filter(None, names):
            if self.id(name) is not None:
                return name
        raise UserError(
            f"the model has no token for {language.name}, neither {' nor '.join(filter(None, names))}; "
            "it cannot translate from or into this language"
        )

    def id(self, token: str) -> int | None:
        """The id of a token; None when there is no such token."""
        number = self._tokenizer.convert_tokens_to_ids(token)
        unknown = number is None or number == self._tokenizer.unk_token_id
        return None if unknown or self._tokenizer.convert_ids_to_tokens(number) != token else int(number)

    def ids(self, tokens: Sequence[str]) -> list[int]:
        """The ids of tokens."""
        return [int(number) for number in self._tokenizer.convert_tokens_to_ids(list(tokens))]

    def known(self, count: int) -> list[str | None]:
        """The token at each of the first ``count`` ids; None where there is none."""
        unknown = self._tokenizer.unk_token
        found = self._tokenizer.convert_ids_to_tokens(list(range(count)))
        return [None if token == unknown else token for token in found]

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The tokens of ids."""
        return [str(token) for token in self._tokenizer.convert_ids_to_tokens(list(ids))]

    def count(self, text: str) -> int:
        """The number of tokens of a text, without those that the model adds."""
        return len(self._tokenizer(text, add_special_tokens=False, verbose=False).input_ids)

    def encode(self, text: str, source: str) -> list[str]:
        """The tokens that the encoder reads.

        Args:
            text: the source.
            source: the token of its language.
        """
        self._tokenizer.src_lang = source.strip("_")
        return self.tokens(self._tokenizer(text, verbose=False).input_ids)

    def decode(self, tokens: Sequence[str]) -> str:
        """The text of tokens, without special ones."""
        ids = self.ids(tokens)
        return str(
            self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        ).strip()
