"""Where the numbers come from: revisions, protocol, data, versions, hardware and cost, as names and values."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from typing import Any

from xltjax.eval.report.numbers.sources import Material, TrainedRun, short_json

# Settings of a training that make up its protocol.
PROTOCOL = (
    "model",
    "data",
    "template",
    "steps",
    "schedule",
    "timescale",
    "warmup",
    "tokens_per_batch",
    "accumulation",
    "sequence_length",
    "precision",
    "optimizer",
    "weight_decay",
    "clip",
    "lora_rank",
    "lora_alpha",
    "mesh",
)
# Settings of a generation that make up its protocol.
DECODING = (
    "prompts", "template", "max_new_tokens", "repetition_penalty", "temperature", "top_k", "top_p", "seed", "dtype",
)  # fmt: skip
MOST = 3  # values of one kind that are listed


def provenance_rows(material: Material, sources: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Names and values; what differs between runs is listed with the number of its values."""
    return tuple((name, value) for name, value in _rows(material, sources) if value)


def _rows(material: Material, sources: Sequence[str]) -> Iterator[tuple[str, str]]:
    yield "made", datetime.now(UTC).isoformat(timespec="seconds")
    yield "made of", ", ".join(sources)
    yield "xltjax", _version("xltjax")
    yield "Python", platform.python_version()
    for name in ("numpy", "scipy", "matplotlib"):
        yield name, _version(name)
    runs = material.runs
    yield "revision of the trainings", _values(_revision(run) for run in runs)
    yield "versions of the trainings", _values(short_json(run.provenance.get("versions", "")) for run in runs)
    yield "hardware of the trainings", _values(_devices(run.provenance.get("devices")) for run in runs)
    for key in PROTOCOL:
        yield (
            f"training: {key}",
            _values(short_json(run.settings[key]) for run in runs if key in run.settings),
        )
    yield (
        "training data",
        _values(
            f"{name} sha256 {digest}"
            for run in runs
            for name, digest in (run.provenance.get("data") or {}).items()
        ),
    )
    for key in DECODING:
        yield (
            f"generation: {key}",
            _values(
                short_json(each["settings"][key])
                for each in material.generations
                if key in each.get("settings", {})
            ),
        )
    seconds = sum(row.get("seconds") or 0.0 for run in runs for row in run.metrics)
    yield "training time in logged updates", f"{seconds / 3600:.2f} hours" if seconds else ""
    total = sum(stage.seconds for stage in material.stages)
    yield "time of all stages", f"{total / 3600:.2f} hours" if total else ""
    for command, about in material.summaries.items():
        yield f"eval {command}", "; ".join(_leaves(about))
    for judge, about in material.judges.items():
        yield (
            f"judge {judge}",
            "; ".join(_leaves({k: v for k, v in about.items() if k not in ("usage", "cost")})),
        )
        yield f"usage of {judge}", short_json(about.get("usage", ""))
        if about.get("cost") is not None:
            yield f"cost of {judge}", f"{about['cost']:.4f}"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def _revision(run: TrainedRun) -> str:
    git = run.provenance.get("git")
    if not isinstance(git, Mapping):
        return ""
    return f"{git.get('revision', '')}{' with uncommitted changes' if git.get('dirty') else ''}"


def _devices(devices: Any) -> str:
    return f"{len(devices)} x {devices[0]}" if isinstance(devices, list) and devices else ""


def _values(values: Iterator[str]) -> str:
    """The different values, the first few of them."""
    found = [value for value in dict.fromkeys(values) if value]
    more = f"; and {len(found) - MOST} more" if len(found) > MOST else ""
    return "; ".join(found[:MOST]) + more


def _leaves(value: Any, place: str = "") -> Iterator[str]:
    """A nested record as ``key: value`` parts."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from _leaves(part, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for each in value:
            yield from _leaves(each, place)
    elif value not in (None, "", [], {}):
        yield f"{place}: {short_json(value)}" if place else short_json(value)
