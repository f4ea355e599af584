"""``kill -9`` at random instants, then the same command: the file must be that of a run left alone.

    python benchmarks/resume_generate.py [--kills 10]

A tiny random model answers the whole of xlt113. One run is left alone; another is killed ``--kills`` times,
each time a random number of answers and milliseconds after it went on, and started again; then it ends.
"""

from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

from random_models import tiny_chat_model


def main() -> None:
    """Run, kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    draw = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        model = tiny_chat_model(root)

        def start(out: str) -> subprocess.Popen[bytes]:
            command = [
                sys.executable, "-m", "xltjax.generate", "--model", str(model), "--dtype", "float32",
                "--max-new-tokens", str(arguments.new_tokens), "--out", str(root / out),
            ]  # fmt: skip
            return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        began = time.perf_counter()
        assert start("whole.jsonl").wait() == 0
        total = _lines(root / "whole.jsonl")
        print(f"left alone: {time.perf_counter() - began:.1f} s, {total} answers", flush=True)
        out, kept = root / "killed.jsonl", 0
        for kill in range(arguments.kills):
            wanted = kept + draw.randrange(2 * (total - kept) // (arguments.kills - kill + 1) + 1)
            process = start(out.name)
            while _lines(out) < wanted and process.poll() is None:
                time.sleep(0.01)
            time.sleep(draw.uniform(0, 0.3))
            ended = process.poll() is not None
            process.kill()
            process.wait()
            now = _lines(out)
            print(f"kill {kill + 1}: {'had ended' if ended else 'killed'}, {now} answers there", flush=True)
            assert now >= kept, "an answer was lost"
            kept = now
        assert start(out.name).wait() == 0
        same = out.read_bytes() == (root / "whole.jsonl").read_bytes()
    print("the same file" if same else "ANOTHER FILE")
    sys.exit(0 if same else 1)


def _lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


if __name__ == "__main__":
    main()
