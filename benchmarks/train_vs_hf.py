"""Training against ``transformers`` and PyTorch (LoRA: ``peft``), side by side on this machine's CPU, float32.

    python benchmarks/train_vs_hf.py [--lora] [--rows 4] [--length 512] [--turns 5] [--start]
                                     [--data FILE --tokenizer tokenizer.model]

The same random LLaMA (32,000 words, 22 layers of width 256: 33.8 million parameters) is updated by both on the
same examples with AdamW, clipping and a constant learning rate; the sides take turns, and their losses must
agree at every turn. Both are warm: compilation is not counted. Two settings:

full rows: rows filled to the last token with examples that do not see each other; ``transformers`` is given
    the mask, the positions and the targets of these rows.
instruction data: the examples of an update packed by us; ``transformers`` gets them the ordinary way, one
    example a row, padded to the longest of a batch of ``--hf-rows`` (the default of its trainer), unsorted.

Tokens are counted without padding. Lengths are drawn from log-normal distributions with the quartiles of
AlpacaEval's davinci003 answers under LLaMA-2's tokenizer and chat template (prompts 22, 32, 52 tokens, answers
27, 57, 99, uncorrelated); answers are learned, prompts are not. ``--start`` measures instead the first step of
a new process whose compiled programs an earlier one has cached.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jax
import jax.numpy as jnp
import numpy as np

from xltjax.converters import load_hf
from xltjax.converters.names import peft_name
from xltjax.data.corpora import Corpus, load_corpora
from xltjax.data.packing import Batch, BatchShape, PackedData
from xltjax.data.tokenizer import ChatTokenizer, Tokens
from xltjax.llama import Llama
from xltjax.lora import TARGETS, add_lora
from xltjax.mesh import cache_compilations, make_mesh
from xltjax.miniature.tokenizer import write_hf_tokenizer
from xltjax.partition import partition
from xltjax.training.optimizer import adamw, make_schedule
from xltjax.training.step import make_train_step, place, start_state

RATE, RANK, ALPHA, AGREEMENT = 1e-4, 16, 8, 1e-4
Update = Callable[[int], float]  # number of the update -> its loss


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        examples = _examples(arguments, root)
        _random_model(root / "model", arguments)
        shape = BatchShape(1, arguments.rows, arguments.length, arguments.rows * arguments.length)
        full = [_full_rows(examples, shape, number) for number in range(arguments.turns + 1)]
        if arguments.first_step:
            _first_step(arguments, full[0])
        elif arguments.start:
            _measure_starts(arguments)
        else:
            data = PackedData([Corpus(examples, 1.0)], shape, seed=0)
            _race("full rows", arguments, root, full.__getitem__, lambda n: _as_packed(full[n]))
            padded = _padded(data, examples, arguments.hf_rows)
            _race("instruction data", arguments, root, data.batch_at, padded)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--lora", action="store_true", help=f"adapters of rank {RANK} alone are trained")
    parser.add_argument("--rows", type=int, default=4, help="packed rows of an update")
    parser.add_argument("--length", type=int, default=512, help="tokens of a row")
    parser.add_argument("--turns", type=int, default=5, help="updates of each side")
    parser.add_argument("--hf-rows", type=int, default=8, help="examples in a padded batch of transformers")
    parser.add_argument("--data", type=Path, help="instruction data of any format that xltjax.train reads")
    parser.add_argument("--tokenizer", type=Path, help="SentencePiece model, for --data")
    parser.add_argument("--layers", type=int, default=22)
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--start", action="store_true", help="measure starts of new processes")
    parser.add_argument("--first-step", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


def _examples(arguments: argparse.Namespace, root: Path) -> list[Tokens]:
    """The rows of ``--data``, or random tokens with lengths as drawn from the distributions above."""
    if arguments.data:
        write_hf_tokenizer(arguments.tokenizer, root / "tokenizer")
        tokenizer = ChatTokenizer(root / "tokenizer")
        corpora, long = load_corpora([str(arguments.data)], [], tokenizer, arguments.length)
        print(f"{len(corpora[0].examples)} examples, {long} longer ones left out")
        return list(corpora[0].examples)
    random = np.random.default_rng(0)
    prompts, answers = (
        np.exp(random.normal(np.log(m), s, 4000)).astype(int) for m, s in ((32, 0.64), (57, 0.96))
    )
    return [
        Tokens(random.integers(3, 32_000, p + a).astype(np.int32), np.arange(p + a) >= p)
        for p, a in zip(prompts + 5, answers + 2, strict=True)
        if p + a <= arguments.length
    ]


def _random_model(directory: Path, arguments: argparse.Namespace) -> None:
    from random_models import random_llama  # with torch, which takes seconds

    random_llama(directory, layers=arguments.layers, width=arguments.width)


def _full_rows(examples: Sequence[Tokens], shape: BatchShape, number: int) -> Batch:
    """Rows of whole examples in random order; what overhangs the end of a row is cut off."""
    random = np.random.default_rng(number)
    size = (1, shape.rows, shape.length)
    tokens, targets, segments, positions = (np.zeros(size, np.int32) for _ in range(4))
    mask = np.zeros(size, np.float32)
    for row in range(shape.rows):
        start, segment = 0, 0
        while start < shape.length:
            example = examples[random.integers(len(examples))]
            count = min(len(example.ids) - 1, shape.length - start)
            place, segment = (0, row, slice(start, start + count)), segment + 1
            tokens[place], targets[place] = example.ids[:count], example.ids[1 : count + 1]
            mask[place], segments[place] = example.loss_mask[1 : count + 1], segment
            positions[place] = np.arange(count)
            start += count
    return Batch(tokens, targets, mask, segments, positions)


def _as_packed(batch: Batch) -> list[dict[str, Any]]:
    """Arguments of the ``transformers`` model for the same rows: a mask of 4 dimensions, targets in place."""
    import torch

    segments, index = batch.segment_ids[0], np.arange(batch.tokens.shape[-1])
    seen = (segments[:, :, None] == segments[:, None, :]) & (index[:, None] >= index)
    targets = torch.tensor(np.where(batch.loss_mask[0] > 0, batch.targets[0], -100)).long()
    return [
        {
            "input_ids": torch.tensor(batch.tokens[0]).long(),
            "position_ids": torch.tensor(batch.positions[0]).long(),
            "attention_mask": torch.tensor(seen)[:, None],
            "labels": targets,
            "shift_labels": targets,
        }
    ]


def _padded(data: PackedData, examples: Sequence[Tokens], rows: int) -> Callable[[int], list[dict[str, Any]]]:
    """The same examples the ordinary way: one a row, padded on the right, -100 where nothing is learned."""
    import torch

    def arguments(number: int) -> list[dict[str, Any]]:
        dealt = [examples[i] for row in data.examples_at(number)[0] for i in row]
        batches = []
        for start in range(0, len(dealt), rows):
            taken = dealt[start : start + rows]
            width = max(len(example.ids) for example in taken)
            ids, mask = (torch.zeros((len(taken), width), dtype=torch.long) for _ in range(2))
            labels = torch.full((len(taken), width), -100)
            for row, example in enumerate(taken):
                size = len(example.ids)
                ids[row, :size] = torch.tensor(example.ids)
                mask[row, :size] = 1
                labels[row, :size] = torch.tensor(np.where(example.loss_mask, example.ids, -100)).long()
            batches.append({"input_ids": ids, "attention_mask": mask, "labels": labels})
        return batches

    return arguments


class Ours:
    """Our side: what ``xltjax.train`` does in an update, and the seconds that Python takes for it."""

    def __init__(self, directory: Path, lora: bool):
        """Load the model and prepare the update."""
        self.mesh = make_mesh("1x1")
        self.model: Llama = load_hf(directory, self.mesh, dtype=jnp.float32)
        if lora:
            add_lora(self.model, self.mesh, jax.random.key(0), rank=RANK, alpha=ALPHA)
        self.start, self._frozen, rebuild = partition(self.model)
        transform = adamw(beta1=0.9, beta2=0.95, eps=1e-8, weight_decay=0.1, clip_norm=1.0)
        self._state = start_state(self.start, transform, self.mesh)
        schedule = make_schedule("constant", end=None, steps=1, timescale=1, warmup=0)
        self._step = make_train_step(rebuild, transform, schedule)
        self.python_seconds: list[float] = []

    def update(self, batch_at: Callable[[int], Batch], number: int) -> float:
        """One update; its loss."""
        with jax.set_mesh(self.mesh):
            began = time.perf_counter()
            batch = place(batch_at(number), self.mesh)
            self._state, metrics = self._step(self._state, self._frozen, batch, np.float32(RATE))
            self.python_seconds.append(time.perf_counter() - began)
            return float(metrics["loss"])


def _hf_update(
    directory: Path, lora: bool, start: dict[str, jax.Array], batches: Callable[[int], list[dict[str, Any]]]
) -> Update:
    """The other side: summed losses over the batches of an update, one token mean."""
    import torch
    import transformers

    torch.set_num_threads(len(os.sched_getaffinity(0)))
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    if lora:
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=list(TARGETS), task_type="CAUSAL_LM")
        model = get_peft_model(model, config)
        theirs = dict(model.named_parameters())
        for name, value in start.items():
            theirs[peft_name(name).replace(".weight", ".default.weight")].data = torch.tensor(
                np.asarray(value)
            )
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1, fused=True)

    def update(number: int) -> float:
        made = batches(number)
        # transformers shifts labels by one where no shifted ones are given.
        learned = sum(
            int(((x["labels"] if "shift_labels" in x else x["labels"][:, 1:]) >= 0).sum()) for x in made
        )
        total = 0.0
        for batch in made:
            loss = model(**batch, num_items_in_batch=learned, use_cache=False).loss
            loss.backward()
            total += float(loss.detach())
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return total

    return update


def _race(
    name: str, arguments: argparse.Namespace, root: Path, batch_at: Callable[[int], Batch],
    batches: Callable[[int], list[dict[str, Any]]],
) -> None:  # fmt: skip
    """Both sides in turn, after one update each that is not counted."""
    ours = Ours(root / "model", arguments.lora)
    theirs = _hf_update(root / "model", arguments.lora, ours.start, batches)
    sides: dict[str, Update] = {"ours": lambda n: ours.update(batch_at, n), "transformers": theirs}
    rates: dict[str, list[tuple[float, float]]] = {side: [] for side in sides}
    compiled: list[str] = []
    steps: list[float] = []
    tokens = learned = 0
    for number in range(arguments.turns + 1):
        losses = {}
        batch = batch_at(number)
        useful = int((batch.segment_ids > 0).sum())
        for side in list(sides)[:: 1 if number % 2 else -1]:
            began, began_cpu = time.perf_counter(), time.process_time()
            losses[side] = sides[side](number)
            seconds, cpu = time.perf_counter() - began, time.process_time() - began_cpu
            if number:
                rates[side].append((useful / seconds, useful / cpu))
                if side == "ours":
                    steps.append(seconds)
        if not number:
            jax.monitoring.register_event_duration_secs_listener(
                lambda event, *_, **__: compiled.append(event) if "backend_compile" in event else None
            )
        else:
            tokens, learned = tokens + useful, learned + int(batch.loss_mask.sum())
        difference = abs(losses["ours"] - losses["transformers"]) / losses["transformers"]
        if not difference < AGREEMENT:
            raise SystemExit(f"{name}, update {number + 1}: the losses differ, {losses}")
    places = sum(x["input_ids"].numel() for n in range(1, arguments.turns + 1) for x in batches(n))
    what = "LoRA" if arguments.lora else "all weights"
    print(f"{name}, {what}: {tokens // arguments.turns} tokens an update, {learned / tokens:.0%} learned; "
          f"useful places: ours {tokens / (arguments.turns * batch.tokens.size):.0%}, "
          f"transformers {tokens / places:.0%}")  # fmt: skip
    for kind, unit in enumerate(("tokens/s", "tokens per second of CPU")):
        median = {side: statistics.median(rate[kind] for rate in values) for side, values in rates.items()}
        ratios = [a[kind] / b[kind] for a, b in zip(*rates.values(), strict=True)]
        ratio = median["ours"] / median["transformers"]
        print(f"  {unit}: ours {median['ours']:.0f}, transformers {median['transformers']:.0f}; "
              f"ratio {ratio:.2f}, by turn {min(ratios):.2f} to {max(ratios):.2f}")  # fmt: skip
    python = statistics.median(ours.python_seconds[1:])
    print(f"  losses agree to {AGREEMENT:g} at every update; Python {python * 1e3:.1f} ms an update, "
          f"{python / statistics.median(steps):.2%} of its time; {len(compiled)} compilations after the first; "
          f"load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    jax.monitoring.clear_event_listeners()


def _first_step(arguments: argparse.Namespace, batch: Batch) -> None:
    """In the new process: seconds until the model is loaded, and of the first and the second update."""
    cache_compilations()
    with tempfile.TemporaryDirectory() as folder:
        _random_model(Path(folder) / "model", arguments)
        ours = Ours(Path(folder) / "model", arguments.lora)
    times = []
    for _ in range(2):
        began, began_cpu = time.perf_counter(), time.process_time()
        ours.update(lambda _: batch, 0)
        times.append((time.perf_counter() - began, time.process_time() - began_cpu))
    print(json.dumps(times))


def _measure_starts(arguments: argparse.Namespace) -> None:
    """One start that compiles, then warm ones."""
    firsts = []
    with tempfile.TemporaryDirectory() as cache:
        for turn in range(arguments.turns + 1):
            command = [sys.executable, *sys.argv, "--first-step"]
            environment = {**os.environ, "XLTJAX_CACHE": cache}
            out = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
            (first, cpu), (second, _) = json.loads(out.splitlines()[-1])
            print(f"{'warm' if turn else 'cold'}: first step {first:.2f} s ({cpu:.2f} s of CPU), "
                  f"second {second:.2f} s, load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
            firsts.append(first)
    print(f"first step with a warm cache, median: {statistics.median(firsts[1:]):.2f} s")


if __name__ == "__main__":
    main()
