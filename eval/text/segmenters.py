"""Words of Chinese and Japanese, which are written without spaces: the cuts of the Language Confusion Benchmark."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from importlib import metadata

from xltjax.eval.scores import Unavailable

Tokenize = Callable[[str], list[str]]

# rjieba is jieba in Rust, which starts in a tenth of a second and is kept up; on the 30,064 Chinese lines of the
# benchmark's own outputs both cut alike.
_PACKAGES = {"zh": ("rjieba",), "ja": ("fugashi", "unidic-lite", "unidic")}
UNSEGMENTED = frozenset(_PACKAGES)

_UNUSABLE = re.compile("[\0\ud800-\udfff]")  # neither library takes them
_LONGEST = 10_000  # characters given to MeCab at a time, whose buffer is bounded


@functools.cache
def segmenter(language: str) -> Tokenize | Unavailable:
    """What cuts a line of ``language`` into words: at spaces, in Chinese with rjieba, in Japanese with fugashi.

    Returns:
        The function, or why there is none: the extra ``cjk`` is not installed.
    """
    if language not in UNSEGMENTED:
        return str.split
    try:
        return _chinese() if language == "zh" else _japanese()
    except (ImportError, RuntimeError):  # fugashi raises RuntimeError without a dictionary
        return Unavailable(f"no word segmenter for {language}: pip install 'xltjax[cjk]'")


def segmenter_versions() -> dict[str, str]:
    """The versions of the segmenters that are installed, on which scores of Chinese and Japanese depend."""
    versions = {}
    for package in sorted({name for names in _PACKAGES.values() for name in names}):
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _chinese() -> Tokenize:
    import rjieba

    return lambda line: list(rjieba.cut(_UNUSABLE.sub(" ", line)))


def _japanese() -> Tokenize:
    from fugashi import Tagger

    tagger = Tagger("-O wakati -b 50000")

    def tokenize(line: str) -> list[str]:
        line = _UNUSABLE.sub(" ", line)
        parts = (line[start : start + _LONGEST] for start in range(0, len(line), _LONGEST))
        return [word for part in parts for word in tagger.parse(part).split()]

    return tokenize
