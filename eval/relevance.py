"""``python -m xltjax.eval relevance``: whether an answer responds to the task, judged by a local LLaMA-2-chat.

The paper (section 4, Table 3) asks LLaMA-2-chat-7B to print 0 or 1 and takes the last such digit of what it
writes, so that "1 (10/10)" is read as 0. Since the model runs here, ``relevance`` does not need to read text: it
compares log P("1") with log P("0") as the beginning of the judge's reply. Preset ``paper`` reports both.

Only the functions that run the judge import JAX.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from xltjax.common.cli import command
from xltjax.common.errors import UserError
from xltjax.common.files import make_output_directory
from xltjax.common.locks import lock_directory
from xltjax.common.settings import setting
from xltjax.data.responses import Response
from xltjax.data.tokenizer import ChatTokenizer
from xltjax.eval.evaluator import EvaluatorConfig, score_missing
from xltjax.eval.journal import Journal
from xltjax.eval.judge.local.model import LocalModel, LocalOptions, reply_tokens
from xltjax.eval.judge.prompts import fill_prompt, load_prompt
from xltjax.eval.scores import Score, failed, unanswered
from xltjax.eval.summary import check_results, save_results
from xltjax.eval.tables import Column, print_summary
from xltjax.eval.text.segmentation import is_empty

# Raise it when a score of this module changes, also when the numbers of the engine (``inference.engine``) or of
# the log-probabilities (``inference.logprobs``) change: the journal of ``relevance`` then starts over.
RELEVANCE_VERSION = 1
SCORER_METRICS = ("relevance", "relevance_graded")
PAPER_METRICS = ("relevance_paper", "relevance_disagreement")
METRICS = (*SCORER_METRICS, *PAPER_METRICS)
# Batches that are judged together, so that prompts of similar length share one; it bounds the memory.
BATCHES = 32

Preset = Literal["scorer", "paper"]


@dataclass(frozen=True)
class RelevanceConfig(EvaluatorConfig):
    """Settings of the command."""

    judge_model: str = setting(
        "",
        "Judge: Hugging Face directory or id of a chat model, such as meta-llama/Llama-2-7b-chat-hf.",
        section="Judge",
    )
    preset: Preset = setting(
        "scorer",
        'How the judge is read: scorer compares log P("1") with log P("0"); paper also takes the last 0 or 1 that '
        "it writes.",
        section="Judge",
    )
    max_new_tokens: int = setting(
        512, "Maximum number of tokens in the judge's answer (preset paper).", section="Judge"
    )
    template: str = setting("llama-2", "Chat template of the judge.", section="Judge")
    template_date: str = setting(
        "2024-07-26",
        "ISO date for templates that write the date; fixed, so that scores do not depend on the day.",
        section="Judge",
    )
    mesh: str = setting(
        "1x1",
        "Devices as DxT: answers are split over D, matrices over T.",
        section="Devices",
        affects_result=False,
    )
    batch_size: int = setting(
        8, "Number of answers judged at once, over the whole mesh.", section="Devices", affects_result=False
    )
    dtype: Literal["bfloat16", "float32"] = setting(
        "bfloat16", "Dtype of weights and arithmetic; probabilities are float32.", section="Devices"
    )


@dataclass(frozen=True)
class Judgment:
    """What the judge thinks of one response.

    Attributes:
        prompt_tokens: length of the question.
        log_p: log P("0") and log P("1") as the beginning of the reply; None when the question is too long.
        answer: what the judge wrote; None when it was not asked to write or had no room for it.
        escaped: how many labels of the prompt stood in the response or its instruction and were escaped.
    """

    prompt_tokens: int
    log_p: tuple[float, float] | None
    answer: str | None = None
    escaped: int = 0


def probability(log_p: tuple[float, float]) -> float:
    """P("1") / (P("0") + P("1")), computed from the logarithms of both."""
    zero, one = log_p
    return (1 + math.tanh((one - zero) / 2)) / 2


def last_digit(text: str) -> int | None:
    """The last character of ``text`` that is 0 or 1, as the paper reads the judge; None without any."""
    digits = re.findall("[01]", text)
    return int(digits[-1]) if digits else None


def relevance_scores(response: Response, judgment: Judgment | None, preset: Preset) -> list[Score]:
    """The scores of one response.

    ``relevance`` is 1 when the judge holds "1" more probable than "0", else 0; ``relevance_graded`` is
    P("1") / (P("0") + P("1")). An empty answer gets 0 in both without the judge: by the prompt's criterion, 0
    is what "does not provide the answer". With preset ``paper``, ``relevance_paper`` is the last 0 or 1 that
    the judge writes, also about an empty answer, and ``relevance_disagreement`` is 1 where that is not
    ``relevance``.

    Args:
        response: the answer.
        judgment: None when the judge could not be asked, because there is no answer or no instruction.
        preset: which metrics to give.
    """
    metrics = METRICS if preset == "paper" else SCORER_METRICS
    if response.failure:
        return unanswered(response, metrics)
    if judgment is None:
        return [failed(response.id, metric, "the instruction is not given") for metric in metrics]
    scores = _by_probability(response, judgment)
    if preset == "paper":
        written = _by_last_digit(response, judgment)
        scores += [written, _disagreement(scores[0], written)]
    return scores


def _by_probability(response: Response, judgment: Judgment) -> list[Score]:
    if is_empty(response.response):
        return [Score(response.id, metric, 0.0, detail={"reason": "empty"}) for metric in SCORER_METRICS]
    if judgment.log_p is None:
        return [_too_long(response, metric, judgment) for metric in SCORER_METRICS]
    zero, one = judgment.log_p
    detail = {"log_p0": round(zero, 4), "log_p1": round(one, 4), **_notes(judgment)}
    return [
        Score(response.id, "relevance", float(one > zero), detail=detail),
        Score(response.id, "relevance_graded", probability(judgment.log_p), detail=detail),
    ]


def _by_last_digit(response: Response, judgment: Judgment) -> Score:
    metric = "relevance_paper"
    if judgment.answer is None:
        return _too_long(response, metric, judgment)
    digit = last_digit(judgment.answer)
    detail = {"answer": judgment.answer, **_notes(judgment)}
    if digit is None:
        return failed(response.id, metric, "no digit", **detail)
    return Score(response.id, metric, float(digit), detail=detail)


def _disagreement(scored: Score, written: Score) -> Score:
    metric = "relevance_disagreement"
    for score in (scored, written):
        if score.state != "ok":
            return Score(score.id, metric, None, score.state)
    return Score(scored.id, metric, float(scored.value != written.value))


def _too_long(response: Response, metric: str, judgment: Judgment) -> Score:
    return failed(
        response.id,
        metric,
        "too long for the judge",
        prompt_tokens=judgment.prompt_tokens,
        **_notes(judgment),
    )


def _notes(judgment: Judgment) -> dict[str, int]:
    return {"escaped_labels": judgment.escaped} if judgment.escaped else {}


class LlamaJudge:
    """A chat model and the paper's question about a response.

    Raises:
        UserError: when there is no such model, or its tokenizer cannot tell 0 from 1.
    """

    def __init__(self, config: RelevanceConfig) -> None:
        self._config = config
        self._template = load_prompt("paper-relevance.txt")
        self._model = LocalModel(config.judge_model, _options(config), check=self._set_digits)

    def _set_digits(self, tokenizer: ChatTokenizer) -> None:
        self._digits = digit_tokens(tokenizer, self._template)

    def judge(self, responses: Sequence[Response]) -> list[Judgment]:
        """The judge's opinion of each response, in the order of ``responses``."""
        questions = [question(self._template, response) for response in responses]
        prompts = self._model.prompts([text for text, _ in questions])
        log_p = self._model.log_probabilities(prompts, self._digits)
        written = dict(self._model.write(prompts)) if self._config.preset == "paper" else {}
        return [
            Judgment(
                len(prompt),
                (log_p[index][0], log_p[index][1]) if index in log_p else None,
                written[index].text if index in written else None,
                questions[index][1],
            )
            for index, prompt in enumerate(prompts)
        ]

    def provenance(self) -> dict[str, Any]:
        """What the scores depend on besides the responses."""
        config, template = self._config, self._model.tokenizer.template
        paper = {"max_new_tokens": config.max_new_tokens} if config.preset == "paper" else {}
        dated = {"template_date": config.template_date} if template == "tokenizer" else {}
        return {
            "judge": config.judge_model,
            "path": str(self._model.source.resolve()),
            "preset": config.preset,
            "template": template,
            "dtype": config.dtype,
            "prompt_sha256": hashlib.sha256(self._template.encode()).hexdigest(),
            **dated,
            **paper,
        }

    def files(self) -> list[tuple[str, int, int]]:
        """Name, size and modification time of the model's files, which tell another model in the same place."""
        return self._model.files()


def question(template: str, response: Response) -> tuple[str, int]:
    """The paper's question about ``response``, and the number of escaped labels (see ``fill_prompt``)."""
    return fill_prompt(template, {"TASK": response.instruction, "MODEL RESPONSE": response.response})


def digit_tokens(tokenizer: ChatTokenizer, template: str) -> tuple[list[int], list[int]]:
    """The token ids with which the replies "0" and "1" begin, tokenized as the chat template does it.

    For LLaMA-2 they are ▁ 0 (29871, 29900) and ▁ 1 (29871, 29896).

    Raises:
        UserError: when the tokenizer gives the same ids for both.
    """
    zero, one = reply_tokens(tokenizer, template, ("0", "1"))
    return zero, one


def relevance(config: RelevanceConfig) -> None:
    """Judge every response, write the scores and print the table.

    Raises:
        UserError: for responses that cannot be read, a judge that cannot be loaded or settings out of range.
    """
    _check(config)
    responses = config.read()
    out = Path(config.out)
    with lock_directory(out):  # before the judge is loaded
        check_results(out, METRICS, responses)
    judge = LlamaJudge(config)
    make_output_directory(out)
    # Without the batch size and the mesh, so that a run that ran out of memory can continue with smaller ones.
    settings = {**judge.provenance(), "files": judge.files()}
    with Journal(out, "relevance", {"relevance": RELEVANCE_VERSION}, settings) as journal:
        score_missing(journal, responses, lambda missing: _judge_all(missing, judge, config), "relevance")
        rows = save_results(out, journal.scored(responses), METRICS, "relevance", judge.provenance())
    print_summary(rows, TABLES if config.preset == "paper" else {title: c[:2] for title, c in TABLES.items()})
    print(f"scores and summary: {out}")


def _judge_all(
    responses: Sequence[Response], judge: LlamaJudge, config: RelevanceConfig
) -> Iterator[tuple[Response, list[Score]]]:
    """Each response with its scores, in order; some batches are judged together."""
    together = BATCHES * config.batch_size
    for start in range(0, len(responses), together):
        chunk = responses[start : start + together]
        asked = [each for each in chunk if not each.failure and not is_empty(each.instruction)]
        judgments = dict(zip((each.key for each in asked), judge.judge(asked), strict=True))
        for each in chunk:
            yield each, relevance_scores(each, judgments.get(each.key), config.preset)


def _command(config: RelevanceConfig) -> None:
    from xltjax.mesh import cache_compilations

    cache_compilations()
    relevance(config)


def _check(config: RelevanceConfig) -> None:
    config.check_files("relevance")
    if not config.judge_model:
        raise UserError("give --judge-model, such as meta-llama/Llama-2-7b-chat-hf or a directory")
    _options(config).check()


def _options(config: RelevanceConfig) -> LocalOptions:
    return LocalOptions(
        config.template,
        config.template_date,
        config.max_new_tokens,
        config.mesh,
        config.batch_size,
        config.dtype,
    )


TABLES: dict[str, tuple[Column, ...]] = {
    "Relevance": (
        ("relevance", "relevant", True),
        ("relevance_graded", "graded", True),
        ("relevance_paper", "last digit", True),
        ("relevance_disagreement", "the two differ", False),
    )
}

COMMAND = command(
    RelevanceConfig,
    _command,
    name="relevance",
    help="Judge relevance with a local LLaMA-2-chat.\n\n"
    "Asks the judge the paper's question (Table 3) about every answer and compares how probable "
    '"1" and "0" are as its reply. Preset paper also takes the last 0 or 1 that the judge writes, as the '
    "paper does, and shows how often the two differ.",
)
