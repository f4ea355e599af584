"""The whole path once, by its commands, on a miniature that is hardly trained."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import click
import numpy as np
import pytest

from xltjax import generate, train
from xltjax.common import cli
from xltjax.converters.__main__ import COMMANDS as CONVERTERS
from xltjax.eval.surface import COMMAND as SURFACE
from xltjax.miniature import build


@pytest.fixture(scope="module")
def miniature(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache folder that holds a miniature of 2,000 documents and 3 updates."""
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XLTJAX_CACHE", str(cache))
        patch.setattr(build, "build", partial(build.build, count=2000, steps=3))
        build.ensure()
    return cache


def run(command: click.Command, *arguments: str) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.execute(command, arguments)
    assert ended.value.code == 0


def converters(*arguments: str) -> None:
    run(cli.group(CONVERTERS, name="converters", help=""), *arguments)


def tokens_in_transformers(directory: Path, prompts: Sequence[Sequence[int]], count: int) -> list[list[int]]:
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    answers = []
    for prompt in prompts:
        ids = model.generate(
            torch.tensor([prompt]),
            max_new_tokens=count,
            do_sample=False,
            repetition_penalty=1.1,
            pad_token_id=0,
        )[0, len(prompt) :].tolist()
        answers.append(ids)
    return answers


def test_train_generate_evaluate_export(
    miniature: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XLTJAX_CACHE", str(miniature))
    out = tmp_path / "run"
    # `train --mesh 2x1` alone trains the miniature; only what keeps the test short is added.
    run(train.COMMAND, "--mesh", "2x1", "--steps", "3", "--out", str(out))
    assert {path.name for path in out.iterdir()} >= {
        "config.yaml", "provenance.json", "metrics.jsonl", "checkpoints", "base"
    }  # fmt: skip
    assert [json.loads(line)["step"] for line in (out / "metrics.jsonl").open()] == [1, 2, 3]
    provenance = json.loads((out / "provenance.json").read_text())
    assert provenance["versions"]["jax"]
    assert provenance["attention"][0]["kernel"] == "portable"
    assert len(provenance["data"]) == 1

    prompts = build.ensure() / "evaluation"
    run(generate.COMMAND, "--model", str(out), "--prompts", str(prompts), "--languages", "fr,ru", "--dtype",
        "float32", "--max-new-tokens", "8", "--out", str(out / "responses.jsonl"))  # fmt: skip
    rows = [json.loads(line) for line in (out / "responses.jsonl").open()]
    assert {row["language"] for row in rows} == {"fr", "ru"}

    run(SURFACE, str(out / "responses.jsonl"), "--out", str(out / "scores"))
    scores = [json.loads(line) for line in (out / "scores" / "scores.jsonl").open()]
    assert {score["metric"] for score in scores} >= {"language_correct", "spelling"}
    assert {score["id"] for score in scores} == {row["id"] for row in rows}

    converters("to-hf", str(out), str(out / "hf"), "--dtype", "float32")
    converters("check", str(out), str(out / "hf"))
    from transformers import AutoTokenizer

    from xltjax.data.conversations import Message
    from xltjax.data.tokenizer import ChatTokenizer

    ours = ChatTokenizer(out / "hf")
    asked = [ours.prompt([Message("user", row["instruction"])]) for row in rows[:5]]
    # An untrained answer is told by its length; the text follows from the tokens.
    tokenizer = AutoTokenizer.from_pretrained(out / "hf")
    for row, prompt, ids in zip(rows, asked, tokens_in_transformers(out / "hf", asked, 8), strict=False):
        stopped = ids[-1] == tokenizer.eos_token_id
        answer = ids[:-1] if stopped else ids
        assert len(prompt) == row["prompt_tokens"]
        assert row["finish_reason"] == ("stop" if stopped else "length")
        assert len(answer) == row["response_tokens"]
        assert ours.decode(answer) == row["response"]


def test_the_miniature_is_the_same_from_the_same_seed(miniature: Path, tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    build.build(tmp_path / "again", count=2000, steps=3)
    first = next(path for path in miniature.iterdir() if path.name.startswith("miniature-"))
    for file in sorted(path.relative_to(first) for path in first.rglob("*.json*")):
        assert (first / file).read_bytes() == (tmp_path / "again" / file).read_bytes(), file
    ours = load_file(first / "model" / "model.safetensors")
    theirs = load_file(tmp_path / "again" / "model" / "model.safetensors")
    for name, tensor in ours.items():
        np.testing.assert_array_equal(tensor, theirs[name])
