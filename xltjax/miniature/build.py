"""Building the miniature: a tiny pretrained LLaMA in Hugging Face format, its instruction data and its prompts.

The seed determines everything. The miniature is built once for each ``VERSION`` and cached.
"""

from __future__ import annotations

import logging
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import jax

from xltjax.common.files import cache_directory, write_jsonl
from xltjax.common.locks import use_directory
from xltjax.common.progress import progress
from xltjax.converters.export_hf import save_hf
from xltjax.data.conversations import Message
from xltjax.data.corpora import Corpus
from xltjax.data.packing import BatchShape, PackedData
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.llama import Llama, LlamaConfig, initialize
from xltjax.mesh import make_mesh
from xltjax.miniature.language import LANGUAGES
from xltjax.miniature.text import evaluation_rows, instruction_rows, pretraining_documents, small_subset
from xltjax.miniature.tokenizer import train_tokenizer, write_hf_tokenizer
from xltjax.miniature.world import SEED
from xltjax.partition import partition
from xltjax.training.optimizer import adamw, cosine, with_warmup
from xltjax.training.step import fresh_state, make_train_step, place

log = logging.getLogger("xltjax")

VERSION = 1  # part of the name of the cache; raise it when anything changes that the miniature depends on
DOCUMENTS = 45_000
VOCABULARY = 1500
PRETRAINING_STEPS = 400
PEAK_LEARNING_RATE = 4e-3
SHAPE = BatchShape(micro_batches=1, rows=32, length=128, tokens=32 * 128)
SMALL = 32  # rows of the small subset, which plays the part of LIMA


def miniature_config(vocab_size: int) -> LlamaConfig:
    """The architecture of the base model, which has about a million parameters."""
    return LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=128,
        intermediate_size=352,
        num_layers=4,
        num_heads=4,
        num_kv_heads=4,
        head_dim=32,
        max_positions=512,
    )


def cached() -> Path:
    """Where the miniature is cached, whether it is there yet or not."""
    return cache_directory() / f"miniature-v{VERSION}"


def ensure() -> Path:
    """The miniature's directory, which is built unless it is cached (two to three minutes on two cores).

    It holds ``model/`` (Hugging Face format), ``instructions/<language>.jsonl`` and ``instructions/small.jsonl``
    (Dolly's format), and ``evaluation/<language>.jsonl`` (a folder for ``--prompts``).
    """
    target = cached()
    while not use_directory(target):
        log.info("building the miniature in %s (once, a few minutes)", target)
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".miniature-") as staging:
            use_directory(Path(staging))
            build(Path(staging) / "miniature")
            try:
                os.rename(Path(staging) / "miniature", target)
            except OSError:
                # Another process has finished first, with the same result.
                if not target.is_dir():
                    raise
    return target


def build(target: Path, *, count: int = DOCUMENTS, steps: int = PRETRAINING_STEPS, seed: int = SEED) -> None:
    """Write the miniature to ``target``: data, a tokenizer, and a base model.

    Args:
        target: the directory to write.
        count: the number of documents of the pretraining text.
        steps: the number of updates of pretraining.
        seed: the seed of the text, the data order and the initial weights.
    """
    rows = {language: instruction_rows(seed, language) for language in LANGUAGES}
    for language, translated in rows.items():
        write_jsonl(target / "instructions" / f"{language}.jsonl", translated)
    write_jsonl(target / "instructions" / "small.jsonl", small_subset(rows["en"], SMALL, seed))
    evaluation = evaluation_rows(seed)
    for language in LANGUAGES:
        write_jsonl(
            target / "evaluation" / f"{language}.jsonl",
            [row for row in evaluation if row["language"] == language],
        )
    documents = pretraining_documents(seed, count)
    tokenizer_directory = target / "tokenizer"
    model_file = target / "tokenizer.model"
    model_file.write_bytes(train_tokenizer(documents, VOCABULARY, "[]/INST"))
    write_hf_tokenizer(model_file, tokenizer_directory)
    model = pretrain(documents, tokenizer_directory, steps, seed)
    save_hf(model, target / "model", base=tokenizer_directory)
    model_file.unlink()
    shutil.rmtree(tokenizer_directory)


def pretrain(documents: Sequence[str], tokenizer_directory: Path, steps: int, seed: int) -> Llama:
    """A LLaMA pretrained in float32 on every token of ``documents``, from random weights."""
    tokenizer = ChatTokenizer(tokenizer_directory)
    examples = tokenizer.examples([(Message("text", document),) for document in documents])
    data = PackedData([Corpus(examples, 1.0)], SHAPE, seed)
    mesh = make_mesh("1x1")
    model = initialize(Llama(miniature_config(VOCABULARY)), mesh, jax.random.key(seed))
    start, frozen, rebuild = partition(model)
    transform = adamw(beta1=0.9, beta2=0.98, eps=1e-8, weight_decay=0.01, clip_norm=1.0)
    schedule = with_warmup(cosine(PEAK_LEARNING_RATE / 20, steps), 40)
    train_step = make_train_step(rebuild, transform, schedule)
    state = fresh_state(start, transform, mesh)
    with jax.set_mesh(mesh), progress("pretraining the miniature", steps) as advance:
        for step in range(steps):
            batch = place(data.batch_at(step), mesh)
            state, metrics = train_step(state, frozen, batch, PEAK_LEARNING_RATE)
            advance(1, f"loss {float(metrics['loss']):.3f}")
    return rebuild(state.weights, frozen)
