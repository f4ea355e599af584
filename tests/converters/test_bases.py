"""Bases of LoRA runs that were moved, or that are runs themselves; and models that get room for more tokens."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
import yaml
from conftest import HfModel, make_hf_model
from helpers.logits import LOGIT_ERROR, logits_of
from safetensors.numpy import load_file, save_file
from test_converters_command import make_run, mistake, run  # noqa: F401

from xltjax.common.fingerprint import fingerprint
from xltjax.converters import load_hf
from xltjax.converters.models import check_adapter, load_model
from xltjax.converters.vocabulary import resize_vocabulary
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.generate import GenerateConfig, generate
from xltjax.llama import parameters
from xltjax.lora import has_lora
from xltjax.mesh import make_mesh
from xltjax.train import fit
from xltjax.training.config import TrainConfig

Command = Callable[..., tuple[int, str, str]]


def training(model: Path, out: Path, **settings: Any) -> TrainConfig:
    data = out.with_suffix(".jsonl")
    data.write_text('{"instruction": "Why?", "response": "So."}\n' * 4)
    return TrainConfig(
        model=str(model), data=(str(data),), out=str(out), sequence_length=64, tokens_per_batch=64, accumulation=1,
        **{"steps": 1, "precision": "float32", "learning_rate": 1e-3, **settings},
    )  # fmt: skip


@pytest.fixture(scope="module")
def moved(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """(a LoRA run, the directory to which its base has moved since)."""
    root = tmp_path_factory.mktemp("moved")
    base = Path(shutil.copytree(chat_model, root / "base"))
    made = make_run(root / "run", base, rank=2)
    record = {"base": {"location": str(base), "fingerprint": fingerprint(base)}}
    (made / "provenance.json").write_text(json.dumps(record))
    base.rename(root / "elsewhere")
    return made, root / "elsewhere"


def test_a_base_that_moved_is_found_by_its_flag_and_known_by_its_weights(
    moved: tuple[Path, Path],
    chat_model: Path,
    tmp_path: Path,
    run: Command,  # noqa: F811
) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    lora, base = moved
    out = tmp_path / "out"
    for command in (("to-hf", lora, out, "--merge-lora"), ("to-peft", lora, out), ("check", lora, base)):
        mistake(run(*command), "does not exist", f"it is the base of {lora}: give --base DIR if it was moved")
    other = make_hf_model("llama-2-70b", tmp_path / "other", vocab_size=700, hidden_size=64)
    del other
    mistake(
        run("to-hf", lora, out, "--merge-lora", "--base", tmp_path / "other"), "does not hold the weights"
    )
    mistake(run("to-hf", base, out, "--base", base), "is a whole model, which needs no base")
    assert run("to-hf", lora, out, "--merge-lora", "--base", base)[0] == 0
    assert run("check", lora, out, "--base-a", base)[0] == 0
    assert run("check", out, lora, "--base-b", base)[0] == 0
    assert run("to-peft", lora, tmp_path / "adapter", "--base", base)[0] == 0
    settings = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(base.resolve())
    model = AutoModelForCausalLM.from_pretrained(settings["base_model_name_or_path"])
    merged = PeftModel.from_pretrained(model, tmp_path / "adapter").merge_and_unload().state_dict()
    for name, array in load_file(out / "model.safetensors").items():
        np.testing.assert_allclose(array, merged[name], atol=1e-6)
    (tmp_path / "x.en.jsonl").write_text('{"id": "1", "instruction": "Why?"}\n')
    answered = generate(
        GenerateConfig(
            model=str(lora), base=str(base), prompts=str(tmp_path / "x.en.jsonl"), out=str(tmp_path / "o.jsonl"),
            max_new_tokens=2,
        )
    )  # fmt: skip
    assert len(answered.read_text().splitlines()) == 1
    assert fit(training(lora, tmp_path / "upon", base=str(base), lora_rank=2)) == [tmp_path / "upon"]


def test_an_adapter_of_a_run_upon_a_run_says_how_peft_gets_its_base(
    chat_model: Path,
    tmp_path: Path,
    run: Command,  # noqa: F811
) -> None:
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    first = make_run(tmp_path / "first", chat_model)  # a run of full training that has learned nothing
    second = upon(make_run(tmp_path / "second", chat_model, rank=2), first)
    adapter, merged = tmp_path / "adapter", tmp_path / "merged"
    mistake(
        run("to-peft", second, adapter),
        "is a run itself, which PEFT cannot load",
        f"python -m xltjax.converters to-hf {first} DIR, and then this adapter with --base-name DIR",
    )
    upon(second, make_run(tmp_path / "lora", chat_model, rank=2))
    mistake(run("to-peft", second, adapter), f"to-hf {tmp_path / 'lora'} DIR --merge-lora, and then")
    assert not adapter.exists()
    upon(second, first)
    assert run("to-hf", first, merged)[0] == 0
    assert run("to-peft", second, adapter, "--base-name", merged)[0] == 0
    theirs = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(merged), adapter).eval()
    tokens = np.arange(3, 43, dtype=np.int32)[None]
    mesh = make_mesh("1x1")
    ours = logits_of(load_model(second, mesh, dtype=jnp.float32), tokens, mesh)
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens).long()).logits
    np.testing.assert_allclose(ours, expected, atol=LOGIT_ERROR, rtol=0)


def test_a_peft_directory_whose_base_is_here_with_other_weights_is_used_with_a_warning(
    chat_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base, adapter = tmp_path / "base", tmp_path / "adapter"
    shutil.copytree(chat_model, base)
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(chat_model)}))
    check_adapter(adapter, base)
    assert caplog.messages == []
    weights = load_file(base / "model.safetensors")
    save_file({name: array * 2 for name, array in weights.items()}, base / "model.safetensors")
    check_adapter(adapter, base)
    assert caplog.messages == [
        f"warning: {adapter} names {chat_model} as its base, whose weights are not those of {base}"
    ]


def upon(lora: Path, base: Path) -> Path:
    """The run ``lora``, with ``base`` named as what it was trained upon."""
    settings = yaml.safe_load((lora / "config.yaml").read_text())
    (lora / "config.yaml").write_text(yaml.safe_dump({**settings, "model": str(base)}))
    return lora


@pytest.mark.parametrize("name", ["llama-2-7b", "llama-3.2-tied"])
@pytest.mark.parametrize("spec", ["1x1", "2x2"])
def test_new_rows_are_the_mean_of_the_others(name: str, spec: str, hf_model: HfModel) -> None:
    import copy

    directory, reference = hf_model(name)
    mesh = make_mesh(spec)
    model = load_hf(directory, mesh, dtype=jnp.float32)
    before = {key: np.asarray(value[...]) for key, value in parameters(model).items()}
    resize_vocabulary(model, mesh, 109)
    theirs = copy.deepcopy(reference)
    theirs.resize_token_embeddings(109, mean_resizing=False)
    shapes = {"embed.weight": theirs.get_input_embeddings().weight.shape}
    if name == "llama-2-7b":
        shapes["head.weight"] = theirs.get_output_embeddings().weight.shape
    for key, value in parameters(model).items():
        if key not in shapes:
            np.testing.assert_array_equal(value[...], before[key])
            continue
        rows, old = np.asarray(value[...]), before[key][:101]
        assert tuple(shapes[key]) == (109, 32)
        np.testing.assert_array_equal(rows[:101], old)
        np.testing.assert_allclose(rows[101:109], np.tile(old.astype(np.float64).mean(0), (8, 1)), atol=1e-6)
        assert not rows[109:].any()
    assert model.config.vocab_size == theirs.config.vocab_size
    resize_vocabulary(model, mesh, 50)
    assert model.config.vocab_size == 109


def short_model(name: str, directory: Path, tokenizer_directory: Path) -> Path:
    """A model of 700 tokens whose tokenizer has two more, those of chatml."""
    make_hf_model(name, directory, vocab_size=700)
    shutil.copytree(tokenizer_directory, directory, dirs_exist_ok=True)
    document = json.loads((directory / "tokenizer.json").read_text())
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    document["added_tokens"] += [
        {"id": 700 + i, "content": token, **flags} for i, token in enumerate(("<|im_start|>", "<|im_end|>"))
    ]
    (directory / "tokenizer.json").write_text(json.dumps(document))
    return directory


@pytest.mark.parametrize(("name", "rank"), [("llama-2-7b", 0), ("llama-3.2-tied", 2)])
def test_a_run_with_more_tokens_than_its_base_learns_them_and_is_exported_with_them(
    name: str,
    rank: int,
    tokenizer_directory: Path,
    tmp_path: Path,
    run: Command,  # noqa: F811
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    short = short_model(name, tmp_path / "short", tokenizer_directory)
    settings: dict[str, Any] = {"resize_vocabulary": True, "template": "chatml", "lora_rank": rank}
    fit(training(short, tmp_path / "run", **settings))
    fit(training(short, tmp_path / "run", **settings, steps=2))  # goes on
    merge_lora = ["--merge-lora"] if rank else []
    assert run("to-hf", tmp_path / "run", tmp_path / "hf", *merge_lora)[0] == 0
    assert run("check", tmp_path / "run", tmp_path / "hf", "--mesh", "2x1")[0] == 0
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["vocab_size"] == 702
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "hf")
    assert theirs.get_input_embeddings().weight.shape == (702, 32)
    assert len(AutoTokenizer.from_pretrained(tmp_path / "hf")) == 702
    mesh = make_mesh("1x1")
    model = load_model(tmp_path / "run", mesh, dtype=jnp.float32)
    assert has_lora(model) == bool(rank)
    tokens = np.array([[1, 700, 5, 6, 701, 9, 700, 40]], np.int32)
    with torch.no_grad():
        expected = theirs(torch.tensor(tokens).long()).logits
    np.testing.assert_allclose(logits_of(model, tokens, mesh), expected, atol=LOGIT_ERROR, rtol=0)
    assert json.loads((short / "config.json").read_text())["vocab_size"] == 700
    if rank:
        mistake(
            run("to-peft", tmp_path / "run", tmp_path / "adapter"), "702 tokens and its base 700", "to-hf"
        )
    else:  # the end of an answer was learned: its row moved away from the mean
        rows = load_file(tmp_path / "hf" / "model.safetensors")["model.embed_tokens.weight"]
        assert np.abs(rows[700] - rows[:700].mean(0)).max() > 1e-5
    assert ChatTokenizer(tmp_path / "hf", "chatml").size == 702
