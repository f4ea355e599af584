"""The notebooks under examples/: they run from an empty state, and what is stored of their outputs is small."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import nbformat
import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NOTEBOOKS = sorted(path.name for path in EXAMPLES.glob("*.ipynb"))
MOST_BYTES = 40_000


def test_there_are_two() -> None:
    assert len(NOTEBOOKS) == 2


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_outputs_are_stored_and_small_and_name_no_machine(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    notebook = nbformat.reads(text, as_version=4)
    nbformat.validate(notebook)
    assert len(text.encode()) < MOST_BYTES
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert outputs
    assert all(output.output_type in ("stream", "execute_result") for output in outputs)
    assert not any(place in str(outputs) for place in ("/tmp/", "/home/", "/root/", str(EXAMPLES.parent)))
    counts = [cell.execution_count for cell in notebook.cells if cell.cell_type == "code"]
    assert counts == list(range(1, len(counts) + 1))  # run once, from top to bottom


@pytest.mark.slow
@pytest.mark.parametrize("name", NOTEBOOKS)
def test_it_runs_from_an_empty_state(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nbclient import NotebookClient

    shutil.copy(EXAMPLES / name, tmp_path)
    # `!python` is this Python.
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    notebook = nbformat.read(tmp_path / name, as_version=4)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.outputs = []
    NotebookClient(
        notebook, timeout=1800, kernel_name="python3", resources={"metadata": {"path": str(tmp_path)}}
    ).execute()
    printed = str([cell.outputs for cell in notebook.cells if cell.cell_type == "code"])
    assert "error: " not in printed
    assert ("exported" if "fine-tune" in name else "language_correct") in str(notebook)
    made = {
        "fine-tune-and-ask.ipynb": "exported/model.safetensors",
        "evaluate-two-models.ipynb": "compared/compare.tex",
    }
    assert (tmp_path / made[name]).is_file()
