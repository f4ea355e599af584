"""Shared fixtures: eight CPU devices, tiny random models made by ``transformers``, a tiny tokenizer."""

from __future__ import annotations

import gc
import logging
import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.compiler import quick_compiler

# Before anything imports JAX.
os.environ["JAX_NUM_CPU_DEVICES"] = "8"
# Many tests train or decode with one tiny model: what one has compiled, in any process, serves the others.
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", os.path.join(os.path.dirname(__file__), "../build/compiled")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.update(quick_compiler())
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test reaches for a hub

# A shell has what it starts in the background ignore Ctrl-C, which the processes of tests must not.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

TINY: dict[str, Any] = {
    "vocab_size": 101,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "max_position_embeddings": 512,
}
LLAMA3_ROPE = {
    "rope_type": "llama3",
    "rope_theta": 500000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Family member -> (class prefix in transformers, what its config.json changes), real shapes scaled down.
FAMILY: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-2-7b": ("Llama", {"num_key_value_heads": 4, "rms_norm_eps": 1e-5}),
    "llama-2-70b": ("Llama", {"num_attention_heads": 8, "num_key_value_heads": 1}),
    "tower-7b": ("Llama", {"num_key_value_heads": 4, "vocab_size": 103}),
    "code-llama": ("Llama", {"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    "llama-3.1": ("Llama", {"rope_parameters": LLAMA3_ROPE}),
    "llama-3.2-tied": ("Llama", {"rope_parameters": LLAMA3_ROPE, "tie_word_embeddings": True, "head_dim": 16}),
    "llama-with-biases": ("Llama", {"attention_bias": True, "mlp_bias": True}),
    "tinyllama": ("Llama", {"num_attention_heads": 8, "num_key_value_heads": 2}),
    "mistral": ("Mistral", {"sliding_window": 7, "head_dim": 16}),
    "qwen2": ("Qwen2", {}),
    "qwen2-window": ("Qwen2", {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1}),
}  # fmt: skip
HfModel = Callable[[str], tuple[Path, Any]]  # the fixture `hf_model`


def pytest_configure() -> None:
    """Collect no garbage while the tests are imported: that makes little, and takes half the time without."""
    gc.disable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest tests, those of studies, so that at the end no worker waits for another one's."""
    items.sort(key=lambda item: item.path.parent.name != "study")


def pytest_collection_finish() -> None:
    """Collect garbage again, and never look among what was imported."""
    gc.freeze()
    gc.enable()


def make_hf_model(name: str, directory: Path, *, dtype: str = "float32", **changes: Any) -> Any:
    """A random model of the family with weights large enough to matter, saved in ``directory``."""
    import torch
    import transformers

    prefix, family = FAMILY[name]
    config = getattr(transformers, f"{prefix}Config")(**{**TINY, **family, **changes})
    torch.manual_seed(0)
    model = getattr(transformers, f"{prefix}ForCausalLM")(config)
    for path, parameter in model.named_parameters():
        noise = torch.randn_like(parameter)
        parameter.data = 1 + 0.1 * noise if "norm" in path else 0.2 * noise
    model = model.to(getattr(torch, dtype)).eval()
    model.save_pretrained(directory)
    return model


@pytest.fixture(scope="session")
def hf_model(tmp_path_factory: pytest.TempPathFactory) -> HfModel:
    """``hf_model(name)`` -> (directory, the transformers model), each made once."""
    made: dict[str, tuple[Path, Any]] = {}

    def make(name: str) -> tuple[Path, Any]:
        if name not in made:
            directory = tmp_path_factory.mktemp(name)
            made[name] = (directory, make_hf_model(name, directory))
        return made[name]

    return make


@pytest.fixture(scope="session")
def tokens() -> np.ndarray:
    """Random token ids [4, 40] for the tiny models."""
    return np.random.default_rng(0).integers(3, 101, (4, 40)).astype(np.int32)


@pytest.fixture(scope="session")
def tokenizer_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA-like tokenizer of 700 pieces, trained on the miniature's text."""
    from xltjax.miniature.text import pretraining_documents
    from xltjax.miniature.tokenizer import train_tokenizer, write_hf_tokenizer

    root = tmp_path_factory.mktemp("tokenizer")
    model = root / "trained.model"
    model.write_bytes(train_tokenizer(pretraining_documents(0, 2000), 700, "[]/INST"))
    write_hf_tokenizer(model, root / "tokenizer")
    return root / "tokenizer"


@pytest.fixture(scope="session")
def chat_model(tmp_path_factory: pytest.TempPathFactory, tokenizer_directory: Path) -> Path:
    """A tiny random LLaMA with a tokenizer: everything a command needs."""
    import shutil

    directory = tmp_path_factory.mktemp("chat-model")
    make_hf_model("llama-2-70b", directory, vocab_size=700)
    for file in tokenizer_directory.iterdir():
        shutil.copyfile(file, directory / file.name)
    return directory


@pytest.fixture(scope="session")
def finished_study(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the file of a small study, its data and prompts, and in ``out`` the study when it is done."""
    from helpers.small_study import SmallStudy, write_study

    folder = tmp_path_factory.mktemp("study")
    study = SmallStudy(write_study(folder, chat_model), folder / "out")
    assert [outcome.state for outcome in study.finish()] == ["done"] * 12
    return folder


@pytest.fixture(scope="session")
def identify() -> Any:
    """The identifier of languages, read once."""
    from xltjax.eval.language import LanguageIdentifier

    return LanguageIdentifier()


@pytest.fixture(scope="session")
def tokenizer(tokenizer_directory: Path) -> Any:
    """The chat tokenizer of ``tokenizer_directory``."""
    from xltjax.data.tokenizer import ChatTokenizer

    return ChatTokenizer(tokenizer_directory)


@pytest.fixture
def messages(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[str]]:
    """What xltjax has logged so far."""
    log = logging.getLogger("xltjax")
    monkeypatch.setattr(log, "handlers", [caplog.handler])
    monkeypatch.setattr(log, "propagate", False)
    caplog.set_level(logging.INFO, "xltjax")
    return lambda: caplog.messages


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium. It leaves with the module, since its event loop would be in the way of others."""
    from helpers.pages.browser import running_browser

    with running_browser() as running:
        yield running
