"""Memory and time of loading, exporting and combining checkpoints in four shards, beside the eager ways.

    python benchmarks/convert.py                    # 2 GB of bfloat16, about 4 minutes on two cores
    python benchmarks/convert.py --gigabytes 0.5

The checkpoint is random, LLaMA-shaped and written tensor by tensor. Every measurement is a process of its own.
Memory is ``RssAnon``, sampled every other millisecond: what a process itself holds. ``RssFile``, shown beside it,
is the mapped file's pages, which the system takes back when it needs them. The bounds that must hold are
a peak of 1.25 times the model while loading, and the largest tensor plus 10% on top while exporting and while two
models are combined.
"""

from __future__ import annotations

import argparse
import json
import math
import resource
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARDS = 4
CHILDREN = ("load", "export", "combine", "torch", "numpy")


class Sampler:
    """The most anonymous and file-backed memory held at any time inside a ``with`` block, in bytes."""

    def __enter__(self) -> Sampler:
        self.cpu = -cpu_seconds()
        self.start = time.perf_counter()
        self.before, self.file_before = self.peak, self.file_peak = resident()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def _sample(self) -> None:
        while not self._stop.wait(0.002):
            self._note()

    def _note(self) -> None:
        anonymous, file = resident()
        self.peak, self.file_peak = max(self.peak, anonymous), max(self.file_peak, file)

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.start
        self.cpu += cpu_seconds()
        self._stop.set()
        self._thread.join()
        self._note()

    def report(self) -> dict[str, float]:
        """What a measuring process prints: wall and processor seconds, and bytes."""
        return {
            "seconds": self.seconds,
            "cpu": self.cpu,
            "before": self.before,
            "peak": self.peak,
            "file": self.file_peak - self.file_before,
        }


def resident() -> tuple[int, int]:
    """Bytes of this process in memory: (anonymous, backed by files)."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines["RssAnon"].split()[0]) << 10, int(lines["RssFile"].split()[0]) << 10


def make_checkpoint(directory: Path, size: float) -> None:
    """A Hugging Face directory of about ``size`` bytes: random bfloat16 in four shards, streamed."""
    import ml_dtypes
    import numpy as np

    from xltjax.converters.hf_config import hf_config
    from xltjax.converters.load import true_shape
    from xltjax.converters.names import export_order, hf_name
    from xltjax.converters.safetensors_files import INDEX, write_safetensors
    from xltjax.llama import Llama, LlamaConfig, parameters

    width, inner = (2048, 5632) if size >= 4e8 else (512, 1408)
    layers = max(1, round((size / 2 - 2 * 32000 * width) / (4 * width * width + 3 * width * inner)))
    config = LlamaConfig(32000, width, inner, layers, width // 128, width // 128, 128, 4096)
    shapes = {name: true_shape(v, config) for name, v in parameters(Llama(config)).items()}
    header = {hf_name(n): (np.dtype(ml_dtypes.bfloat16), shapes[n]) for n in sorted(shapes, key=export_order)}
    total = sum(2 * math.prod(shape) for _, shape in header.values())
    files = {
        name: f"model-{1 + place * SHARDS // len(header):05d}-of-{SHARDS:05d}.safetensors"
        for place, name in enumerate(header)
    }
    generator = np.random.default_rng(0)

    def random(name: str) -> np.ndarray:
        shape = header[name][1]
        bits = np.frombuffer(generator.bytes(2 * math.prod(shape)), np.uint16)
        return (bits & np.uint16(0xBFFF)).view(ml_dtypes.bfloat16).reshape(shape)  # of magnitude below 2

    directory.mkdir(parents=True, exist_ok=True)
    for file in sorted(set(files.values())):
        write_safetensors(directory / file, {n: header[n] for n in header if files[n] == file}, random)
    (directory / INDEX).write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": files}))
    (directory / "config.json").write_text(json.dumps({**hf_config(config), "dtype": "bfloat16"}))


def cpu_seconds() -> float:
    """Processor time of this process, all threads."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def ours(directory: Path, mesh: str, work: str) -> Sampler:
    """Load through ``load_hf``; with ``work`` export, then write the model again."""
    import jax.numpy as jnp

    from xltjax.converters import load_hf, save_hf
    from xltjax.mesh import make_mesh

    devices = make_mesh(mesh)
    jnp.ones(8).block_until_ready()  # the runtime is up
    with Sampler() as memory:
        model = load_hf(directory, devices)
    if work == "export":
        with tempfile.TemporaryDirectory(dir=directory.parent) as scratch, Sampler() as memory:
            save_hf(model, Path(scratch) / "out", base=directory, max_shard_bytes=1 << 29)
    return memory


def combined(directory: Path) -> Sampler:
    """Combine the model with itself through ``combine``: layers swapped, and one averaged."""
    import jax.numpy as jnp

    from xltjax.converters.combine import Recipe, combine
    from xltjax.mesh import make_mesh

    devices = make_mesh("1x1")
    jnp.ones(8).block_until_ready()
    recipe = Recipe(
        str(directory), expert=str(directory), swap_layers=["1--1", "embed"], average_layers=["0"]
    )
    with tempfile.TemporaryDirectory(dir=directory.parent) as scratch, Sampler() as memory:
        combine(recipe, Path(scratch) / "out", devices, max_shard_bytes=1 << 29)
    return memory


def torch_state_dict(directory: Path) -> Sampler:
    """``safetensors.torch.load_file`` of every shard, then ``load_state_dict`` into a model of empty tensors."""
    import torch
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(directory), dtype="bfloat16")
    with Sampler() as memory:
        model.to_empty(device="cpu")
        state: dict[str, Any] = {}
        for file in sorted(directory.glob("*.safetensors")):
            state.update(load_file(file))
        model.load_state_dict(state)
    return memory


def numpy_eager(directory: Path, mesh: str) -> Sampler:
    """A whole host state dict (``safetensors.numpy.load_file``), then ``jax.device_put`` of each tensor."""
    import jax
    import jax.numpy as jnp
    from safetensors.numpy import load_file

    from xltjax.mesh import make_mesh, sharding

    devices = make_mesh(mesh)
    jnp.ones(8).block_until_ready()
    with Sampler() as memory:
        state: dict[str, Any] = {}
        for file in sorted(directory.glob("*.safetensors")):
            state.update(load_file(file))
        placed = {name: jax.device_put(array, sharding(devices, "data")) for name, array in state.items()}
        jax.block_until_ready(placed)
    return memory


def measure(directory: Path, child: str, mesh: str = "1x1") -> dict[str, float]:
    """Run one measurement in a fresh process."""
    command = [sys.executable, __file__, "--child", child, "--mesh", mesh, "--directory", str(directory)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{child} failed:\n{done.stderr}")
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def warm(directory: Path) -> None:
    """Read every file once, so that all ways find it in the system's cache."""
    for file in directory.glob("*.safetensors"):
        with file.open("rb", buffering=0) as opened:
            while opened.read(1 << 24):
                pass


def compare(directory: Path, repetitions: int) -> None:
    """Print the memory table, the loading times, and the verdict on each bound."""
    sizes = tensor_bytes(directory)
    model, largest = sum(sizes), max(sizes)
    print(
        f"{model / 1e9:.2f} GB in {SHARDS} shards, largest tensor {largest / 1e6:.0f} MB, warm file cache\n"
    )
    warm(directory)
    print("| way | runtime before, MB | peak anonymous / model | without the runtime | file-backed / model |")
    print("|---|---|---|---|---|")
    peaks = {}
    for title, child, mesh in (
        ("load_hf, mesh 1x1", "load", "1x1"),
        ("load_hf, mesh 2x1", "load", "2x1"),
        ("eager: numpy state dict, device_put, 1x1", "numpy", "1x1"),
        ("eager: numpy state dict, device_put, 2x1", "numpy", "2x1"),
        ("eager: torch load_file, load_state_dict", "torch", "1x1"),
    ):
        r = measure(directory, child, mesh)
        peaks[child, mesh] = r["peak"] / model
        cells = (r["peak"] / model, (r["peak"] - r["before"]) / model, r["file"] / model)
        print(f"| {title} | {r['before'] / 1e6:.0f} | {' | '.join(f'{cell:.2f}' for cell in cells)} |")
    print("\n| export | added, MB | added / largest tensor | seconds |")
    print("|---|---|---|---|")
    added = {}
    for mesh in ("1x1", "2x1"):
        r = measure(directory, "export", mesh)
        extra = r["peak"] - r["before"]
        added[mesh] = extra / largest
        print(f"| save_hf, mesh {mesh} | {extra / 1e6:.0f} | {added[mesh]:.2f} | {r['seconds']:.2f} |")
    r = measure(directory, "combine")
    extra = r["peak"] - r["before"]
    added["combine"] = extra / largest
    print(f"| combine | {extra / 1e6:.0f} | {added['combine']:.2f} | {r['seconds']:.2f} |")
    pairs = [(measure(directory, "load"), measure(directory, "torch")) for _ in range(repetitions)]
    print(f"\nloading, {repetitions} alternating pairs, load_hf against torch load_file + load_state_dict:")
    ratios = {}
    for kind, name in (("seconds", "wall-clock time"), ("cpu", "CPU time")):
        ratio = [mine[kind] / theirs[kind] for mine, theirs in pairs]
        ratios[kind] = statistics.median(ratio)
        mine, theirs = (statistics.median(run[kind] for run in way) for way in zip(*pairs, strict=True))
        print(f"  {name}: medians {mine:.2f} s and {theirs:.2f} s; ratio by pair: "
              f"median {ratios[kind]:.2f}, from {min(ratio):.2f} to {max(ratio):.2f}")  # fmt: skip
    verdicts = {
        "peak while loading at most 1.25": max(peaks["load", "1x1"], peaks["load", "2x1"]) <= 1.25,
        "export and combine add at most the largest tensor + 10%": max(added.values()) <= 1.1,
        "loading no slower": ratios["seconds"] <= 1,
    }
    for bound, held in verdicts.items():
        print(f"{bound}: {'held' if held else 'NOT held'}")


def tensor_bytes(directory: Path) -> list[int]:
    """The size of every tensor."""
    from xltjax.converters.safetensors_files import map_tensors

    return [array.nbytes for array in map_tensors(directory).values()]


def main() -> None:
    """Compare, or be one of the processes that measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=2.0, help="of the checkpoint  [default: 2]")
    parser.add_argument("--repetitions", type=int, default=5, help="of the timing  [default: 5]")
    parser.add_argument("--directory", type=Path, help="an existing checkpoint instead of a random one")
    parser.add_argument(
        "--make", type=Path, metavar="DIRECTORY", help="only write the random checkpoint there"
    )
    parser.add_argument("--mesh", default="1x1", help=argparse.SUPPRESS)
    parser.add_argument("--child", choices=CHILDREN, help=argparse.SUPPRESS)
    given = parser.parse_args()
    children: dict[str, Callable[[], Sampler]] = {
        "load": lambda: ours(given.directory, given.mesh, "load"),
        "export": lambda: ours(given.directory, given.mesh, "export"),
        "combine": lambda: combined(given.directory),
        "torch": lambda: torch_state_dict(given.directory),
        "numpy": lambda: numpy_eager(given.directory, given.mesh),
    }
    if given.child:
        print(json.dumps(children[given.child]().report()))
    elif given.make:
        make_checkpoint(given.make, given.gigabytes * 1e9)
    elif given.directory:
        compare(given.directory, given.repetitions)
    else:
        with tempfile.TemporaryDirectory() as scratch:
            make_checkpoint(Path(scratch) / "model", given.gigabytes * 1e9)
            compare(Path(scratch) / "model", given.repetitions)


if __name__ == "__main__":
    main()
