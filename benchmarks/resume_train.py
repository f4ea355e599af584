"""``kill -9`` at random instants, then the same command: the run must equal one that was left alone.

    python benchmarks/resume_train.py [--kills 20] [--lora]

A tiny random model learns the miniature's instructions, with a checkpoint every second update. One run is left
alone; another is killed ``--kills`` times, every other time while a checkpoint is being written, and started
again; then it ends. Weights, optimizer state and metrics are compared bit for bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp
from random_models import tiny_chat_model

from xltjax.miniature.text import instruction_rows
from xltjax.training.metrics import MEASURED
from xltjax.training.run import CHECKPOINTS

STEPS, SAVE_EVERY = 120, 2


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--lora", action="store_true", help="train adapters instead of everything")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = tiny_chat_model(root)
        rows = [json.dumps(row) + "\n" for row in instruction_rows(0)]
        (root / "dolly.jsonl").write_text("".join(rows), encoding="utf-8")

        def start(out: Path) -> subprocess.Popen[bytes]:
            command = [
                sys.executable, "-m", "xltjax.train", "--model", str(model), "--data",
                str(root / "dolly.jsonl"), "--precision", "float32", "--sequence-length", "128",
                "--tokens-per-batch", "256", "--accumulation", "2", "--steps", str(STEPS), "--learning-rate", "1e-3",
                "--save-every", str(SAVE_EVERY), "--validation-rows", "16", "--out", str(out),
            ]  # fmt: skip
            if arguments.lora:
                command += ["--lora-rank", "4", "--lora-dropout", "0.1"]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        whole, killed = root / "whole", root / "killed"
        assert start(whole).wait() == 0
        writing = 0
        for kill in range(1, arguments.kills + 1):
            process, before = start(killed), _updates(killed)
            # An instant that leaves updates for the kills to come.
            wanted = before + draw.randrange(1, max((STEPS - before) // (arguments.kills - kill + 2), 1) + 1)
            while _updates(killed) < wanted and process.poll() is None:
                time.sleep(0.002)
            while kill % 2 and not _unfinished(killed) and process.poll() is None:
                time.sleep(0.0005)
            time.sleep(draw.uniform(0, 0.02 if kill % 2 else 0.2))
            ended = process.poll() is not None
            process.kill()
            process.wait()
            within = bool(_unfinished(killed))
            writing += within
            print(
                f"kill {kill}: {'had ended' if ended else 'killed'} after update {_updates(killed)}"
                f"{', a checkpoint half written' if within else ''}",
                flush=True,
            )
        assert start(killed).wait() == 0
        differences = _differences(whole, killed)
    print(f"{arguments.kills} kills, {writing} of them within the writing of a checkpoint")
    print("the same run, bit for bit" if not differences else f"ANOTHER RUN: {', '.join(differences)}")
    sys.exit(1 if differences else 0)


def _updates(out: Path) -> int:
    """Updates recorded so far."""
    path = out / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    complete = [line for line in lines if line.endswith("}")]
    return max((json.loads(line)["step"] for line in complete), default=0)


def _unfinished(out: Path) -> list[Path]:
    return list((out / CHECKPOINTS).glob("*tmp*"))


def _differences(one: Path, other: Path) -> list[str]:
    """What is not the same, bit for bit, in the last checkpoints and the metrics of two runs."""
    found = []
    states = [ocp.load_checkpointables((run / CHECKPOINTS / str(STEPS)).absolute()) for run in (one, other)]
    for part in ("weights", "optimizer"):
        first, second = (jax.tree.leaves(state[part]) for state in states)
        same = len(first) == len(second) and all(
            np.asarray(a).tobytes() == np.asarray(b).tobytes() for a, b in zip(first, second, strict=True)
        )
        found += [] if same else [part]
    metrics = [
        [
            {key: value for key, value in json.loads(line).items() if key not in MEASURED}
            for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        ]
        for run in (one, other)
    ]
    return found + ([] if metrics[0] == metrics[1] else ["metrics"])


if __name__ == "__main__":
    main()
