"""``python -m xltjax.eval COMMAND``: score responses of any model."""

from __future__ import annotations

from xltjax.common.cli import entry_point, group
from xltjax.eval import agreement, relevance, sets_command, surface
from xltjax.eval.comparison import choose
from xltjax.eval.comparison import command as compare
from xltjax.eval.judge import command as judge
from xltjax.eval.judge.report import command as judge_report
from xltjax.eval.modifiers import command as modifiers
from xltjax.eval.people import collect, sheets
from xltjax.eval.report import command as report

COMMANDS = (
    surface.COMMAND,
    relevance.COMMAND,
    modifiers.COMMAND,
    judge.COMMAND,
    judge_report.COMMAND,
    compare.COMMAND,
    choose.COMMAND,
    sheets.COMMAND,
    collect.COMMAND,
    agreement.COMMAND,
    report.COMMAND,
    sets_command.COMMAND,
)


GROUP = group(COMMANDS, name="eval", help="Score, judge, compare and report the responses of any model.")


main = entry_point(GROUP, "python -m xltjax.eval")


if __name__ == "__main__":
    main()
