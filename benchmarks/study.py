"""What a study costs beyond its commands, and that it compiles nothing which they do not.

    python benchmarks/study.py [--repeat 3]

A tiny random model is trained at two rates, answers and is scored: once by the commands as a user would type them,
one process each, and once by ``python -m xltjax.study``, both with every program in JAX's cache of compilations. The
difference is given for each stage (a sweep counts as one). Then the results are compared bit for bit, and the entries
that the study has added to the cache are counted.
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from helpers.small_study import SmallStudy, results, write_study
from random_models import tiny_chat_model

from xltjax.study.launch.jobs import Job
from xltjax.study.stages import prepare


def main() -> None:
    """Time both, compare, count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeat", type=int, default=3)
    repeat = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        cache = root / "compiled"
        os.environ["JAX_COMPILATION_CACHE_DIR"] = str(cache)
        file = write_study(root / "files", tiny_chat_model(root))
        _by_hand(SmallStudy(file, root / "first"))  # fills the cache
        before = _programs(cache)
        typed, studied = [], []
        for number in range(repeat):
            typed.append(_by_hand(SmallStudy(file, root / f"typed-{number}")))
            studied.append(_study(file, root / f"study-{number}"))
        stages = len(SmallStudy(file, root / "first").stages) - 1  # the training runs are one command
        one, other = statistics.median(typed), statistics.median(studied)
        print(f"{stages} commands by hand: {one:.1f} s; the study: {other:.1f} s")
        print(f"overhead of the study: {(other - one) / stages:+.2f} s for each stage")
        added = _programs(cache) - before
        print(f"programs that the study compiled and the commands had not: {len(added)}")
        found = results(root / "study-0")
        found.pop("tables/cells.csv")  # no command makes it of what was typed
        same = results(root / "typed-0") == found
        print("the same results, bit for bit" if same else "OTHER RESULTS")
        sys.exit(0 if same and not added else 1)


def _by_hand(small: SmallStudy) -> float:
    """Seconds of the commands of a study, one after another."""
    shutil.rmtree(small.root, ignore_errors=True)
    prepare(small.study, small.cells, small.root)
    trainings = tuple(stage for stage in small.stages if stage.kind == "train")
    jobs = [Job(trainings, str(small.root))]
    jobs += [
        Job((stage,), str(small.root)) for stage in small.stages if stage.kind not in ("train", "tables")
    ]
    began = time.monotonic()
    for job in jobs:
        _run([sys.executable, "-m", f"xltjax.{job.command()[0]}", *job.command()[1:]])
    return time.monotonic() - began


def _study(file: Path, root: Path) -> float:
    began = time.monotonic()
    _run([sys.executable, "-m", "xltjax.study", str(file), "--out", str(root)])
    return time.monotonic() - began


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{shlex.join(command)}\n{done.stdout}")


def _programs(cache: Path) -> set[str]:
    return {path.name for path in cache.rglob("*") if path.is_file() and not path.name.endswith("-atime")}


if __name__ == "__main__":
    main()
