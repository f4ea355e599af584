"""Judges ``jax:DIR``: the same questions, answered by a local chat model through our own engine.

Decoding is greedy, so a repeat is the same call. A rubric of one yes-or-no criterion (``relevance``) is not written
but weighed: the answer is the more probable of the two replies, and the call keeps both log-probabilities.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

from xltjax.data.conversations import Message
from xltjax.eval.judge.local_model import LocalModel, LocalOptions, locate, model_files, reply_tokens
from xltjax.eval.judge.questions import Call, Question, request_key

PREFIX = "jax:"
# Raise it when an answer changes to the same request, also by a change in the engine.
LOCAL_VERSION = 1
BATCHES = 32  # batches that are answered together, so that prompts of similar length share one
TOO_LONG = "the question is too long for the judge"


class LocalJudge:
    """A ``questions.Judge``; the model is loaded with the first question that is asked.

    Args:
        model: Hugging Face directory or id, or a run of ours.
        options: how it is run; the mesh and the batch size do not belong to the request.
        load: makes the model; a test may give another one.

    Raises:
        UserError: when there is no such model.
    """

    def __init__(
        self,
        model: str,
        options: LocalOptions,
        load: Callable[[str, LocalOptions], LocalModel] = LocalModel,
    ) -> None:
        self.name, self.model = PREFIX + model, model
        self._load = load
        self._source, template = locate(model, options.template)
        dated = {"template_date": options.template_date} if template == "tokenizer" else {}
        self._options = options
        self._parameters = {
            "template": template,
            "dtype": options.dtype,
            "max_new_tokens": options.max_new_tokens,
            **dated,
        }
        self._identity = {"engine": LOCAL_VERSION, "files": model_files(self._source)}

    @cached_property
    def _model(self) -> LocalModel:
        return self._load(self.model, self._options)

    def keys(self, question: Question) -> Sequence[str]:
        """The key of the request, in which the repeat has no part."""
        return [self._key(question)]

    def _key(self, question: Question) -> str:
        return request_key(
            {
                "judge": self._identity,
                "parameters": self._parameters,
                "messages": [dict(message) for message in question.messages],
                "replies": replies_of(question.schema),
            }
        )

    def answers(self, questions: Iterable[Question]) -> Iterator[tuple[Question, Call]]:
        """Answer the questions, some batches at a time; equal requests are answered once."""
        stream = iter(questions)
        size = BATCHES * self._options.batch_size
        while chunk := list(itertools.islice(stream, size)):
            by_key: dict[str, list[Question]] = {}
            for question in chunk:
                by_key.setdefault(self._key(question), []).append(question)
            calls = self._calls({key: same[0] for key, same in by_key.items()})
            for key, same in by_key.items():
                for question in same:
                    yield question, calls[key]

    def _calls(self, questions: Mapping[str, Question]) -> dict[str, Call]:
        bodies: dict[str, Any] = {}
        groups: dict[tuple[str, ...], list[str]] = {}
        for key, question in questions.items():
            groups.setdefault(replies_of(question.schema), []).append(key)
        for replies, keys in groups.items():
            conversations = [
                tuple(Message(each["role"], each["content"]) for each in questions[key].messages)
                for key in keys
            ]
            prompts = self._model.tokenizer.prompts(conversations)
            found = self._weighed(prompts, replies) if replies else self._written(prompts)
            bodies |= {keys[index]: body for index, body in found.items()}
        return {
            key: Call(key, bodies.get(key), "" if key in bodies else TOO_LONG, parameters=self._parameters)
            for key in questions
        }

    def _written(self, prompts: Sequence[Sequence[int]]) -> dict[int, Any]:
        return {
            index: self._body(len(prompts[index]), answer.text, answer.finish_reason, answer.tokens)
            for index, answer in self._model.write(prompts).items()
        }

    def _weighed(self, prompts: Sequence[Sequence[int]], replies: tuple[str, ...]) -> dict[int, Any]:
        tokens = reply_tokens(self._model.tokenizer, "a", replies)
        found = {}
        for index, log_p in self._model.log_probabilities(prompts, tokens).items():
            # The first of equals, as in ``relevance``: 0.
            best = max(range(len(replies)), key=lambda place: log_p[place])
            body = self._body(len(prompts[index]), replies[best], "stop", len(tokens[best]))
            body["choices"][0]["log_p"] = dict(zip(replies, log_p, strict=True))
            found[index] = body
        return found

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


def replies_of(schema: Mapping[str, Any] | None) -> tuple[str, ...]:
    """The two replies between which a yes-or-no question is weighed; empty when the judge writes its answer.

    >>> replies_of({"properties": {"relevant": {"type": "integer", "enum": [0, 1]}}})
    ('{"relevant": 0}', '{"relevant": 1}')
    """
    if schema is None:  # the paper's relevance: "Print 0 or 1"
        return "0", "1"
    (name, value), *others = schema["properties"].items()
    if others or value["enum"] != [0, 1]:
        return ()
    return json.dumps({name: 0}), json.dumps({name: 1})


def probability_of_yes(body: Mapping[str, Any]) -> float | None:
    """P(yes) / (P(no) + P(yes)) of a weighed answer; None for any other."""
    log_p = body["choices"][0].get("log_p")
    if not log_p:
        return None
    no, yes = log_p.values()
    return (1 + math.tanh((yes - no) / 2)) / 2
