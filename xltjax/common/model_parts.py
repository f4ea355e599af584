"""Parts of a model as users name them: layers such as ``0-3,28-31`` or ``last-4``, and what is around them."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import combinations, pairwise

from xltjax.common.errors import UserError, did_you_mean

AROUND = ("embed", "norm", "head")  # the embedding, the norm after the last layer, and the output head
# The linear layers that LoRA may adapt.
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
FORMS = "0-3,28-31, -1 (the last layer), first-4, last-4, all (layers), embed, norm, head"

_RANGE = re.compile(r"(-?\d+)(?:-(-?\d+))?")
_END = re.compile(r"(first|last)-(\d+)")


def check_parts(texts: Sequence[str], setting: str) -> None:
    """Refuse what names no part of any model, before the model is known.

    Args:
        texts: the parts, as ``find_parts`` takes them.
        setting: the name of the setting, for the message.

    Raises:
        UserError: naming the text and the forms that are accepted.
    """
    for text in texts:
        if text not in (*AROUND, "all") and not _RANGE.fullmatch(text) and not _END.fullmatch(text):
            raise UserError(f"{setting}: {text!r} names no part of a model; accepted: {FORMS}")


def check_targets(targets: Sequence[str]) -> None:
    """Refuse targets that no model has.

    Raises:
        UserError: naming one, and the nearest that there is.
    """
    for target in targets:
        if target not in TARGETS:
            raise UserError(
                f"LoRA target {target!r} matches no part of the model; {did_you_mean(target, TARGETS)}"
            )


def find_parts(texts: Sequence[str], setting: str, *, layers: int, tied: bool) -> frozenset[str]:
    """The parts of a model that ``texts`` name, as the first words of parameters' paths: ``layers.3``, ``embed``.

    A layer is counted from 0, or from the end with a minus sign. A range includes both of its ends.

    Args:
        texts: single layers, ranges of them, ``first-N``, ``last-N``, ``all`` (decoder layers), and names of
            ``AROUND``.
        setting: the name of the setting, for messages.
        layers: the number of decoder layers of the model.
        tied: whether its head is tied to its embedding.

    Raises:
        UserError: for a layer that the model does not have, or the head alone where it is the embedding.
    """
    check_parts(texts, setting)
    found: set[str] = set()
    for text in texts:
        if text in AROUND:
            found.add(text)
        else:
            found |= {f"layers.{index}" for index in _layers(text, setting, layers)}
    if tied and "head" in found and "embed" not in found:
        raise UserError(
            f"{setting}: the head of this model is tied to its embedding; name embed, which is both"
        )
    return frozenset(found - {"head"} if tied else found)


def refuse_overlap(named: Mapping[str, Collection[str]]) -> None:
    """Refuse a part that two settings name.

    Args:
        named: the parts that each setting names, as ``find_parts`` found them.

    Raises:
        UserError: naming the part and both settings.
    """
    for (one, parts), (other, more) in combinations(named.items(), 2):
        if both := sorted({*parts} & {*more}):
            raise UserError(f"{both[0]} is named by both {one} and {other}; name it once")


def _layers(text: str, setting: str, layers: int) -> range:
    """The layers of one text, each of which the model has."""
    if text == "all":
        return range(layers)
    if end := _END.fullmatch(text):
        count = int(end[2])
        if not 1 <= count <= layers:
            raise UserError(f"{setting}: {text} is out of range: the model has {layers} layers")
        return range(count) if end[1] == "first" else range(layers - count, layers)
    match = _RANGE.fullmatch(text)
    assert match is not None
    first, last = (int(each) for each in (match[1], match[2] or match[1]))
    for index in (first, last):
        if not -layers <= index < layers:
            raise UserError(
                f"{setting}: layer {index} is out of range: the model has {layers} layers, 0 to {layers - 1}"
            )
    first, last = first % layers, last % layers
    if first > last:
        raise UserError(
            f"{setting}: {text} begins after it ends; write {last}-{first} if these layers are meant"
        )
    return range(first, last + 1)


def part_of(path: str) -> str:
    """The part that a parameter belongs to: ``layers.3.mlp.up_proj.weight`` -> ``layers.3``."""
    words = path.split(".")
    return ".".join(words[:2]) if words[0] == "layers" else words[0]


def layers_of(parts: Iterable[str]) -> list[int]:
    """The decoder layers among ``parts``, in rising order."""
    return sorted(int(part.split(".")[1]) for part in parts if part.startswith("layers."))


def lowest_layer(parts: Collection[str], layers: int) -> int:
    """The lowest layer that gradients reach when ``parts`` are trained; without parts, everything is.

    Returns:
        Its index, or the number of ``layers`` where only what follows them is trained.
    """
    return 0 if not parts or "embed" in parts else min(layers_of(parts), default=layers)


def short(parts: frozenset[str]) -> tuple[str, ...]:
    """The shortest texts for which ``find_parts`` finds these parts, whichever texts named them."""
    indices = layers_of(parts)
    starts = [b for a, b in pairwise([-2, *indices]) if b != a + 1]
    ends = [a for a, b in pairwise([*indices, -2]) if b != a + 1]
    ranges = [str(a) if a == b else f"{a}-{b}" for a, b in zip(starts, ends, strict=True)]
    return (*ranges, *(name for name in AROUND if name in parts))
