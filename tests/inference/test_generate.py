"""Decoding against ``transformers.generate``, at any batch size, order, mesh; and files that survive a kill."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import HfModel, make_hf_model
from helpers.generation import settings, write_prompts
from jax.sharding import PartitionSpec as P

import xltjax.inference.layout
from xltjax.common.errors import UserError
from xltjax.converters import load_hf, save_hf
from xltjax.data import tokenizer as chat
from xltjax.generate import generate
from xltjax.inference.decode import decode as decode_loop
from xltjax.inference.decode import empty
from xltjax.inference.engine import Engine
from xltjax.inference.layout import decode_layout
from xltjax.inference.sampling import SamplingParams, penalize
from xltjax.llama import parameters
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh

PENALTY = 1.1
NEW_TOKENS = 64
# Logits equal those of transformers to 1e-4: where the best two differ by more than twice that, the token is decided.
MARGIN = 2e-4


@dataclass(frozen=True)
class Reference:
    """An answer by ``transformers.generate``; the first ``decided`` tokens have no rival within ``MARGIN``."""

    ids: list[int]
    decided: int


def prompts(count: int = 16) -> list[list[int]]:
    random = np.random.default_rng(2)
    lengths = random.integers(2, 32, count)
    lengths[: count // 8] += 64  # a few long ones, for which only some slots have a cache
    return [[1, *random.integers(3, 101, n).tolist()] for n in lengths]


def reference(model: Any, prompt: Sequence[int], new_tokens: int, penalty: float) -> Reference:
    import torch

    torch.set_num_threads(1)  # a tiny model: threads would wait for each other
    out = model.generate(
        torch.tensor([prompt]), max_new_tokens=new_tokens, do_sample=False, repetition_penalty=penalty,
        pad_token_id=0, output_scores=True, return_dict_in_generate=True,
    )  # fmt: skip
    best = torch.cat(out.scores).topk(2).values
    rivals = (best[:, 0] - best[:, 1] < MARGIN).nonzero()
    ids = out.sequences[0, len(prompt) :].tolist()
    decided = int(rivals[0]) if len(rivals) else len(ids)
    return Reference(ids[:-1] if ids[-1] == 2 else ids, decided)


def assert_same_tokens(got: Sequence[Sequence[int]], expected: Sequence[Reference]) -> None:
    """Answers are the same as far as they are decided, which nearly all are to the end."""
    assert [ids[: one.decided] for ids, one in zip(got, expected, strict=True)] == [
        one.ids[: one.decided] for one in expected
    ]
    complete = [one.decided >= len(one.ids) for one in expected]
    assert sum(complete) >= 0.8 * len(complete)
    assert all(len(g) == len(e.ids) for g, e, whole in zip(got, expected, complete, strict=True) if whole)


def decode(
    directory: Path, asked: Sequence[Sequence[int]], spec: str = "1x1", *, slots: int = 8,
    new_tokens: int = NEW_TOKENS, penalty: float = PENALTY, refill: bool = True, eos: tuple[int, ...] = (2,),
) -> tuple[list[list[int]], Engine]:  # fmt: skip
    mesh = make_mesh(spec)
    engine = Engine(
        load_hf(directory, mesh, dtype=jnp.float32), mesh, slots=slots, max_new_tokens=new_tokens,
        sampling=SamplingParams(penalty), eos=eos, refill=refill,
    )  # fmt: skip
    answers = {key: answer.ids for key, answer in engine.generate(enumerate(asked))}
    return [answers[index] for index in range(len(asked))], engine


@pytest.mark.parametrize(
    ("name", "penalty"),
    [
        ("llama-2-7b", 1.1),
        ("mistral", 1.1),  # sliding window
        ("llama-with-biases", 1.0),  # grouped-query attention
        ("llama-with-biases", 1.2),
    ],
)
def test_tokens_are_those_of_transformers_generate_at_batch_size_1(
    name: str, penalty: float, hf_model: HfModel
) -> None:
    directory, model = hf_model(name)
    expected = [reference(model, prompt, NEW_TOKENS, penalty) for prompt in prompts()]
    got, _ = decode(directory, prompts(), penalty=penalty)
    assert_same_tokens(got, expected)


@pytest.fixture(scope="module")
def one_block(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Reference]]:
    """A model of one block with 101 words, which no mesh divides, and its answers by ``transformers``."""
    directory = tmp_path_factory.mktemp("one-block")
    model = make_hf_model("llama-with-biases", directory, num_hidden_layers=1)
    return directory, [reference(model, prompt, NEW_TOKENS, PENALTY) for prompt in prompts()]


@pytest.mark.parametrize(
    ("spec", "slots", "refill"),
    [("1x1", 1, True), ("1x1", 32, False), ("2x1", 4, True), ("1x2", 4, True), ("2x2", 8, True)],
)
def test_tokens_do_not_depend_on_batch_size_order_mesh_or_refill(
    spec: str, slots: int, refill: bool, one_block: tuple[Path, list[Reference]]
) -> None:
    directory, expected = one_block
    order = np.random.default_rng(slots).permutation(len(expected))
    shuffled = [prompts()[index] for index in order]
    got, _ = decode(directory, shuffled, spec, slots=slots, refill=refill)
    assert_same_tokens(got, [expected[index] for index in order])


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("spec", ["2x1", "1x2", "2x2"])
def test_the_model_of_the_caller_stays_where_it_is(spec: str, lora: bool, hf_model: HfModel) -> None:
    mesh = make_mesh(spec)
    model = load_hf(hf_model("llama-with-biases")[0], mesh, dtype=jnp.float32)
    if lora:
        add_lora(model, mesh, jax.random.key(0), rank=2, alpha=4)
    before = {name: variable[...] for name, variable in parameters(model).items()}
    layout = decode_layout(model, mesh)
    assert {name: variable[...] is before[name] for name, variable in parameters(model).items()} == (
        dict.fromkeys(before, True)
    )
    assert model.embed.weight[...].sharding.spec == P("data", "tensor")
    after = {name: variable[...] for name, variable in parameters(layout).items()}
    assert all("data" not in array.sharding.spec for array in after.values())
    for name in after.keys() & before.keys():
        turned = name.endswith("_proj.weight") or name == "head.weight"
        np.testing.assert_array_equal(after[name], before[name].T if turned else before[name])
    joined = {} if lora else {"attention.qkv": "qkv", "mlp.gate_up": ("gate", "up")}
    assert {name.split(".", 2)[2].rsplit(".", 1)[0] for name in after.keys() - before.keys()} == joined.keys()
    for name, layers in joined.items():
        for kind in ("weight", "bias"):
            module = "layers.1." + name.split(".")[0]
            parts = [np.asarray(before[f"{module}.{each}_proj.{kind}"]) for each in layers]
            # Every tensor device holds its part of each, one after the other.
            split = [np.split(part, mesh.shape["tensor"]) for part in parts]
            whole = np.concatenate([piece for device in zip(*split, strict=True) for piece in device])
            np.testing.assert_array_equal(after[f"layers.1.{name}.{kind}"], whole.T)


@pytest.mark.parametrize("room", [True, False])
def test_layers_of_the_same_input_are_one_product_of_a_step_where_there_is_room_for_copies(
    room: bool, hf_model: HfModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(xltjax.inference.layout, "free_memory", lambda: math.inf if room else 1000)
    mesh = make_mesh("1x1")
    model = load_hf(hf_model("llama-with-biases")[0], mesh, dtype=jnp.float32)
    with jax.set_mesh(mesh):
        layout = decode_layout(model, mesh)
        state = empty(layout, [(1, 64)], 8)
        step = jax.jit(lambda model, state: model.decode(state.token, state.cache, state.position)[0])
        text = step.lower(layout, state).as_text()
        np.testing.assert_allclose(step(layout, state), step(model, state), atol=1e-5)
    # Of each of the two blocks, which are one function: two products with the cache, and those of linear layers.
    assert text.count("dot_general") == 2 + (4 if room else 7) + 1


def test_a_prompt_without_tokens_is_refused(hf_model: HfModel) -> None:
    with pytest.raises(ValueError, match="the prompt of 1 has no tokens"):
        decode(hf_model("llama-2-7b")[0], [[1, 5], []])


def test_slots_are_refilled_and_seldom_idle(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-7b")
    asked, eos = prompts(80), tuple(range(2, 101, 20))  # answers of very different lengths
    _, filled = decode(directory, asked, slots=8, new_tokens=32, eos=eos)
    _, waiting = decode(directory, asked, slots=8, new_tokens=32, eos=eos, refill=False)
    assert filled.throughput.prompts == waiting.throughput.prompts == 80
    assert filled.throughput.new_tokens == waiting.throughput.new_tokens
    assert filled.throughput.occupancy() > max(0.9, waiting.throughput.occupancy())


def test_penalty_is_true_division_on_float32() -> None:
    logits = np.random.default_rng(0).normal(0, 5, (4, 1000)).astype(np.float32)
    seen = np.random.default_rng(1).random((4, 1000)) < 0.5
    expected = np.where(
        seen, np.where(logits < 0, logits * np.float32(1.1), logits / np.float32(1.1)), logits
    )
    got = np.asarray(jax.jit(penalize, static_argnums=2)(logits, seen, 1.1))
    np.testing.assert_array_equal(got, expected)


def test_batch_size_that_the_mesh_does_not_divide_is_refused(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-7b")
    with pytest.raises(UserError, match="batch size 3 cannot be split over 2"):
        decode(directory, prompts(), "2x1", slots=3)


def test_cache_takes_what_its_formula_says_and_decoding_little_more(hf_model: HfModel) -> None:
    directory, _ = hf_model("llama-2-7b")
    mesh = make_mesh("1x1")
    model = load_hf(directory, mesh, dtype=jnp.float32)
    engine = Engine(model, mesh, slots=64, max_new_tokens=64, sampling=SamplingParams(1.1), eos=(2,))
    with jax.set_mesh(mesh):
        state = empty(engine._model, [(64, 512), (8, 1536)], 64)
        cache = state.cache.nbytes
        assert cache == model.cache_bytes(64, 512) + model.cache_bytes(8, 1536)
        analysis = decode_loop.lower(engine._model, state, 0, 1, **engine.options).compile().memory_analysis()
    assert analysis.temp_size_in_bytes < 0.15 * cache
    assert analysis.alias_size_in_bytes >= cache  # donated: written in place


# The command


def test_responses_carry_the_fields_of_the_contract_in_the_order_of_the_prompts(
    chat_model: Path, tmp_path: Path
) -> None:
    out = generate(settings(chat_model, tmp_path))
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["id"] for row in rows] == [f"p{n}" for n in range(12)]
    for row in rows:
        assert {"id", "model", "language", "task", "instruction", "response", "finish_reason", "prompt_tokens",
                "response_tokens", "instruction_id"} <= row.keys()  # fmt: skip
        assert row["finish_reason"] in ("stop", "length")
        assert row["response_tokens"] <= 8
    assert (
        json.loads(out.with_name(f"{out.name}.provenance.json").read_text())["settings"]["repetition_penalty"]
        == 1.1
    )


def test_a_run_cut_anywhere_resumes_to_the_same_file(chat_model: Path, tmp_path: Path) -> None:
    config = settings(chat_model, tmp_path)
    out = generate(config)
    whole = out.read_bytes()
    lines = whole.splitlines(keepends=True)
    random = np.random.default_rng(0)
    for _ in range(4):
        kept = random.permutation(len(lines))[: random.integers(0, len(lines))]
        torn = lines[random.integers(len(lines))][: random.integers(1, 40)]
        out.write_bytes(b"".join(lines[index] for index in kept) + torn)
        generate(config)
        assert out.read_bytes() == whole


def test_resuming_with_other_settings_or_foreign_answers_is_refused(chat_model: Path, tmp_path: Path) -> None:
    out = generate(settings(chat_model, tmp_path))
    with pytest.raises(UserError, match="repetition_penalty"):
        generate(settings(chat_model, tmp_path, repetition_penalty=1.3))
    rows = out.read_text().replace('"id": "p3"', '"id": "stranger"')
    out.write_text(rows)
    with pytest.raises(UserError, match="'stranger'"):
        generate(settings(chat_model, tmp_path))


def test_a_prompt_that_cannot_be_answered_is_reported_and_the_others_are_answered(
    chat_model: Path, tmp_path: Path
) -> None:
    path = write_prompts(tmp_path / "odd.jsonl", 4)
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[0]["instruction"] = "blue " * 600
    rows[1]["instruction"] = "   "
    rows[2]["instruction"] = "smile \ud83d"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = generate(settings(chat_model, tmp_path, prompts=str(path)))
    reasons = [json.loads(line)["finish_reason"] for line in out.read_text().splitlines()]
    assert reasons[0].startswith("failed: too long")
    assert reasons[1] == "failed: empty instruction"
    assert reasons[2] == r"failed: half of a surrogate pair in the instruction, at 'smile \ud83d'"
    assert reasons[3] in ("stop", "length")


def tokenizer_of_class(name: str | None, source: Path, target: Path, template: str = "llama-2") -> Path:
    """A copy of a tokenizer whose config names another class, or none, and has a chat template of its own or not."""
    shutil.copytree(source, target)
    config = json.loads((target / "tokenizer_config.json").read_text())
    del config["tokenizer_class"]
    if name is not None:
        config["tokenizer_class"] = name
    if template == "own":
        config["chat_template"] = "{% for m in messages %}{{ m['content'] }}</s>{% endfor %}"
    (target / "tokenizer_config.json").write_text(json.dumps(config))
    return target


CLASSES = ["PreTrainedTokenizerFast", "LlamaTokenizer", "LlamaTokenizerFast", None]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize("template", ["llama-2", "own"])
def test_the_tokenizer_gives_the_ids_of_autotokenizer(
    name: str | None, template: str, tokenizer_directory: Path, tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    directory = tokenizer_of_class(name, tokenizer_directory, tmp_path / "copy", template)
    theirs = AutoTokenizer.from_pretrained(directory)
    ours = chat._load_tokenizer(directory)
    assert type(ours) is type(theirs)
    texts = ["Où est le port ?", " Где порт?", "a  b\n\tc", "<s> literal </s>", "日本 \U0001f600", ""]
    for options in ({}, {"add_special_tokens": False, "split_special_tokens": True}):
        assert ours(texts, **options)["input_ids"] == theirs(texts, **options)["input_ids"]
    ids = theirs(texts[0])["input_ids"]
    assert ours.decode(ids) == theirs.decode(ids)
    assert ours.chat_template == theirs.chat_template


def test_a_tokenizer_whose_class_is_named_is_loaded_without_pytorch(
    tokenizer_directory: Path, tmp_path: Path
) -> None:
    directories = [
        str(tokenizer_of_class(name, tokenizer_directory, tmp_path / str(name))) for name in CLASSES
    ]
    code = (
        "import sys; from xltjax.data import tokenizer\n"
        "for path in sys.argv[1:]: tokenizer._load_tokenizer(path); print('torch' in sys.modules)"
    )
    out = subprocess.run(
        [sys.executable, "-c", code, *directories], check=True, capture_output=True, text=True
    )
    assert out.stdout.split() == ["False", "False", "False", "True"]


def test_a_model_without_tokenizer_is_refused(hf_model: HfModel, tmp_path: Path) -> None:
    directory, _ = hf_model("llama-2-7b")
    with pytest.raises(UserError, match="has no tokenizer"):
        generate(settings(directory, tmp_path))


def test_the_exported_model_gives_the_same_tokens_in_transformers(hf_model: HfModel, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM

    directory, _ = hf_model("llama-with-biases")
    save_hf(load_hf(directory, make_mesh("2x1"), dtype=jnp.float32), tmp_path / "out", base=directory)
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    asked = prompts(5)
    got, _ = decode(directory, asked, new_tokens=32)
    assert_same_tokens(got, [reference(exported, prompt, 32, PENALTY) for prompt in asked])
