"""A run by batch files: what is missing is written as requests, and results are read into the journal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.eval.judge.api.batch_files import is_results, read_results, write_requests
from xltjax.eval.judge.api.client import ApiJudge
from xltjax.eval.judge.calls import Calls
from xltjax.eval.judge.judges import Judge
from xltjax.eval.judge.questions import Questions, judgment
from xltjax.eval.judge.results import find_call


def run_batch(judge: Judge, questions: Questions, calls: Calls, paths: Sequence[Path]) -> bool:
    """Read the results among ``paths`` into the journal, then write the requests that are still without scores.

    Args:
        judge: who is asked.
        questions: all of them.
        calls: the journal.
        paths: files of results, which are read, and at most one that does not exist, which is written.

    Returns:
        Whether requests were written.

    Raises:
        UserError: for files that are no batch files, several that do not exist, or a judge without batches.
    """
    if not isinstance(judge, ApiJudge):
        raise UserError(f"--judge {judge.name} has no batch files; leave --batch-file out")
    new = [path for path in paths if not path.exists()]
    if len(new) > 1:
        raise UserError(f"{new[0]} and {new[1]} do not exist; requests are written to one file")
    results = [path for path in paths if path.exists() and is_results(path)]
    for path in paths:
        if path.exists() and path not in results:
            print(f"{path} holds requests; upload it, and give its results by --batch-file")
    if results:
        _read(judge, questions, calls, results)
    for path in new:
        written = write_requests(path, _missing(judge, questions, calls))
        for place, count in written:
            print(f"{count} requests: {place}; upload it, and give its results by --batch-file")
        if not written:
            print(f"no request is missing; {path} was not written")
    return bool(new)


def _read(judge: ApiJudge, questions: Questions, calls: Calls, paths: Sequence[Path]) -> None:
    numbers = {
        bytes.fromhex(key): number
        for number, question in enumerate(questions)
        for key in judge.keys(question)
    }
    kept = known = other = 0
    for path in paths:
        for key, reply in read_results(path):
            number = numbers.get(_bytes(key))
            if number is None:
                other += 1
                continue
            call = judge.batch_call(key, questions[number], reply)
            before = calls.find(call.key)
            if before is not None and before.body == call.body:
                known += 1
            else:
                calls.add(judge.name, questions[number], call)
                kept += 1
    said = [f"{kept} results read"]
    said += [f"{known} were there already"] * bool(known)
    said += [f"{other} belong to other requests and are left out"] * bool(other)
    print("; ".join(said))
    if not kept and not known and other:
        raise UserError(
            f"{paths[0]}: no result belongs to these responses, rubric and judge; give the settings with which the "
            "requests were written"
        )


def _missing(judge: ApiJudge, questions: Questions, calls: Calls) -> Iterator[tuple[str, dict[str, Any]]]:
    seen = set()
    for question in questions:
        keys = judge.keys(question)
        call = find_call(keys, calls)
        done = call is not None and judgment(question.rubric, call).outcome == "ok"
        if keys[0] not in seen and not done:
            seen.add(keys[0])
            yield keys[0], judge.request(question)


def _bytes(key: str) -> bytes:
    try:
        return bytes.fromhex(key)
    except ValueError:
        return b""
