"""What the engines that run NLLB and M2M100 here have in common: batches, limits, keys, and where the models are."""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import read_json_object
from xltjax.common.fingerprint import fingerprint
from xltjax.data.model_files import model_directory
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.questions import Call, request_key
from xltjax.translate.engines.engine import Missing, Segment, body
from xltjax.translate.engines.vocabulary import Vocabulary
from xltjax.translate.languages import Language

# Tokens that a translation may have: this many, or twice those of a longer source, in powers of two. A batch has one
# limit, and which batch a segment is in must not change its translation.
LEAST_LIMIT = 256
LONGEST = 1024  # tokens of a source; the positions for which the models were trained
DESCRIPTION = ("*.json", "*.model", "*.txt")  # what tells the tokens, the languages and the size of a model
FILES = (*DESCRIPTION, "*.safetensors", "*.bin")


@dataclass(frozen=True)
class Options:
    """How a model is run here.

    Attributes:
        beam: how many hypotheses are kept; a doubtful segment is translated once more with ``other_beam``.
        device: ``auto``, ``cpu`` or ``cuda``.
        compute_type: ``auto`` (int8 on CPU, float16 on CUDA), ``int8``, ``float16``, ``bfloat16`` or ``float32``.
        batch_tokens: most tokens of a batch, its padding included.
        threads: of the CPU; 0 for all cores.
        tokenizer: folder or id of the tokenizer; empty when it lies beside the model.
        python: the Python with CTranslate2; empty for this one.
    """

    beam: int = 4
    device: str = "auto"
    compute_type: str = "auto"
    batch_tokens: int = 2048
    threads: int = 0
    tokenizer: str = ""
    python: str = ""

    @property
    def other_beam(self) -> int:
        """The beam of the second attempt."""
        return 2 * self.beam if self.beam > 1 else 4


class LocalEngine(ABC):
    """A model of translation that runs on this machine.

    Args:
        name: as it was given with ``--engine``.
        options: how it is run.
    """

    kind: str  # before the colon of ``--engine``

    def __init__(self, name: str, options: Options) -> None:
        self.name = name
        self.model = name.partition(":")[2]
        if not self.model:
            raise UserError(f"--engine {name}: name the model, such as {self.kind}:facebook/nllb-200-3.3B")
        path = Path(self.model)
        self.label = f"{self.kind}:{path.resolve().name if path.is_dir() else self.model}"
        self.options = options
        self._codes: dict[Language, str] = {}

    # --- what the two engines do each in its way ---

    @abstractmethod
    def hypotheses(
        self, sources: Sequence[Sequence[str]], target: str, *, beam: int, most: int
    ) -> list[list[str]]:
        """The best hypothesis for each source, from the token of the language to EOS.

        Args:
            sources: tokens that the encoder reads.
            target: the token of the language.
            beam: hypotheses that are kept; 1 is greedy.
            most: tokens of a hypothesis, that of the language and EOS included; one without EOS was cut off.

        Raises:
            UserError: when the model cannot be run.
        """

    @property
    @abstractmethod
    def precision(self) -> str:
        """The arithmetic, on which translations depend."""

    # --- the interface of engines ---

    @functools.cached_property
    def directory(self) -> Path:
        """The directory of the model, which is downloaded when it was given by its id."""
        return _find_directory(self.model, "--engine")

    @functools.cached_property
    def description(self) -> Path:
        """The same directory, perhaps still without weights: a plan needs none."""
        return _find_directory(self.model, "--engine", DESCRIPTION)

    @functools.cached_property
    def vocabulary(self) -> Vocabulary:
        """The tokens of the model."""
        given = self.options.tokenizer
        return Vocabulary(_find_directory(given, "--tokenizer", DESCRIPTION) if given else self.description)

    @property
    def parameters(self) -> float | None:
        """Of the model: by its shape, or else by the size of its file, whose numbers may have 8 bits."""
        config = read_json_object(self.description / "config.json")
        if "d_model" not in config:
            file = self.description / "model.bin"
            return float(file.stat().st_size) if file.is_file() else None
        width, vocabulary = config["d_model"], config["vocab_size"]
        encoder = config["encoder_layers"] * (4 * width**2 + 2 * width * config["encoder_ffn_dim"])
        decoder = config["decoder_layers"] * (8 * width**2 + 2 * width * config["decoder_ffn_dim"])
        return float(vocabulary * width + encoder + decoder)

    def check(self, languages: Sequence[Language]) -> None:
        """See ``Engine.check``."""
        if not (self.description / "config.json").is_file():
            raise UserError(f"{self.description} holds no model: config.json is missing")
        kind = read_json_object(self.description / "config.json").get("model_type")
        if kind not in (None, "m2m_100"):
            raise UserError(
                f"{self.description} is a model of type {kind!r}; {self.kind}: takes NLLB and M2M100 (m2m_100), "
                "other models translate behind a server: openai:MODEL"
            )
        self._codes = {language: self.vocabulary.code(language) for language in languages}

    def count(self, text: str) -> int:
        """See ``Engine.count``."""
        return self.vocabulary.count(text)

    def recall(self, calls: Calls) -> None:  # noqa: B027 - nothing to recall
        """See ``Engine.recall``."""

    def keys(self, segment: Segment) -> Sequence[str]:
        """See ``Engine.keys``."""
        # The number of a batch's tokens and of threads is left out: it changes the speed.
        request = {
            "version": 1,
            "engine": self.kind,
            "model": self.digest,
            "precision": self.precision,
            "beam": self._beam(segment),
            "source": self._codes[segment.source],
            "target": self._codes[segment.target],
            "text": segment.text,
        }
        return [request_key(request)]

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the weights."""
        return fingerprint(self.directory)

    def answers(self, segments: Sequence[Segment], missing: Missing) -> Iterator[tuple[Segment, Call]]:
        """See ``Engine.answers``."""
        encoded = [self.vocabulary.encode(each.text, self._codes[each.source]) for each in segments]
        for batch in batches([len(tokens) for tokens in encoded], self.options.batch_tokens):
            wanted = [number for number in batch if missing(segments[number])]
            if not wanted:
                continue
            first = segments[batch[0]]
            if len(encoded[batch[0]]) > LONGEST:
                for number in wanted:
                    yield segments[number], self._too_long(segments[number], len(encoded[number]))
                continue
            most = limit(len(encoded[batch[0]]))
            found = self.hypotheses(
                [encoded[number] for number in batch],
                self._codes[first.target],
                beam=self._beam(first),
                most=most,
            )
            by_number = dict(zip(batch, found, strict=True))
            for number in wanted:
                yield segments[number], self._call(segments[number], encoded[number], by_number[number])

    def hide(self, text: str) -> str:
        """See ``Engine.hide``."""
        return text

    def provenance(self) -> dict[str, Any]:
        """See ``Engine.provenance``."""
        return {
            "engine": self.label,
            "model": self.digest,
            "precision": self.precision,
            "beam": self.options.beam,
            "second_beam": self.options.other_beam,
            "length_penalty": 1.0,
            "early_stopping": True,
        }

    @abstractmethod
    def close(self) -> None:
        """See ``Engine.close``."""

    def _beam(self, segment: Segment) -> int:
        return self.options.other_beam if segment.attempt else self.options.beam

    def _call(self, segment: Segment, source: Sequence[str], hypothesis: Sequence[str]) -> Call:
        target = self._codes[segment.target]
        # A translation into another language than asked for must not look like one.
        if hypothesis[:1] != [target]:
            raise UserError(
                f"{self.label} began with {hypothesis[:1]} and not with {target}; its conversion is broken"
            )
        ended = hypothesis[-1] == self.vocabulary.end
        text = self.vocabulary.decode(hypothesis[1:])
        return Call(
            self.keys(segment)[0], body(text, "stop" if ended else "length", len(source), len(hypothesis) - 1)
        )

    def _too_long(self, segment: Segment, tokens: int) -> Call:
        problem = f"too long ({tokens} tokens, room for {LONGEST})"
        return Call(self.keys(segment)[0], problem=problem)


def limit(tokens: int) -> int:
    """The most tokens of the translation of a source of so many tokens."""
    most = LEAST_LIMIT
    while most < 2 * tokens:
        most *= 2
    return most


def batches(lengths: Sequence[int], most_tokens: int) -> list[list[int]]:
    """Numbers of segments that are translated together, the longest first, so that what does not fit fails at once.

    Args:
        lengths: the tokens of each segment.
        most_tokens: of a batch, with the padding to its longest segment.
    """
    order = sorted(range(len(lengths)), key=lambda number: (-lengths[number], number))
    made: list[list[int]] = []
    for number in order:
        batch = made[-1] if made else []
        longest = lengths[batch[0]] if batch else 0
        same = (
            batch
            and limit(longest) == limit(lengths[number])
            and (longest > LONGEST) == (lengths[number] > LONGEST)
        )
        if same and (len(batch) + 1) * longest <= most_tokens:
            batch.append(number)
        else:
            made.append([number])
    return made


def _find_directory(name: str, flag: str, files: Sequence[str] = FILES) -> Path:
    """The directory of a model or tokenizer, see ``model_directory``; messages name the flag that gave it."""
    try:
        return model_directory(str(Path(name).expanduser()), files)
    except UserError as problem:
        raise UserError(f"{flag}: {problem}") from None
