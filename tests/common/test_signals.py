"""Signals of a run: the first is noted, the second stops at once, and the exit code tells which it was."""

from __future__ import annotations

import os
import signal

import pytest

from xltjax.common.cli import command, execute
from xltjax.common.signals import StopSignal
from xltjax.training.config import TrainConfig


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_stops_at_once_with_the_code_of_that_signal(
    number: signal.Signals, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def function(_: TrainConfig) -> None:
        with StopSignal() as stop:
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.number == signal.SIGTERM
            os.kill(os.getpid(), number)
            pytest.fail("goes on after the second signal")

    one = command(TrainConfig, function, name="t", help="Try.")
    with pytest.raises(SystemExit) as ended:
        execute(one, [])
    assert ended.value.code == code
    assert capsys.readouterr().err.strip() == "interrupted"
