"""Speed and memory of the surface metrics and the modifier checks: ``python benchmarks/evaluation/evaluators.py``.

The answers are made of words that are drawn from the installed dictionaries with Zipf's frequencies, so that
word verdicts are cached about as often as in real text. One word in twenty is of another language, and every
third answer has a list, a link and a block of code. Prints the answers per second of each metric on one core (by
CPU time, so that other programs on the machine count little), how long the slowest modifier check takes for lines
of 100,000 characters that invite quadratic time, and the time and peak memory of the whole command with one worker
and with several, whose files must be equal. With FILES, their responses take the place of those that are made up.
"""

from __future__ import annotations

import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.files import write_jsonl
from xltjax.common.settings import setting
from xltjax.data.responses import Response, read_responses
from xltjax.eval.language import (
    EnglishDictionary,
    LanguageIdentifier,
    benchmark_scores,
    language_correct,
    line_language,
)
from xltjax.eval.modifiers.catalog import MODIFIERS, Answer, check
from xltjax.eval.scores import Unavailable
from xltjax.eval.spelling import Dictionaries, Dictionary, dictionary_folders, spelling_scores
from xltjax.eval.text.markup import prose

LANGUAGES = ("en", "fr", "pt", "ru")
VOCABULARY = 40_000
LONG_LINES = {
    "words": "слово " * 16_667,
    "one word": "a" * 100_000,
    "dots": "." * 99_999 + "x",
    "marks": "! " * 50_000,
    "tags": "<a " * 33_334,
    "arrows": "--> " * 25_000,
}
WORDS_PER_LINE = 25


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    files: tuple[str, ...] = setting((), "Files of real responses.", positional=True, paths=True)
    answers: int = setting(5_000, "Number of answers; made-up ones are in four languages.")
    words: int = setting(200, "Words of a made-up answer.")
    workers: int = setting(2, "Processes of the second run of the whole command.")


def main(config: BenchmarkConfig) -> None:
    """Print the figures."""
    dictionaries = Dictionaries(dictionary_folders())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "responses.jsonl"
        if config.files:
            real = read_responses(config.files)[: config.answers]
            write_jsonl(path, (response.row() for response in real))
        else:
            vocabularies = {language: _vocabulary(dictionaries, language) for language in LANGUAGES}
            write_jsonl(path, _answers(vocabularies, config))
        responses = read_responses([path])
        identify = LanguageIdentifier()
        english = dictionaries.find("en")
        words = EnglishDictionary(english.accepts) if isinstance(english, Dictionary) else english

        def spelling(r: Response) -> object:
            return spelling_scores(r.id, r.response, r.language, dictionaries, LANGUAGES)

        _rate(
            "language_correct", responses, lambda r: language_correct(r.id, r.response, r.language, identify)
        )
        _rate("line_language", responses, lambda r: line_language(r.id, r.response, r.language, identify))
        _rate(
            "lpr, line_accuracy, wpr",
            responses,
            lambda r: benchmark_scores(r.id, r.response, r.language, identify, words),
        )
        _rate("taking out markup", responses, lambda r: prose.__wrapped__(r.response))
        _rate("spelling, four metrics, cold cache", responses, spelling)
        _rate("spelling, four metrics, warm cache", responses, spelling)
        _slowest_check(identify)
        written = [
            _whole_command(path, Path(folder) / f"scores-{workers}", workers, len(responses))
            for workers in dict.fromkeys((1, config.workers))
        ]
        if any(files != written[0] for files in written):
            raise UserError("the scores depend on the number of workers")


def _rate(name: str, responses: list[Response], metric: Callable[[Response], object]) -> None:
    begin = time.process_time()
    for response in responses:
        metric(response)
    print(f"{name:<36}{len(responses) / (time.process_time() - begin):>10,.0f} answers/s", flush=True)


def _slowest_check(identify: LanguageIdentifier) -> None:
    for kind, text in LONG_LINES.items():
        seconds = {}
        for name in MODIFIERS:
            begin = time.process_time()
            check(name, Answer(text, "ru", {"n": 2, "language": "ru"}, identify=identify))
            seconds[name] = time.process_time() - begin
        slowest = max(seconds, key=seconds.__getitem__)
        print(f"line of 100,000 characters, {kind:<10} {slowest:>10} {seconds[slowest]:>8.2f} s", flush=True)


def _whole_command(path: Path, out: Path, workers: int, count: int) -> list[bytes]:
    """Run the command, print what it takes, and return the contents of its scores and summary."""
    begin = time.perf_counter()
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    arguments = ["surface", str(path), "--out", str(out), "--workers", str(workers)]
    subprocess.run([sys.executable, "-m", "xltjax.eval", *arguments], check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = used.ru_utime + used.ru_stime - before.ru_utime - before.ru_stime
    print(
        f"python -m xltjax.eval surface, {count} answers, --workers {workers}: {seconds:.1f} s ({cpu:.1f} s of CPU), "
        f"largest process so far {used.ru_maxrss / 1024:.0f} MB",
        flush=True,
    )
    return [(out / name).read_bytes() for name in ("scores.jsonl", "summary.json")]


def _vocabulary(dictionaries: Dictionaries, language: str) -> list[str]:
    """The stems of the language's dictionary, in an order that is drawn once."""
    found = dictionaries.find(language)
    if isinstance(found, Unavailable):
        raise UserError(str(found))
    lines = found.paths[0].read_text(encoding="utf-8-sig").split("\n")[1:]
    stems = sorted({line.split("/")[0].split("\t")[0] for line in lines})
    stems = [stem for stem in stems if stem.isalpha() and stem.islower()]
    random.Random(language).shuffle(stems)
    return stems[:VOCABULARY]


def _answers(vocabularies: dict[str, list[str]], config: BenchmarkConfig) -> Iterable[dict[str, str]]:
    draw = random.Random(0)
    weights = list(accumulate(1 / rank for rank in range(1, VOCABULARY + 1)))
    for number in range(config.answers):
        language = LANGUAGES[number % len(LANGUAGES)]
        own = vocabularies[language]
        words = draw.choices(own, cum_weights=weights[: len(own)], k=config.words)
        other = vocabularies[draw.choice(LANGUAGES)]
        for place in draw.sample(range(config.words), config.words // 20):
            words[place] = draw.choice(other)
        lines = [
            " ".join(words[start : start + WORDS_PER_LINE]).capitalize() + "."
            for start in range(0, config.words, WORDS_PER_LINE)
        ]
        if number % 3 == 0:
            lines = [f"- **{line}**" for line in lines]
            lines += ["[link](https://example.org/page)", "```python", "print('hello')", "```"]
        yield {"id": str(number), "model": "random", "language": language, "response": "\n".join(lines)}


if __name__ == "__main__":
    execute(command(BenchmarkConfig, main, name="evaluators", help=(__doc__ or "").split("\n")[0]))
