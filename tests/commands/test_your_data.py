"""The guide to your own data, typed as it stands: sixty rows in a CSV file, three rates, a LaTeX table."""

from __future__ import annotations

import csv
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

GUIDE = Path(__file__).parents[2] / "docs" / "your-data.md"
CAPITALS = (
    ("Italia", "Roma", "Italia", "Roma"), ("Francia", "Parigi", "Francia", "París"),
    ("Spagna", "Madrid", "España", "Madrid"), ("Germania", "Berlino", "Alemania", "Berlín"),
    ("Grecia", "Atene", "Grecia", "Atenas"), ("Austria", "Vienna", "Austria", "Viena"),
)  # fmt: skip


def write_rows(path: Path) -> None:
    """Sixty rows, in Italian and Spanish by turns."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(("domanda", "risposta", "lingua"))
        for number in range(5):
            for italian, citta, spanish, ciudad in CAPITALS:
                table.writerow(
                    (
                        f"{number}. Qual è la capitale di {italian}?",
                        f"La capitale è {citta}, una bella città.",
                        "it",
                    )
                )
                table.writerow(
                    (
                        f"{number}. ¿Cuál es la capital de {spanish}?",
                        f"La capital es {ciudad}, muy grande.",
                        "es",
                    )
                )


@pytest.mark.slow
def test_the_guide_leads_from_a_table_to_a_table(chat_model: Path, tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.csv")
    install, given, *steps = re.findall(r"^```bash\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert "pip install" in install
    assert set(re.findall(r"^(\w+)=", given, re.MULTILINE)) == {"MODEL", "ROWS"}
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "python").write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    (tmp_path / "bin" / "python").chmod(0o755)
    done = subprocess.run(
        ["bash", "-e", "-c", "\n".join(steps)], cwd=tmp_path, capture_output=True, text=True,
        env={
            **os.environ, "PATH": f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}", "MODEL": str(chat_model),
            "ROWS": "rows.csv", "JAX_PLATFORMS": "cpu",
        },
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "48 rows with" in done.stdout + done.stderr
    runs = tmp_path / "runs" / "mine"
    answers = [len((run / "responses.jsonl").read_text().splitlines()) for run in runs.glob("lr-*")]
    assert answers == [12, 12, 12]
    assert "\\begin{" in (runs / "compared" / "compare.tex").read_text()
    assert (runs / "report" / "figures" / "surface-by-rate.pdf").is_file()
    assert "<table" in (runs / "report.html").read_text()
    assert (runs / "hf" / "model.safetensors").is_file()
