"""Settings from YAML, flags and defaults; the shipped configs."""

from __future__ import annotations

import dataclasses
import logging
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from xltjax.common.errors import UserError
from xltjax.common.settings import (
    build,
    current_names,
    read_config_files,
    result_settings,
    setting,
    shipped_configs,
    to_yaml,
)
from xltjax.mesh import parse_mesh
from xltjax.training.config import TrainConfig

PAPER_MODELS = [
    "llama2-13b-dolly-dt-ft",
    "llama2-13b-dolly-en-ft",
    "llama2-13b-dolly-en-lora",
    "llama2-13b-lima-en-ft",
    "llama2-7b-dolly-en-ft",
    "tower-7b-dolly-dt-ft",
    "tower-7b-dolly-en-ft",
]
PROTOCOLS = ["paper", "literal", "released", "released-lora"]


@dataclass(frozen=True)
class Example:
    """One field of each kind."""

    name: str = setting("x", "A text.")
    count: int = setting(1, "A whole number.")
    rate: float = setting(0.5, "A number.")
    end: float | None = setting(None, "A number or nothing.")
    kind: Literal["full", "half"] = setting("full", "A choice.")
    switch: bool = setting(False, "A switch.")
    words: tuple[str, ...] = setting((), "Words.")
    weights: tuple[float, ...] = setting((), "Numbers.")
    files: tuple[str, ...] = setting((), "Paths.", paths=True)


def from_yaml(text: str) -> Example:
    return build(Example, yaml.safe_load(text))


# Values


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("rate: 1e-5", "rate", 1e-5),  # which YAML 1.1 reads as text
        ("rate: 1.0e-5", "rate", 1e-5),
        ("rate: 3", "rate", 3.0),
        ("rate: '0.1'", "rate", 0.1),
        ("count: 1e3", "count", 1000),
        ("count: 2.0", "count", 2),
        ("count: 1_000", "count", 1000),
        ("count: '-7'", "count", -7),
        ("count: '9007199254740993'", "count", 9007199254740993),  # more than a float holds
        ("end: null", "end", None),
        ("end: none", "end", None),
        ("end: 1e-6", "end", 1e-6),
        ("name: 7", "name", "7"),
        ("name: ''", "name", ""),
        ("switch: yes", "switch", True),
        ("switch: 'False'", "switch", False),
        ("kind: half", "kind", "half"),
        ("words: [a, b]", "words", ("a", "b")),
        ("words: a, b", "words", ("a", "b")),
        ("words: a", "words", ("a",)),
        ("words: ''", "words", ()),
        ("words: []", "words", ()),
        ("weights: [1, 2e0, '3']", "weights", (1.0, 2.0, 3.0)),
        ("weights: 1,2", "weights", (1.0, 2.0)),
        ("weights: 1", "weights", (1.0,)),
        ("files: a,b.jsonl", "files", ("a,b.jsonl",)),
        ("files: [a, 'b,c']", "files", ("a", "b,c")),
    ],
)
def test_values_become_the_type_of_their_field(text: str, field: str, expected: Any) -> None:
    value = getattr(from_yaml(text), field)
    assert value == expected
    assert type(value) is type(expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("rate: fast", "rate: 'fast' is not a number"),
        ("rate: true", "rate: True is not a number"),
        ("rate: null", "rate: None is not a number"),
        ("rate: [1]", r"rate: \[1\] is not a number"),
        ("count: 1.5", "count: 1.5 is not a whole number"),
        ("count: true", "count: True is not a whole number"),
        ("count: .inf", "count: inf is not a whole number"),
        ("count: .nan", "count: nan is not a whole number"),
        ("count: ''", "count: '' is not a whole number"),
        ("switch: 1", "switch: 1 is not true or false"),
        ("switch: maybe", "switch: 'maybe' is not true or false"),
        ("name: no", r"name: False is not text \(put it in quotes\)"),
        ("name: 2024-01-01", r"name: datetime.* is not text \(put it in quotes\)"),
        ("name: {a: 1}", "name: .* is not text"),
        ("words: [en, no]", r"words: False is not text \(put it in quotes\)"),
        ("words: null", "words: None is not text"),
        ("weights: 1,x", "weights: 'x' is not a number"),
        ("kind: haf", "kind: 'haf' is not known; did you mean 'half'?"),
        ("kind: [full]", "kind: .* is not known"),
        ("rates: 1", "unknown setting 'rates'; did you mean 'rate'?"),
        (
            "zzz: 1",
            "unknown setting 'zzz'; valid: count, end, files, kind, name, rate, switch, weights, words",
        ),
        ("learning-rate: 1", "unknown setting 'learning-rate'"),
    ],
)
def test_other_values_and_keys_are_refused_by_name(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=f"^{reason}"):
        from_yaml(text)


# PyYAML writes these three line breaks as they are, and reads them as blanks.
TEXT = st.text(st.characters(exclude_characters="\x85\u2028\u2029", exclude_categories=["Cs"]))
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "name": TEXT,
        "count": st.integers(),
        "rate": st.floats(allow_nan=False),
        "end": st.none() | st.floats(allow_nan=False),
        "kind": st.sampled_from(["full", "half"]),
        "switch": st.booleans(),
        "words": st.lists(TEXT).map(tuple),
        "weights": st.lists(st.floats(allow_nan=False)).map(tuple),
        "files": st.lists(TEXT).map(tuple),
    },
)


@settings(max_examples=150, deadline=None)
@given(SETTINGS)
def test_the_printed_config_reads_back_equal(values: dict[str, Any]) -> None:
    config = Example(**values)
    assert build(Example, yaml.safe_load(to_yaml(config))) == config


YAML_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2),
    max_leaves=5,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([field.name for field in dataclasses.fields(Example)]), YAML_VALUES)
def test_any_value_is_taken_or_refused_by_name(key: str, value: Any) -> None:
    try:
        config = build(Example, {key: value})
    except UserError as problem:
        refused = str(problem)
    else:
        hash(config)  # what was taken is of the field's own, immutable type
        return
    assert refused.startswith(f"{key}: ")


# What is known about a setting


@dataclass(frozen=True)
class Run:
    """Settings of each kind: of the result, of speed or place, of one call, renamed ones."""

    rate: float = setting(0.5, "Changes the result.")
    rows: int = setting(0, "Renamed twice.", former=("held_out", "held_out_rows"))
    sources: tuple[str, ...] = setting((), "Renamed too.", paths=True, former=("files",))
    switch: bool = setting(
        False, "Renamed, and changes the speed alone.", affects_result=False, former=("turbo",)
    )
    force: bool = setting(False, "Concerns one call.", saved=False)


def test_only_saved_settings_that_affect_the_result_must_stay_equal() -> None:
    assert result_settings(Run) == {"rate", "rows", "sources"}


def test_a_run_saves_all_settings_but_those_of_one_call() -> None:
    config = Run(rate=0.1, sources=("a", "b"), switch=True, force=True)
    assert yaml.safe_load(to_yaml(config)) == {
        "rate": 0.1, "rows": 0, "sources": ["a", "b"], "switch": True, "force": True
    }  # fmt: skip
    saved = to_yaml(config, saved_only=True)
    assert list(yaml.safe_load(saved)) == ["rate", "rows", "sources", "switch"]
    assert build(Run, yaml.safe_load(saved)) == dataclasses.replace(config, force=False)


def test_a_former_name_is_read_as_the_current_one_with_a_notice(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        config = build(Run, {"held_out_rows": "3", "rate": 1, "files": "a,b", "turbo": True})
    assert config == Run(rate=1.0, rows=3, sources=("a,b",), switch=True)
    assert caplog.messages == [
        "notice: held_out_rows is now called rows",
        "notice: files is now called sources",
        "notice: turbo is now called switch",
    ]
    with pytest.raises(UserError, match="rows: 'x' is not a whole number"):
        build(Run, {"held_out": "x"})


def test_current_names_are_left_in_silence(caplog: pytest.LogCaptureFixture) -> None:
    assert current_names(Run, {"rows": 1, "unknown": 2}) == {"rows": 1, "unknown": 2}
    assert caplog.messages == []


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("rows", "held_out"), "rows and held_out are the same setting; give rows alone"),
        (("held_out", "rows"), "held_out and rows are the same setting; give rows alone"),
        (("held_out", "held_out_rows"), "held_out and held_out_rows are the same setting; give rows alone"),
    ],
)
def test_a_setting_under_two_names_is_refused(names: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=f"^{message}$"):
        build(Run, dict.fromkeys(names, 1))


def test_a_later_file_wins_whichever_name_it_uses(tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("held_out: 1")
    (tmp_path / "new.yaml").write_text("rows: 2")
    old, new = str(tmp_path / "old.yaml"), str(tmp_path / "new.yaml")
    assert read_config_files(Run, [old, new]) == {"rows": 2}
    assert read_config_files(Run, [new, old]) == {"rows": 1}


def test_no_setting_of_training_has_the_name_of_another() -> None:
    fields = dataclasses.fields(TrainConfig)
    names = [name for field in fields for name in (field.name, *field.metadata["former"])]
    assert len(names) == len(set(names))


# Files


def test_later_files_win_and_empty_ones_change_nothing(tmp_path: Path) -> None:
    for name, text in (("a", "rate: 1\ncount: 2"), ("b", "rate: 1e-3"), ("empty", "# nothing\n")):
        (tmp_path / f"{name}.yaml").write_text(text)
    names = [str(tmp_path / f"{name}.yaml") for name in ("a", "b", "empty")]
    config = build(Example, read_config_files(Example, names))
    assert (config.rate, config.count) == (1e-3, 2)
    assert build(Example, read_config_files(Example, names[1::-1])).rate == 1.0
    assert read_config_files(Example, []) == {}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"a: [1", "is not valid YAML"),
        (b"a: b: c", "is not valid YAML"),
        (b"a: 2024-99-99", "is not valid YAML"),
        (b"[" * 2000, "is not valid YAML"),
        (b"a: \xff", "is not UTF-8 text"),
        (b"a: !!python/object:os.system []", "is not valid YAML"),
        (b"- a\n- b", "must be a mapping of settings"),
        (b"just text", "must be a mapping of settings"),
        (b"1: 2", "must be a mapping of settings"),
    ],
)
def test_files_that_hold_no_settings_are_named(text: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(text)
    with pytest.raises(UserError, match=f"^{path} {reason}"):
        read_config_files(Example, [str(path)])


def test_an_unknown_config_names_the_nearest_shipped_one(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="did you mean 'paper/llama2-7b-dolly-en-ft'"):
        read_config_files(Example, ["paper/llama-7b-dolly-en-ft"])
    with pytest.raises(UserError, match=r"neither a file nor a shipped config; valid: miniature, paper/"):
        read_config_files(Example, [str(tmp_path)])


@pytest.mark.parametrize("name", ["protocols/paper", "configs/protocols/paper.yaml", "protocols/paper.yaml"])
def test_shipped_configs_are_found_by_name_from_anywhere(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert read_config_files(TrainConfig, [name])["tokens_per_batch"] == 4000


# Shipped configs


def load(*names: str, **flags: Any) -> TrainConfig:
    return build(TrainConfig, {**read_config_files(TrainConfig, names), **flags})


def test_every_config_of_the_paper_is_shipped() -> None:
    names = {f"paper/{n}" for n in PAPER_MODELS} | {f"protocols/{n}" for n in PROTOCOLS} | {"miniature"}
    assert names == {name for name in shipped_configs() if not name.startswith("study/")}


@pytest.mark.parametrize("name", [name for name in shipped_configs() if not name.startswith("study/")])
def test_shipped_configs_are_valid_and_say_what_they_are(name: str) -> None:
    config = load(name)
    config.batch_shape()
    assert shipped_configs()[name].read_text().startswith("# ")
    assert build(TrainConfig, yaml.safe_load(to_yaml(config))) == config


@pytest.mark.parametrize("model", PAPER_MODELS)
def test_models_of_the_paper_take_every_protocol(model: str) -> None:
    alone = load(f"paper/{model}")
    assert parse_mesh(alone.mesh) == (1, 2, 1)  # two devices
    assert bool(alone.lora_rank) == model.endswith("lora")
    assert len(alone.data) == (4 if "-dt-" in model else 1)
    assert alone.data_weights == ((1, 1, 1, 1) if "-dt-" in model else ())
    for protocol in PROTOCOLS:
        config = load(f"paper/{model}", f"protocols/{protocol}")
        shape = config.batch_shape()
        assert shape.rows * shape.joined % 2 == 0
        assert (config.model, config.data) == (alone.model, alone.data)
    # The paper's protocol is the default: on top of a model it changes nothing.
    assert load(f"paper/{model}", "protocols/paper") == alone


def test_the_protocols_are_those_of_the_paper_and_of_the_release() -> None:
    # Paper, Appendix B; naver/pasero, examples/zero-shot-transfer-inst-tuning.
    paper, literal, released, lora = (load(f"protocols/{name}") for name in PROTOCOLS)
    for config in (paper, released, lora):
        assert (config.beta1, config.beta2, config.weight_decay, config.clip_norm) == (0.9, 0.95, 0.1, 1.0)
        assert (config.max_length, config.overlong, config.steps, config.template) == (
            2048, "skip", 1000, "llama-2"
        )  # fmt: skip
    assert (paper.schedule, paper.timescale, paper.warmup) == ("inverse_sqrt", 10_000.0, 0)
    assert literal == dataclasses.replace(paper, timescale=1.0)
    assert (paper.tokens_per_batch, paper.accumulation, paper.precision) == (4000, 4, "mixed")
    assert (released.schedule, released.learning_rate, released.end_learning_rate) == ("linear", 1e-5, 1e-6)
    assert (released.tokens_per_batch, released.accumulation, released.precision) == (8192, 10, "bfloat16")
    assert (lora.learning_rate, lora.end_learning_rate, lora.accumulation) == (1e-4, 1e-5, 4)
    assert (lora.lora_rank, lora.lora_alpha) == (16, 8.0)
    assert lora.lora_targets == (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"
    )  # fmt: skip


# Settings of training


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"learning_rate": 0}, "learning_rate must be positive, not 0.0"),
        ({"learning_rate": -1e-5}, "learning_rate must be positive"),
        ({"learning_rate": "nan"}, "learning_rate must be positive, not nan"),
        ({"learning_rate": "inf"}, "learning_rate must be positive, not inf"),
        ({"timescale": 0}, "timescale must be positive"),
        ({"epsilon": 0}, "epsilon must be positive"),
        ({"clip_norm": 0}, "clip_norm must be positive"),
        ({"lora_alpha": -1}, "lora_alpha must be positive"),
        ({"warmup": -1}, "warmup must be 0 or more"),
        ({"weight_decay": -0.1}, "weight_decay must be 0 or more"),
        ({"end_learning_rate": "nan"}, "end_learning_rate must be 0 or more"),
        ({"beta1": 1}, "beta1 must be at least 0 and less than 1"),
        ({"beta2": -0.1}, "beta2 must be at least 0 and less than 1"),
        ({"steps": 0}, "steps must be at least 1, not 0"),
        ({"accumulation": 0}, "accumulation must be at least 1"),
        ({"tokens_per_batch": 0}, "tokens_per_batch must be at least 1"),
        ({"sequence_length": -4}, "sequence_length must be at least 1"),
        ({"max_length": 1}, "max_length must be at least 2"),
        ({"save_every": 0}, "save_every must be at least 1"),
        ({"keep": 0}, "keep must be at least 1"),
        ({"log_every": 0}, "log_every must be at least 1"),
        ({"seed": -1}, "seed must be from 0 to 4294967295, not -1"),
        ({"seed": 2**32}, "seed must be from 0 to 4294967295"),
        ({"lora_rank": -1}, "lora_rank must be 0"),
        ({"template": "llama2"}, "template 'llama2' is unknown; did you mean 'llama-2'?"),
        ({"schedule": "linaer"}, "schedule: 'linaer' is not known; did you mean 'linear'?"),
        (
            {"precision": "fp8"},
            "precision: 'fp8' is not known; valid: bfloat16, bfloat16-stochastic, float32, mixed",
        ),
        ({"overlong": "truncat"}, "overlong: 'truncat' is not known; did you mean 'truncate'?"),
        ({"mesh": "0x1"}, "mesh '0x1' is not of the form DxT"),
    ],
)
def test_settings_that_cannot_work_are_refused_by_name(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UserError, match=f"^{reason}"):
        build(TrainConfig, values)


def test_zero_is_taken_where_it_means_something() -> None:
    config = build(TrainConfig, {"end_learning_rate": 0, "weight_decay": 0, "warmup": 0, "beta1": 0})
    assert (config.end_learning_rate, config.weight_decay) == (0.0, 0.0)


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5000), st.integers(1, 3000), st.integers(1, 12), st.integers(1, 6), st.integers(1, 4))
def test_an_update_is_divided_by_the_mesh_or_told_how_it_would_be(
    tokens: int, length: int, accumulation: int, data: int, replicas: int
) -> None:
    values = {
        "tokens_per_batch": tokens, "sequence_length": length, "accumulation": accumulation,
        "mesh": f"{replicas}x{data}x1",
    }  # fmt: skip
    config = build(TrainConfig, values)
    try:
        shape = config.batch_shape()
    except UserError as problem:
        # Whatever it suggests works.
        suggested = str(problem).split("use --")[1].split(" or --")
        for name, value in (part.split(" ") for part in suggested):
            build(TrainConfig, {**values, name.replace("-", "_"): value}).batch_shape()
        return
    assert shape.rows == math.ceil(tokens / length)
    assert shape.rows * shape.joined % (data * replicas) == 0
    assert accumulation % shape.joined == 0
    assert (shape.micro_batches, shape.tokens, shape.length) == (accumulation, tokens, length)
    assert config.longest_example() - 1 <= min(length, tokens)
