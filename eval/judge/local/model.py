"""A local chat model as a judge: it writes answers greedily, or says how probable given replies are.

Only the functions that load and run the model import JAX.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError, did_you_mean
from xltjax.common.files import read_json_object
from xltjax.data.conversations import Message
from xltjax.data.model_files import end_ids
from xltjax.data.templates import TEMPLATES, parse_date
from xltjax.data.tokenizer import ChatTokenizer

LOCAL_PREFIX = "jax:"  # of the names of local judges


@dataclass(frozen=True)
class LocalOptions:
    """How a local judge is run.

    Attributes:
        template: the chat template; empty for the model's own.
        template_date: ISO date for a template that writes the date.
        max_new_tokens: the maximum number of tokens in an answer, EOS included.
        mesh: devices as DxT.
        batch_size: answers at once, over the whole mesh.
        dtype: of weights and arithmetic.
    """

    template: str = ""
    template_date: str = "2024-07-26"
    max_new_tokens: int = 512
    mesh: str = "1x1"
    batch_size: int = 8
    dtype: str = "bfloat16"

    def check(self) -> None:
        """Refuse what can be seen to be wrong before a model is loaded.

        Raises:
            UserError: for an unknown template, no date, or a batch or an answer without room.
        """
        if self.template and self.template not in TEMPLATES:
            raise UserError(
                f"template {self.template!r} is unknown; {did_you_mean(self.template, TEMPLATES)}"
            )
        if parse_date(self.template_date) is None:
            raise UserError("template_date is empty; give a date such as 2024-07-26")
        for key in ("max_new_tokens", "batch_size"):
            if getattr(self, key) < 1:
                raise UserError(f"{key} must be at least 1, not {getattr(self, key)}")


@dataclass(frozen=True)
class Written:
    """What a model wrote: the text, ``stop`` or ``length``, and the number of tokens without EOS."""

    text: str
    finish_reason: str
    tokens: int


class LocalModel:
    """A chat model on the devices.

    Args:
        name: Hugging Face directory or id, or a run.
        options: how it is run.
        check: looks at the tokenizer before the weights are read.

    Attributes:
        source: its directory.
        tokenizer: its tokenizer with the chat template.

    Raises:
        UserError: when there is no such model, or its template cannot be used.
    """

    def __init__(
        self,
        name: str,
        options: LocalOptions,
        check: Callable[[ChatTokenizer], None] = lambda tokenizer: None,
    ) -> None:
        import jax.numpy as jnp

        from xltjax.converters.hf_config import read_architecture
        from xltjax.converters.models import config_directory, load_model
        from xltjax.mesh import make_mesh

        self._options = options
        self.source, template = locate(name, options.template)
        directory = config_directory(self.source)
        vocab_size = read_architecture(directory).vocab_size
        self.tokenizer = ChatTokenizer(directory, template, vocab_size=vocab_size, date=options.template_date)
        check(self.tokenizer)
        self._mesh = make_mesh(options.mesh)
        self._model = load_model(self.source, self._mesh, dtype=jnp.dtype(options.dtype), require_finite=True)
        self._engine: Any = None

    def prompts(self, texts: Sequence[str]) -> list[list[int]]:
        """The token ids after which the model answers each text, given as the user's turn."""
        return self.tokenizer.prompts([(Message("user", text),) for text in texts])

    def fitting(self, prompts: Sequence[Sequence[int]], room: int) -> list[int]:
        """The indices of the prompts after which the model has room for so many tokens."""
        longest = self._model.config.max_positions - room
        return [index for index, prompt in enumerate(prompts) if len(prompt) <= longest]

    def write(self, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Written]]:
        """What the model writes after each prompt that leaves room for it, with the index of the prompt.

        Greedy and without a repetition penalty, which would lower whatever stands in the question. The answers come
        as they end.
        """
        fitting = self.fitting(prompts, self._options.max_new_tokens)
        for index, answer in self._decoder().generate((index, prompts[index]) for index in fitting):
            text = self.tokenizer.decode(answer.ids)
            yield index, Written(text, answer.finish_reason, len(answer.ids))

    def _decoder(self) -> Any:
        if self._engine is None:
            from xltjax.inference.engine import Engine
            from xltjax.inference.sampling_params import SamplingParams

            self._engine = Engine(
                self._model,
                self._mesh,
                slots=self._options.batch_size,
                max_new_tokens=self._options.max_new_tokens,
                sampling=SamplingParams(),
                eos=end_ids(self.tokenizer),
            )
        return self._engine

    def log_probabilities(
        self, prompts: Sequence[Sequence[int]], replies: Sequence[Sequence[int]]
    ) -> dict[int, tuple[float, ...]]:
        """log P of each reply as the beginning of the answer to each prompt that leaves room for it, by its index."""
        from xltjax.inference.logprobs import sequence_logprobs

        fitting = self.fitting(prompts, max(map(len, replies)))
        found = sequence_logprobs(
            self._model,
            self._mesh,
            [prompts[index] for index in fitting for _ in replies],
            [reply for _ in fitting for reply in replies],
            batch_size=self._options.batch_size,
        )
        rows = found.reshape(-1, len(replies)).tolist()
        return {index: tuple(row) for index, row in zip(fitting, rows, strict=True)}

    def files(self) -> list[tuple[str, int, int]]:
        """Name, size and modification time of the model's files, which tell another model in the same place."""
        return model_files(self.source)


def locate(name: str, template: str = "") -> tuple[Path, str]:
    """The directory of a model, and the chat template: the requested one, or the model's own.

    A model's own template is the one that it was trained with, if we know it, then the one that comes with its
    tokenizer, then LLaMA-2's.

    Raises:
        UserError: when there is no such model.
    """
    from xltjax.converters.models import config_directory, find_model, template_of

    source = find_model(name)
    if template:
        return source, template
    known = template_of(source)
    if known:
        return source, known
    directory = config_directory(source)
    config = directory / "tokenizer_config.json"
    own = (directory / "chat_template.jinja").exists() or (
        config.exists() and "chat_template" in read_json_object(config)
    )
    return source, "tokenizer" if own else "llama-2"


def model_files(source: Path) -> list[tuple[str, int, int]]:
    """Name, size in bytes and modification time in ns of each file under ``source``."""
    paths = sorted(source.rglob("*")) if source.is_dir() else [source]
    stats = [(path.name, path.stat()) for path in paths if path.is_file()]
    return [(name, stat.st_size, stat.st_mtime_ns) for name, stat in stats]


def reply_tokens(tokenizer: ChatTokenizer, question: str, replies: Sequence[str]) -> list[list[int]]:
    """The token ids with which the given replies begin, tokenized as the chat template does it.

    What they all have in common at the end (a space, EOS) is left out.

    Raises:
        UserError: when the tokenizer gives the same ids for two of them.
    """
    examples = tokenizer.examples(
        [(Message("user", question), Message("assistant", each)) for each in replies]
    )
    tokens = [example.ids[example.loss_mask].tolist() for example in examples]
    while all(tokens) and len({each[-1] for each in tokens}) == 1:
        for each in tokens:
            each.pop()
    if not all(tokens) or len(set(map(tuple, tokens))) < len(tokens):
        raise UserError(
            f"the judge's tokenizer does not tell {' from '.join(replies)}; use another model as the judge"
        )
    return tokens
