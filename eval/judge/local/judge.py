"""Judges ``jax:DIR``: the same questions, answered by a local chat model through our own engine.

Decoding is greedy, so a repeat is the same call. A rubric of one yes-or-no criterion (``relevance``) is not written
but weighed: the answer is the more probable of the two replies, and the call keeps both log-probabilities.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from xltjax.data.conversations import Message
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.local.model import (
    LOCAL_PREFIX,
    LocalModel,
    LocalOptions,
    locate,
    model_files,
    reply_tokens,
)
from xltjax.eval.judge.questions import Call, Question, request_key
from xltjax.eval.judge.rubrics import Rubric

# Raise it when an answer changes to the same request, also by a change in the engine.
LOCAL_VERSION = 1
BATCHES = 32  # batches that are answered together, so that prompts of similar length share one
TOO_LONG = "the question with --max-tokens for the answer is too long for the judge"


class LocalJudge:
    """A judge that runs here; the model is loaded with the first question that is asked, and freed after the last.

    Args:
        model: Hugging Face directory or id, or a run of ours.
        options: how it is run; the mesh and the batch size do not belong to the request.
        load: makes the model.

    Raises:
        UserError: when there is no such model.
    """

    def __init__(
        self,
        model: str,
        options: LocalOptions,
        load: Callable[[str, LocalOptions], LocalModel] = LocalModel,
    ) -> None:
        self.name, self.model = LOCAL_PREFIX + model, model
        self._load = load
        self._source, template = locate(model, options.template)
        self._options = replace(options, template=template)
        dated = {"template_date": options.template_date} if template == "tokenizer" else {}
        self._parameters = {
            "template": template,
            "dtype": options.dtype,
            "max_new_tokens": options.max_new_tokens,
            **dated,
        }
        self._identity = {"engine": LOCAL_VERSION, "files": model_files(self._source)}

    def check(self) -> None:
        """Nothing is left to be checked: the model was found."""

    def recall(self, calls: Calls) -> None:
        """An earlier run has found out nothing that this one needs."""

    def hide(self, text: str) -> str:
        """``text`` as it is: there is no key."""
        return text

    def provenance(self) -> dict[str, Any]:
        """What the answers depend on besides the questions."""
        return {
            "path": str(self._source.resolve()),
            **self._parameters,
            **self._identity,
        }

    def keys(self, question: Question) -> Sequence[str]:
        """The key of the request, in which the repeat has no part."""
        request = {
            "judge": self._identity,
            "parameters": self._parameters,
            "messages": question.messages,
            "replies": replies_of(question.rubric),
        }
        return [request_key(request)]

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Call]]:
        """Answer the questions, some batches at a time."""
        stream = iter(questions)
        size = BATCHES * self._options.batch_size
        model: LocalModel | None = None
        while chunk := list(itertools.islice(stream, size)):
            model = model or self._load(self.model, self._options)
            groups: dict[tuple[str, ...], list[Question]] = {}
            for question in chunk:
                groups.setdefault(replies_of(question.rubric), []).append(question)
            for replies, group in groups.items():
                yield from self._answered(model, group, replies)

    def _answered(
        self, model: LocalModel, questions: Sequence[Question], replies: tuple[str, ...]
    ) -> Iterator[tuple[Question, Call]]:
        began = time.monotonic()
        prompts = model.tokenizer.prompts(
            [
                tuple(Message(each["role"], each["content"]) for each in question.messages)
                for question in questions
            ]
        )
        missing = dict(enumerate(questions))
        found = self._weighed(model, prompts, replies) if replies else self._written(model, prompts)
        for index, body in found:
            question = missing.pop(index)
            seconds = time.monotonic() - began
            yield question, Call(self.keys(question)[0], body, parameters=self._parameters, seconds=seconds)
        for question in missing.values():
            yield question, Call(self.keys(question)[0], problem=TOO_LONG, parameters=self._parameters)

    def _written(self, model: LocalModel, prompts: Sequence[Sequence[int]]) -> Iterator[tuple[int, Any]]:
        for index, answer in model.write(prompts):
            yield index, self._body(len(prompts[index]), answer.text, answer.finish_reason, answer.tokens)

    def _weighed(
        self, model: LocalModel, prompts: Sequence[Sequence[int]], replies: tuple[str, ...]
    ) -> Iterator[tuple[int, Any]]:
        tokens = reply_tokens(model.tokenizer, "a", replies)
        for index, log_p in model.log_probabilities(prompts, tokens).items():
            # The first of equals, as in ``relevance``: 0.
            best = max(range(len(replies)), key=lambda place: log_p[place])
            body = self._body(len(prompts[index]), replies[best], "stop", len(tokens[best]))
            body["choices"][0]["log_p"] = dict(zip(replies, log_p, strict=True))
            yield index, body

    def _body(self, prompt_tokens: int, text: str, finish_reason: str, tokens: int) -> dict[str, Any]:
        """The answer as an object of Chat Completions."""
        message = {"role": "assistant", "content": text}
        return {
            "object": "chat.completion",
            "model": self.model,
            "choices": [{"index": 0, "message": message, "finish_reason": finish_reason}],
            "usage": {
                "prompt_tokens": prompt_tokens,
                "completion_tokens": tokens,
                "total_tokens": prompt_tokens + tokens,
            },
        }


def replies_of(rubric: Rubric) -> tuple[str, ...]:
    """The two replies between which a yes-or-no question is weighed; empty when the judge writes its answer."""
    if rubric.reading == "digit":  # the paper's relevance: "Print 0 or 1"
        return "0", "1"
    first, *others = rubric.criteria
    if others or first.scale != (0, 1):
        return ()
    return json.dumps({first.name: 0}), json.dumps({first.name: 1})
