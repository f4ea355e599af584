"""``kill -9`` at random instants, then the same command: the run must equal one that was left alone.

    python benchmarks/resume_train.py [--kills 20] [--lora] [--fight]

A tiny random model learns the miniature's instructions, with a checkpoint every second update. One run is left
alone; another is killed ``--kills`` times, every other time while a checkpoint is being written, and started
again; then it ends. Weights, optimizer state and metrics are compared bit for bit.

With ``--fight``, two processes try to train the second run all the time, and the one that does is killed. The other
must be refused while it lives, and go on where it was killed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NoReturn

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import numpy as np
from orbax.checkpoint import v1 as ocp

from xltjax import train
from xltjax.common import cli
from xltjax.common.locks import LOCK
from xltjax.miniature.text import instruction_rows
from xltjax.training.metrics import MEASURED
from xltjax.training.run import CHECKPOINTS

SAVE_EVERY = 2


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--lora", action="store_true", help="train adapters instead of everything")
    parser.add_argument("--fight", action="store_true", help="two processes for one run")
    parser.add_argument(
        "--model", type=Path, help="a small model with a tokenizer; a random one when not given"
    )
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    steps, draw = arguments.steps, random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = arguments.model or _tiny_model(root)
        rows = [json.dumps(row) + "\n" for row in instruction_rows(0)]
        (root / "dolly.jsonl").write_text("".join(rows), encoding="utf-8")

        def flags(out: Path) -> list[str]:
            values = [
                "--model", str(model), "--data", str(root / "dolly.jsonl"), "--precision", "float32",
                "--sequence-length", "128", "--tokens-per-batch", "256", "--accumulation", "2",
                "--steps", str(steps), "--learning-rate", "1e-3", "--save-every", str(SAVE_EVERY),
                "--validation-rows", "16", "--out", str(out),
            ]  # fmt: skip
            return values + (["--lora-rank", "4", "--lora-dropout", "0.1"] if arguments.lora else [])

        def start(out: Path) -> subprocess.Popen[bytes]:
            command = [sys.executable, "-m", "xltjax.train", *flags(out)]
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        whole, killed = root / "whole", root / "killed"
        if arguments.fight:
            assert os.waitstatus_to_exitcode(os.waitpid(_fork(flags(whole)), 0)[1]) == 0
            faults = _fight(flags(killed), killed, arguments.kills, steps, draw)
            _conclude(faults + _differences(whole, killed, steps))
        assert start(whole).wait() == 0
        writing = 0
        for kill in range(1, arguments.kills + 1):
            process, before = start(killed), _updates(killed)
            # An instant that leaves updates for the kills to come.
            wanted = before + draw.randrange(1, max((steps - before) // (arguments.kills - kill + 2), 1) + 1)
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
        print(f"{arguments.kills} kills, {writing} of them within the writing of a checkpoint")
        _conclude(_differences(whole, killed, steps))


def _conclude(differences: list[str]) -> NoReturn:
    print("the same run, bit for bit" if not differences else f"ANOTHER RUN: {', '.join(differences)}")
    sys.exit(1 if differences else 0)


def _tiny_model(root: Path) -> Path:
    from random_models import tiny_chat_model  # it takes seconds to import

    return tiny_chat_model(root)


def _fork(flags: list[str]) -> int:
    """The id of a process that trains: a copy of this one, which has imported everything and started nothing."""
    sys.stdout.flush()
    child = os.fork()
    if child:
        return child
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    try:
        cli.execute(train.COMMAND, flags, program="python -m xltjax.train")
    except SystemExit as ended:
        os._exit(int(ended.code or 0))
    except BaseException:
        os._exit(1)


def _fight(flags: list[str], out: Path, kills: int, steps: int, draw: random.Random) -> list[str]:
    """Keep two processes at the same run until it is complete, and kill the one that trains; returns what failed."""
    running, refused, left, faults = {_fork(flags), _fork(flags)}, 0, kills, []
    wanted = draw.randrange(1, max(steps // (kills + 1), 1) + 1)
    while running:
        done = _updates(out)
        if left and wanted <= done < steps:
            time.sleep(draw.uniform(0, 0.05))
            holder = _holder(out)
            if holder in running:
                os.kill(holder, signal.SIGKILL)
                left -= 1
                wanted = done + draw.randrange(1, max((steps - done) // (left + 1), 1) + 1)
                print(f"kill {kills - left}: after update {_updates(out)}", flush=True)
        child, status = os.waitpid(-1, os.WNOHANG)
        if not child:
            time.sleep(0.002)
            continue
        running.remove(child)
        code = os.waitstatus_to_exitcode(status)
        refused += code == 2
        if code not in (0, 2, -signal.SIGKILL):
            faults.append(f"a process ended with {code}")
        if code == 2:
            time.sleep(0.05)
        if code != 0 and not faults:
            running.add(_fork(flags))
    print(f"{kills - left} kills; the other process was refused {refused} times")
    return faults + (["no process was refused"] if not refused else []) + (["kills are left"] if left else [])


def _holder(out: Path) -> int:
    """The process that trains, as its lock says."""
    with contextlib.suppress(OSError):
        if match := re.match(r"process (\d+)", (out / LOCK).read_text(encoding="utf-8")):
            return int(match[1])
    return 0


def _updates(out: Path) -> int:
    """Updates recorded so far."""
    path = out / "metrics.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    complete = [line for line in lines if line.endswith("}")]
    return max((json.loads(line)["step"] for line in complete), default=0)


def _unfinished(out: Path) -> list[Path]:
    return list((out / CHECKPOINTS).glob("*tmp*"))


def _differences(one: Path, other: Path, steps: int) -> list[str]:
    """What is not the same, bit for bit, in the last checkpoints and the metrics of two runs."""
    found = []
    states = [ocp.load_checkpointables((run / CHECKPOINTS / str(steps)).absolute()) for run in (one, other)]
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
