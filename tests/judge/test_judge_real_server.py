"""The judge against a server that is not ours: ``transformers serve`` with a tiny random model."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from helpers.judge.command import judge, lines, states
from helpers.judge.server import row

from xltjax.eval.judge.verdicts import OUTCOMES

TEMPLATE = "{% for message in messages %}[INST] {{ message['content'] }} [/INST]{% endfor %}"


@pytest.fixture(scope="module")
def served(chat_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, str]]:
    """The base URL of the server and the name of its model."""
    model = tmp_path_factory.mktemp("served") / "random-llama"
    shutil.copytree(chat_model, model)
    (model / "chat_template.jinja").write_text(TEMPLATE)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 4096}))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "transformers.cli.transformers", "serve", str(model), "--host", "127.0.0.1",
        "--port", str(port), "--device", "cpu", "--dtype", "float32",
    ]  # fmt: skip
    log = model.parent / "log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command, stdout=file, stderr=file, env={**os.environ, "HF_HUB_OFFLINE": "1"}
        )
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5).close()
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}/v1", str(model)
    finally:
        process.kill()
        process.wait()


def test_a_server_that_nobody_here_wrote_is_asked_and_its_noise_is_counted(
    served: tuple[str, str], tmp_path: Path
) -> None:
    url, model = served
    rows = [row(n, "good", response=f"Answer number {n}.") for n in range(4)]
    flags = ("--judge", f"openai:{model}", "--base-url", url, "--max-tokens", "16", "--concurrency", "2")
    assert judge(tmp_path, rows, *flags, key=None) == 0
    found = Counter(state.removeprefix("failed:") for state in states(tmp_path).values())
    assert found.total() == len(rows)
    assert set(found) <= set(OUTCOMES) - {"ok", "http_error"}
    calls = [line for line in lines(tmp_path / "out" / "calls.jsonl") if "server" not in line]
    assert len(calls) == len(rows)
    for call in calls:
        assert call["body"]["usage"]["prompt_tokens"] > 100
        assert call["body"]["usage"]["completion_tokens"] <= 16
    # A digit is somewhere in the noise, or it is not: preset paper reads it as the paper does.
    assert judge(tmp_path, rows, *flags, "--criteria", "relevance", "--preset", "paper", key=None) == 0
    digits = Counter(states(tmp_path, "relevant").values())
    assert set(digits) <= {"ok", "failed:missing_key", "failed:truncated", "failed:invalid_json"}


def test_a_model_that_the_server_does_not_have_is_one_line(
    served: tuple[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [row(n, "good") for n in range(4)]
    assert judge(tmp_path, rows, "--judge", "openai:other", "--base-url", served[0], key=None) == 2
    assert "error: " in capsys.readouterr().err
