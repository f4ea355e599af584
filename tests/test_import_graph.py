"""The arrows of imports point one way: a test of the layout that the README draws."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDERS = {"xltjax": ROOT / "xltjax", "xltjax.eval": ROOT / "eval", "xltjax.converters": ROOT / "converters"}

# Files of xltjax/ that are commands, or what Python calls in their place.
COMMANDS = {"__main__", "api", "arguments", "cache", "doctor"}
FOLDERS_OF_COMMANDS = {"train", "generate", "chat", "miniature"}
MODEL = {
    "mesh", "rope", "layers", "attention", "kv_cache", "llama", "lora", "partition", "checkpoint",
    "checkpoint_failures",
}  # fmt: skip
# What each room may import. The engine and the converters are imported by the evaluators in functions alone.
MAY_IMPORT = {
    "common": set(),
    "data": {"common"},
    "model": {"common", "data"},
    "inference": {"common", "data", "model"},
    "training": {"common", "data", "model", "inference"},
    "converters": {"common", "data", "model", "inference", "training"},
    "eval": {"common", "data"},
    "translate": {"common", "data", "eval"},
}
LATE = {"eval": {"model", "inference", "converters"}}


def modules() -> dict[str, ast.Module]:
    """Every module of the package by its dotted name."""
    found = {}
    for prefix, folder in FOLDERS.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            name = ".".join((prefix, *parts)).removesuffix(".__init__")
            found[name] = ast.parse(path.read_text(encoding="utf-8"))
    return found


MODULES = modules()


def imported(tree: ast.AST) -> set[str]:
    """The modules of ours that ``tree`` imports, in functions too."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name for name in inner if name in MODULES} or {node.module}
    return {name for name in names if name in MODULES}


def at_module_level(tree: ast.Module) -> ast.Module:
    """``tree`` without the bodies of functions, and without what only a type checker sees."""

    class Outside(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING" else node

    return ast.fix_missing_locations(Outside().visit(ast.parse(ast.unparse(tree))))


def room(module: str) -> str:
    """The room of a module: a folder, ``model`` for the files that the commands share, or ``commands``."""
    parts = module.split(".")[1:]
    if not parts:
        return "commands"  # the package exports what is for Python
    first = parts[0]
    if (first in COMMANDS and len(parts) == 1) or first in FOLDERS_OF_COMMANDS:
        return "commands"
    # ``python -m xltjax.converters`` is a command too; the library below it is not.
    if first == "converters" and parts[1:2] in (["__main__"], ["conversions"]):
        return "commands"
    return "model" if first in MODEL else first


ARROWS = sorted(
    {(room(name), room(target), name, target) for name, tree in MODULES.items() for target in imported(tree)}
)


@pytest.mark.parametrize("source", MAY_IMPORT)
def test_a_room_imports_only_what_lies_below_it(source: str) -> None:
    allowed = MAY_IMPORT[source] | LATE.get(source, set()) | {source}
    assert [arrow for arrow in ARROWS if arrow[0] == source and arrow[1] not in allowed] == []


def test_the_evaluators_import_the_engine_in_functions_alone() -> None:
    early = {
        (name, target)
        for name, tree in MODULES.items()
        if room(name) == "eval"
        for target in imported(at_module_level(tree))
        if room(target) not in MAY_IMPORT["eval"] | {"eval"}
    }
    assert early == set()


def test_no_folder_is_on_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for source, target, *_ in ARROWS:
        if source != target:
            graph.setdefault(source, set()).add(target)
    assert list(TopologicalSorter(graph).static_order())[-1] == "study"  # raises CycleError on a circle


def test_no_file_is_on_a_circle() -> None:
    TopologicalSorter({name: imported(tree) - {name} for name, tree in MODULES.items()}).prepare()


def test_only_commands_know_the_miniature() -> None:
    """Not even as a word in code or messages; help texts of settings name it."""
    names = {
        name
        for name, tree in MODULES.items()
        if room(name) not in ("commands",)
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value == "miniature"
    }
    assert names == set()


def test_every_file_has_a_room() -> None:
    rooms = {room(name) for name in MODULES}
    assert rooms == {*MAY_IMPORT, "commands", "study"}


def test_a_turned_arrow_is_found() -> None:
    turned = ast.parse("def late():\n    from xltjax.training import run")
    assert room(*imported(turned)) not in MAY_IMPORT["inference"]


def test_files_are_short_and_folders_small() -> None:
    for folder in {path.parent for prefix in FOLDERS.values() for path in prefix.rglob("*.py")}:
        files = sorted(folder.glob("*.py"))
        assert len(files) <= 16, folder
        for file in files:
            assert len(file.read_text(encoding="utf-8").splitlines()) <= 450, file
