"""The local judge against ``transformers``: the same texts, the same scores, the same probabilities."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from helpers.judge.command import judge as command
from helpers.judge.command import lines

from xltjax.common.errors import UserError
from xltjax.data.responses import Response
from xltjax.eval.judge.local.judge import LocalJudge, replies_of
from xltjax.eval.judge.local.model import LocalModel, LocalOptions, Written, locate
from xltjax.eval.judge.questions import Call, Question, judgment
from xltjax.eval.judge.rubrics import Rubric, load_rubric
from xltjax.eval.judge.verdicts import read_verdict

OPTIONS = LocalOptions(dtype="float32", max_new_tokens=24, batch_size=4)
SIX = load_rubric("six", preset="paper", language="en")
RESPONSES = [
    Response(f"r{n}", instruction=instruction, response=text)
    for n, (instruction, text) in enumerate([
        ("Name an animal.", "A cat."),
        ("Where is the town?", "It is in the north, beside a river."),
        ("Who sleeps?", "Кошка спит на диване."),
        ("Say more.", "word " * 4000),
        ("What is it?", ""),
    ])
]  # fmt: skip
LONG = "r3"


@pytest.fixture(scope="module")
def directory(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny chat model with room for the prompt, which writes numbers and braces: what verdicts are made of."""
    place = tmp_path_factory.mktemp("local") / "judge"
    shutil.copytree(chat_model, place)
    config = json.loads((place / "config.json").read_text())
    config["max_position_embeddings"] = 4096
    (place / "config.json").write_text(json.dumps(config))
    return place


def questions(rubric: Rubric, repeat: int = 0) -> list[Question]:
    return [Question(rubric, each, repeat) for each in RESPONSES]


def calls(judge: LocalJudge, asked: list[Question]) -> dict[str, Call]:
    return {question.response.id: call for question, call in judge.answers(asked)}


@pytest.fixture(scope="module")
def judge(directory: Path) -> LocalJudge:
    return LocalJudge(str(directory), OPTIONS)


def prompt_ids(tokenizer: Any, rubric: Rubric, response: Response, reply: str = "") -> list[int]:
    text = rubric.messages(response)[0]["content"]
    return [1, *tokenizer(f"[INST] {text} [/INST]{reply}", add_special_tokens=False)["input_ids"]]


def test_scores_are_those_of_what_transformers_writes(directory: Path, judge: LocalJudge) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    found = calls(judge, questions(SIX))
    assert set(found) == {response.id for response in RESPONSES}
    for response in RESPONSES:
        if response.id == LONG:
            assert (found[LONG].body, judgment(SIX, found[LONG]).outcome) == (None, "http_error")
            continue
        ids = prompt_ids(tokenizer, SIX, response)
        with torch.no_grad():
            written = model.generate(torch.tensor([ids]), max_new_tokens=24, do_sample=False, pad_token_id=0)
        new = written[0, len(ids) :]
        text = tokenizer.decode(new, skip_special_tokens=True, clean_up_tokenization_spaces=False).strip()
        finish = "length" if len(new) == 24 and int(new[-1]) != tokenizer.eos_token_id else "stop"
        body = found[response.id].body
        assert body is not None
        assert body["choices"][0]["message"]["content"] == text
        assert body["choices"][0]["finish_reason"] == finish
        assert body["usage"]["prompt_tokens"] == len(ids)
        expected = read_verdict(SIX, text, finish_reason=finish, refusal=None)
        assert judgment(SIX, found[response.id]) == expected


@pytest.mark.parametrize("preset", ["paper", "xlt"])
def test_relevance_is_weighed_by_log_probabilities(directory: Path, judge: LocalJudge, preset: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    rubric = load_rubric("relevance", preset=preset, language="en")
    tokenizer = AutoTokenizer.from_pretrained(directory)
    model = AutoModelForCausalLM.from_pretrained(directory)
    body = calls(judge, questions(rubric)[:1])["r0"].body
    assert body is not None
    replies = replies_of(rubric)
    start, *whole = (
        prompt_ids(tokenizer, rubric, RESPONSES[0], text) for text in ("", *(f" {r}" for r in replies))
    )
    while whole[0][-1] == whole[1][-1]:  # the brace after the digit is not weighed
        for ids in whole:
            ids.pop()
    log_p = []
    for ids in whole:
        with torch.no_grad():
            logits = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
        log_p.append(sum(float(logits[n - 1, ids[n]]) for n in range(len(start), len(ids))))
    no, yes = body["choices"][0]["log_p"].values()
    assert body["choices"][0]["message"]["content"] == replies[int(yes > no)]
    assert (no, yes) == pytest.approx(log_p, abs=2e-4)
    assert judgment(rubric, calls(judge, questions(rubric)[:1])["r0"]).values == {"relevant": int(yes > no)}


def test_a_repeat_is_the_same_request(judge: LocalJudge) -> None:
    assert [judge.keys(each) for each in questions(SIX)] == [judge.keys(each) for each in questions(SIX, 1)]


def test_answers_come_as_they_end_and_the_model_is_loaded_with_the_first(directory: Path) -> None:
    loaded: list[str] = []

    class Stub:
        tokenizer = SimpleNamespace(prompts=lambda conversations: [[1]] * len(conversations))

        def __init__(self, name: str, options: LocalOptions) -> None:
            loaded.append(name)

        def write(self, prompts: list[list[int]]) -> Iterator[tuple[int, Written]]:
            yield 1, Written("{}", "stop", 1)
            raise KeyboardInterrupt

    judge = LocalJudge(str(directory), OPTIONS, load=lambda *given: cast(LocalModel, Stub(*given)))
    answers = judge.answers(iter(questions(SIX)))
    assert loaded == []
    question, call = next(answers)
    assert (question.response.id, loaded) == ("r1", [str(directory)])
    assert call.key == judge.keys(question)[0]
    assert list(judge.answers([])) == []


def test_the_key_changes_with_what_the_answer_depends_on(directory: Path, tmp_path: Path) -> None:
    (question, *_) = questions(SIX)
    key = LocalJudge(str(directory), OPTIONS).keys(question)[0]
    same = [LocalOptions(dtype="float32", max_new_tokens=24, batch_size=9, mesh="2x1")]
    other = [
        LocalOptions(dtype="bfloat16", max_new_tokens=24),
        LocalOptions(dtype="float32", max_new_tokens=25),
        LocalOptions(dtype="float32", max_new_tokens=24, template="alpaca"),
    ]
    assert {LocalJudge(str(directory), each).keys(question)[0] for each in same} == {key}
    others = {LocalJudge(str(directory), each).keys(question)[0] for each in other}
    assert len(others) == 3
    assert key not in others
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy)
    (copy / "config.json").write_text((copy / "config.json").read_text() + "\n")
    assert LocalJudge(str(copy), OPTIONS).keys(question)[0] != key


def test_the_template_is_the_model_s_own_unless_another_is_asked_for(directory: Path, tmp_path: Path) -> None:
    assert locate(str(directory))[1] == "llama-2"
    assert locate(str(directory), "alpaca")[1] == "alpaca"
    chatty = tmp_path / "chatty"
    shutil.copytree(directory, chatty)
    (chatty / "chat_template.jinja").write_text("{{ messages[0].content }}")
    assert locate(str(chatty))[1] == "tokenizer"


def test_a_model_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match=r"model directory \./nowhere does not exist"):
        LocalJudge("./nowhere", OPTIONS)


ROWS = [
    {
        "id": response.id,
        "model": "m",
        "language": "en",
        "instruction": response.instruction,
        "response": response.response,
    }
    for response in RESPONSES
]


def test_the_command_asks_a_local_judge_once_and_goes_on(
    directory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two repeats are one call; a second run asks only what is new; no key and no network."""
    flags = ("--judge", f"jax:{directory}", "--dtype", "float32", "--max-tokens", "8", "--batch-size", "2")
    flags = (*flags, "--preset", "paper", "--criteria", "relevance", "--repeats", "2")
    environment = {"JAX_COMPILATION_CACHE_DIR": "", "HF_HUB_OFFLINE": "1"}
    assert command(tmp_path, ROWS[:2], *flags, key=None, environment=environment) == 0
    first = lines(tmp_path / "out" / "calls.jsonl")
    assert len(first) == 2
    assert command(tmp_path, ROWS, *flags, key=None, environment=environment) == 0
    calls = lines(tmp_path / "out" / "calls.jsonl")
    assert [call["id"] for call in calls] == ["r0", "r1", "r2", "r4", "r3"]
    scores = [score for score in lines(tmp_path / "out" / "scores.jsonl") if score["id"] != LONG]
    assert len(scores) == 8
    assert {score["value"] for score in scores} <= {0.0, 1.0}
    for call in calls[:4]:
        zero, one = call["body"]["choices"][0]["log_p"].values()
        assert {s["value"] for s in scores if s["id"] == call["id"]} == {float(one > zero)}
    assert "is too long for the judge: 2 calls" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "problem"),
    [
        (("--judge", "jax:./nowhere"), "model directory ./nowhere does not exist"),
        (
            ("--judge", "jax:x", "--template", "alpacca"),
            "template 'alpacca' is unknown; did you mean 'alpaca'?",
        ),
        (("--judge", "jax:x", "--batch-size", "0"), "batch_size must be at least 1"),
        (
            ("--judge", "llama"),
            "give openai:MODEL for a server of Chat Completions, or jax:DIR for a local model",
        ),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, flags: tuple[str, ...], problem: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(tmp_path, ROWS[:1], *flags, key=None) == 2
    error = capsys.readouterr().err
    assert problem in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()
