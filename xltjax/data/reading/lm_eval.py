"""Sample logs of the LM Evaluation Harness: ``samples_<task>_<date>.jsonl`` in the folder of a model.

With ``--log_samples`` the harness writes a row for each document and filter: ``doc_id``, ``doc``, ``arguments`` (the
prompt, and for generation its settings), ``resps`` (one list of generated texts for each request) and
``filtered_resps``. What is read here is the text as the model wrote it, in ``resps``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from pathlib import Path
from typing import Any

from xltjax.data.reading.report import BadRowError

_REPLACED = frozenset(("resps", "filtered_resps", "arguments", "filter"))
_FILE = re.compile(r"samples_(?P<task>.+?)(?:_\d{4}-\d{2}-\d{2}T[\d.\-]+)?")


def is_sample(keys: Set[str]) -> bool:
    """Whether a row with these keys is a sample."""
    return "resps" in keys and bool(keys & {"doc_id", "doc", "arguments"})


def model_and_task(path: Path, stem: str) -> tuple[str, str]:
    """The model, after which the harness names the folder, and the task, after which it names the file.

    Both are empty for a file of another name.

    >>> model_and_task(Path("out/org__model/samples_mgsm_fr_2025-02-03T10-00-00.123.jsonl"),
    ...                "samples_mgsm_fr_2025-02-03T10-00-00.123")
    ('org/model', 'mgsm_fr')
    """
    named = _FILE.fullmatch(stem)
    return (path.absolute().parent.name.replace("__", "/"), named["task"]) if named else ("", "")


def sample_answers(sample: Mapping[str, Any], task: str) -> list[dict[str, Any]]:
    """The generated texts of a sample, each with its id and the prompt as ``instruction``, beside the other keys.

    The id is that of the document behind the name of the task. Where a document has several texts, each has its
    number too, and they share an ``instruction_id``. The rows of several filters give the same answers.

    Raises:
        BadRowError: for a sample of a task that does not generate text.
    """
    requests = sample["resps"]
    if not isinstance(requests, list) or not requests or not isinstance(requests[0], list):
        raise BadRowError("resps is not a list of lists, as lm-eval writes it")
    prompt, generates = _prompt(sample.get("arguments"))
    texts = [text for request in requests for text in request]
    if not generates or not all(isinstance(text, str) for text in texts):
        raise BadRowError(
            "the sample has log-likelihoods and no generated text; give the samples of tasks that generate"
        )
    others = {key: value for key, value in sample.items() if key not in _REPLACED}
    answers = [{**others, "instruction": prompt, "response": text} for text in texts]
    if sample.get("doc_id") is not None:
        document = f"{task}/{sample['doc_id']}" if task else f"{sample['doc_id']}"
        for number, answer in enumerate(answers, start=1):
            answer["id"] = document
            if len(answers) > 1:
                answer |= {"id": f"{document}/{number}", "instruction_id": document}
    return answers


def _prompt(arguments: Any) -> tuple[Any, bool]:
    """The prompt of the first request, which may be a chat as JSON, and whether the request asks for text.

    Since 2024 the arguments are ``{"gen_args_0": {"arg_0": prompt, "arg_1": settings}}``, before that
    ``[[prompt, settings]]``. A request for log-likelihoods has a continuation in the place of the settings, or
    nothing.
    """
    if not arguments:
        return "", True
    first = next(iter(arguments.values())) if isinstance(arguments, dict) else arguments[0]
    prompt, *more = first.values() if isinstance(first, dict) else first
    if isinstance(prompt, list) and len(prompt) == 1:
        (prompt,) = prompt
    return prompt, bool(more) and (isinstance(more[0], dict) or str(more[0]).startswith("{"))
