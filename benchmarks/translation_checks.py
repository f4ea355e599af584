"""What the checks of ``translate`` see: ``python benchmarks/translation_checks.py [--released DIR]``.

True translations are the shipped 113 instructions in five languages, each into each other, and with ``--released``
also the paper's in four (``alpacaeval_test_subset.*.jsonl``). They are given to the checks as they are and broken in
several ways; prints for each the share that is doubted, and by which checks. Then cuts texts of a million characters,
ordinary and contrived ones, and prints the seconds of CPU time.
"""

from __future__ import annotations

import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.eval.language import LanguageIdentifier
from xltjax.translate.checks import doubts
from xltjax.translate.numbers import numbers
from xltjax.translate.segments import join, split
from xltjax.translate.sentences import sentences

SHIPPED = Path(__file__).parents[1] / "eval" / "sets" / "xlt113"
PIECE = 1_000_000  # characters
TEXTS = {
    "prose in one line": "This is a sentence about things. And another one, e.g. with Mr. X! ",
    "prose in lines": "This is a sentence about things.\n",
    "paragraphs": "This is a sentence. " * 8 + "\n\n",
    "Chinese": "今天天气很好。我们去公园吧！",
    "a word": "a",
    "words": "word ",
    "table": "| ab | cd |\n",
    "tabs": "ab\t",
    "quotations": "> a\n",
    "open code": "`a ",
    "open fences": "```\na\n",
    "open tags": "<a ",
    "open comments": "<!--",
    "open formulas": "$a ",
    "open links": "[a](",
    "open quotations": "«a. ",
    "open emphasis": "**a ",
    "addresses": "http://a.b/",
    "emoji": "a 😀 ",
    "program": "x = foo(1);\n",
    "if": "if a b ",
    "control characters": "a b\0",
    "blanks": " ",
    "line ends": "\n",
}

Pair = tuple[str, str, str, str]  # language and text of the source, language and text of the translation
# Damages a text, given its language; None where it cannot be done.
Break = Callable[[str, str, random.Random], str | None]


@dataclass(frozen=True)
class ChecksConfig:
    """Settings of the measurement."""

    released: str | None = setting(None, "Folder with the instructions that the paper's authors released.")
    seed: int = setting(0, "Seed of the damage.")


def main(config: ChecksConfig) -> None:
    """Measure, and print both tables."""
    sets = [_shipped()]
    if config.released is not None:
        sets.append(_released(Path(config.released)))
    pairs = list(_pairs(sets))
    identify = LanguageIdentifier()
    print(f"{len(pairs)} pairs")
    _report("true translations", pairs, identify)
    _report("the source itself", ((a, x, b, x) for a, x, b, _ in pairs), identify)
    rng = random.Random(config.seed)
    _report("a third language", _third_language(sets, rng), identify)
    for name, damage in BROKEN.items():
        broken = ((a, x, b, damage(y, b, rng)) for a, x, b, y in pairs)
        _report(name, ((a, x, b, y) for a, x, b, y in broken if y is not None), identify)
    print(f"\nCPU seconds for {PIECE} characters")
    for name, unit in TEXTS.items():
        text = unit * (PIECE // len(unit))
        start = time.process_time()
        pieces = split(text, "en", fits=lambda group: len(group) <= 600)
        seconds = time.process_time() - start
        if join(pieces, [piece.text for piece in pieces if piece.translate]) != text:
            raise UserError(f"the text of {name} did not come back")
        print(f"{name:<20} {seconds:6.2f} s, {len(pieces):>7} pieces")


def _shipped() -> dict[str, list[str]]:
    files = {path.stem: path.read_text(encoding="utf-8").splitlines() for path in SHIPPED.glob("*.jsonl")}
    return {
        language: [json.loads(line)["instruction"] for line in lines] for language, lines in files.items()
    }


def _released(folder: Path) -> dict[str, list[str]]:
    files = {path.suffixes[-2][1:]: path for path in folder.glob("alpacaeval_test_subset.*.jsonl")}
    if not files:
        raise UserError(f"{folder} has no alpacaeval_test_subset.*.jsonl")
    texts = {}
    for language, path in sorted(files.items()):
        lines = path.read_text(encoding="utf-8").splitlines()
        texts[language] = [json.loads(line)[0]["content"] for line in lines]
    return texts


def _pairs(sets: Iterable[dict[str, list[str]]]) -> Iterator[Pair]:
    for texts in sets:
        for source, target in permutations(sorted(texts), 2):
            for before, after in zip(texts[source], texts[target], strict=True):
                yield source, before, target, after


def _third_language(sets: Iterable[dict[str, list[str]]], rng: random.Random) -> Iterator[Pair]:
    for texts in sets:
        for source, target in permutations(sorted(texts), 2):
            others = sorted(set(texts) - {source, target})
            for row, before in enumerate(texts[source]):
                yield source, before, target, texts[rng.choice(others)][row]


def _report(name: str, pairs: Iterable[Pair], identify: LanguageIdentifier) -> None:
    total = doubted = 0
    kinds: Counter[str] = Counter()
    for _, source, target, output in pairs:
        found = doubts(source, output, target=target, identify=identify)
        total += 1
        doubted += bool(found)
        kinds.update(found)
    listed = ", ".join(f"{kind} {count}" for kind, count in kinds.most_common())
    print(
        f"{name:<37} {doubted:>5} of {total:>5} doubted, {doubted / max(1, total):6.1%}: {listed or 'nothing'}"
    )


def _kept(least: int, keep: Callable[[int], int]) -> Break:
    """Keeps the first sentences of a text that has ``least`` of them."""

    def damage(text: str, language: str, rng: random.Random) -> str | None:
        spans = [(start, stop) for start, stop in sentences(text, language) if text[start:stop].strip()]
        return text[: spans[keep(len(spans)) - 1][1]] if len(spans) >= least else None

    return damage


def _looped(words: int, times: int) -> Break:
    def damage(text: str, language: str, rng: random.Random) -> str:
        found = text.split()
        return " ".join(found + found[-words:] * times)

    return damage


def _number(change: bool) -> Break:
    def damage(text: str, language: str, rng: random.Random) -> str | None:
        large = [number for number in numbers(text) if len(number) > 2 or int(number) > 12]
        if not large:
            return None
        number = rng.choice(large)
        if not change:
            return text.replace(number, "")
        place = rng.choice([place for place, sign in enumerate(number) if sign.isdigit()])
        digit = str((int(number[place]) + rng.randint(1, 9)) % 10)
        return text.replace(number, number[:place] + digit + number[place + 1 :])

    return damage


BROKEN: dict[str, Break] = {
    "first half of 2 sentences or more": _kept(2, lambda count: (count + 1) // 2),
    "first half of 4 sentences or more": _kept(4, lambda count: (count + 1) // 2),
    "the last of 2 sentences or more lost": _kept(2, lambda count: count - 1),
    "the last word 4 more times": _looped(1, 4),
    "the last 2 words 4 more times": _looped(2, 4),
    "the last 3 words 6 more times": _looped(3, 6),
    "the last 5 words 10 more times": _looped(5, 10),
    "a number over 12 left out": _number(False),
    "a digit of a number over 12 changed": _number(True),
    "explained in front": lambda text, language, rng: f"Here is the translation:\n\n{text}",
}

COMMAND = command(
    ChecksConfig,
    main,
    name="translation_checks.py",
    help="Count what the checks of `translate` doubt, and time the segments.",
)

if __name__ == "__main__":
    execute(COMMAND)
