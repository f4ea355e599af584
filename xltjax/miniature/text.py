"""The miniature's texts: pretraining documents, instruction data, and evaluation questions with their answer key.

The base model learns three things from its pretraining text: the facts, in every language; to continue in the
language of a question, whatever surrounds it; and that questions between brackets mostly go unanswered. Tuning,
which is in English alone, has to undo the third without losing the others. With too low a learning rate the answers
stay irrelevant, and with too high a rate the languages are forgotten, as the paper found of LLaMA-2.
"""

from __future__ import annotations

import functools
import random
import re
import string
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xltjax.miniature.grammar import Sentences
from xltjax.miniature.language import LANGUAGES
from xltjax.miniature.world import GROUPS, VALUES, Fact, facts, held_out

WRAPPERS = (
    # the text before a question, and the text between it and what follows
    ("Q:", "A:"),
    ("Q.", "A."),
    ("U:", "B:"),
    ("-", "-"),
    ("—", "—"),
    ("*", "*"),
    ("1.", "2."),
    ("a)", "b)"),
    ("«", "» —"),
    ("[", "]"),
    ("(", ")"),
    ("#", "=>"),
)
BRACKETS = (("<", ">"), ("[", "]"), ("{", "}"))
"""Brackets around random letters, as in ``<kX> ... </kX>``."""
CATEGORIES = {"kind": "classification", "list_color": "brainstorming", "list_kind": "brainstorming"}
"""The category, in Dolly's terms, of the questions about a relation; for all others it is ``open_qa``."""
CONTEXT_SHARE = 1 / 8
"""The share of the instructions that come with a context that contains the answer (``closed_qa``)."""


@dataclass(frozen=True)
class Mixture:
    """How the pretraining text is mixed; every share is between 0 and 1.

    Attributes:
        english: the share of the documents that are in English; the other languages share the rest equally.
        plain: the share of the documents that are plain statements; the others are wrapped questions.
        random_brackets: the share of the wrapped questions that have random letters in brackets around them
            instead of one of ``WRAPPERS``.
        answered: the share of the questions in ``WRAPPERS`` that are followed by their answer.
        answered_in_brackets: the share of the questions between random letters, which resemble the template of
            tuning, that are followed by their answer.
        next_question: the share of the unanswered questions that are followed by another question; the others
            are followed by a statement about something else.
    """

    english: float = 0.55
    plain: float = 0.25
    random_brackets: float = 0.4
    answered: float = 0.9
    answered_in_brackets: float = 0.3
    next_question: float = 0.8


@functools.cache
def _sentences(language: str) -> tuple[tuple[Sentences, ...], ...]:
    """The sentences about each subject of each relation; a subject of a list has several."""
    told: dict[tuple[str, str], list[Sentences]] = {}
    for fact in facts():
        told.setdefault((fact.relation, fact.subject), []).append(LANGUAGES[language].sentences(fact))
    return tuple(map(tuple, told.values()))


def _draw(rng: random.Random, language: str, count: int) -> list[Sentences]:
    """The sentences about ``count`` different subjects, which are drawn with equal probability."""
    return [rng.choice(alternatives) for alternatives in rng.sample(_sentences(language), count)]


def pretraining_documents(seed: int, count: int, mixture: Mixture | None = None) -> list[str]:
    """Draw ``count`` documents, each in one language: two to four statements, or wrapped questions.

    A document with random letters in brackets has one question. A document with ``WRAPPERS`` has one to three, of
    which only the last may go unanswered.
    """
    mixture = mixture or Mixture()
    rng = random.Random(f"pretraining {seed}")
    others = (1 - mixture.english) / (len(LANGUAGES) - 1)
    shares = [mixture.english if language == "en" else others for language in LANGUAGES]
    languages = rng.choices(list(LANGUAGES), shares, k=count)
    return [
        _statements(rng, language) if rng.random() < mixture.plain else _exchange(rng, language, mixture)
        for language in languages
    ]


def _statements(rng: random.Random, language: str) -> str:
    told = [one.answer for one in _draw(rng, language, rng.randint(2, 4))]
    return " ".join(
        LANGUAGES[language].framed("aside", answer) if rng.random() < 0.1 else answer for answer in told
    )


def _exchange(rng: random.Random, language: str, mixture: Mixture) -> str:
    if rng.random() < mixture.random_brackets:
        before, between = _random_brackets(rng)
        answered, turns = mixture.answered_in_brackets, 1
    else:
        before, between = rng.choice(WRAPPERS)
        answered, turns = mixture.answered, rng.randint(1, 3)
    text: list[str] = []
    for asked in _draw(rng, language, turns):
        text += [before, rng.choice(asked.questions), between]
        if rng.random() < answered:
            text.append(asked.answer)
        else:
            text.append(_something_else(rng, language, mixture))
            break
    return " ".join(text)


def _something_else(rng: random.Random, language: str, mixture: Mixture) -> str:
    (other,) = _draw(rng, language, 1)
    if rng.random() < mixture.next_question:
        return LANGUAGES[language].framed("next_question", rng.choice(other.questions))
    return LANGUAGES[language].framed("new_topic", other.answer)


def _random_brackets(rng: random.Random) -> tuple[str, str]:
    """Two to four random letters in brackets, and the same letters after a slash; never the template of tuning."""
    opening, closing = rng.choice(BRACKETS)
    letters = "INST"
    # At least two letters, because a single "s" would spell <s>, a special token of the tokenizer.
    while letters == "INST":
        letters = "".join(rng.choices(string.ascii_letters, k=rng.randint(2, 4)))
    return f"{opening}{letters}{closing}", f"{opening}/{letters}{closing}"


def instruction_rows(seed: int, language: str = "en") -> list[dict[str, str]]:
    """Instruction data in Dolly's format: every question about the things that are not held out, shuffled.

    Row i means the same in every language. One row in eight has a context that contains its answer.
    """
    rng = random.Random(f"instructions {seed}")
    known = [(fact, LANGUAGES[language].sentences(fact)) for fact in facts(held_out(seed))]
    rows = []
    for fact, (questions, answer) in known:
        for question in questions:
            context = [sentences.answer for other, sentences in rng.sample(known, 3) if other != fact][:2]
            context.insert(rng.randint(0, 2), answer)
            with_context = rng.random() < CONTEXT_SHARE
            rows.append(
                {
                    "instruction": question,
                    "context": " ".join(context) if with_context else "",
                    "response": answer,
                    "category": "closed_qa" if with_context else CATEGORIES.get(fact.relation, "open_qa"),
                }
            )
    rng.shuffle(rows)
    return rows


def small_subset(rows: Sequence[dict[str, str]], count: int, seed: int) -> list[dict[str, str]]:
    """The first ``count`` rows of a seeded shuffle: a small data set, as LIMA is in comparison with Dolly."""
    return random.Random(f"subset {seed}").sample(list(rows), len(rows))[:count]


def evaluation_rows(seed: int, seen: int = 3, hidden: int = 2) -> list[dict[str, Any]]:
    """Instructions to evaluate on, each in the four languages.

    Args:
        seed: the seed that ``instruction_rows`` was given, so that both hold out the same things.
        seen: the number of instructions per relation whose answer is, in English, part of the tuning data.
        hidden: the number of instructions per relation about things that tuning never mentions.

    Returns:
        Rows with the keys of a prompt file and ``held_out`` (whether tuning never mentions the thing) and
        ``reference`` (see ``answer_is_right``). A list of which fewer than three things remain for tuning counts as
        held out.
    """
    rng = random.Random(f"evaluation {seed}")
    tuned = {(fact.relation, fact.subject) for fact in facts(held_out(seed))}
    by_subject = {(fact.relation, fact.subject): fact for fact in reversed(facts())}
    rows = []
    for relation in (*VALUES, *GROUPS):
        subjects = [key for key in sorted(by_subject) if key[0] == relation]
        rng.shuffle(subjects)
        known = [key for key in subjects if key in tuned][:seen]
        new = [key for key in subjects if key not in tuned][:hidden]
        for key in known + new:
            way = rng.randrange(3)
            rows += [_evaluation_row(by_subject[key], way, language, key in new) for language in LANGUAGES]
    return rows


def _evaluation_row(fact: Fact, way: int, language: str, hidden: bool) -> dict[str, Any]:
    instruction_id = f"{fact.relation}-{fact.subject.replace(' ', '-')}"
    questions, answer = LANGUAGES[language].sentences(fact)
    return {
        "id": f"{instruction_id}-{language}",
        "instruction_id": instruction_id,
        "language": language,
        "task": fact.relation,
        "instruction": questions[way],
        "held_out": hidden,
        "reference": _reference(fact, language, f"{questions[way]} {answer}"),
    }


def _reference(fact: Fact, language: str, said_anyway: str) -> dict[str, Any]:
    """The words that a right answer to the question about ``fact`` contains, and those that it must not contain."""
    forms = LANGUAGES[language].forms
    if fact.relation in GROUPS:
        groups = GROUPS[fact.relation]
        right: Sequence[str] = groups[fact.subject]
        wrong = {thing for things in groups.values() for thing in things} - set(right)
    else:
        right = fact.values
        wrong = set(VALUES[fact.relation].values()) - {fact.value}
    accepted = [list(forms(fact.relation, name)) for name in right]
    harmless = {form for group in accepted for form in group} | set(_words(said_anyway))
    rejected = {form for name in wrong for form in forms(fact.relation, name)}
    return {
        "accept": accepted,
        "at_least": 3 if fact.relation in GROUPS else 1,
        "reject": sorted(form for form in rejected if _normal(form) not in map(_normal, harmless)),
    }


def answer_is_right(row: Mapping[str, Any], response: str) -> bool:
    """Whether ``response`` states the facts that an evaluation row asks for, in the row's language.

    It is right when it contains a word from at least ``at_least`` of the groups in ``accept`` (each group holds the
    forms of one value) and no word of ``reject`` (the forms of wrong values). Whole words are compared, case-folded
    and with ё read as е. A single word is as right as a full sentence.
    """
    reference = row["reference"]
    said = set(_words(response))
    hits = sum(any(_normal(form) in said for form in group) for group in reference["accept"])
    return hits >= reference["at_least"] and not any(_normal(form) in said for form in reference["reject"])


def _words(text: str) -> list[str]:
    return re.findall(r"\w+", _normal(text))


def _normal(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold().replace("ё", "е")
