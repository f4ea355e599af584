"""``python -m xltjax.translate``: instruction data in other languages, by an engine of translation."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from xltjax.common import cli
from xltjax.common.errors import UserError
from xltjax.common.files import check_output_directory
from xltjax.translate.languages import Language, language
from xltjax.translate.settings import TranslateConfig

NEEDED = ("regex", "sentencex", "markdown_it")  # modules of the extra


def translate(config: TranslateConfig) -> None:
    """Translate the data into every language, and write the rows, the doubts and the summary.

    Raises:
        UserError: for any mistake that the user can correct.
    """
    source, targets = _check(config)
    if any(importlib.util.find_spec(module) is None for module in NEEDED):
        raise UserError("translate needs an extra: pip install 'xltjax[translate]'")
    from xltjax.translate.job import run

    run(config, source, targets)


def _check(config: TranslateConfig) -> tuple[Language, list[Language]]:
    """The languages; what is wrong with the settings comes first, since it costs nothing to find out."""
    if not config.data or not config.to or not config.engine or not config.out:
        raise UserError(
            "call: python -m xltjax.translate DATA --to fr,pt,ru --engine ct2:DIR --out FOLDER; engines: ct2:DIR, "
            "openai:MODEL, hf:DIR"
        )
    least = {
        "segment_tokens": 8, "beam": 1, "batch_tokens": 1, "threads": 0, "max_tokens": 1, "concurrency": 1,
        "retries": 0,
    }  # fmt: skip
    for key, value in least.items():
        if getattr(config, key) < value:
            raise UserError(f"{key} must be at least {value}, not {getattr(config, key)}")
    if not 0 < config.timeout < float("inf"):
        raise UserError(f"timeout must be more than 0 seconds, not {config.timeout:g}")
    source = language(config.source)
    targets = [language(each) for each in config.to]
    for number, target in enumerate(targets):
        if target.label == source.label:
            raise UserError(
                f"--to {config.to[number]} is the source language; leave it out, or correct --source"
            )
        if target.label in (each.label for each in targets[:number]):
            raise UserError(f"--to names {target.name} twice ({target.label})")
    check_output_directory(Path(config.out))
    return source, targets


COMMAND = cli.command(
    TranslateConfig,
    translate,
    name="translate",
    help="Translate instruction data into other languages, segment by segment, and mark doubtful segments.\n\n"
    "Writes the rows of DATA in each language, in the same order and format. A journal keeps every translation, so "
    "nothing is translated twice, and the same command continues after an interruption.",
)


main = cli.entry_point(COMMAND, "python -m xltjax.translate")


if __name__ == "__main__":
    main()
