"""What ``generate`` refuses to mix, to overwrite or to call a success, and that it says so before the work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import shutil
import zlib
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from conftest import make_hf_model
from flax import nnx
from helpers.generation import settings, write_prompts

from xltjax.common.cli import execute
from xltjax.common.errors import UserError
from xltjax.common.fingerprint import fingerprint
from xltjax.converters import load_hf
from xltjax.converters.models import load_adapter
from xltjax.data import tokenizer as chat
from xltjax.data.conversations import Message
from xltjax.generate import COMMAND, GenerateConfig, generate
from xltjax.llama import parameters
from xltjax.lora import add_lora
from xltjax.mesh import make_mesh
from xltjax.training.config import TrainConfig
from xltjax.training.run import Base, Run


def a_run(out: Path, base: Path, step: int = 1, **changes: Any) -> Path:
    """A run upon ``base`` that has not trained: its weights, or with ``lora_rank`` random adapters, at ``step``."""
    run, mesh = Run(out), make_mesh("1x1")
    config = TrainConfig(model=str(base), **changes)
    run.write_settings(config, Base(str(base), fingerprint(base)), base)
    model = load_hf(base, mesh, dtype=jnp.float32)
    if config.lora_rank:
        add_lora(model, mesh, jax.random.key(step), rank=config.lora_rank, alpha=config.lora_alpha)
        for name, variable in parameters(model, nnx.LoRAParam).items():
            seed = zlib.crc32(f"{name}{step}".encode())
            variable.set_value(0.1 * jax.random.normal(jax.random.key(seed), variable.shape))
    kept = parameters(model, nnx.LoRAParam) if config.lora_rank else parameters(model)
    with contextlib.closing(run.checkpoints()) as checkpoints:
        checkpoints.save_weights(step, {name: variable[...] for name, variable in kept.items()})
    return out


def answers(out: Path) -> dict[str, dict[str, Any]]:
    return {row["id"]: row for row in map(json.loads, out.read_text().splitlines())}


def test_a_prompt_file_given_as_out_is_left_as_it_is(chat_model: Path, tmp_path: Path) -> None:
    config = settings(chat_model, tmp_path)
    prompts = Path(config.prompts)
    before = prompts.read_bytes() + b'{"id": "p12", "language": "en", "instruction": "Say"}'
    prompts.write_bytes(before)
    with pytest.raises(UserError, match="exists and was not written by generate"):
        generate(dataclasses.replace(config, out=str(prompts)))
    assert prompts.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_answers_of_a_run_that_went_on_are_not_mixed(
    chat_model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = a_run(tmp_path / "run", chat_model, steps=2)
    (run / "metrics.jsonl").touch()
    config = settings(run, tmp_path)
    out = generate(config)
    notice = f"notice: the training in {run} has not ended: 1 of 2 updates are done"
    assert notice in [record.message for record in caplog.records]
    caplog.clear()
    a_run(tmp_path / "run", chat_model, step=2, steps=2)
    before = out.read_bytes()
    with pytest.raises(UserError, match=r"settings: step \(was 1, now 2\); choose"):
        generate(config)
    assert caplog.records == []
    assert out.read_bytes() == before
    earlier = tmp_path / "run" / "checkpoints" / "1"
    assert generate(settings(earlier, tmp_path, out=str(tmp_path / "earlier.jsonl"))).is_file()


def test_answers_of_other_weights_or_to_other_texts_are_not_mixed(chat_model: Path, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(chat_model, model)
    config = settings(model, tmp_path)
    out = generate(config)
    prompts = Path(config.prompts)
    text = prompts.read_text()
    prompts.write_text(text.replace('"Name three"', '"Name four"'))
    with pytest.raises(UserError, match="another instruction of 'p1'"):
        generate(config)
    prompts.write_text(text)
    tokenizer = json.loads((model / "tokenizer.json").read_text())
    (model / "tokenizer.json").write_text(json.dumps(tokenizer, indent=3))
    with pytest.raises(UserError, match=r"tokenizer \(tokenizer.json changed\)"):
        generate(config)
    shutil.copy(chat_model / "tokenizer.json", model)
    weights = bytearray((model / "model.safetensors").read_bytes())
    weights[-3] ^= 1
    (model / "model.safetensors").write_bytes(weights)
    with pytest.raises(UserError, match=r"weights \(changed\)"):
        generate(config)
    assert len(answers(out)) == 12


def test_each_adapter_is_prompted_with_its_own_template_and_belongs_upon_its_base(
    chat_model: Path, tmp_path: Path
) -> None:
    runs = {
        template: a_run(tmp_path / template, chat_model, template=template, lora_rank=2)
        for template in ("alpaca", "llama-2")
    }
    adapters = tuple(map(str, runs.values()))
    together = answers(generate(settings(chat_model, tmp_path, adapter=adapters)))
    for template, run in runs.items():
        config = settings(chat_model, tmp_path, adapter=(str(run),), out=str(tmp_path / f"{template}.jsonl"))
        tokenizer = chat.ChatTokenizer(chat_model, template)
        for key, alone in answers(generate(config)).items():
            assert together[f"{template}/{key}"]["response"] == alone["response"]
            asked = len(tokenizer.prompt((Message("user", alone["instruction"]),)))
            assert together[f"{template}/{key}"]["prompt_tokens"] == asked
    other = tmp_path / "other"
    make_hf_model("llama-2-70b", other, vocab_size=700, rms_norm_eps=1e-3)
    for file in chat_model.glob("*token*"):
        shutil.copy(file, other)
    out = tmp_path / "upon-another.jsonl"
    with pytest.raises(
        UserError, match=f"{other} does not hold the weights that the adapters of {runs['alpaca']}"
    ):
        generate(settings(other, tmp_path, adapter=adapters, out=str(out)))
    mesh = make_mesh("1x1")
    model = load_hf(other, mesh)
    with pytest.raises(UserError, match="does not hold the weights"):
        load_adapter(model, runs["alpaca"], mesh, base=other)
    assert not out.exists()


def test_nothing_answered_is_no_success(
    chat_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blank = tmp_path / "blank.jsonl"
    rows = [
        {"id": f"p{n}", "language": "en", "instruction": text} for n, text in enumerate((" ", "blue " * 600))
    ]
    blank.write_text("".join(json.dumps(row) + "\n" for row in rows))
    out = tmp_path / "r.jsonl"
    flags = ["--model", str(chat_model), "--prompts", str(blank), "--out", str(out), "--dtype", "float32"]
    for _ in range(2):  # also when the answers, or the lack of them, are there already
        with pytest.raises(SystemExit) as ended:
            execute(COMMAND, flags)
        assert ended.value.code == 1
        assert "2 of 2 prompts could not be answered" in capsys.readouterr().err
    assert [row["finish_reason"][:7] for row in answers(out).values()] == ["failed:", "failed:"]


@pytest.mark.parametrize("new_tokens", [505, 512, 9999])
def test_a_limit_that_leaves_no_room_is_refused_with_the_numbers(
    new_tokens: int, chat_model: Path, tmp_path: Path
) -> None:
    shortest = len(chat.ChatTokenizer(chat_model).prompt((Message("user", "Name"),)))
    with pytest.raises(
        UserError, match=rf"{new_tokens} leaves no room .* 512 .* {shortest} .* {512 - shortest}$"
    ):
        generate(settings(chat_model, tmp_path, max_new_tokens=new_tokens))
    assert [path.name for path in tmp_path.iterdir()] == ["prompts.jsonl"]


def test_what_is_wrong_is_found_before_a_model_is_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xltjax.miniature.build.ensure", lambda: pytest.fail("the miniature is built"))
    (tmp_path / "mine.jsonl").write_text("mine")
    good, bad = write_prompts(tmp_path / "prompts.jsonl"), tmp_path / "bad.jsonl"
    bad.write_text("not JSON")
    for message, changes in {
        "was not written by generate": {"out": str(tmp_path / "mine.jsonl"), "prompts": "miniature"},
        "bad.jsonl, line 1": {"prompts": str(bad)},
        "needs 99 devices": {"mesh": "99x1", "batch_size": 99},
        "batch size 4 cannot be split over 3": {"mesh": "3x1"},
    }.items():
        values = {"prompts": str(good), "out": str(tmp_path / "r.jsonl"), "batch_size": 4, **changes}
        with pytest.raises(UserError, match=message):
            generate(GenerateConfig(model="miniature", **values))
    assert not (tmp_path / "r.jsonl").exists()
