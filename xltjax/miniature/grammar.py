"""What every language of the miniature provides, and the string operations that its grammars share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from xltjax.miniature.world import Fact


class Sentences(NamedTuple):
    """One fact in one language: several questions that ask for it, and the sentence that answers them all."""

    questions: tuple[str, ...]
    answer: str


@dataclass(frozen=True)
class Language:
    """A language of the miniature.

    Attributes:
        code: the ISO 639-1 code.
        templates: for each relation, its questions and then its answer, with slots in braces.
        slots: a function that gives the words for the slots of a fact.
        forms: a function that gives, for a relation and the name of a value, the written forms by which the value
            is recognized in an answer; the relation distinguishes values that share a name.
        frames: openings that come before a sentence: ``aside`` ("everyone knows that"), ``next_question`` ("next
            question:") and ``new_topic`` ("now something else:").
        join: a function that joins an opening and the sentence that follows it.
    """

    code: str
    templates: Mapping[str, Sequence[str]]
    slots: Callable[[Fact], Mapping[str, str]]
    forms: Callable[[str, str], tuple[str, ...]]
    frames: Mapping[str, str]
    join: Callable[[str, str], str] = lambda opening, sentence: f"{opening} {sentence}"

    def sentences(self, fact: Fact) -> Sentences:
        """The questions and the answer that express ``fact``."""
        slots = self.slots(fact)
        *questions, answer = (upper_first(form.format(**slots)) for form in self.templates[fact.relation])
        return Sentences(tuple(questions), answer)

    def framed(self, frame: str, sentence: str) -> str:
        """``sentence`` after the opening of a frame, such as "everyone knows that"."""
        return self.join(self.frames[frame], lower_first(sentence))


def upper_first(text: str) -> str:
    """The text with its first letter in upper case, as at the beginning of a sentence."""
    return text[:1].upper() + text[1:]


def lower_first(text: str) -> str:
    """The text with its first letter in lower case, as inside a sentence."""
    return text[:1].lower() + text[1:]


def enumeration(parts: Sequence[str], conjunction: str) -> str:
    """The parts joined as "a, b and c"."""
    return f"{', '.join(parts[:-1])} {conjunction} {parts[-1]}"
