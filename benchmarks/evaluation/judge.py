"""Speed and memory of ``eval judge`` against a server on the loopback: ``python benchmarks/evaluation/judge.py``.

The server answers every request with scores after 200 ms and runs in a process of its own. The first line is 1,000
responses with 64 calls at once: the latency alone takes 3.1 s of it. Then the number of responses grows without any
latency, and the peak of the resident memory of the whole command is shown, with how far it is above that of the first
size: all answers of the models are in memory, as in every evaluator, those of the judge are not.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xltjax.common.cli import command, execute
from xltjax.common.files import write_jsonl
from xltjax.common.settings import setting

SERVE = "--serve"  # the argument that starts the server
LANGUAGES = ("en", "fr", "pt", "ru", "de")
SIX = ("language", "fluency", "helpfulness", "accuracy", "coherence", "harmlessness")
INSTRUCTIONS = 113


@dataclass(frozen=True)
class BenchmarkConfig:
    """Settings of the benchmark."""

    responses: int = setting(1_000, "Responses of the timed run.")
    latency: float = setting(0.2, "Seconds after which the server answers in the timed run.")
    concurrency: int = setting(64, "Calls at once.")
    sizes: tuple[int, ...] = setting((1_000, 10_000, 100_000), "Responses of the runs that measure memory.")


def main(config: BenchmarkConfig) -> None:
    """Print the figures."""
    with tempfile.TemporaryDirectory() as folder:
        seconds, peak = _run(Path(folder), config.responses, config.latency, config)
        print(
            f"{config.responses:,} responses, {1000 * config.latency:.0f} ms latency, {config.concurrency} calls at "
            f"once: {seconds:.1f} s, imports and tables included; {peak:.0f} MB",
            flush=True,
        )
        first = None
        for size in config.sizes:
            seconds, peak = _run(Path(folder), size, 0.0, config)
            first = peak if first is None else first
            print(
                f"{size:>9,} responses: {seconds:>7.1f} s {peak:>6.0f} MB {peak - first:>+6.0f} MB",
                flush=True,
            )


def _run(folder: Path, size: int, latency: float, config: BenchmarkConfig) -> tuple[float, float]:
    """Seconds and peak memory in MB of one run of the command."""
    responses, out = folder / f"{size}.jsonl", folder / f"out-{size}-{latency}"
    write_jsonl(responses, _responses(size))
    server = subprocess.Popen(
        [sys.executable, __file__, SERVE, str(latency)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        arguments = [str(responses), "--out", str(out), "--judge", "openai:m", "--base-url", url]
        began = time.perf_counter()
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "xltjax.eval",
                "judge",
                *arguments,
                "--concurrency",
                str(config.concurrency),
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "OPENAI_API_KEY": ""},
        )
        _, status, used = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - began
    finally:
        server.kill()
        server.wait()
    assert status == 0
    kept = {json.loads(line)["id"] for line in (out / "scores.jsonl").open()}
    assert len(kept) == size, f"{size - len(kept)} responses were lost"
    return seconds, used.ru_maxrss / 1024


def _responses(size: int) -> Iterator[dict[str, Any]]:
    """Answers of 400 characters of many models to 113 instructions in five languages."""
    for number in range(size):
        rest, instruction = divmod(number, INSTRUCTIONS)
        model, language = divmod(rest, len(LANGUAGES))
        yield {
            "id": f"{number}",
            "instruction_id": f"i{instruction}",
            "model": f"model {model}",
            "language": LANGUAGES[language],
            "task": f"task {instruction % 25}",
            "instruction": f"Say something about the number {instruction}.",
            "response": (f"The number {number} is one that I like. " * 12)[:400],
        }


async def _serve(latency: float) -> None:
    scores = json.dumps(dict.fromkeys(SIX, 2))
    choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": scores}}
    usage = {"prompt_tokens": 800, "completion_tokens": 60, "total_tokens": 860}
    body = json.dumps({"id": "1", "model": "served", "choices": [choice], "usage": usage}).encode()
    head = (
        f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                request = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                await reader.readexactly(int(request.split("content-length: ")[1].split("\r\n")[0]))
                await asyncio.sleep(latency)
                writer.write(head + body)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=512)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    if sys.argv[1:2] == [SERVE]:
        asyncio.run(_serve(float(sys.argv[2])))
    else:
        execute(command(BenchmarkConfig, main, name="judge", help=(__doc__ or "").split("\n")[0]))
