"""A sweep over learning rates ends with a table of what its runs have measured, and the commands that continue."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from helpers.generation import write_prompts

from xltjax import train
from xltjax.common.cli import execute
from xltjax.eval.language import language_correct
from xltjax.miniature.text import instruction_rows


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_sweep_ends_with_a_table_of_losses_and_languages_and_says_what_is_next(
    chat_model: Path,
    tmp_path: Path,
    identify: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "140")
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in instruction_rows(0)[:40]))
    out = tmp_path / "my sweep"
    flags = [
        "--model", str(chat_model), "--data", str(data), "--out", str(out), "--precision", "float32",
        "--sequence-length", "128", "--tokens-per-batch", "256", "--accumulation", "2", "--steps", "2",
        "--learning-rates", "1e-4,1e-3", "--validation-rows", "8", "--validation-every", "1",
        "--sample-every", "2", "--sample-prompts", str(write_prompts(tmp_path / "p.jsonl", 3)),
    ]  # fmt: skip
    with pytest.raises(SystemExit) as ended:
        execute(train.COMMAND, flags)
    assert ended.value.code == 0
    said = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if line[:1] == "│"]
    assert [row[0] for row in rows] == ["0.0001", "0.001"]
    for rate, updates, loss, validation, lowest, language in rows:
        measured = lines(out / f"lr-{rate}" / "metrics.jsonl")
        losses = [row["loss"] for row in measured if "loss" in row]
        held = {row["step"]: row["validation_loss"] for row in measured if "validation_loss" in row}
        assert (updates, loss, validation) == ("2", f"{losses[-1]:.4f}", f"{held[2]:.4f}")
        best = min(held, key=lambda step: held[step])
        assert lowest == f"{held[best]:.4f} ({best})"
        (sample,) = lines(out / f"lr-{rate}" / "samples.jsonl")
        score = language_correct("", sample["response"], "en", identify)
        assert (
            language == {1: "1 of 1 right", 0: "0 of 1 right", None: "0 of 1 right, 1 undecided"}[score.value]
        )
    (command,) = re.findall("^next: +(.*)$", said, re.MULTILINE)
    words = shlex.split(command)
    assert words[:5] == ["for", "run", "in", f"{out}/lr-0.0001", f"{out}/lr-0.001;"]
    assert words[5:10] == ["do", "python", "-m", "xltjax.generate", "--model"]
    (scoring,) = re.findall("^then: +(.*)$", said, re.MULTILINE)
    assert shlex.split(scoring)[4:] == [
        f"{out}/lr-0.0001/responses.jsonl", f"{out}/lr-0.001/responses.jsonl", "--out", f"{out}/scores",
    ]  # fmt: skip
