"""xltjax from Python: what ``load`` and ``fit`` return, and mistakes in one line that names the argument."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import pyarrow
import pytest
import torch

import xltjax
from xltjax.api import Model, _sources
from xltjax.arguments import conversation
from xltjax.common.cli import execute
from xltjax.data.formats import read_rows
from xltjax.data.prompt_sets import load_set
from xltjax.data.reading.memory import KeptRows, rows_of_frame
from xltjax.data.reading.report import RowReport
from xltjax.eval import surface
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.scores import read_scores

SHORT: dict[str, Any] = {
    "steps": 2, "precision": "float32", "sequence_length": 64, "tokens_per_batch": 64, "accumulation": 1,
    "learning_rate": 1e-3,
}  # fmt: skip
WORDS = ["Name", "three", "things", "that", "are", "blue", "and", "tell", "me", "why"]
PROMPTS = [" ".join(WORDS[n % 7 : n % 7 + 1 + n // 7]) for n in range(50)]
MARGIN = 2e-4  # logits of two tokens that are nearer than this may come in another order in another library


@pytest.fixture(scope="module")
def model(chat_model: Path) -> Model:
    return xltjax.load(chat_model)


@pytest.fixture(scope="module")
def reference(chat_model: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(chat_model).eval()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("data") / "rows.jsonl"
    path.write_text('{"instruction": "Why?", "response": "So."}\n' * 4)
    return path


@pytest.fixture(scope="module")
def lora(chat_model: Path, data: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    out = tmp_path_factory.mktemp("lora") / "run"
    return xltjax.fit(chat_model, data, out, lora_rank=2, **SHORT)


def test_generate_gives_the_answers_of_transformers_in_the_order_of_the_prompts(
    model: Model, reference: Any
) -> None:
    answers = model.generate(PROMPTS, max_new_tokens=8, batch_size=16)
    assert len(answers) == 50
    decided = 0
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        ids = model.tokenizer.hf(f"[INST] {prompt} [/INST]")["input_ids"]
        out = reference.generate(
            torch.tensor([ids]), max_new_tokens=8, do_sample=False, repetition_penalty=1.1, pad_token_id=0,
            output_scores=True, return_dict_in_generate=True,
        )  # fmt: skip
        best = torch.cat(out.scores).topk(2).values
        if (best[:, 0] - best[:, 1] >= MARGIN).all():
            decided += 1
            expected = model.tokenizer.hf.decode(out.sequences[0, len(ids) :], skip_special_tokens=True)
            assert answer == expected.strip()
    assert decided >= 40


def test_chats_are_prompted_with_their_system_prompt_and_history(model: Model) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Name three"},
    ]
    one, other = model.generate(iter([chat, "Name three"]), max_new_tokens=8)
    assert [one] == model.generate([chat], max_new_tokens=8)
    assert one != other


def test_a_chat_has_the_tokens_of_the_written_out_template_as_rows_of_training_have(
    model: Model, tmp_path: Path
) -> None:
    chat = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Why?"},
        {"role": "assistant", "content": "So."},
        {"role": "user", "content": "Name three"},
        {"role": "user", "content": "things"},  # joined, as in training
    ]
    first = "[INST] <<SYS>>\nBe brief.\n<</SYS>>\n\nWhy? [/INST] So. "
    hf = model.tokenizer.hf
    written = [*hf(first)["input_ids"], 2, *hf("[INST] Name three\n\nthings [/INST]")["input_ids"]]
    path = tmp_path / "set.en.json"
    path.write_text(json.dumps([chat]))
    (item,) = load_set(path)
    assert model.tokenizer.prompt(item.conversation) == written
    path.write_text(json.dumps([[*chat, {"role": "assistant", "content": "me"}]]))
    (row,) = read_rows(str(path), RowReport())
    (example,) = model.tokenizer.examples([row.conversation])
    assert example.ids[: len(written)].tolist() == written
    assert example.loss_mask.tolist().index(True) < len(written)  # the answer in the history is learned too
    assert example.loss_mask[len(written) :].all()
    assert not example.loss_mask[len(written) - 3 : len(written)].any()
    assert load_set(path) == [item]
    # The same turns from Python, also under other names and in parts.
    assert conversation("prompts[0]", chat) == item.conversation
    parts = [{"from": turn["role"], "value": [{"type": "text", "text": turn["content"]}]} for turn in chat]
    assert conversation("prompts[0]", parts) == item.conversation


def test_logprobs_are_the_sums_of_transformers_over_the_answer_and_its_end(
    model: Model, reference: Any
) -> None:
    prompts, answers = ["Why?", "Name three things", "Why?"], ["So.", "blue things", "me"]
    found = model.logprobs(prompts, answers)
    for prompt, answer, value in zip(prompts, answers, found, strict=True):
        before = model.tokenizer.hf(f"[INST] {prompt} [/INST]")["input_ids"]
        ids = model.tokenizer.hf(f"[INST] {prompt} [/INST] {answer} ")["input_ids"] + [2]
        with torch.no_grad():
            logits = reference(torch.tensor([ids])).logits[0].double().log_softmax(-1)
        expected = sum(logits[n - 1, ids[n]].item() for n in range(len(before), len(ids)))
        assert value == pytest.approx(expected, abs=1e-3)


def test_fit_returns_the_run_with_its_metrics(chat_model: Path, data: Path, tmp_path: Path) -> None:
    run = xltjax.fit(model=str(chat_model), data=[str(data)], out=tmp_path / "run", **SHORT)
    assert [row["step"] for row in run.metrics] == [1, 2]
    assert run.metrics == [
        json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    ]
    assert len(xltjax.load(run).generate(["Why?"], max_new_tokens=2)) == 1


def test_rows_in_memory_are_kept_beside_the_runs_that_learn_them(chat_model: Path, tmp_path: Path) -> None:
    settings = {key: value for key, value in SHORT.items() if key != "learning_rate"}
    settings["learning_rates"] = np.array([1e-4, 1e-3])
    frame = pandas.DataFrame([ROW, {**ROW, "context": "a"}] * 2)
    with ThreadPoolExecutor(1) as pool:  # where no signals arrive
        runs = pool.submit(xltjax.fit, chat_model, frame, tmp_path, **settings).result()
    assert [each.path.name for each in runs] == ["lr-0.0001", "lr-0.001"]
    (kept,) = tmp_path.glob("rows-*.jsonl")
    assert [json.loads(line) for line in kept.read_text().splitlines()] == [
        {**ROW, "context": None}, {**ROW, "context": "a"}
    ] * 2  # fmt: skip
    assert {each.config.data for each in runs} == {(str(kept),)}
    again = xltjax.fit(chat_model, frame.to_dict("records"), tmp_path, **settings)  # with NaN
    assert [each.metrics for each in again] == [each.metrics for each in runs]
    with pytest.raises(xltjax.UserError, match="holds a run with other settings: data "):
        xltjax.fit(chat_model, [ROW], tmp_path, **settings)
    assert rows_of_frame(pyarrow.Table.from_pylist([ROW, {}])) == [ROW, dict.fromkeys(ROW)]
    named = KeptRows.of("data", [[{"role": "user", "content": "Почему?"}]], tmp_path)
    assert (named.text, named.path.parent) == ('[{"role": "user", "content": "Почему?"}]\n', tmp_path)
    assert _sources("data", [ROW], Path("a/{rate}/b"), {})[0].startswith("a/rows-")
    assert _sources("data", [ROW], Path("a/lr-{rate}"), {})[0].startswith("a/rows-")


def test_what_is_saved_is_the_same_model(chat_model: Path, lora: Any, tmp_path: Path) -> None:
    adapted = xltjax.load(chat_model, adapter=lora.path)
    answers = adapted.generate(PROMPTS[:8], max_new_tokens=6)
    assert adapted.save_peft(tmp_path / "peft") == tmp_path / "peft"
    settings = json.loads((tmp_path / "peft" / "adapter_config.json").read_text())
    assert settings["base_model_name_or_path"] == str(chat_model.resolve())
    assert (
        xltjax.load(chat_model, adapter=tmp_path / "peft").generate(PROMPTS[:8], max_new_tokens=6) == answers
    )
    assert xltjax.load(lora.path).generate(PROMPTS[:8], max_new_tokens=6) == answers
    merged = xltjax.load(xltjax.load(lora.path).save_hf(tmp_path / "hf", merge_lora=True))
    chosen = adapted.logprobs(PROMPTS[:8], ["blue"] * 8)
    np.testing.assert_allclose(merged.logprobs(PROMPTS[:8], ["blue"] * 8), chosen, atol=1e-3)


ROW = {"instruction": "Why?", "response": "So."}
Call = Callable[[Model, Path, Path, Path], Any]
MISTAKES: dict[str, tuple[Call, str]] = {
    "a number for a model": (lambda m, base, data, out: xltjax.load(3), "model is not a path but int 3"),
    "no such model": (lambda m, base, data, out: xltjax.load(out / "no"), "model directory .* does not exist"),
    "a tuple for a mesh": (
        lambda m, base, data, out: xltjax.load(base, mesh=(2, 1)), 'mesh is not a string such as "2x1" but tuple'),
    "a mesh of words": (lambda m, base, data, out: xltjax.load(base, mesh="big"), "mesh 'big' is not of the form"),
    "too large a mesh": (lambda m, base, data, out: xltjax.load(base, mesh="99x1"), "mesh 99x1 needs 99 devices"),
    "no such adapter": (
        lambda m, base, data, out: xltjax.load(base, adapter=out / "no"), "adapter: directory .* does not exist"),
    "an unknown dtype": (lambda m, base, data, out: xltjax.load(base, dtype="int4"), "dtype 'int4' is not known"),
    "an unknown template": (
        lambda m, base, data, out: xltjax.load(base, template="chatm"), "template 'chatm' .* did you mean 'chatml'"),
    "a base for a model that has none": (
        lambda m, base, data, out: xltjax.load(base, base=out), "which needs no base; leave out base="),
    "a string for a list": (lambda m, base, data, out: m.generate("Why?"), "prompts is not a list but str"),
    "a number among prompts": (lambda m, base, data, out: m.generate(["a", 3]), r"prompts\[1\] is neither a string"),
    "an empty prompt": (lambda m, base, data, out: m.generate([" "]), r"prompts\[0\] is empty"),
    "half a character": (lambda m, base, data, out: m.generate(["\ud83d"]), r"prompts\[0\] contains half of a"),
    "an unknown role": (
        lambda m, base, data, out: m.generate([[{"role": "boss", "content": "x"}]]), r"prompts\[0\]: turn 1: role"),
    "a turn without content": (
        lambda m, base, data, out: m.generate([[{"role": "user"}]]), r"prompts\[0\]: turn 1: expected text"),
    "an empty turn": (
        lambda m, base, data, out: m.generate([[{"role": "user", "content": ""}]]), r"prompts\[0\]: turn 1 is empty"),
    "the last turn is an answer": (
        lambda m, base, data, out: m.generate([[{"role": "assistant", "content": "x"}]]), r"prompts\[0\]: it ends"),
    "a text for a number": (
        lambda m, base, data, out: m.generate(["a"], max_new_tokens="5"), "max_new_tokens is not a whole number"),
    "no room": (lambda m, base, data, out: m.generate(["a"], max_new_tokens=5000), r"prompts\[0\] has \d+ tokens"),
    "a word for a temperature": (
        lambda m, base, data, out: m.generate(["a"], temperature="hot"), "temperature is not a number but str"),
    "a probability of 3": (lambda m, base, data, out: m.generate(["a"], top_p=3), "top_p must be above 0"),
    "too few answers": (lambda m, base, data, out: m.logprobs(["a", "b"], ["c"]), "answers: 1 for 2 prompts"),
    "a number for an answer": (lambda m, base, data, out: m.logprobs(["a"], [1]), r"answers\[0\] is not a string"),
    "a taken directory": (lambda m, base, data, out: m.save_hf(base), "is not empty; give overwrite="),
    "nothing to merge": (
        lambda m, base, data, out: m.save_hf(out, merge_lora=True), "no adapters, so there is nothing to merge"),
    "no adapters to write": (lambda m, base, data, out: m.save_peft(out), "the model has no LoRA adapters to write"),
    "a misspelled setting": (
        lambda m, base, data, out: xltjax.fit(base, data, out, learning_rat=1), "did you mean 'learning_rate'"),
    "a word for a rate": (
        lambda m, base, data, out: xltjax.fit(base, data, out, learning_rate="fast"), "learning_rate: 'fast' is not"),
    "a tuple for fit's mesh": (
        lambda m, base, data, out: xltjax.fit(base, data, out, mesh=(2, 1)), r"mesh: \(2, 1\) is not text"),
    "no such data": (
        lambda m, base, data, out: xltjax.fit(base, out / "no.jsonl", out), "data file .*no.jsonl does not exist"),
    "a seed that is a text": (lambda m, base, data, out: m.generate(["a"], seed="x"), "seed is not a whole number"),
    "a chat that is not in a list": (
        lambda m, base, data, out: m.generate([{"role": "user", "content": "x"}]), r"prompts\[0\] is .*; a chat is"),
    "bytes for a prompt": (lambda m, base, data, out: m.generate([b"x"]), r"prompts\[0\] is neither a string"),
    "a directory without an adapter": (
        lambda m, base, data, out: xltjax.load(base, adapter=base), "adapter directory .* holds no adapter_config"),
    "a file for a directory": (lambda m, base, data, out: m.save_hf(data), "is a file; give a directory"),
    "no directory": (lambda m, base, data, out: m.save_hf(None), "directory is not a path but NoneType"),
    "a row that is none": (
        lambda m, base, data, out: xltjax.fit(base, [ROW, {"a": 1}], out), r"data\[1\]: the row has the keys a; acc"),
    "a path among rows": (
        lambda m, base, data, out: xltjax.fit(base, [ROW, "x.csv"], out), r"data\[1\] is not a row, .* but str"),
    "a number for validation": (
        lambda m, base, data, out: xltjax.fit(base, data, out, validation_data=[3], lora_rank=None),
        r"validation_data\[0\] is not"),
    "a column that is not there": (
        lambda m, base, data, out: xltjax.fit(base, [ROW], out, columns={"prompt": "Domanda", "completion": "x"}),
        r"data\[0\]: there is no key 'Domanda', which columns= names"),
    "a question for a column": (
        lambda m, base, data, out: xltjax.fit(base, [{**ROW, "context": 3}], out), r"data\[0\]: context: expec"),
    "a rate and rates": (
        lambda m, base, data, out: xltjax.fit(base, data, out, learning_rates=[1e-3, 1e-4], **SHORT),
        "give learning_rate= or learning_rates=, not both"),
    "a plan": (lambda m, base, data, out: xltjax.fit(base, data, out, plan=True), "plan prints and does not train"),
    "no rows": (lambda m, base, data, out: xltjax.fit(base, [], out), "data= is missing"),
    "a table of prompts": (
        lambda m, base, data, out: m.generate(pandas.DataFrame([ROW])), "prompts is a table; give one of its"),
    "an update that the mesh does not divide": (
        lambda m, base, data, out: xltjax.fit(base, data, out, mesh="2x1", **SHORT),
        "use tokens_per_batch=128 or accumulation=2"),
    "a number for responses": (
        lambda m, base, data, out: xltjax.evaluate(5), "responses is neither a file, nor a list"),
    "a number for metrics": (
        lambda m, base, data, out: xltjax.evaluate(ROWS, 5), "metrics is neither a name nor a list of names but 5"),
    "no metrics": (lambda m, base, data, out: xltjax.evaluate(ROWS, []), "metrics is neither a name"),
    "a misspelled metric": (
        lambda m, base, data, out: xltjax.evaluate(ROWS, "spellin"), "metrics: 'spellin' .* did you mean 'spelling'"),
    "a number for a language": (
        lambda m, base, data, out: xltjax.evaluate(ROWS, language=5), "language is not a string"),
    "no such responses": (lambda m, base, data, out: xltjax.evaluate(out / "no.jsonl"), "no.jsonl does not exist"),
    "rows without a response": (lambda m, base, data, out: xltjax.evaluate([{"id": "1"}]), r"responses\[0\]: "),
    "a folder for scores": (
        lambda m, base, data, out: xltjax.evaluate(ROWS, out="x"), "unknown setting 'out'; valid: dict"),
    "answers for responses": (
        lambda m, base, data, out: xltjax.evaluate(["Ciao!"]), "responses: Ciao! does not exist; answers that are"),
    "a metric that asks a model": (
        lambda m, base, data, out: xltjax.evaluate(ROWS, "surface, relevance"), "metrics: relevance asks a chat"),
    "a number for data": (lambda m, base, data, out: xltjax.fit(base, 3, out), "data is not a list but int 3"),
}  # fmt: skip


@pytest.mark.parametrize("what", MISTAKES)
def test_a_mistake_is_one_line_that_names_the_argument(
    what: str, model: Model, chat_model: Path, data: Path, tmp_path: Path
) -> None:
    call, expected = MISTAKES[what]
    with pytest.raises(xltjax.UserError, match=expected) as caught:
        call(model, chat_model, data, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert "--" not in str(caught.value)


def test_a_batch_that_the_mesh_does_not_divide_names_one_that_it_does(chat_model: Path) -> None:
    split = xltjax.load(chat_model, mesh="2x1")
    with pytest.raises(
        xltjax.UserError, match="batch_size 1 cannot be split over 2 data devices; give a multiple of 2"
    ):
        split.generate(["Why?"], batch_size=1)
    assert len(split.generate(["Why?"], max_new_tokens=2)) == 1


def test_a_lora_run_is_not_saved_without_saying_what_becomes_of_its_adapters(
    lora: Any, tmp_path: Path
) -> None:
    adapted = xltjax.load(lora)
    with pytest.raises(xltjax.UserError, match="is not empty"):
        adapted.save_hf(lora.path, merge_lora=True)  # and the model still has its adapters
    with pytest.raises(xltjax.UserError, match="give merge_lora=True, or write them alone with save_peft"):
        adapted.save_hf(tmp_path / "out")
    with pytest.raises(xltjax.UserError, match=r"adapter: .* is a LoRA run itself"):
        xltjax.load(lora.path, adapter=lora.path)
    with pytest.raises(xltjax.UserError, match=r"base: .* is a run, which PEFT cannot load"):
        adapted.save_peft(tmp_path / "out", base=lora.path)


ROWS = [
    {
        "id": "1",
        "model": "m",
        "language": "fr",
        "response": "La capitale de la France est la ville de Paris.",
    },
    {"id": 2, "model": "m", "language": "fr", "response": "The capital of France is the city of Paris."},
    {"id": "3", "language": "en", "response": "- one", "modifier": {"name": "list_n", "params": {"n": 1}}},
]


def test_evaluate_gives_the_scores_of_the_command(tmp_path: Path) -> None:
    path, out = tmp_path / "responses.jsonl", tmp_path / "scores"
    path.write_text("".join(json.dumps({"model": "m"} | row) + "\n" for row in ROWS))
    with pytest.raises(SystemExit):
        execute(surface.COMMAND, [str(path), "--out", str(out)])
    from_file = xltjax.evaluate(path)
    assert [score.row() for score in from_file] == [
        score.row() for score in read_scores(out / "scores.jsonl")
    ]
    alone = xltjax.evaluate(
        [{"response": row["response"]} for row in ROWS[:2]], ["language_correct"], language="fr"
    )
    assert [(score.id, score.value) for score in alone] == [("model/1", 1), ("model/2", 0)]
    frame = pandas.DataFrame(ROWS)  # where there is no model, NaN
    assert xltjax.evaluate(frame) == xltjax.evaluate(frame.to_dict("records")) == xltjax.evaluate(ROWS)
    scores = xltjax.evaluate(ROWS, "language_correct,modifiers")
    found = {(score.model, score.id, score.metric): score.value for score in scores}
    assert found["m", "1", "language_correct"] == 1
    assert found["m", "2", "language_correct"] == 0
    assert found["model", "3", "modifier_strict"] == 1
    assert {metric for _, _, metric in found} == {"language_correct", *modifiers.METRICS}


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (
            lambda: xltjax.evaluate(ROWS, "speling"),
            "metrics: 'speling' is not known; did you mean 'spelling'",
        ),
        (lambda: xltjax.evaluate([]), "responses is empty"),
        (lambda: xltjax.evaluate([{"text": "a"}]), r"responses\[0\]: "),
        (lambda: xltjax.evaluate([3]), r"responses\[0\]: a response is an object"),
        (lambda: xltjax.evaluate([ROWS[0], ROWS[0]]), r"responses\[1\]: the id '1' occurs twice"),
        (lambda: xltjax.evaluate("no.jsonl"), "no.jsonl"),
        (lambda: xltjax.evaluate([{"id": "1", "response": "a"}]), "give language="),
        (lambda: xltjax.evaluate(ROWS, languages=["xx"]), "language 'xx' is not a code"),
        (lambda: xltjax.evaluate(ROWS, dictionary="x"), "did you mean 'dictionaries'"),
    ],
)
def test_a_mistake_in_evaluating_is_one_line(call: Callable[[], Any], expected: str) -> None:
    with pytest.raises(xltjax.UserError, match=expected) as caught:
        call()
    assert "\n" not in str(caught.value)


def test_importing_the_package_loads_nothing_heavy() -> None:
    code = (
        "import sys, xltjax; print([m for m in ('jax', 'numpy', 'yaml', 'transformers') if m in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "[]"
    assert {"load", "fit", "evaluate", "Model"} <= set(dir(xltjax))
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = xltjax.nothing
