"""Layers as users name them."""

from __future__ import annotations

import re

import pytest

from xltjax.common.errors import UserError
from xltjax.common.model_parts import find_parts, layers_of, part_of, short


def layers(*texts: str, count: int = 32) -> list[int]:
    return layers_of(find_parts(texts, "train_layers", layers=count, tied=False))


def test_single_layers_ranges_ends_and_all() -> None:
    assert layers("5") == [5]
    assert layers("0-3", "28-31") == [0, 1, 2, 3, 28, 29, 30, 31]
    assert layers("last-4") == [28, 29, 30, 31]
    assert layers("first-2", "1-2") == [0, 1, 2]
    assert layers("all") == list(range(32))
    assert layers() == []


def test_layers_are_counted_from_the_end_with_a_minus_sign() -> None:
    assert layers("-1") == [31]
    assert layers("-4--1") == layers("last-4")
    assert layers("30--1") == [30, 31]


def test_the_parts_around_the_layers_have_names() -> None:
    found = find_parts(("embed", "0", "norm", "head"), "reset_layers", layers=2, tied=False)
    assert found == {"embed", "layers.0", "norm", "head"}
    paths = (
        "embed.weight",
        "layers.11.mlp.up_proj.weight",
        "norm.weight",
        "layers.1.attention.q_proj.lora_a",
    )
    assert [part_of(path) for path in paths] == ["embed", "layers.11", "norm", "layers.1"]


def test_a_head_that_is_the_embedding_cannot_be_named_alone() -> None:
    assert find_parts(("embed", "head"), "x", layers=2, tied=True) == {"embed"}
    with pytest.raises(UserError, match="tied to its embedding; name embed"):
        find_parts(("0", "head"), "x", layers=2, tied=True)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("32", "train_layers: layer 32 is out of range: the model has 32 layers, 0 to 31"),
        ("30-32", "layer 32 is out of range"),
        ("-33", "layer -33 is out of range"),
        ("last-33", "last-33 is out of range: the model has 32 layers"),
        ("first-0", "first-0 is out of range"),
        ("3-0", "3-0 begins after it ends; write 0-3"),
        ("-1-0", "-1-0 begins after it ends"),
        ("0:3", "'0:3' names no part of a model; accepted: 0-3,28-31"),
        ("0 - 3", "'0 - 3' names no part"),
        ("", "'' names no part"),
        ("lm_head", "'lm_head' names no part"),
    ],
)
def test_what_names_no_layer_of_the_model_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(UserError, match=re.escape(reason)) as refused:
        layers("1", text)
    assert "\n" not in str(refused.value)


def test_the_same_parts_have_one_short_form() -> None:
    for texts in (
        ("28-31", "0-3", "head"),
        ("head", "last-4", "0", "1", "2-3"),
        ("first-4", "-4--1", "head"),
    ):
        parts = find_parts(texts, "x", layers=32, tied=False)
        assert short(parts) == ("0-3", "28-31", "head")
        assert find_parts(short(parts), "x", layers=32, tied=False) == parts
    assert short(frozenset()) == ()
