"""README and docs: their commands parse, their Python runs, and what they point to exists."""

from __future__ import annotations

import contextlib
import importlib
import pkgutil
import re
import shlex
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import jax
import pytest

from xltjax import cache, doctor, generate, train
from xltjax.chat.__main__ import COMMAND as CHAT
from xltjax.common.cli import group
from xltjax.common.errors import UserError
from xltjax.converters import __main__ as converters
from xltjax.converters import load_hf, save_peft
from xltjax.eval import __main__ as evaluators
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh
from xltjax.miniature import __main__ as miniature
from xltjax.miniature import known
from xltjax.study import __main__ as study
from xltjax.study.results import effects, tables
from xltjax.translate import __main__ as translate

ROOT = Path(__file__).parents[1]
OWN = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")
DOCUMENTS = {
    path.name: path for path in (*(ROOT / name for name in OWN), *sorted((ROOT / "docs").glob("*.md")))
}
REPOSITORY = "https://github.com/xltjax/xltjax"
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
COMMANDS = {
    "train": train.COMMAND,
    "generate": generate.COMMAND,
    "chat": CHAT,
    "doctor": doctor.COMMAND,
    "cache": cache.COMMAND,
    "miniature": miniature.COMMAND,
    "miniature.known": known.COMMAND,
    "study": study.COMMAND,
    "study.results.tables": tables.COMMAND,
    "study.results.effects": effects.COMMAND,
    "translate": translate.COMMAND,
    "converters": converters.GROUP,
    "eval": group(evaluators.COMMANDS, name="eval", help=""),
}
IMPORT = re.compile(r"^(?:from (xltjax\S*) import (.+)|import (xltjax\S*))$", re.MULTILINE)
FOLDER = r"(?:xltjax|eval|converters|configs|docs|benchmarks|tests)/[\w./*-]*"


def text(name: str) -> str:
    return DOCUMENTS[name].read_text(encoding="utf-8")


def blocks(markdown: str, language: str) -> list[str]:
    """The contents of the fenced code blocks of a language; ``""`` is that of fences without one."""
    return [content for found, content in FENCE.findall(markdown) if found == language]


def command_lines(markdown: str) -> Iterator[tuple[str, ...]]:
    """Every ``python -m xltjax.NAME ...`` in shell blocks as (NAME, argument, ...), and those in prose."""
    shell = "\n".join(content for kind in ("bash", "sh", "") for content in blocks(markdown, kind))
    inline = "\n".join(re.findall(r"`(python -m xltjax[^`]*)`", FENCE.sub("", markdown)))
    for line in f"{shell}\n{inline}".replace("\\\n", " ").splitlines():
        for part in re.split(r"&&|;", line):
            words = shlex.split(part.split(" > ")[0], comments=True)
            if words[:2] == ["python", "-m"] and words[2].startswith("xltjax."):
                yield words[2].removeprefix("xltjax."), *words[3:]


def examples(words: Sequence[str]) -> Iterator[list[str]]:
    """The commands that a synopsis stands for: without its [options] and with them, and for each of a|b|c."""
    depth, required, everything = 0, [], []
    for word in words:
        if word == "...":
            continue
        depth += word.count("[")
        everything.append(word.strip("[]"))
        if not depth:
            required.append(word)
        depth -= word.count("]")
    for line in (required, everything):
        alternatives = max((word.count("|") for word in line), default=0) + 1
        for index in range(alternatives):
            yield [(word.split("|") * alternatives)[index] for word in line]


def parse(command: click.Command, arguments: Sequence[str]) -> None:
    """Parse the arguments and build the settings, without running the command.

    Raises:
        UserError: for an unknown flag or command, or a value that the settings refuse.
        click.ClickException: for arguments that do not fit.
    """
    if isinstance(command, click.Group):
        if arguments:
            _, inner, rest = command.resolve_command(click.Context(command), list(arguments))
            assert inner is not None
            parse(inner, rest)
        return
    with contextlib.suppress(click.exceptions.Exit):  # --help
        context = command.make_context(command.name, list(arguments))
        context.params["print_config"] = True  # instead of running the command
        for name, value in context.params.items():
            if isinstance(value, str) and re.fullmatch("[A-Z]", value):
                context.params[name] = "1"  # a placeholder for a number, such as X or N
        command.invoke(context)


def check(command: str, *words: str) -> None:
    """Parse everything that a command line of a document stands for; raises as ``parse``."""
    for example in examples(words):
        parse(COMMANDS[command], example)


def flags(*, hidden: bool) -> set[str]:
    """The flags of all commands, with or without their former names, which ``--help`` hides."""
    commands = [
        inner
        for command in COMMANDS.values()
        for inner in (command.commands.values() if isinstance(command, click.Group) else [command])
    ]
    return {"--help", "--show-completion"} | {  # which the program itself has
        flag
        for command in commands
        for option in command.params
        if isinstance(option, click.Option) and (hidden or not option.hidden)
        for flag in (*option.opts, *option.secondary_opts)
    }


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_command_line_parses(name: str) -> None:
    for command, *words in command_lines(text(name)):
        try:
            check(command, *words)
        except (UserError, click.ClickException) as mistake:
            pytest.fail(f"{name}: python -m xltjax.{command} {' '.join(words)}: {mistake}")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_flag_exists(name: str) -> None:
    assert shown_flags(text(name)) - flags(hidden=name in ("upgrading.md", "CHANGELOG.md")) == set()


def shown_flags(markdown: str) -> set[str]:
    """Every flag, in prose and in command lines."""
    return set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]*", markdown))


def test_a_flag_that_does_not_exist_is_found() -> None:
    assert shown_flags("`--validation-rows 2` and `x --lerning-rate`") - flags(hidden=False) == {
        "--lerning-rate"
    }
    assert shown_flags("`--held-out-rows`") - flags(hidden=False) == {"--held-out-rows"}


def test_the_guides_show_every_command() -> None:
    shown = {line[0] for name in DOCUMENTS for line in command_lines(text(name))}
    assert shown >= {"train", "generate", "doctor", "converters", "eval", "study"}


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("python -m xltjax.train --lerning-rate 1e-5", "--learning-rate"),
        ("python -m xltjax.train --mesh 2x1 \\\n  --steps many", "steps: 'many'"),
        ("pip install x && python -m xltjax.converters to-heff RUN DIR", "to-hf"),
        ("python -m xltjax.converters to-hf RUN DIR [--merge-lara]  # comment", "--merge-lora"),
        ("python -m xltjax.converters to-hf RUN DIR [--dtype own|bfloat17]", "bfloat16"),
        ("python -m xltjax.train --config paper/llama-2", "shipped config"),
    ],
)
def test_a_mistake_in_a_command_line_is_found(line: str, reason: str) -> None:
    ((command, *words),) = command_lines(f"```bash\n{line}\n```\n")
    with pytest.raises((UserError, click.ClickException), match=re.escape(reason)):
        check(command, *words)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_import_works(name: str) -> None:
    for code in blocks(text(name), "python"):
        for module, names, plain in IMPORT.findall(code):
            found = importlib.import_module(module or plain)
            for each in filter(None, names.split(",")):
                assert hasattr(found, each.split(" as ")[0].strip()), f"{module} has no {each.strip()}"


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_module_in_prose_exists(name: str) -> None:
    shown = text(name)
    if name == "upgrading.md":  # the first column of its tables has the names that are gone
        shown = "\n".join(line.split("|")[2] for line in shown.splitlines() if line.startswith("|"))
    for dotted in re.findall(r"`(xltjax(?:\.\w+)+)", shown):
        pkgutil.resolve_name(dotted)


@pytest.fixture
def models(chat_model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory in which the models that the guides name are a tiny one, as the current directory."""
    llama = chat_model
    monkeypatch.chdir(tmp_path)
    for name in ("path/to/llama", "Llama-2-7b-hf"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).symlink_to(llama)
    mesh = make_mesh("1x1")
    adapted = load_hf(llama, mesh)
    add_lora(adapted, mesh, jax.random.key(0), rank=2, alpha=4)
    save_peft(adapted, "adapter", base_name="base")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "written"),
    [("README.md", "exported"), ("python.md", "copied"), ("converting.md", "merged")],
)
def test_the_python_runs(name: str, written: str, models: Path) -> None:
    names: dict[str, Any] = {}
    Path("mine.jsonl").write_text('{"instruction": "Why?", "response": "So."}\n' * 4)
    for code in blocks(text(name), "python"):
        few = "steps=2, sequence_length=64, tokens_per_batch=64, accumulation=1"
        exec(re.sub("steps=500|epochs=3", few, code), names)
    assert (models / written / "model.safetensors").is_file()
    if "logits" in names:
        assert (names["logits"].shape[:2], names["logits"].dtype) == ((2, 4), "float32")


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_link_and_path_exists(name: str) -> None:
    assert missing(text(name), DOCUMENTS[name].parent) == []


def missing(markdown: str, folder: Path) -> list[str]:
    """What does not exist among relative links and among the paths in backticks and in text blocks."""
    targets = [link.split("#")[0] for link in linked(markdown) if not link.startswith("#")]
    links = [link for link in targets if "://" not in link]
    ours = "|".join(
        (rf"{REPOSITORY}/(?:blob|tree)/main", r"https://raw\.githubusercontent\.com/xltjax/xltjax/main")
    )
    inside = [found[1] for link in targets if (found := re.match(rf"(?:{ours})/(.+)", link))]
    prose = FENCE.sub("", markdown)
    paths = re.findall(rf"`(?:python )?({FOLDER})[^`]*`", prose)
    paths += [
        path for block in blocks(markdown, "text") for path in re.findall(rf"(?<![\w/]){FOLDER}", block)
    ]
    absent = [link for link in links if not (folder / link).exists()]
    absent += [link for link in inside if not (ROOT / link).exists()]
    return absent + [path for path in paths if not any(ROOT.glob(path.rstrip("/")))]


def linked(markdown: str) -> list[str]:
    """The targets of all links: ``[text](target)``, and ``[text][label]`` with ``[label]: target`` below."""
    prose = FENCE.sub("", markdown)
    inline = re.findall(r"\]\(([^)\s]+)[^)]*\)", prose)
    defined = dict(re.findall(r"^\[([^\]]+)\]: (\S+)$", prose, re.MULTILINE))
    used = set(re.findall(r"\]\[([^\]]+)\]", prose))
    assert used == set(defined)
    return inline + list(defined.values())


@pytest.mark.parametrize("name", OWN)
def test_the_package_index_can_follow_every_link(name: str) -> None:
    assert [link for link in linked(text(name)) if not link.startswith("https://")] == []


def test_a_path_that_does_not_exist_is_found() -> None:
    markdown = (
        "[a](docs/no.md) `xltjax/no.py` `benchmarks/gpu.py` `--x tests/no`\n```text\neval/no/  x\n```\n"
    )
    assert missing(markdown, ROOT) == ["docs/no.md", "xltjax/no.py", "eval/no/"]
    absolute = f"[a]({REPOSITORY}/blob/main/docs/no.md#x) [b]({REPOSITORY}/blob/main/docs/index.md)"
    assert missing(absolute, ROOT) == ["docs/no.md"]
    assert missing("[a][b]\n\n[b]: docs/no.md#x\n", ROOT) == ["docs/no.md"]
