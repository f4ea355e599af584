"""The Markdown table of all runs in a results file: the last one beside its baseline, its aim and the run before."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_cases.cases import BASELINE, CASES, OURS

Record = Mapping[str, Any]
LESS_IS_BETTER = ("seconds", "peak GiB", "step s", "first step s")


def make_table(records: Sequence[Record]) -> str:
    """Markdown of the last run; medians over its turns."""
    runs: dict[str, list[Record]] = {}
    for record in records:
        runs.setdefault(record["run"], []).append(record)
    *earlier, last = runs.values()
    is_small = any(record["small"] for record in last)
    lines = [f"# Run {last[0]['run']}", "", *_header(last), ""]
    if is_small:
        lines += ["Tiny shapes: a trial of the benchmark, no measurement.", ""]
    lines += ["| case | measure | ours | baseline | ratio | aim | before |", "|---|---|--:|--:|--:|---|--:|"]
    copy = _measures(last, "ceilings", OURS).get("copy GB/s")
    for name, case in CASES.items():
        ours, baseline = (_measures(last, name, side) for side in (OURS, BASELINE))
        if copy and "read GB/s" in ours:
            ours["share of the measured bandwidth %"] = 100 * ours["read GB/s"] / copy
        before: dict[str, Any] = {}
        for run in earlier:
            before |= _measures(run, name, OURS)
        for measure in (measures := list(dict.fromkeys([*ours, *baseline]))):
            x, y = ours.get(measure), baseline.get(measure)
            ratio, is_first = _ratio(measure, x, y), measure == measures[0]
            aims = [] if is_small else [_aim("", case.least.get(measure), x)]
            if is_first and not is_small:
                aims.append(_aim(" x baseline", case.least_ratio, ratio))
            if measure == "kernels":
                continue
            cells = [name if is_first else "", measure, *map(_text, (x, y, ratio))]
            lines.append(
                "| " + " | ".join([*cells, "; ".join(filter(None, aims)), _text(before.get(measure))]) + " |"
            )
    lines += ["", *_kernels(last), *_missing(last)]
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


def _ratio(measure: str, ours: Any, baseline: Any) -> float | None:
    """How many times better ours is."""
    if not (isinstance(ours, int | float) and isinstance(baseline, int | float) and ours and baseline):
        return None
    return baseline / ours if measure in LESS_IS_BETTER else ours / baseline


def _aim(unit: str, least: float | None, value: float | None) -> str:
    if least is None:
        return ""
    state = "not measured" if value is None else "reached" if value >= least else "MISSED"
    return f"{least:,}{unit}: {state}"


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, str):
        return value.replace("|", "\\|")
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _kernels(records: Sequence[Record]) -> list[str]:
    """The profiles of our side: a table for each case that has one."""
    lines = []
    for name in CASES:
        if kernels := _measures(records, name, OURS).get("kernels"):
            total = sum(milliseconds for _, milliseconds, _ in kernels)
            lines += [
                f"Kernels of {name} ({total:,.1f} ms in these):",
                "",
                "| kernel | ms | calls |",
                "|---|--:|--:|",
            ]
            lines += [f"| `{_text(kernel)[:100]}` | {ms:,.2f} | {calls} |" for kernel, ms, calls in kernels]
            lines += [""]
    return lines


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
