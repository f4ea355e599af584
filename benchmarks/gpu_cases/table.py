"""The Markdown table of all runs in a results file: the last one beside its peer, its aim and the run before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_cases.cases import CASES, OURS, PEER

Record = Mapping[str, Any]
LESS_IS_BETTER = ("seconds", "peak GiB", "step s", "first step s")


def make_table(records: Sequence[Record]) -> str:
    """Markdown of the last run; medians over its turns."""
    runs = list(dict.fromkeys(record["run"] for record in records))
    last = [record for record in records if record["run"] == runs[-1]]
    lines = [f"# Run {runs[-1]}", "", *_header(last), ""]
    if any(record["small"] for record in last):
        lines += ["Tiny shapes: a trial of the benchmark, no measurement.", ""]
    lines += ["| case | measure | ours | peer | ratio | aim | before |", "|---|---|--:|--:|--:|---|--:|"]
    copy = _median(last, "ceilings", OURS, "copy GB/s")
    for name in CASES:
        ours, peer = (_measures(last, name, side) for side in (OURS, PEER))
        if copy and "read GB/s" in ours:
            ours["share of the measured bandwidth %"] = 100 * ours["read GB/s"] / copy
        for position, measure in enumerate(dict.fromkeys([*ours, *peer])):
            before = next(
                (
                    value
                    for run in reversed(runs[:-1])
                    if (value := _median([r for r in records if r["run"] == run], name, OURS, measure))
                    is not None
                ),
                None,
            )
            lines.append(_row(name if position == 0 else "", name, measure, ours, peer, before))
    lines += ["", *_missing(last)]
    return "\n".join(lines) + "\n"


def _header(records: Sequence[Record]) -> list[str]:
    """What the run ran on and with."""
    facts: dict[str, set[str]] = {}
    for record in records:
        facts.setdefault("command", set()).add(record["command"])
        facts.setdefault("revision", set()).add(record["revision"])
        facts.setdefault("time (UTC)", set()).add(record["time"][:10])
        if "device" in record:
            facts.setdefault("device", set()).add(record["device"])
            for package, version in record["versions"].items():
                facts.setdefault("versions", set()).add(f"{package} {version}")
    return [f"- {name}: {', '.join(sorted(values))}" for name, values in facts.items()]


def _measures(records: Sequence[Record], case: str, side: str) -> dict[str, Any]:
    """The medians of numbers over turns, and the last of words."""
    found = [r["measures"] for r in records if r["case"] == case and r["side"] == side and r["measures"]]
    names = dict.fromkeys(name for measures in found for name in measures)
    return {name: _middle([m[name] for m in found if name in m]) for name in names}


def _middle(values: Sequence[Any]) -> Any:
    numbers = [value for value in values if isinstance(value, int | float)]
    return statistics.median(numbers) if numbers else values[-1]


def _median(records: Sequence[Record], case: str, side: str, measure: str) -> Any:
    return _measures(records, case, side).get(measure)


def _row(shown: str, name: str, measure: str, ours: Mapping[str, Any], peer: Mapping[str, Any],
         before: Any) -> str:  # fmt: skip
    case = CASES[name]
    x, y = ours.get(measure), peer.get(measure)
    ratio = None
    if isinstance(x, int | float) and isinstance(y, int | float) and x and y:
        ratio = y / x if measure in LESS_IS_BETTER else x / y
    aims = []
    if measure in case.least:
        aims.append(_aim(f"{case.least[measure]:,}", x, case.least[measure]))
    if case.least_ratio and shown:  # the first measure is the one compared
        aims.append(_aim(f"{case.least_ratio} x peer", ratio, case.least_ratio))
    cells = [shown, measure, _text(x), _text(y), _text(ratio), "; ".join(aims), _text(before)]
    return "| " + " | ".join(cells) + " |"


def _aim(text: str, value: Any, least: float) -> str:
    return f"{text}: {'not measured' if value is None else 'reached' if value >= least else 'MISSED'}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _missing(records: Sequence[Record]) -> list[str]:
    """What has no measure, and why."""
    lines = []
    for name, case in CASES.items():
        for side in case.sides:
            own = [r for r in records if r["case"] == name and r["side"] == side]
            if not own:
                lines.append(f"- {name}, {side}: not run")
            lines += [f"- {name}, {side}: {r['state']}" for r in own if r["state"] != "ok"]
    return ["Not measured:", "", *lines] if lines else ["Everything was measured."]
