"""Commands called in this process, as a shell would call them."""

from __future__ import annotations

from typing import Any

import click
import pytest

from xltjax.common.cli import execute


class Caller:
    """Runs a command in this process and keeps the settings it was called with."""

    def __init__(self, capsys: pytest.CaptureFixture[str]):
        self.capsys = capsys
        self.called: Any = None

    def keep(self, config: Any) -> None:
        self.called = config

    def run(self, one: click.Command, *arguments: str) -> tuple[int, str, str]:
        """(exit code, stdout, stderr)."""
        with pytest.raises(SystemExit) as stop:
            execute(one, arguments, "test")
        return stop.value.code, *self.capsys.readouterr()  # type: ignore[return-value]

    def mistake(self, one: click.Command, *arguments: str) -> str:
        """The message of a call that must fail with one line; lines of a log may stand before it."""
        code, out, err = self.run(one, *arguments)
        assert (code, out) == (2, "")
        *before, last, end = err.split("\n")
        assert end == ""
        assert not any("error" in line.lower() or line.startswith((" ", "Trace")) for line in before), err
        return last.removeprefix("error: ") if last.startswith("error: ") else f"no error line: {err}"
