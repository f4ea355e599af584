"""What people rate: the sample, the blinded order of every sheet, and the key that links items to models."""

from __future__ import annotations

import hashlib
import json
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from xltjax.common.errors import UserError
from xltjax.data.responses import Response

ID_BITS = 48
_LETTERS = str.maketrans("0123456789", "ghijklmnop")
APART = 3  # a repeat comes after at least a third of the sheet: until then the first rating is forgotten


@dataclass(frozen=True)
class Item:
    """One answer on one sheet.

    Attributes:
        id: opaque and drawn at random, different on every sheet.
        response: what is rated. Only its instruction and its answer may reach the sheet.
        repeat_of: the id of the earlier item that this one repeats, or empty.
    """

    id: str
    response: Response
    repeat_of: str = ""


def instruction_key(response: Response) -> str:
    """What the translations of one instruction share; a modifier makes another instruction of it."""
    modifier = response.modifier or {}
    if "language" in (modifier.get("params") or {}):
        return response.id  # instructions in several languages ask for an answer in this one
    return (response.instruction_id or response.id) + (f"+{modifier['name']}" if modifier else "")


def refuse_duplicates(responses: Iterable[Response]) -> None:
    """Let a model answer an instruction once in a language, since a sheet shows one answer of each.

    Raises:
        UserError: naming the first two answers that stand for the same.
    """
    seen: dict[tuple[str, str, str], str] = {}
    for each in responses:
        place = (each.model, instruction_key(each), each.language)
        first = seen.setdefault(place, each.id)
        if first != each.id:
            raise UserError(
                f"the model {each.model!r} answers the instruction {place[1]!r} in {each.language!r} twice, as "
                f"{first!r} and as {each.id!r}; give one of them, or answers of different samples as different models"
            )


def fingerprint(responses: Iterable[Response]) -> str:
    """A hash of all that is rated.

    It is drawn with, beside the seed: who knows the seed but not the answers cannot find out the order.
    """
    rows = sorted((each.model, each.language, instruction_key(each), each.response) for each in responses)
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def sample_instructions(responses: Sequence[Response], count: int, seed: int) -> list[str]:
    """Instructions that every model answered in every language, the same for all, spread evenly over the tasks.

    Raises:
        UserError: there are fewer than `count` such instructions, or `count` is under two.
    """
    if count < 2:
        raise UserError(
            "a sheet needs at least 2 instructions: answers to one instruction must not be adjacent"
        )
    cells = {(each.model, each.language) for each in responses}
    answered: dict[str, set[tuple[str, str]]] = defaultdict(set)
    task: dict[str, str] = {}
    for each in responses:
        key = instruction_key(each)
        answered[key].add((each.model, each.language))
        # The name of a task may be translated: one language decides, whatever the order of the files.
        task[key] = min(task.get(key, each.task), each.task)
    common = sorted(key for key, seen in answered.items() if seen == cells)
    if len(common) < count:
        advice = "ask for fewer, or leave out the model with missing answers"
        if not common and not any(each.instruction_id for each in responses):
            advice = "give the rows an instruction_id that the translations of one instruction share"
        raise UserError(
            f"{count} instructions per language were asked for, but every model answered only {len(common)} "
            f"instructions in every language: {advice}"
        )
    rng = random.Random(f"sample {seed}")
    strata: dict[str, list[str]] = defaultdict(list)
    for key in common:
        strata[task[key]].append(key)
    for keys in strata.values():
        rng.shuffle(keys)
    chosen: list[str] = []
    while len(chosen) < count:
        # One instruction of every task in turn; which tasks get one more at the end is drawn.
        tasks = sorted(name for name, keys in strata.items() if keys)
        rng.shuffle(tasks)
        chosen += [strata[name].pop() for name in tasks[: count - len(chosen)]]
    return chosen


def sheet_items(
    responses: Sequence[Response],
    instructions: Sequence[str],
    *,
    language: str,
    annotator: int,
    seed: int,
    all_of: str = "",
    repeats: int = 0,
) -> list[Item]:
    """The items of one sheet, in the order they are shown.

    The answers come in rounds. A round shows every sampled instruction once, and a Latin square gives each
    model the same number of places in it (plus or minus one), so that no model is met earlier than another.
    Answers of `all_of` to the other instructions are strewn in evenly at random. A repeat comes a third of the
    sheet after the first showing, or later; there may be fewer of them than asked for, as many as find a place.

    Raises:
        UserError: `all_of` names no model of the responses in this language.
    """
    mine = {(instruction_key(each), each.model): each for each in responses if each.language == language}
    rng = random.Random(f"sheet {seed} {language} {annotator} {fingerprint(mine.values())}")
    models = sorted({model for _, model in mine})
    if all_of and all_of not in models:
        raise UserError(f"--all-of {all_of}: no such model in {language}; there are {', '.join(models)}")
    rng.shuffle(models)
    keys = sorted(instructions)
    rng.shuffle(keys)
    order: list[tuple[str, str]] = []
    for turn in range(len(models)):
        round_ = [(key, models[(at + turn) % len(models)]) for at, key in enumerate(keys)]
        rng.shuffle(round_)
        if order and round_[0][0] == order[-1][0]:
            other = rng.randrange(1, len(round_))
            round_[0], round_[other] = round_[other], round_[0]
        order += round_
    sampled = set(keys)
    for cell in sorted(cell for cell in mine if cell[1] == all_of and cell[0] not in sampled):
        order.insert(rng.randint(0, len(order)), cell)
    # The last bits of an id are as random as the first: it says nothing of the model or of the place.
    ids = [letters(f"{number:012x}") for number in _distinct(rng, len(order) + repeats)]
    items = [Item(id, mine[cell]) for id, cell in zip(ids, order, strict=False)]
    return _with_repeats(items, ids[len(order) :], rng)


def _with_repeats(items: list[Item], ids: Sequence[str], rng: random.Random) -> list[Item]:
    """The items with earlier ones shown again, never beside another answer to the same instruction."""
    gap = -(-len(items) // APART)
    pool = items[: len(items) - gap + 1]
    rng.shuffle(pool)
    placed: Counter[str] = Counter()  # by model, so that all models share the repeats
    left = list(ids)
    while left and pool:
        first = min(pool, key=lambda item: placed[item.response.model])
        pool.remove(first)
        key = instruction_key(first.response)
        late = range(items.index(first) + gap, len(items) + 1)
        free = (
            at
            for at in rng.sample(late, len(late))
            if all(instruction_key(each.response) != key for each in items[at - 1 : at + 1])
        )
        at = next(free, None)
        if at is not None:
            items.insert(at, Item(left.pop(), first.response, first.id))
            placed[first.response.model] += 1
    return items


def letters(hexadecimal: str) -> str:
    """Letters from a to p for hexadecimal digits: no spreadsheet takes them for a number.

    >>> letters("12e3")
    'hiej'
    """
    return hexadecimal.translate(_LETTERS)


def _distinct(rng: random.Random, count: int) -> list[int]:
    numbers: dict[int, None] = {}
    while len(numbers) < count:
        numbers[rng.getrandbits(ID_BITS)] = None
    return list(numbers)


def key_rows(items: Iterable[Item], *, sheet: str, language: str, annotator: int) -> list[dict[str, object]]:
    """The rows of the key file of one sheet (named by its hash): what each opaque id stands for.

    The key is all that links items to models. It is never embedded in a sheet.
    """
    return [
        {
            "sheet": sheet,
            "annotator": annotator,
            "language": language,
            "item": each.id,
            "order": order,
            "model": each.response.model,
            "id": each.response.id,
            "instruction_id": each.response.instruction_id or each.response.id,
            "task": each.response.task,
            "repeat_of": each.repeat_of,
        }
        for order, each in enumerate(items, start=1)
    ]
