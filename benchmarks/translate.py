"""Speed of translation: CTranslate2 against transformers: ``python benchmarks/translate.py``.

A random model of NLLB-200-distilled-600M's shape translates the same segments with beam 4: by CTranslate2 in int8, as
``xltjax translate --engine ct2:`` does on CPU, and by ``transformers.generate`` in float32, in turns. Random weights
do not end a sentence, so every translation has the same number of tokens in both. Printed are tokens per second,
their ratio, and the most memory of each process. The model takes 2.5 GB of disk and is made in a temporary folder, or
kept in ``--model``.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command, execute
from xltjax.common.errors import UserError
from xltjax.common.settings import setting
from xltjax.data.prompt_sets import load_set
from xltjax.translate.engines.ct2 import Ct2Engine
from xltjax.translate.engines.hf import HfEngine
from xltjax.translate.engines.local import LocalEngine, Options
from xltjax.translate.languages import language

SHAPE = {
    "d_model": 1024, "encoder_layers": 12, "decoder_layers": 12, "encoder_attention_heads": 16,
    "decoder_attention_heads": 16, "encoder_ffn_dim": 4096, "decoder_ffn_dim": 4096, "max_position_embeddings": 1024,
    "scale_embedding": True, "decoder_start_token_id": 2,
}  # fmt: skip
VOCABULARY = 256_206


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    model: str = setting("", "Folder of the random model, which is made there when it is missing.")
    segments: int = setting(16, "Segments of a batch.")
    tokens: int = setting(48, "Tokens of each translation.")
    beam: int = setting(4, "Beam.")
    rounds: int = setting(3, "How often each engine translates the batch, in turns.")
    threads: int = setting(2, "CPU threads.")
    engine: str = setting("", "Only for the process of one engine: ct2 or hf.")


def make_model(directory: Path) -> None:
    """A random NLLB of 600M parameters with a tokenizer of a few hundred pieces, saved in ``directory``."""
    import torch
    import transformers
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    special = ["<s>", "<pad>", "</s>", "<unk>"]
    trainer = trainers.BpeTrainer(vocab_size=8000, special_tokens=special, show_progress=False)
    trained.train_from_iterator(
        [each.instruction for each in load_set("xlt113", ["en"], modifiers=True)], trainer
    )
    found = json.loads(trained.to_str())["model"]
    tokenizer = transformers.NllbTokenizer(
        vocab=found["vocab"], merges=[tuple(pair) for pair in found["merges"]]
    )
    tokenizer.save_pretrained(directory)
    torch.manual_seed(0)
    model = transformers.M2M100ForConditionalGeneration(
        transformers.M2M100Config(vocab_size=VOCABULARY, **SHAPE)
    )
    model.save_pretrained(directory)


def sources(engine: LocalEngine, count: int) -> list[list[str]]:
    """Tokens of instructions of the evaluation set, of about 40 tokens each."""
    texts = [each.instruction.replace("\n", " ") for each in load_set("xlt113", ["en"])]
    encoded = sorted(
        (engine.vocabulary.encode(text, "eng_Latn") for text in texts), key=lambda one: abs(len(one) - 40)
    )
    return encoded[:count]


def serve(config: BenchmarkConfig) -> None:
    """Translate the batch for each line on stdin, and print the seconds; at the end, the memory."""
    kind = Ct2Engine if config.engine == "ct2" else HfEngine
    options = Options(beam=config.beam, device="cpu", threads=config.threads)
    engine = kind(f"{config.engine}:{config.model}", options)
    engine.check([language("en"), language("fr")])
    batch = sources(engine, config.segments)
    engine.hypotheses(batch[:1], "fra_Latn", beam=config.beam, most=4)  # converts and loads
    print(json.dumps({"precision": engine.precision}), flush=True)
    for _ in sys.stdin:
        began = time.perf_counter()
        found = engine.hypotheses(batch, "fra_Latn", beam=config.beam, most=config.tokens)
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "tokens": sum(map(len, found))}), flush=True)
    print(json.dumps({"memory": _peak(engine)}), flush=True)
    engine.close()


def _peak(engine: LocalEngine) -> int:
    """The most bytes in memory of the process that translates."""
    if isinstance(engine, Ct2Engine):
        assert engine._worker is not None
        status = Path(f"/proc/{engine._worker._process.pid}/status").read_text()
        return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


class Process:
    """An engine in a process of its own."""

    def __init__(self, config: BenchmarkConfig, model: Path, engine: str) -> None:
        words = [sys.executable, __file__, "--model", str(model), "--engine", engine]
        for name in ("segments", "tokens", "beam", "threads"):
            words += [f"--{name}", str(getattr(config, name))]
        environment = {
            **os.environ,
            "XLTJAX_CACHE": str(model.parent / "cache"),
            "OMP_NUM_THREADS": str(config.threads),
        }
        self._process = subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        self.precision = self._read()["precision"]

    def run(self) -> dict[str, Any]:
        """Translate the batch."""
        assert self._process.stdin is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return self._read()

    def end(self) -> int:
        """Stop it; the most bytes that it had in memory."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        memory: int = self._read()["memory"]
        self._process.wait()
        return memory

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise UserError(f"the process of an engine ended with code {self._process.wait()}")
        answer: dict[str, Any] = json.loads(line)
        return answer


def run(config: BenchmarkConfig) -> None:
    """Measure both engines in turns, and print the medians."""
    if config.engine:
        serve(config)
        return
    with tempfile.TemporaryDirectory() as temporary:
        model = Path(config.model) if config.model else Path(temporary) / "nllb-600m"
        if not (model / "config.json").is_file():
            make_model(model)
        engines = {name: Process(config, model, name) for name in ("ct2", "hf")}
        for process in engines.values():
            process.run()  # the first batch reserves memory
        speeds: dict[str, list[float]] = {name: [] for name in engines}
        for _ in range(config.rounds):
            for name, process in engines.items():
                found = process.run()
                speeds[name].append(found["tokens"] / found["seconds"])
        for name, process in engines.items():
            middle, low, high = statistics.median(speeds[name]), min(speeds[name]), max(speeds[name])
            speed = f"{middle:.0f} tokens/s ({low:.0f} to {high:.0f})"
            print(f"{name} {process.precision}: {speed}, {process.end() / 2**30:.2f} GiB")
        ratios = sorted(a / b for a, b in zip(speeds["ct2"], speeds["hf"], strict=True))
        print(f"ratio: {statistics.median(ratios):.1f} ({ratios[0]:.1f} to {ratios[-1]:.1f})")


if __name__ == "__main__":
    execute(command(BenchmarkConfig, run, name="translate", help=(__doc__ or "").split("\n")[0]))
