"""Seconds from starting Python to the first token, with the compiled programs cached by an earlier start.

    python benchmarks/start.py [--repeats 5] [--layers 22 --width 256]

The model of ``generate_vs_hf.py`` (33.8 million parameters, float32) answers one prompt with one token in a
new process, as ``python -m xltjax.generate`` does it. The first start compiles; the others should not.
Each stage is printed with its end in wall-clock and CPU seconds; ``transformers`` imports torch for the
tokenizer where torch is installed, which adds to both.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Run in the new process: stage by stage what the command does, each with its end in seconds.
STAGES = """
import json, logging, sys, time
began = time.perf_counter()
stages = {}
def done(name):
    stages[name] = round(time.perf_counter() - began, 2), round(time.process_time(), 2)
import jax
compiled = []
class Count(logging.Handler):
    def emit(self, record):
        compiled.append(record.getMessage())
log = logging.getLogger("jax._src.compiler")
log.setLevel(logging.DEBUG); log.addHandler(Count()); log.propagate = False
import jax.numpy as jnp
from pathlib import Path
import xltjax.generate  # whatever the command imports
from xltjax.converters.models import load_model
from xltjax.data.conversations import Message
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.inference.engine import Engine
from xltjax.inference.sampling import SamplingParams
from xltjax.mesh import cache_compilations, make_mesh
done("imports")
directory = Path(sys.argv[1])
cache_compilations()
ids = ChatTokenizer(directory).prompt((Message("user", "Name three things that are blue."),))
done("tokenizer")
mesh = make_mesh("1x1")
model = load_model(directory, mesh, dtype=jnp.float32)
done("weights")
options = {"slots": 1, "max_new_tokens": 1, "sampling": SamplingParams(1.1), "eos": (2,)}
engine = Engine(model, mesh, **options)
next(iter(engine.generate([("one", ids)])))
done("first token")
stages["misses"] = sum("CACHE MISS" in message for message in compiled)
stages["hits"] = sum("cache hit" in message for message in compiled)
print(json.dumps(stages))
"""


def main() -> None:
    """One cold start, then warm ones."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=256)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _make(root, arguments.layers, arguments.width)
        environment = {**os.environ, "XLTJAX_CACHE": str(root / "cache")}

        def start() -> dict[str, Any]:
            command = [sys.executable, "-c", STAGES, str(root / "model")]
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            stages: dict[str, Any] = json.loads(out.splitlines()[-1])
            print(stages, f"load {os.getloadavg()[0]:.1f}", flush=True)
            return stages

        start()
        warm = [start()["first token"] for _ in range(arguments.repeats)]
    clock, cpu = (statistics.median(times) for times in zip(*warm, strict=True))
    print(
        f"warm start to the first token, medians: {clock:.2f} s of wall-clock time, {cpu:.2f} s of CPU time"
    )


def _make(root: Path, layers: int, width: int) -> None:
    from random_models import make_tokenizer, random_llama  # with torch, which takes seconds

    make_tokenizer(root, None, "xlt113")
    random_llama(root / "model", layers=layers, width=width)
    shutil.copytree(root / "tokenizer", root / "model", dirs_exist_ok=True)


if __name__ == "__main__":
    main()
