"""Tokens per second against ``transformers.generate``, side by side on this machine's CPU, float32.

    python benchmarks/generate_vs_hf.py [--subset N] [--prompts xlt113|FILE|DIR] [--tokenizer tokenizer.model]

The model is random: LLaMA with 32,000 words, TinyLlama's depth (22 layers) and a width of 256, 33.8 million
parameters (``--layers 5 --width 384`` is as large, but flat). One id in 128 ends an answer, so that answers
are of any length up to 256 tokens. Each side first tries its batch sizes on a few prompts; then the sides
take turns over the whole set, and over single prompts. ``transformers`` gets prompts sorted by length, its
best case, and every thread; ours gets a device for every core over the set, and one device for single prompts
unless ``--single-mesh`` says otherwise. Both are warm: compilation is not counted (``start.py`` measures starts).
Rates per second of CPU time are beside wall-clock rates: they suffer less from other work on the machine.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax.numpy as jnp
import torch
from random_models import VOCABULARY, hf_answers, make_tokenizer, random_llama, tokenized

from xltjax.converters import load_hf
from xltjax.inference.engine import Engine
from xltjax.inference.sampling import SamplingParams
from xltjax.inference.throughput import Throughput
from xltjax.mesh import make_mesh

NEW_TOKENS, PENALTY = 256, 1.1
EOS = [2, *range(128, VOCABULARY, 128)]

Answers = list[list[int]]
Rate = tuple[float, float]  # tokens per second, tokens per second of CPU


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        tokenizer = make_tokenizer(root, arguments.tokenizer, arguments.prompts)
        prompts = tokenized(tokenizer, arguments.prompts, arguments.subset)
        model = random_llama(root / "model", layers=arguments.layers, width=arguments.width)
        meshes = [make_mesh(arguments.mesh), make_mesh(arguments.single_mesh)]
        models = [load_hf(root / "model", mesh, dtype=jnp.float32) for mesh in meshes]
    throughput = Throughput()

    def hf(batch_size: int, asked: Sequence[Sequence[int]]) -> Answers:
        return hf_answers(
            model, asked, new_tokens=NEW_TOKENS, penalty=PENALTY, eos=EOS, batch_size=batch_size
        )

    def ours(batch_size: int, asked: Sequence[Sequence[int]]) -> Answers:
        nonlocal throughput
        mesh, ours_model = (meshes[batch_size == 1], models[batch_size == 1])
        engine = Engine(
            ours_model,
            mesh,
            slots=batch_size,
            max_new_tokens=NEW_TOKENS,
            sampling=SamplingParams(PENALTY),
            eos=EOS,
        )
        answers = {key: answer.ids for key, answer in engine.generate(enumerate(asked))}
        throughput = engine.throughput
        return [answers[index] for index in range(len(asked))]

    parameters = sum(parameter.numel() for parameter in model.parameters())
    print(f"{parameters / 1e6:.1f} M parameters, {len(prompts)} prompts, load {os.getloadavg()[0]:.1f}")
    few = prompts[:: max(1, len(prompts) // arguments.trial)]
    sides: dict[str, Callable[[int, Any], Answers]] = {"ours": ours, "transformers": hf}
    candidates = {"ours": arguments.batch_sizes, "transformers": arguments.hf_batch_sizes}
    sizes = {name: _best(name, run, few, candidates[name]) for name, run in sides.items()}
    ours(sizes["ours"], prompts)  # compiles what the trial did not
    rates, answers = _race(sides, sizes, prompts, arguments.repeats)
    lengths = sorted(len(answer) for answer in answers["ours"])
    print(f"answers of {lengths[0]} to {lengths[-1]} tokens, median {lengths[len(lengths) // 2]}")
    _print("the set", rates, sizes)
    print(f"ours, last over the set: {throughput.report()}")
    occupancy = throughput.occupancy()
    singles = prompts[:: max(1, len(prompts) // arguments.singles)][: arguments.singles]
    ours(1, singles)
    single_rates, single = _race(sides, {"ours": 1, "transformers": 1}, singles, arguments.repeats)
    _print("batch size 1", single_rates, {"ours": 1, "transformers": 1})
    for name, found in (("the set", answers), ("batch size 1", single)):
        same = sum(a == b for a, b in zip(found["ours"], found["transformers"], strict=True))
        print(f"{name}: {same} of {len(found['ours'])} answers have the same tokens")
    print(f"slot occupancy {100 * occupancy:.1f}%, load {os.getloadavg()[0]:.1f}")


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--prompts", default="xlt113", help="set, file or folder of prompts")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece model; trained on the spot by default")
    parser.add_argument("--subset", type=int, help="only this many of the prompts")
    parser.add_argument("--repeats", type=int, default=3, help="turns of each side")
    parser.add_argument("--trial", type=int, default=64, help="prompts on which batch sizes are tried")
    cores = len(os.sched_getaffinity(0))
    parser.add_argument("--mesh", default=f"{cores}x1", help="of ours, over the set")
    parser.add_argument("--single-mesh", default="1x1", help="of ours, at batch size 1")
    parser.add_argument("--singles", type=int, default=8, help="prompts answered one by one")
    for flag, whose in (("--batch-sizes", "ours"), ("--hf-batch-sizes", "transformers")):
        help = f"of {whose}, to choose the fastest from"
        parser.add_argument(flag, type=int, nargs="+", default=[8, 16, 32], help=help)
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=256)
    return parser.parse_args()


def _rate(run: Callable[[], Answers]) -> tuple[Rate, Answers]:
    """Tokens per second and per second of CPU, the token that ends each answer included."""
    began, began_cpu = time.perf_counter(), time.process_time()
    answers = run()
    tokens = sum(min(len(answer) + 1, NEW_TOKENS) for answer in answers)
    return (tokens / (time.perf_counter() - began), tokens / (time.process_time() - began_cpu)), answers


def _best(
    name: str, run: Callable[[int, Any], Answers], prompts: Sequence[Sequence[int]], sizes: Sequence[int]
) -> int:
    if len(sizes) == 1:
        return sizes[0]
    rates = {}
    for size in sizes:
        if name == "ours":
            run(size, prompts)  # compiles
        rates[size] = _rate(lambda size=size: run(size, prompts))[0][0]
    print(f"{name}, tokens/s by batch size: " + ", ".join(f"{k}: {v:.0f}" for k, v in rates.items()))
    return max(rates, key=lambda size: rates[size])


def _race(
    sides: dict[str, Callable[[int, Any], Answers]], sizes: dict[str, int], prompts: Any, repeats: int
) -> tuple[dict[str, list[Rate]], dict[str, Answers]]:
    """Rates of both sides, who take turns; and their answers."""
    rates: dict[str, list[Rate]] = {name: [] for name in sides}
    answers: dict[str, Answers] = {}
    for turn in range(repeats):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            rate, answers[name] = _rate(lambda name=name: sides[name](sizes[name], prompts))
            rates[name].append(rate)
    return rates, answers


def _print(what: str, rates: dict[str, list[Rate]], sizes: dict[str, int]) -> None:
    for kind, unit in enumerate(("tokens/s", "tokens per second of CPU")):
        median = {name: statistics.median(rate[kind] for rate in values) for name, values in rates.items()}
        shown = ", ".join(f"{name} {median[name]:.0f} (batch {sizes[name]})" for name in median)
        worst = min(a[kind] / b[kind] for a, b in zip(*rates.values(), strict=True))
        ratio = median["ours"] / median["transformers"]
        print(f"{what}, {unit}: {shown}; ratio {ratio:.2f}, in the worst turn {worst:.2f}", flush=True)


if __name__ == "__main__":
    main()
