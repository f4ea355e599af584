"""OpenAI's batch files: requests that are answered within a day at half the price, and their results.

A request is known by its key in the journal (``custom_id``), so results are read in any order, and again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from xltjax.common.errors import UserError
from xltjax.common.files import atomic_write, iterate_jsonl, json_line
from xltjax.eval.judge.api.replies import Reply, read_body, read_problem

URL = "/v1/chat/completions"
MOST_REQUESTS, MOST_BYTES = 50_000, 200_000_000  # of one file, by OpenAI's rules


def is_results(path: Path) -> bool:
    """Whether a batch file holds results, and not requests.

    Raises:
        UserError: when it holds neither.
    """
    for line, row in iterate_jsonl(path):
        if isinstance(row, dict) and isinstance(row.get("custom_id"), str):
            if "response" in row or "error" in row:
                return True
            if "body" in row:
                return False
        raise UserError(f"{path}, line {line}: neither a request nor a result of a batch")
    raise UserError(f"{path} is empty")


def read_results(path: Path) -> Iterator[tuple[str, Reply]]:
    """The key of each request in a file of results or errors, and what came back for it.

    Raises:
        UserError: naming the line that is not a result.
    """
    for line, row in iterate_jsonl(path):
        if not isinstance(row, dict) or not isinstance(row.get("custom_id"), str):
            raise UserError(f"{path}, line {line}: not a result of a batch")
        response, error = row.get("response"), row.get("error")
        if isinstance(response, dict):
            status = response.get("status_code")
            body = response.get("body")
            if status == 200:
                yield row["custom_id"], read_body(status, body, "")
            else:
                yield row["custom_id"], read_problem(status if isinstance(status, int) else 0, body, "", {})
        else:
            why = error if isinstance(error, dict) else {}
            problem = f"batch: {why.get('code') or 'no answer'}"
            yield row["custom_id"], Reply(problem=problem, message=str(why.get("message") or ""))


def write_requests(path: Path, requests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[tuple[Path, int]]:
    """Write a batch file, or several when one cannot hold all: ``path``, ``<stem>-2``, ``<stem>-3``, ...

    Args:
        path: where no file is.
        requests: key and body of each.

    Returns:
        The files, with their numbers of requests.

    Raises:
        UserError: when a file is there that would be replaced.
    """
    written: list[tuple[Path, int]] = []
    with ExitStack() as stack:  # the files appear together, when all of them are whole
        for part in _parts(requests):
            place = path if not written else path.with_stem(f"{path.stem}-{len(written) + 1}")
            if place.exists():
                raise UserError(f"{place} exists already; choose another --batch-file")
            stack.enter_context(atomic_write(place)).writelines(part)
            written.append((place, len(part)))
    return written


def _parts(requests: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[list[str]]:
    part: list[str] = []
    size = 0
    for key, body in requests:
        line = json_line({"custom_id": key, "method": "POST", "url": URL, "body": body})
        length = len(line.encode())
        if part and (len(part) == MOST_REQUESTS or size + length > MOST_BYTES):
            yield part
            part, size = [], 0
        part.append(line)
        size += length
    if part:
        yield part
